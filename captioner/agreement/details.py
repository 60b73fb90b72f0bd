"""Details that labels cannot support, confirmed by what stands around the word that gives them away."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from captioner.agreement import lexicon as lx
from captioner.agreement import triggers as tr
from captioner.agreement.matcher import Hit
from captioner.agreement.scope import Scopes
from captioner.agreement.tokens import Tokens

_ROMAN = frozenset("i ii iii iv v vi iia iib iiia iiib iiic ia ib iva ivb x".split())
_CASUAL_RIGHT = frozenset("now away angle".split())
_LEFT_VERB = frozenset("has have had be been is are was were".split())
_NAMED = frozenset("atrium ventricle ventricular atrial".split())
_GENERIC_COUNT = frozenset(
    "finding abnormality process diagnosis condition disease entity pathology feature problem change disorder class finding_ item label".split()
)
_PEOPLE = frozenset(
    "diabetic hypertensive asthmatic alcoholic elderly known young old smoking immunocompromised obese pregnant adult symptomatic".split()
)
_IMAGES = lx.IMAGE | frozenset("way time plane projection".split())


@dataclass(frozen=True, slots=True)
class Detail:
    """One invented detail: its kind, default level and tokens."""

    kind: str
    level: str
    start: int
    end: int


def find(
    tokens: Tokens,
    hits: list[Hit],
    scopes: Scopes,
    starts_finding: Callable[[int], bool],
    labels: int,
    *,
    graded: bool,
    proof_is_image: bool,
) -> list[Detail]:
    """Return the details that a caption states.

    Args:
        tokens: of the caption.
        hits: of the trigger layer.
        scopes: how each token is meant; what is denied is not stated.
        starts_finding: says whether a finding begins at, or just after, a token.
        labels: how many labels the caption has, which it may count.
        graded: the labels are steps of a scale, whose "grade" and "stage" are no invention.
        proof_is_image: the image is of a tissue section, so that a biopsy is no invention.
    """
    words = tokens.words
    n = len(words)
    found: list[Detail] = []
    for start, end, index in hits:
        kind, rule, level = tr.TRIGGERS[index]
        status = scopes.status[start]
        if status == lx.NEGATED and kind not in ("prior_exam", "history", "size", "age", "sex", "advice", "dataset"):
            continue
        if status == lx.NEGATED and kind == "history" and rule == tr.PATIENT:
            continue
        hi = end
        if rule == tr.ALWAYS:
            pass
        elif rule == tr.UNIT:
            if not (start and words[start - 1][0].isdigit()):
                continue
            lo = start - 1
            while lo > 1 and words[lo - 1] in ("x", "by", "-", "×", "to", ".") and words[lo - 2][0].isdigit():
                lo -= 2
            while lo > 2 and words[lo - 1] in ("mm", "cm") and words[lo - 2][0].isdigit():
                lo -= 2
            start = lo
        elif rule == tr.SIDE:
            word = words[start]
            nxt = words[end] if end < n else "."
            if word.startswith("right") and nxt in _CASUAL_RIGHT:
                continue
            if word == "left" and (
                (start and words[start - 1] in _LEFT_VERB and not nxt[0].isalpha())
                or nxt in ("by", "untreated", "behind", "open", "out", "with")
            ):
                continue
            if nxt in _NAMED:
                continue
        elif rule == tr.BOTH_SIDES:
            nxt = words[end : end + 3]
            if not nxt or nxt[0] not in (
                "lung",
                "eye",
                "breast",
                "kidney",
                "lobe",
                "hemisphere",
                "side",
                "hemithorax",
                "optic",
                "retina",
                "knee",
                "hip",
                "pleural",
                "base",
                "fundus",
                "lung_field",
            ):
                if nxt[:1] not in (["of"], ["the"]) or not any(w in ("lung", "eye", "side", "hemithorax") for w in nxt):
                    continue
        elif rule == tr.COUNT:
            word = words[start]
            if scopes.status[start] == lx.NEGATED:
                continue
            k = end
            while (
                k < n
                and k < end + 3
                and not starts_finding(k)
                and words[k] not in _GENERIC_COUNT
                and words[k][0].isalpha()
                and words[k] not in lx.PREPOSITIONS
                and words[k] not in lx.FINITE
            ):
                k += 1
            if k >= n:
                continue
            if words[k] in _GENERIC_COUNT:
                number = lx.NUMBERS.get(word, int(word) if word.isdigit() else None)
                if number is None or number == labels or word in ("single", "few"):
                    continue
            elif not starts_finding(k):
                continue
            elif (
                word.isdigit()
                and start
                and words[start - 1] in ("grade", "stage", "level", "class", "category", "icdr", "score", "type")
            ):
                continue
            if start and words[start - 1] in ("this", "every", "any", "no", "of"):
                continue
            hi = k
        elif rule == tr.STAGE:
            nxt = words[end] if end < n else ""
            roman = nxt in _ROMAN and (nxt != "i" or tokens.text[tokens.starts[end]] == "I")
            if not (nxt.isdigit() or roman or (nxt and nxt[0].isdigit())):
                continue
            if graded:
                continue
            hi = end + 1
        elif rule == tr.BEFORE_FINDING:
            if not any(starts_finding(k) for k in range(end, min(n, end + 2))):
                continue
        elif rule == tr.PATIENT:
            before = words[max(0, start - 5) : start]
            people = [w for w in before if w in _PEOPLE]
            if not people:
                continue
            start -= next(i for i, w in enumerate(reversed(before), 1) if w == people[0])
        elif rule == tr.PRONOUN:
            pass
        elif rule == tr.PROOF and proof_is_image:
            continue
        found.append(Detail(kind, level, start, hi))
    return found


_DIGITS = re.compile(r"\d+")


def supported(detail_text: str, value: str) -> bool:
    """Say whether a metadata value holds what a detail states: the same number, or one word inside the other."""
    stated, known = _DIGITS.findall(detail_text), _DIGITS.findall(value)
    if stated and known:
        return stated[0].lstrip("0") == known[0].lstrip("0")
    return True
