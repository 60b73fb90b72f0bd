"""What a compiled label schema is: one token trie that holds everything a caption is searched for, and its tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What an entry of the trie is. Entries of different layers may overlap; within a layer the longest wins.
CONCEPT, CUE, NORMAL, ABNORMAL, ANATOMY, MODALITY, TRIGGER, SEVERITY, STRUCTURE = range(9)

Words = tuple[str, ...]
Entry = tuple[int, int, bool]
"""Layer, index into the layer's table, and whether capitals matter."""

Gap = tuple[int, bool, tuple[Words, ...]]
"""Term, whether capitals matter, and the segments that must follow within a gap."""

IS = "="
"""As a segment of a discontinuous wording: a form of "to be" stands here. No token is an equals sign within a word."""

ENTRIES = ""
"""The key under which a trie node keeps its entries; no token is empty."""

GAPS = " "
"""The key under which a trie node keeps the wordings that go on after a gap, by the first word of their last segment."""

LASTS = "  "
"""The key under which a trie node keeps these first words."""


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
    image of that place. One ``of_class`` asserts a class of the schema.
    """

    meanings: tuple[int, ...] = ()
    signs: frozenset[int] = frozenset()
    denies: tuple[int, ...] = ()
    weak: bool = False
    text: str = ""
    of_class: bool = False


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
    """Everything that the matcher and the judge look up.

    For each meaning, ``said`` holds the words of its wordings, ``signalled`` those of its declared signs and denials.
    """

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
    said: list[frozenset[str]]
    signalled: list[frozenset[str]]
    by_concept: dict[str, frozenset[int]]
    class_anatomies: frozenset[str]


def insert(trie: dict[str, Any], words: Words, entry: Entry) -> None:
    """Put an entry under its words."""
    node = _node(trie, words)
    entries: tuple[Entry, ...] = node.get(ENTRIES, ())
    if entry not in entries:
        node[ENTRIES] = (*entries, entry)


def insert_gap(trie: dict[str, Any], words: Words, gap: Gap) -> None:
    """Put a wording in several pieces under the words of its first."""
    node = _node(trie, words)
    gaps: dict[str, tuple[Gap, ...]] = node.setdefault(GAPS, {})
    last = gap[2][-1][0]
    gaps[last] = (*gaps.get(last, ()), gap)
    node.setdefault(LASTS, set()).add(last)


def _node(trie: dict[str, Any], words: Words) -> dict[str, Any]:
    for word in words:
        trie = trie.setdefault(word, {})
    return trie


def words_of(trie: Mapping[str, Any]) -> set[str]:
    """Return every word of every entry."""
    found: set[str] = set()
    todo: list[Mapping[str, Any]] = [trie]
    while todo:
        for word, node in todo.pop().items():
            if word == GAPS:
                found.update(w for gaps in node.values() for _, _, rest in gaps for segment in rest for w in segment)
            elif word not in (ENTRIES, LASTS):
                found.add(word)
                todo.append(node)
    return found
