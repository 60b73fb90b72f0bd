"""Label information of images, and the distinct pieces of it: the unit that captions are written for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from captioner.schema import LabelSchema, hash_of


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table says of one image, as class codes in the schema's order."""

    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()


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
