"""A finding that a caption names."""

from dataclasses import dataclass


@dataclass(slots=True)
class Mention:
    """A finding in a caption.

    Attributes:
        start: first token.
        end: token after the last.
        meanings: what it asserts; several where one wording belongs to several classes.
        signs: meanings for which it is a declared sign.
        status: how it is meant, as in :data:`~.lexicon.STATUS_NAMES`.
        cue: index of the cue that says so, or -1.
        graded: a word of degree, which stands for a step of a scale.
        gap: tokens between its parts, which belong to other words; empty for a wording in one piece.
        denial: a wording that denies without a word of negation.
        weak: see :class:`~.vocabulary.Term`.
    """

    start: int
    end: int
    meanings: tuple[int, ...]
    signs: frozenset[int]
    status: int
    cue: int = -1
    graded: bool = False
    gap: tuple[int, int] | None = None
    denial: bool = False
    weak: bool = False

    def holds(self, start: int, end: int) -> bool:
        """Say whether tokens are part of the wording itself, not of what stands between its parts."""
        if self.gap is None:
            return self.start <= start and end <= self.end
        return (self.start <= start and end <= self.gap[0]) or (self.gap[1] <= start and end <= self.end)
