"""Several rows of one image → one statement: boxes and findings put together, readers counted."""

from collections import Counter
from collections.abc import Iterable, Sequence

from captioner.labels import Statement
from captioner.schema import LabelSchema, Merge


def merge_statements(schema: LabelSchema, how: Merge, readers: Sequence[Iterable[Statement]]) -> Statement:
    """Return what the rows of one image say together.

    A reader says whatever one of their rows says. A class is asserted if enough readers assert it, and denied only if
    every reader denies it; what some readers say, but not enough of them, is left open. Where any reader is enough,
    ``normal`` and absences need all of them: one reader's finding is enough to make an image abnormal.

    Args:
        schema: the dataset's schema.
        how: who must agree.
        readers: for each reader of the image, what their rows say.
    """
    together = Statement()
    votes: Counter[str] = Counter()
    denials: Counter[str] = Counter()
    for rows in readers:
        positive: set[str] = set()
        negative: set[str] = set()
        for row in rows:
            positive |= row.positive
            negative |= row.negative
            together.uncertain |= row.uncertain
            together.dropped += row.dropped
            together.problem = together.problem or row.problem
        votes.update(positive)
        denials.update(negative - positive)
    count = len(readers)
    for code, voices in votes.items():
        enough = {"any": 1, "majority": count // 2 + 1, "all": count}[how.agree]
        if how.agree == "any" and schema[code].kind in ("normal", "absence"):
            enough = count
        (together.positive if voices >= enough else together.uncertain).add(code)
    together.uncertain -= together.positive
    together.negative = {code for code, voices in denials.items() if voices == count} - together.uncertain
    return together
