"""The captions of one image beside each other: twins among them, and how varied they are."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

Words = tuple[str, ...]
Likeness = Literal["duplicate", "near_duplicate"]

NEAR_DUPLICATE = 0.9
"""Share of common words from which two captions are one."""

OPENING = 3
"""Words of an opening."""

_WORD = re.compile(r"\w+")


def words_of(caption: str) -> Words:
    """Return the words of a caption in the form in which captions are compared: case and punctuation do not count."""
    return tuple(_WORD.findall(caption.casefold()))


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Return the Jaccard index of two sets of words (Jaccard 1901): 0 to 1, and 0 for two empty ones."""
    union = len(a | b)
    return len(a & b) / union if union else 0.0


def twin_of(words: Words, others: Iterable[Words], near: float = NEAR_DUPLICATE) -> Likeness | None:
    """Say whether a caption is another one's duplicate, or nearly so.

    Args:
        words: the caption's, as :func:`words_of` gives them.
        others: those of the captions that stand already.
        near: share of common words (Jaccard) from which two captions are near-duplicates, above 0 and at most 1.
    """
    others = list(others)
    if words in others:
        return "duplicate"
    mine = frozenset(words)
    return "near_duplicate" if any(overlap(mine, frozenset(o)) >= near for o in others) else None


def self_similarity(captions: Sequence[frozenset[str]]) -> float:
    """Return the mean overlap of any two captions' words: 1 for one caption said over and over.

    Returns:
        Not a number where no two captions have words.
    """
    overlaps = [overlap(a, b) for a, b in combinations(captions, 2) if a or b]
    return sum(overlaps) / len(overlaps) if overlaps else math.nan


@dataclass(frozen=True, slots=True)
class SetReport:
    """How varied the captions of a set are. Shares are 0 to 1, and not a number where there is nothing to count.

    Attributes:
        captions: how many.
        words: of each caption.
        duplicates, near_duplicates: captions that repeat an earlier one, by their places.
        distinct_1, distinct_2: different words, and pairs of words, as a share of all (Li et al. 2016, NAACL).
        self_similarity: mean overlap of two captions' words.
        opening: the commonest first three words; empty where no caption is so long.
        opening_share: of the captions, those that open so.
    """

    captions: int
    words: tuple[int, ...]
    duplicates: tuple[int, ...]
    near_duplicates: tuple[int, ...]
    distinct_1: float
    distinct_2: float
    self_similarity: float
    opening: str
    opening_share: float


def report(captions: Sequence[str], near: float = NEAR_DUPLICATE) -> SetReport:
    """Return how varied captions are.

    Args:
        captions: of one set, in order.
        near: as for :func:`twin_of`.
    """
    texts = [words_of(c) for c in captions]
    likeness = [twin_of(words, texts[:i], near) for i, words in enumerate(texts)]
    unigrams = [word for words in texts for word in words]
    bigrams = [pair for words in texts for pair in pairwise(words)]
    openings = Counter(words[:OPENING] for words in texts if len(words) >= OPENING)
    opening, most = openings.most_common(1)[0] if openings else ((), 0)
    return SetReport(
        captions=len(texts),
        words=tuple(map(len, texts)),
        duplicates=tuple(i for i, kind in enumerate(likeness) if kind == "duplicate"),
        near_duplicates=tuple(i for i, kind in enumerate(likeness) if kind == "near_duplicate"),
        distinct_1=_share(len(set(unigrams)), len(unigrams)),
        distinct_2=_share(len(set(bigrams)), len(bigrams)),
        self_similarity=self_similarity([frozenset(words) for words in texts]),
        opening=" ".join(opening),
        opening_share=_share(most, len(texts)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
