"""Label information of images, and the distinct pieces of it: the unit that captions are written for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from captioner.errors import UsageError, did_you_mean
from captioner.schema import LabelSchema, hash_of
from captioner.tables import Labels, SampleTable

__all__ = ["Labels", "Triplet", "distinct", "make_triplet"]


@dataclass(frozen=True, slots=True)
class Triplet:
    """Modality, anatomy and findings, with what else a caption may rest on.

    Attributes:
        id: ``t`` and sixteen hex digits over the schema's id and all other fields; the same label information of the
            same dataset has the same id in every run.
        modality: id in ``concepts/modalities.yaml``.
        anatomy: id in ``concepts/anatomies.yaml``.
        findings: codes of the positive classes, in the schema's order.
        negatives: codes of classes that the table denies, where a pipeline asks for them.
        attributes: name and value of each chosen attribute, sorted by name.
    """

    id: str
    modality: str
    anatomy: str
    findings: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


def make_triplet(
    schema: LabelSchema,
    labels: Labels,
    *,
    negatives: bool = False,
    attributes: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Triplet:
    """Return the triplet of an image's labels.

    Args:
        schema: the dataset's schema.
        labels: at least one positive class; all of one modality and anatomy (tables.py refuses other rows).
        negatives: also carry the classes that the table denies.
        attributes: the chosen attributes; empty values are left out.
    """
    first = schema[labels.positive[0]]
    order = {code: i for i, code in enumerate(schema.codes)}
    findings = tuple(sorted(labels.positive, key=order.__getitem__))
    denied = tuple(sorted(labels.negative, key=order.__getitem__)) if negatives else ()
    chosen = tuple(sorted((k, v) for k, v in dict(attributes).items() if v))
    modality, anatomy = schema.modality_of(first), schema.anatomy_of(first)
    content = [schema.id, modality, anatomy, sorted(findings), sorted(denied), chosen]
    return Triplet(f"t{hash_of(content)}", modality, anatomy, findings, denied, chosen)


def distinct(
    schema: LabelSchema, samples: SampleTable, *, negatives: bool = False, attributes: Sequence[str] = ()
) -> tuple[tuple[Triplet, ...], npt.NDArray[np.int64]]:
    """Return the distinct triplets of samples, and which one each sample has.

    Args:
        schema: the dataset's schema.
        samples: its samples; only label information that one of them has becomes a triplet.
        negatives: tell samples apart by what the table denies, too.
        attributes: ids of attributes to tell samples apart by, too.

    Returns:
        The triplets, sorted by their findings in the schema's order (then modality, anatomy, negatives, attributes), so
        that the order does not depend on that of the rows; and for each row of ``samples.frame`` the position of its
        triplet.

    Raises:
        UsageError: the schema has no attribute of a name that is asked for.
    """
    for name in attributes:
        if name not in schema.attributes:
            known = ", ".join(schema.attributes) or "none"
            raise UsageError(
                f"schema {schema.id!r} has no attribute {name!r}; it has: {known}.{did_you_mean(name, schema.attributes)}"
            )
    order = {code: i for i, code in enumerate(schema.codes)}
    pieces, piece_of = _pieces(samples, attributes, negatives=negatives)
    made = []
    for labels, *values in pieces:
        chosen = dict(zip(attributes, map(str, values), strict=True))
        made.append(make_triplet(schema, samples.combinations[labels], negatives=negatives, attributes=chosen))

    def rank(t: Triplet) -> tuple[object, ...]:
        findings, denied = ([order[code] for code in codes] for codes in (t.findings, t.negatives))
        return findings, t.modality, t.anatomy, denied, t.attributes

    triplets = sorted({t.id: t for t in made}.values(), key=rank)
    position = {t.id: i for i, t in enumerate(triplets)}
    return tuple(triplets), np.array([position[t.id] for t in made], dtype=np.int64)[piece_of]


def _alike(combinations: Sequence[Labels], *, negatives: bool) -> npt.NDArray[np.int64]:
    """Return for each combination the first one that gives the same triplet."""
    first: dict[tuple[tuple[str, ...], ...], int] = {}
    told_apart = ((c.positive, c.negative) if negatives else (c.positive,) for c in combinations)
    return np.array([first.setdefault(what, i) for i, what in enumerate(told_apart)], dtype=np.int64)


def _pieces(
    samples: SampleTable, attributes: Sequence[str], *, negatives: bool
) -> tuple[list[tuple[Any, ...]], npt.NDArray[np.int64]]:
    """Return the distinct label positions with attribute values, and which of them each row has."""
    labels = _alike(samples.combinations, negatives=negatives)[samples.frame["labels"].to_numpy(dtype=np.int64)]
    codes, _ = pd.factorize(labels)
    for name in attributes:
        value, known = pd.factorize(samples.frame[name])
        codes, _ = pd.factorize(codes * (len(known) + 1) + value)
    first = pd.Series(codes).drop_duplicates().index  # factorize numbers values as they come
    columns = [labels[first].tolist(), *(samples.frame[name].iloc[first].tolist() for name in attributes)]
    return list(zip(*columns, strict=True)), codes
