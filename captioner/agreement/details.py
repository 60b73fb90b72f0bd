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
_LEFT_PARTICIPLE = frozenset("by untreated behind open out with".split())
_CHAMBERS = frozenset("atrium ventricle ventricular atrial".split())
_PAIRED = frozenset(
    "lung eye breast kidney lobe hemisphere side hemithorax optic retina knee hip pleural base fundus".split()
)
_COUNTED = frozenset(
    "finding abnormality process diagnosis condition disease entity pathology feature problem change disorder class item label".split()
)
_ANNOUNCE = frozenset("grade stage level class category icdr score type".split())
_PARTS = frozenset(
    "vertebra lobe rib segment site place area location focus spot region level joint digit quadrant".split()
)
"""What a finding may be counted by: "collapse of two vertebrae"."""

_NOT_OF_PARTS = frozenset(("few", "several", "many", "multiple", "numerous"))
_OF_THEM = (["them"], ["these"], ["those"])
_IN_ALL = (["in", "all"], ["in", "number"], ["in", "total"])
_TOTALS = lx.words("number numbers numbering total totals totaling totalling")
_PLURAL_BE = frozenset(("are", "were"))
_COUNTS = frozenset(("are", "were", "count", "is"))
"""Before a number at the end of a statement these count: "there are four"."""

_ANNOUNCED = 5
_NOT_COUNTED = frozenset("this every any no of".split())
_PEOPLE = frozenset(
    "diabetic hypertensive asthmatic alcoholic known young old smoking immunocompromised obese pregnant symptomatic".split()
)
_SOME = frozenset(("several", "few", "many", "some"))
_ANY_PATIENT = (
    lx.DETERMINER
    | lx.PREPOSITIONS
    | frozenset("single same one each every given human adult male female and or in imaged examined as when if".split())
)
_IS_NUMBER = frozenset(("of", ":", "=", "is"))
_BY = frozenset(("x", "by", "-", "\N{MULTIPLICATION SIGN}", "to", "and"))
_LENGTHS = frozenset(("a", "an", "one", "half", *(w for w in lx.NUMBERS if len(w) > 2)))
_LONG_UNITS = lx.words("millimetre centimetre millimeter centimeter inch mm cm")
"""Units whose amount may be a word: "a centimetre wide"."""

_EVEN_DENIED = frozenset(("prior_exam", "history", "size", "age", "sex", "advice", "dataset"))
"""Kinds that a denial does not take back: "no change", "not a smoker"."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One invented detail: its kind, default level and tokens."""

    kind: str
    level: str
    start: int
    end: int


