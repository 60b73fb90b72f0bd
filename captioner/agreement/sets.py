"""Captions beside each other: what makes two of them one, and how varied many are.

The one place where this is defined: the loop refuses twins by it, the built-in writer keeps its sets varied by it, and an
audit counts millions of captions by it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

Words = tuple[str, ...]
Likeness = Literal["duplicate", "near_duplicate"]

NEAR_DUPLICATE = 0.9
"""Share of common words from which two captions are one."""

_WORD = re.compile(r"\w+")


def words_of(caption: str) -> Words:
    """Return the words of a caption in the form in which captions are compared: case and punctuation do not count."""
    return tuple(_WORD.findall(caption.casefold()))


def opening(words: Words, size: int = 3) -> Words:
    """Return how a caption opens: its first words, by which templates give themselves away."""
    return words[:size]


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Return the Jaccard index of two sets of words (Jaccard 1901): 0 to 1, and 0 for two empty ones."""
    both = len(a & b)
    union = len(a) + len(b) - both
    return both / union if union else 0.0


def twin_of(words: Words, others: Mapping[Words, frozenset[str]], near: float = NEAR_DUPLICATE) -> Likeness | None:
    """Say whether a caption is another one's duplicate, or nearly so.

    Args:
        words: the caption's, as :func:`words_of` gives them.
        others: those of the captions that stand already, and the same without repetitions.
        near: share of common words (Jaccard) from which two captions are near-duplicates, above 0 and at most 1.
    """
    if words in others:
        return "duplicate"
    mine = frozenset(words)
    size = len(mine)
    for other in others.values():
        # Sets of such different sizes cannot have as much in common.
        most = size / len(other) if size < len(other) else len(other) / (size or 1)
        if most >= near and overlap(mine, other) >= near:
            return "near_duplicate"
    return None


def self_similarity(captions: Sequence[frozenset[str]]) -> float:
    """Return the mean overlap of any two captions' words: 1 for one caption said over and over.

    Returns:
        Not a number where no two captions have words.
    """
    overlaps = [overlap(a, b) for a, b in combinations(captions, 2) if a or b]
    return sum(overlaps) / len(overlaps) if overlaps else math.nan
