"""Words and numbers of degree, bound to the disease that they grade."""

from captioner.agreement import lexicon as lx
from captioner.agreement.scope import Scopes
from captioner.agreement.tokens import Tokens
from captioner.agreement.vocabulary import Scale

_BEFORE_NUMBER = frozenset(
    """of : is = as # at scale level grade stage severity class score category icdr icdrs icdrss etdrs grading be dr international
    clinical ( the""".split()
)
_NAMES_LEVEL = frozenset("grade stage level class score category icdr icdrs icdrss severity grading dr".split())
_BETWEEN = frozenset(
    "non proliferative diabetic background very or and to , degree even icdr stage grade 1 2 3 4 retinal nor more less advanced".split()
)
_CLOSES = frozenset("but and or without no rather not here only nor".split())
_RELATIVE = frozenset(("which", "that", "where", "whose", "but"))

Graded = tuple[int, int, tuple[int, ...], int, int]
"""First token, token after the last, meanings, status, cue."""


def read(tokens: Tokens, scopes: Scopes, scales: list[Scale]) -> list[Graded]:
    """Return what the words of degree of a caption assert or deny."""
    words, distinct = tokens.words, tokens.distinct
    found: list[Graded] = []
    numbered = not lx.NUMBERS.keys().isdisjoint(distinct) or any(map(str.isdigit, distinct))
    graded = "proliferative" in distinct
    for scale in scales:
        if not (graded or (numbered and scale.levels) or not scale.words.keys().isdisjoint(distinct)):
            continue
        for i, word in enumerate(words):
            compared = scopes.compared[i]
            if word == "proliferative" and i and words[i - 1] == "pre":
                continue  # a stage of its own, on another scale
            if word in scale.words or word == "proliferative":
                wide = word == "proliferative" and i > 0 and words[i - 1] == "non"
                owners = scale.words.get("non proliferative" if wide else word)
                if not owners or (i and words[i - 1] == "pre") or not _grades(words, scopes, i, scale):
                    continue
                # "non" belongs to the word; what counts is a cue before it.
                lo = i - 1 if wide else i
                status, cue = scopes.status[lo], scopes.by[lo]
                if compared >= 0:
                    status, cue = _beyond(scopes, compared), compared
                found.append((lo, i + 1, tuple(sorted(owners)), status, cue))
            elif scale.levels and i and (word.isdigit() or word in lx.NUMBERS):
                owner = _level(words, scale, i)
                if owner is not None:
                    status, cue = (
                        (_beyond(scopes, compared), compared) if compared >= 0 else (scopes.status[i], scopes.by[i])
                    )
                    found.append((i - 1, i + 1, (owner,), status, cue))
    return found


def _beyond(scopes: Scopes, cue: int) -> int:
    """Return what a comparison does to a step: "beyond mild" denies it, "not beyond mild" does not."""
    return lx.AFFIRMED if scopes.status[scopes.cues[cue][0]] == lx.NEGATED else lx.NEGATED


def _level(words: list[str], scale: Scale, i: int) -> int | None:
    """Return the meaning of a number that a word such as "grade" announces."""
    word = words[i]
    value = int(word) if word.isdigit() and len(word) < 3 else lx.NUMBERS.get(word, -1)
    owner = scale.levels.get(value)
    if owner is None:
        return None
    k = i - 1
    while k >= 0 and i - k <= 4 and words[k] in _BEFORE_NUMBER:
        if words[k] in _NAMES_LEVEL:
            return owner
        k -= 1
    return None


def _grades(words: list[str], scopes: Scopes, i: int, scale: Scale) -> bool:
    """Say whether a word of degree grades the scale's disease, and not something else ("severe haemorrhages")."""
    a, b = scopes.sentences[scopes.sentence[i]]
    heads = scale.heads
    end = i + 1
    k = end
    while k < min(b, end + 9):
        word = words[k]
        if word in heads or word in lx.GRADE_NOUNS:
            if word == "change" and "retinal" in words[end:k]:
                return False  # how much the retina has changed, not a step of the scale
            return words[i] == "proliferative" or not _another(words, end, k, b)
        if word not in scale.words and word not in _BETWEEN:
            break
        k += 1
    if "," in words[end:k]:
        k = words.index(",", end)
    word = words[k] if k < b else "."
    closes = (
        k >= b
        or not word[0].isalpha()
        or word in lx.PREPOSITIONS
        or word in lx.STOP
        or word in lx.FINITE
        or word in _CLOSES
    )
    if not closes:
        return False
    # "retinopathy is moderate", "severity: mild", "graded moderate"
    k = i - 1
    while k >= max(a, i - 16):
        word = words[k]
        if word in heads or word in lx.GRADE_NOUNS or word in lx.GRADED or word == "icdr":
            return True
        if word in lx.STOP and word not in _RELATIVE:
            break
        k -= 1
    return False


def _another(words: list[str], end: int, k: int, b: int) -> bool:
    """Say whether the noun has a step of its own: the "severe" of "severe PDR" is no step."""
    for p in range(end, k + 1):
        if words[p] == "pdr" or (words[p] == "proliferative" and words[p - 1] != "non"):
            return not any(w in ("and", "or", "to", ",") for w in words[end:p])
    return words[k] in ("stage", "grade") and k + 2 < b and words[k + 1].isdigit() and words[k + 2] == "pdr"
