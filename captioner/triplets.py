"""Label information of an image: the unit that captions are written for.

Processes that check answers read this module too; what takes long to import (pandas) is none of its business.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from captioner.labels import Labels
from captioner.schema import LabelSchema, canonical_json, hash_of_text

__all__ = ["Labels", "Shared", "Triplet", "make_triplet"]


class Triplet(NamedTuple):
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
    return Shared.of(schema, findings, denied).triplet(chosen)


@dataclass(frozen=True, slots=True)
class Shared:
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
