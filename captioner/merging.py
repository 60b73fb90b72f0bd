"""Several rows of one image → one statement: boxes and findings put together, readers counted."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import and_

from captioner.labels import Statement, members, together
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
    said = [together(list(rows)) for rows in readers]
    everybody = together(said)
    positive = 0
    for i in members(everybody.positive):
        enough = {"any": 1, "majority": len(said) // 2 + 1, "all": len(said)}[how.agree]
        if how.agree == "any" and schema.classes[i].kind in ("normal", "absence"):
            enough = len(said)
        if sum(one.positive >> i & 1 for one in said) >= enough:
            positive |= 1 << i
    uncertain = (everybody.positive | everybody.uncertain) & ~positive
    denied = functools.reduce(and_, (one.negative & ~one.positive for one in said))
    return replace(everybody, positive=positive, negative=denied & ~uncertain, uncertain=uncertain)
