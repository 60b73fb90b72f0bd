"""Label information of images, and the distinct pieces of it: the unit that captions are written for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from captioner.errors import UsageError, did_you_mean
from captioner.schema import LabelSchema, canonical_json, hash_of_text
from captioner.tables import Labels, SampleTable, distinct_rows, uncollected

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
    chosen = tuple(sorted((k, v) for k, v in dict(attributes).items() if v))
    place = {code: i for i, code in enumerate(schema.codes)}
    findings, denied = (
        tuple(sorted(codes, key=place.__getitem__)) for codes in (labels.positive, labels.negative if negatives else ())
    )
    return _Shared.of(schema, findings, denied).triplet(chosen)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What triplets that differ only in attributes have in common; ``json`` begins the text that their id is a hash of."""

    json: str
    modality: str
    anatomy: str
    findings: tuple[str, ...]
    negatives: tuple[str, ...]

    @classmethod
    def of(cls, schema: LabelSchema, findings: tuple[str, ...], negatives: tuple[str, ...]) -> Self:
        first = schema[findings[0]]
        modality, anatomy = schema.modality_of(first), schema.anatomy_of(first)
        json = canonical_json([schema.id, modality, anatomy, sorted(findings), sorted(negatives)])
        return cls(json[:-1], modality, anatomy, findings, negatives)

    def triplet(self, attributes: tuple[tuple[str, str], ...]) -> Triplet:
        pairs = ",".join([f"[{canonical_json(name)},{canonical_json(value)}]" for name, value in attributes])
        digits = hash_of_text(f"{self.json},[{pairs}]]")
        return Triplet(f"t{digits}", self.modality, self.anatomy, self.findings, self.negatives, attributes)


@uncollected()
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
    # Combinations are in the order that triplets are to have.
    said = [(labels.positive, labels.negative if negatives else ()) for labels in samples.combinations]
    kinds = {labels: i for i, labels in enumerate(dict.fromkeys(said))}
    kind_of = np.array([kinds[labels] for labels in said], dtype=np.int64)
    kind = kind_of[samples.frame["labels"].to_numpy(dtype=np.int64)]
    shared = [_Shared.of(schema, *labels) for labels in kinds]
    names = sorted(set(attributes))
    columns = [_ranked(samples.frame[name]) for name in names]
    ranks = [kind, *_in_order_of_pairs(columns)]
    index, first = distinct_rows(ranks, [int(r.max(initial=0)) + 1 for r in ranks], in_order=True)
    values = [[known[i] for i in codes[first]] for codes, known in columns]
    triplets = []
    for i, *row in zip(kind[first], *values, strict=True):
        pairs = tuple([(name, value) for name, value in zip(names, row, strict=True) if value])
        triplets.append(shared[i].triplet(pairs))
    return tuple(triplets), index


def _ranked(column: "pd.Series[Any]") -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return for each row the position of its value among the distinct ones, and these, sorted."""
    codes, known = pd.factorize(column)
    texts = [str(value) for value in known]
    values = sorted(texts)
    place = {value: i for i, value in enumerate(values)}
    return np.array([place[text] for text in texts], dtype=np.int64)[codes], values


def _in_order_of_pairs(columns: Sequence[tuple[npt.NDArray[np.int64], list[str]]]) -> list[npt.NDArray[np.int64]]:
    """Return for each column ranks that sort rows as their pairs of name and value would be, without empty values.

    Names are sorted. In the place of an empty value stands a later name, which is greater, or the end, which is less.
    """
    found = []
    at_end = True
    for codes, values in reversed(columns):
        empty = (codes == 0) & (values[:1] == [""])
        found.append(np.where(empty, np.where(at_end, 0, len(values) + 1), codes + 1))
        at_end = empty & at_end
    return found[::-1]
