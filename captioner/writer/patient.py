"""What a caption may say of projection, side, age and sex: only what the triplet's attributes hold."""

import re
from dataclasses import dataclass

from captioner.schema import LabelSchema
from captioner.triplets import Triplet

_SEX = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
_SIDES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
_PROJECTION = re.compile(r"[A-Za-z][A-Za-z -]{0,40}")
_AGE = re.compile(r"0*(\d{1,3})\s*(?:y|yr|yrs|years?(?: old)?)?\.?", re.IGNORECASE)
_ADULT, _OLDEST = 18, 110


@dataclass(frozen=True, slots=True)
class Details:
    """Attributes in words; empty where the triplet has none.

    Attributes:
        projection: goes before a view ("frontal").
        side: left or right.
        person: whom the image is of, with article ("a 58-year-old woman").
    """

    projection: str = ""
    side: str = ""
    person: str = ""


def details(schema: LabelSchema, triplet: Triplet) -> Details:
    """Return what a triplet's attributes let a caption say; values that are not understood stay unsaid."""
    found: dict[str, str] = {}
    for name, value in triplet.attributes:
        attribute = schema.attributes.get(name)
        kinds = {name, *(attribute.details if attribute else ())}
        for kind in ("age", "sex", "laterality", "view"):
            if kind in kinds or (kind == "view" and "projection" in kinds):
                found.setdefault(kind, value.strip())
    projection = found.get("view", "")
    if not _PROJECTION.fullmatch(projection):
        projection = ""
    side = _SIDES.get(found.get("laterality", "").lower().removesuffix(" eye"), "")
    return Details(projection, side, _person(found.get("age", ""), _SEX.get(found.get("sex", "").lower(), "")))


def _person(age: str, sex: str) -> str:
    match = _AGE.fullmatch(age)
    years = int(match[1]) if match else 0
    if not 0 < years <= _OLDEST:
        return f"a {sex} patient" if sex else ""
    adult = years >= _ADULT
    who = {"female": "woman" if adult else "girl", "male": "man" if adult else "boy"}.get(sex, "person")
    return f"{'an' if re.match(r'8|1[18]$', str(years)) else 'a'} {years}-year-old {who}"
