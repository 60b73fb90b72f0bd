"""What a compiled label schema is: one token trie that holds everything a caption is searched for, and its tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# What an entry of the trie is. Entries of different layers may overlap; within a layer the longest wins.
CONCEPT, CUE, NORMAL, ABNORMAL, ANATOMY, MODALITY, TRIGGER, SEVERITY, STRUCTURE = range(9)

Words = tuple[str, ...]
Entry = tuple[int, int, bool]
"""Layer, index into the layer's table, and whether capitals matter."""

Gap = tuple[int, bool, tuple[Words, ...]]
"""Term, whether capitals matter, and the segments that must follow within a gap."""

_NO_GAPS: Mapping[str, tuple[Gap, ...]] = MappingProxyType({})

IS = "="
"""As a segment of a discontinuous wording: a form of "to be" stands here. No token is an equals sign within a word."""


@dataclass(slots=True)
class Node:
    """What a text can go on with after some words.

    Attributes:
        after: the nodes one word further.
        entries: what these words are by themselves.
        gaps: wordings that go on after a gap, by the first word of their last segment.
        lasts: these first words.
    """

    after: dict[str, "Node"] = field(default_factory=lambda: _NOWHERE)
    entries: tuple[Entry, ...] = ()
    gaps: Mapping[str, tuple[Gap, ...]] = field(default_factory=lambda: _NO_GAPS)
    lasts: frozenset[str] = frozenset()

    def at(self, words: Words) -> "Node":
        """Return the node that words lead to, which is made where there is none."""
        node = self
        for word in words:
            if word not in node.after:
                if node.after is _NOWHERE:
                    node.after = {}
                node.after[word] = Node()
            node = node.after[word]
        return node


_NOWHERE: dict[str, Node] = {}
"""Where most wordings end, one for all of them; nothing is ever put into it."""


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

    For each meaning, ``said`` holds the words of its wordings, ``signalled`` those of its declared signs and denials; for each
    scale, ``steps`` holds the classes that stand on it.
    """

    trie: Node
    meanings: list[Meaning]
    terms: list[Term]
    structures: list[tuple[tuple[int, frozenset[Words] | None], ...]]
    anatomies: list[frozenset[str]]
    modalities: list[str]
    scales: list[Scale]
    abnormal: list[Words]
    cues: list[int]
    by_code: dict[str, int]
    steps: dict[str, tuple[int, ...]]
    places: dict[str, frozenset[str]]
    dataset_words: frozenset[Words]
    known: frozenset[str]
    said: list[frozenset[str]]
    signalled: list[frozenset[str]]
    by_concept: dict[str, frozenset[int]]
    class_anatomies: frozenset[str]


def insert(trie: Node, words: Words, entry: Entry) -> None:
    """Put an entry under its words."""
    node = trie.at(words)
    if entry not in node.entries:
        node.entries = (*node.entries, entry)


def insert_gap(trie: Node, words: Words, gap: Gap) -> None:
    """Put a wording in several pieces under the words of its first."""
    node = trie.at(words)
    last = gap[2][-1][0]
    node.gaps = {**node.gaps, last: (*node.gaps.get(last, ()), gap)}
    node.lasts |= {last}


def words_of(trie: Node) -> set[str]:
    """Return every word of every entry."""
    found: set[str] = set()
    todo = [trie]
    while todo:
        node = todo.pop()
        found.update(node.after)
        found.update(w for gaps in node.gaps.values() for _, _, rest in gaps for segment in rest for w in segment)
        todo.extend(node.after.values())
    return found
