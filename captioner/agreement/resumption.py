"""What a later sentence says of a finding that an earlier one named ("Pneumonia is seen. It is doubtful").

Only sentences that name no finding of their own, and whose subject points back, speak of the one before them.
"""

from collections.abc import Sequence

from captioner.agreement import lexicon as lx
from captioner.agreement.mentions import Mention
from captioner.agreement.scope import Scopes
from captioner.agreement.tokens import Tokens

_POINTS_BACK = frozenset("it this that these they".split())
_ARTICLES = frozenset("the this that these such".split())
_RESUMES = lx.words(
    """finding diagnosis abnormality appearance disease condition interpretation impression lesion change process presence
    feature sign reading conclusion assessment opacity"""
)
_DOUBTFUL = lx.words(
    """uncertain questionable doubtful debatable unclear unproven unconfirmed speculative tentative provisional equivocal
    inconclusive arguable indeterminate doubt guess hypothesis assumption
    supposition conjecture speculation hunch open presumptive presumed suspected possible probable likely"""
)
_CERTAIN = lx.words("certain sure definite definitive clear proven confirmed conclusive established secure convincing")
_GONE = lx.words(
    "gone vanished disappeared resolved cleared subsided regressed absent false untrue wrong mistaken refuted"
)
_SEEN = lx.PERCEIVED - _CERTAIN
_MODAL = frozenset("may might could would".split())
_BEING = frozenset("be represent reflect indicate have".split())
_ELSE = lx.words(
    "something nothing another other else artifact artefact mimic normal false mistaken wrong overlap shadow"
)
_ADVERBS = (
    lx.NEUTRAL_ADVERB | lx.BE | frozenset("has have had been since now however therefore still longer entirely".split())
)
_REACH = 6


def resume(tokens: Tokens, scopes: Scopes, mentions: Sequence[Mention]) -> None:
    """Let sentences that deny or doubt what was said before them do so."""
    words = tokens.words
    named: dict[int, list[Mention]] = {}
    for m in mentions:
        if m.meanings:
            named.setdefault(scopes.sentence[m.start], []).append(m)
    before: list[Mention] = []
    for number, (a, b) in enumerate(scopes.sentences):
        if number in named:
            before = named[number]
        elif before and (status := _judged(words, a, b)) is not None:
            for m in before:
                if m.status == lx.AFFIRMED:
                    m.status = status
            before = []


def _judged(words: list[str], a: int, b: int) -> int | None:
    """Return what a sentence makes of the finding before it; None where it does not speak of one, or lets it stand."""
    k = a
    if (
        words[a] in ("no", "neither")
        and any(w in _RESUMES for w in words[a + 1 : a + 4])
        and "such" in words[a : a + 3]
    ):
        return lx.NEGATED
    if words[k] in ("however", "but", "yet", "although", "though"):
        k += 1
        k += k < b and words[k] == ","
    if k >= b:
        return None
    if words[k] in _ARTICLES and any(w in _RESUMES for w in words[k + 1 : k + 3]):
        k = next(p for p in range(k + 1, k + 3) if words[p] in _RESUMES) + 1
    elif words[k] in _POINTS_BACK:
        k += 1
    else:
        return None
    return _predicate(words, k, min(b, k + 2 * _REACH))


def _predicate(words: list[str], k: int, b: int) -> int | None:
    """Return what a predicate makes of its subject."""
    denied = False
    for p in range(k, b):
        word = words[p]
        if word in ("not", "no", "never"):
            denied = True
        elif word in _MODAL:
            rest = words[p + 1 : min(b, p + _REACH)]
            return lx.HEDGED if not _ELSE.isdisjoint(rest) and not _BEING.isdisjoint(rest) else None
        elif word in _CERTAIN and denied:
            return lx.HEDGED
        elif word in _SEEN and denied:
            return lx.NEGATED
        elif word in _GONE:
            return None if denied else lx.NEGATED
        elif word in _DOUBTFUL:
            return None if denied else lx.HEDGED
        elif word not in _ADVERBS and word not in lx.DETERMINER and word not in ("in", "and", "nonspecific"):
            return None
    return None