@dataclass(slots=True)
class _Place:
    """A trigger, and all that its rule may look at."""

    words: list[str]
    tokens: Tokens
    start: int
    end: int
    starts_finding: Callable[[int], bool]
    labels: int
    graded: bool
    proof_is_image: bool

    @property
    def next(self) -> str:
        return self.words[self.end] if self.end < len(self.words) else "."

    @property
    def before(self) -> str:
        return self.words[self.start - 1] if self.start else "."


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
        starts_finding: says whether a finding begins at a token.
        labels: how many labels the caption has, which it may count.
        graded: the labels are steps of a scale, whose "grade" and "stage" are no invention.
        proof_is_image: the image is of a tissue section, so that a biopsy is no invention.
    """
    found: list[Detail] = []
    for start, end, index in hits:
        kind, rule, level = tr.TRIGGERS[index]
        if scopes.status[start] == lx.NEGATED and (kind not in _EVEN_DENIED or rule == tr.PATIENT):
            continue
        place = _Place(tokens.words, tokens, start, end, starts_finding, labels, graded, proof_is_image)
        span = _RULES[rule](place)
        if span is not None:
            found.append(Detail(kind, level, *span))
    return found


VAGUE = frozenset("few several multiple numerous many countless innumerable multifocal".split())
"""Words of number that count nothing."""

_YEAR = re.compile(r"(?:19|20)\d\d")
_TNM = re.compile(r"[pcy]{0,2}(?:t[0-4][a-d]?n[0-3x][a-c]?(?:m[01x])?|n[0-3][a-c]?m?[01x]?|m1[a-c]?)")
_LETTERED = re.compile(r"[tnmrgf]\d[a-d]?")
"""A stage with the letter of its system: T3, R2."""

_VERTEBRA = re.compile(r"[lcs][1-7]|(?:t|th|d)(?:1[0-2]|[1-9])")
_OF_VERTEBRA = frozenset("vertebra vertebral level body disc compression wedge endplate".split())
_WHEN = frozenset("in since of from during".split())


def figure(words: list[str], k: int, *, spine: bool) -> str | None:
    """Return the kind of detail that a figure is by its form alone: a measured value, a year, a stage, a vertebra.

    Args:
        words: of the caption.
        k: a token that ends in a digit, or in a digit and a letter.
        spine: the image is of the spine.
    """
    word = words[k]
    if word[0].isdigit():
        if "." in word and word.replace(".", "").isdigit() and words[k - 1] not in _ANNOUNCE:
            return "size"
        if k + 2 < len(words) and words[k + 1] == "/" and words[k + 2].isdigit() and len(word) > 2:
            return "size"
        return "history" if _YEAR.fullmatch(word) and k and words[k - 1] in _WHEN else None
    if _TNM.fullmatch(word):
        return "stage"
    if _VERTEBRA.fullmatch(word) and (
        (spine and (word[0] != "t" or word not in ("t1", "t2")))
        or (k + 1 < len(words) and words[k + 1] in _OF_VERTEBRA)
        or (k and words[k - 1] in _OF_VERTEBRA)
    ):
        return "location"
    return None


_Span = tuple[int, int] | None


def _always(p: _Place) -> _Span:
    start = p.start
    if p.words[start] in ("year", "month", "day", "week", "yo") and start and p.words[start - 1][0].isdigit():
        start -= 1
    end = p.end
    if p.words[end - 1] == "aged" and p.next[0].isdigit():
        end += 1
    return start, end


def _unit(p: _Place) -> _Span:
    words = p.words
    if p.before in _LENGTHS and words[p.start] in _LONG_UNITS:
        return p.start - 1, p.end
    if not (p.start and words[p.start - 1][0].isdigit()):
        return None
    lo = p.start - 1
    while lo > 1 and words[lo - 1] in _BY and (words[lo - 2][0].isdigit() or words[lo - 2] in ("mm", "cm")):
        lo -= 2
        if words[lo] in ("mm", "cm") and lo and words[lo - 1][0].isdigit():
            lo -= 1
    return lo, p.end


def _side(p: _Place) -> _Span:
    word = p.words[p.start]
    if word.startswith("right") and p.next in _CASUAL_RIGHT:
        return None
    left_it = word == "left" and p.before in _LEFT_VERB and p.next in lx.DETERMINER
    over = word == "left" and ((p.before in _LEFT_VERB and not p.next[0].isalpha()) or p.next in _LEFT_PARTICIPLE)
    return None if left_it or over or p.next in _CHAMBERS else (p.start, p.end)


def _both_sides(p: _Place) -> _Span:
    if p.starts_finding(p.end):
        return None
    after = p.words[p.end : p.end + 3]
    of_them = after[:1] in (["of"], ["the"]) and any(w in ("lung", "eye", "side", "hemithorax") for w in after)
    return (p.start, p.end) if (after and after[0] in _PAIRED) or of_them else None


def _count(p: _Place) -> _Span:
    words = p.words
    word = words[p.start]
    k = p.end
    alone = _alone(p) if word in lx.NUMBERS or word.isdigit() or word == "dozen" else None
    if alone is not None:
        return alone
    if k < len(words) and words[k] in _PARTS and word not in _NOT_OF_PARTS:
        return p.start, k + 1
    if words[k : k + 1] == ["of"] and words[k + 1 : k + 2] in _OF_THEM:
        return p.start, k + 2
    limit = min(len(words), p.end + 3)
    while k < limit and not p.starts_finding(k) and words[k] not in _COUNTED:
        w = words[k]
        if not w[0].isalpha() or w in lx.PREPOSITIONS or w in lx.FINITE:
            return None
        k += 1
    if k >= len(words) or p.before in _NOT_COUNTED:
        return None
    if words[k] in _COUNTED:
        number = lx.NUMBERS.get(word, int(word) if word.isdigit() else None)
        return None if number is None or number == p.labels else (p.start, k)
    if not p.starts_finding(k) or (word.isdigit() and p.before in _ANNOUNCE):
        return None
    return p.start, k


def _alone(p: _Place) -> _Span:
    """Confirm a number that counts what was named before it: "they number three", "four are seen", "three in all"."""
    words, start, end = p.words, p.start, p.end
    if words[end : end + 2] in _IN_ALL:
        return start, end + 2
    if p.before in _TOTALS:
        return start - 1, end
    if not _ANNOUNCE.isdisjoint(words[max(0, start - _ANNOUNCED) : start]):
        return None
    if p.next in _PLURAL_BE or (p.before in _COUNTS and not p.next[0].isalpha()):
        return start, end
    return None


def _stage(p: _Place) -> _Span:
    word, end = p.next, p.end
    if word in _IS_NUMBER and end + 1 < len(p.words):
        word, end = p.words[end + 1], end + 1
    lettered = _LETTERED.fullmatch(word) is not None
    roman = word in _ROMAN and (word != "i" or p.tokens.text[p.tokens.starts[end]] == "I")
    if (p.graded and p.words[p.start] != "age") or not (roman or lettered or word[0].isdigit()):
        return None
    return p.start, end + 1


def _before_finding(p: _Place) -> _Span:
    return (p.start, p.end) if any(p.starts_finding(k) for k in (p.end, p.end + 1)) else None


def _patient(p: _Place) -> _Span:
    if p.next in ("is", "was") and p.end + 1 < len(p.words) and p.words[p.end + 1][0].isdigit():
        return p.start, p.end + 2  # "the patient is 60"
    lo = max(0, p.start - 5)
    first = next((k for k in range(lo, p.start) if p.words[k] in _PEOPLE and not _of_age(p.words, k)), None)
    before = p.before
    plain = before in _ANY_PATIENT or (before,) in tr.ALWAYS_WORDS or _of_age(p.words, p.start - 1)
    if first is None and before[0].isalpha() and not plain:
        first = p.start - 1  # whatever describes the patient is not in the labels
    return None if first is None else (first, p.end)


def _of_age(words: list[str], k: int) -> bool:
    """Say whether "old" ends an age, which is judged as such: "58-year-old patient"."""
    return words[k] == "old" and k > 0 and words[k - 1] in ("year", "month", "week", "day")


def _proof(p: _Place) -> _Span:
    return None if p.proof_is_image else (p.start, p.end)


def _lasting(p: _Place) -> _Span:
    """Confirm a time that something has lasted: "for six months", "3 years ago"; "65 years old" is an age."""
    before = p.before
    if p.next in ("old", "of") or not (before[0].isdigit() or before in lx.NUMBERS or before in _SOME):
        return None
    return p.start - 1, p.end


_RULES: dict[int, Callable[[_Place], _Span]] = {
    tr.ALWAYS: _always,
    tr.UNIT: _unit,
    tr.SIDE: _side,
    tr.COUNT: _count,
    tr.STAGE: _stage,
    tr.BEFORE_FINDING: _before_finding,
    tr.PATIENT: _patient,
    tr.BOTH_SIDES: _both_sides,
    tr.PRONOUN: _always,
    tr.PROOF: _proof,
    tr.UPPER: _always,
    tr.LASTING: _lasting,
}

_DIGITS = re.compile(r"\d+")


def supported(stated: str, value: str) -> bool:
    """Say whether a metadata value holds what a detail states: numbers must be the same, words may not contradict.

    Args:
        stated: the caption's words.
        value: the attribute's value.
    """
    said, known = _DIGITS.findall(stated), _DIGITS.findall(value)
    if said and known:
        return bool(said[0].lstrip("0") == known[0].lstrip("0"))
    if known:
        years = 0 if _UNDER_A_YEAR.fullmatch(value.strip()) else int(known[0])
        if any(age in stated.lower() and not lo <= years <= hi for age, lo, hi in _AGES):
            return False
    for one, other in _OPPOSITES:
        words = set(re.findall(r"[a-z]+", stated.lower()))
        values = set(re.findall(r"[a-z]+", value.lower()))
        if (words & one and values & other) or (words & other and values & one):
            return False
    return True


_UNDER_A_YEAR = re.compile(r"\d+\s*(?:m|mo|months?|w|weeks?|d|days?)(?: old)?", re.IGNORECASE)
_AGES = (
    ("neonat", 0, 1), ("newborn", 0, 1), ("infant", 0, 2), ("baby", 0, 2), ("toddler", 1, 4), ("child", 0, 17),
    ("pediatric", 0, 20), ("paediatric", 0, 20), ("teenage", 12, 19), ("adolescent", 10, 19), ("young", 0, 44),
    ("adult", 17, 200), ("middle aged", 35, 69), ("middle-aged", 35, 69), ("elderly", 60, 200), ("geriatric", 60, 200),
    ("senior", 60, 200), ("old man", 55, 200), ("old woman", 55, 200), ("older", 50, 200), ("septuagenarian", 70, 79),
    ("octogenarian", 80, 89),
)  # fmt: skip
"""Ages in words, with the years that they may mean, drawn wide."""

_OPPOSITES = tuple(
    (frozenset(a.split()), frozenset(b.split()))
    for a, b in (
        ("man male boy gentleman he his men m", "woman female girl lady she her women f"),
        ("left os", "right od"),
        ("pa posteroanterior", "ap anteroposterior"),
        ("frontal pa ap posteroanterior anteroposterior", "lateral"),
        ("child infant neonate pediatric paediatric newborn", "elderly geriatric senior adult"),
    )
)
