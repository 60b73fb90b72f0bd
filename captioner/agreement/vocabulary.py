"""What a compiled label schema is: one token trie that holds everything a caption is searched for, and its tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What an entry of the trie is. Entries of different layers may overlap; within a layer the longest wins.
CONCEPT, CUE, NORMAL, ABNORMAL, ANATOMY, MODALITY, TRIGGER, SEVERITY, STRUCTURE = range(9)

Words = tuple[str, ...]
Entry = tuple[int, int, bool, tuple[Words, ...]]
"""Layer, index into the layer's table, whether capitals matter, and the segments that must follow within a gap."""

IS = "="
"""As a segment of a discontinuous wording: a form of "to be" stands here. No token is an equals sign within a word."""

ENTRIES = ""
"""The key under which a trie node keeps its entries; no token is empty."""


@dataclass(slots=True)
class Meaning:
    """Something that a caption can assert: a class of the schema, or a concept that is none.

    Attributes:
        key: ``=CODE`` for a class, the concept's id otherwise.
        code: the class's code; None for a concept that is no class.
        implies: meanings that are true where this one is, itself included.
        allows: meanings that may be mentioned where this one holds, beyond what it implies.
        signs: meanings that are declared signs of this one.
        places: anatomy names (see :attr:`Vocabulary.places`) in its wordings: the heart, for an enlarged heart.
        seats: those of its name, and of a fair share of its wordings: where it is.
        denies: for an absence: what is absent.
        foreign: from a field that the schema does not name.
        grants: kinds of detail that its own wordings contain: treatment, for "postoperative change".
    """

    key: str
    name: str
    kind: str
    code: str | None = None
    concept: str | None = None
    group: str | None = None
    level: int | None = None
    implies: frozenset[int] = frozenset()
    allows: frozenset[int] = frozenset()
    signs: frozenset[int] = frozenset()
    places: frozenset[str] = frozenset()
    seats: frozenset[str] = frozenset()
    denies: int | None = None
    foreign: bool = False
    grants: frozenset[str] = frozenset()
    modality: str = ""
    anatomy: str = ""


@dataclass(slots=True)
class Term:
    """A wording: what it asserts or denies, and for which meanings it is a declared sign.

    A weak one was derived by leaving out the place ("edema" for "pulmonary edema"): it speaks of its class only in an
    image of that place.
    """

    meanings: tuple[int, ...] = ()
    signs: frozenset[int] = frozenset()
    denies: tuple[int, ...] = ()
    weak: bool = False
    text: str = ""


@dataclass(slots=True)
class Scale:
    """An exclusive group that has words of degree: which qualifier stands for which class."""

    group: str
    heads: frozenset[str]
    words: Mapping[str, frozenset[int]]
    levels: Mapping[int, int]
    graded: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Vocabulary:
    """Everything that the matcher and the judge look up."""

    trie: dict[str, Any]
    meanings: list[Meaning]
    terms: list[Term]
    structures: list[tuple[tuple[int, frozenset[Words] | None], ...]]
    anatomies: list[frozenset[str]]
    modalities: list[str]
    scales: list[Scale]
    abnormal: list[Words]
    cues: list[int]
    by_code: dict[str, int]
    places: dict[str, frozenset[str]]
    dataset_words: frozenset[Words]
    known: frozenset[str]


def insert(trie: dict[str, Any], words: Words, entry: Entry) -> None:
    """Put an entry under its words."""
    node = trie
    for word in words:
        node = node.setdefault(word, {})
    entries: tuple[Entry, ...] = node.get(ENTRIES, ())
    if entry not in entries:
        node[ENTRIES] = (*entries, entry)


def words_of(trie: Mapping[str, Any]) -> set[str]:
    """Return every word of every entry."""
    found: set[str] = set()
    todo: list[Mapping[str, Any]] = [trie]
    while todo:
        for word, node in todo.pop().items():
            if word == ENTRIES:
                found.update(w for _, _, _, segments in node for segment in segments for w in segment)
            else:
                found.add(word)
                todo.append(node)
    return found
