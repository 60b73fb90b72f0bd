"""Repairs that need no language model: leave out a detail where that surely leaves a good sentence."""

import re

from captioner.agreement.issues import Issue, Verdict

REPAIRABLE = frozenset(
    (
        "size",
        "laterality",
        "age",
        "sex",
        "advice",
        "count",
        "view",
        "location",
        "prior_exam",
        "symptom",
        "history",
        "treatment",
    )
)
"""Kinds of invented detail that can be cut out of a sentence."""

_SENTENCE = re.compile(r"[^.!?]*(?:\.(?=\d)[^.!?]*)*[.!?]+(?:\s+|$)|[^.!?]+$")
_TRAILING_CLAUSE = re.compile(
    r",\s*(?:measuring|with a (?:maximum |maximal )?(?:diameter|size|length) of|in a|of a|from a|presenting with|treated with|for which)\b[^,.;]*(?=[,.;]|$)",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\s*,?\s*\b(?:in|of|from|for|belonging to)\s+(?:a|an|the)\s+(?:[\w-]+\s+){0,4}?(?:man|woman|male|female|boy|girl|gentleman|lady|patient|adult|child|infant|person|individual)s?\b"
    r"(?:\s+(?:aged|of)\s+\d+(?:\s+years?)?)?",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r",?\s*\b(?:(?:and|,)?\s*measuring(?: about| approximately| up to)?|of(?: about| approximately)?|approximately|about|with a (?:diameter|size) of)?\s*"
    r"\d+(?:\.\d+)?(?:\s*(?:x|\u00d7|by|-|\u2013)\s*\d+(?:\.\d+)?)*[\s-]*(?:mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b(?:\s+in\s+(?:diameter|size|length|width|greatest dimension))?",
    re.IGNORECASE,
)
_SIDE = re.compile(
    r"\b(?:left|right)(?:[\s-]sided)?\s+|\s*\bon the (?:left|right)(?: side)?\b|\b(?:bilateral|unilateral)\s+|\s*\bbilaterally\b",
    re.IGNORECASE,
)
_LOBE = re.compile(
    r"\s*\b(?:in|of|within|involving|affecting|at|to)\s+the\s+(?:(?:left|right)\s+)?(?:upper|lower|middle|mid)[\s-]+(?:lobe|zone|lung|quadrant)s?(?:\s+of the (?:left|right|\w+)\s*(?:lung|breast)?)?",
    re.IGNORECASE,
)


def repair_in_code(caption: str, verdict: Verdict) -> str | None:
    """Return the caption without its invented details, or None where cutting would not surely leave a good sentence.

    Only a caption whose every error is an invented detail is touched; the caller checks the result again.

    Args:
        caption: as it was checked.
        verdict: of that check.
    """
    errors = [i for i in verdict.issues if i.level == "error"]
    if not errors or any(i.code != "invented_detail" or i.detail not in REPAIRABLE or i.span is None for i in errors):
        return None
    sentences = [(m.start(), m.end()) for m in _SENTENCE.finditer(caption)]
    out: list[str] = []
    for start, end in sentences:
        mine = [i for i in errors if i.span and start <= i.span[0] < end]
        text = caption[start:end]
        if mine:
            repaired = _sentence(text, mine, first=not out, alone=len(sentences) == 1)
            if repaired is None:
                return None
            text = repaired
        out.append(text)
    result = _tidy("".join(out))
    return result if result and result != caption and len(result.split()) >= 3 else None


def _sentence(text: str, issues: list[Issue], *, first: bool, alone: bool) -> str | None:
    """Return a sentence without its issues; an empty string drops the sentence."""
    kinds = {i.detail for i in issues}
    if (
        not first
        and not alone
        and kinds <= {"advice", "symptom", "history", "treatment", "prior_exam"}
        and _stands_alone(text)
    ):
        return ""
    original = text
    for kind, pattern in (
        ("age", _PERSON),
        ("sex", _PERSON),
        ("size", _MEASURE),
        ("location", _LOBE),
        ("laterality", _SIDE),
        ("size", _TRAILING_CLAUSE),
        ("advice", _TRAILING_CLAUSE),
    ):
        if kind in kinds:
            text = pattern.sub(lambda m: " " if m.group()[-1:] == " " else "", text)
    remaining = {i.text.lower() for i in issues if i.text}
    if text == original or any(r in text.lower() for r in remaining):
        return None
    return text


def _stands_alone(text: str) -> bool:
    """Say whether a sentence holds nothing but the detail: no modality and no finding could be lost with it."""
    return len(text.split()) <= 14


_ARTICLE = re.compile(r"\b([Aa])(n?)\s+(?=(\w))")


def _tidy(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", text)
    text = re.sub(r",\s*(?=[,.;])", "", text)
    text = re.sub(r"\b(a|an|the)\s+(?=(?:a|an|the)\b)", "", text, flags=re.IGNORECASE)
    text = _ARTICLE.sub(lambda m: f"{m.group(1)}{'n' if m.group(3).lower() in 'aeio' else ''} ", text)
    text = text.strip(" ,;")
    if text and text[0].islower():
        text = text[0].upper() + text[1:]
    return text
