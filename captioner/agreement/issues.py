"""What a check says: issues, verdicts and the codes that they carry."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

CODES: Mapping[str, str] = MappingProxyType(
    {
        "missing_label": "a positive label is not asserted anywhere in the caption",
        "negated_label": "a positive label is denied",
        "hedged_label": "a positive label is only possible, suspected, to be ruled out, or one of several",
        "extra_label": "another class of the schema, not implied by the labels, is asserted or hedged in",
        "wrong_grade": "another step of the label's scale, two steps, or a severity that contradicts the label",
        "normal_conflict": "normality beside a positive label, or pathology beside a normal label",
        "wrong_modality": "a way of imaging that is not the label's",
        "wrong_anatomy": "a body region that is not the label's",
        "invented_detail": "something that labels cannot support; 'detail' names its kind",
        "unsupported_finding": "a disease or sign that belongs to no label and to no sign declared for one",
        "not_a_caption": "a refusal, an echo of the prompt, JSON, a question, a cut-off sentence, a list, another language",
        "unknown_word": "a word that the check does not know, which may say what no label holds",
        "denied_class": "a class that the labels neither name nor deny is said to be absent",
    }
)
"""Every code, with its meaning. ``unknown_word`` is a warning and ``denied_class`` for information, unless a schema says
otherwise."""

Level = Literal["error", "warning", "info", "off"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong, or worth a look.

    Attributes:
        code: one of :data:`CODES`.
        level: ``error`` makes the verdict *disagree*; ``warning`` and ``info`` do not.
        label: code of the class that it concerns.
        span: ``(start, end)`` in characters of the caption; None means the caption as a whole.
        text: the caption's text at ``span``.
        cue: span of the word that decided it ("no", "possible").
        detail: kind of an invented detail or of a text that is no caption.
        fix: what to do, in words that a repair prompt can use.
        accept: wordings that would pass.
    """

    code: str
    level: str
    label: str | None
    span: tuple[int, int] | None
    text: str | None
    cue: tuple[int, int] | None
    detail: str | None
    fix: str
    accept: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(Issue))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a caption agrees with its labels, and why not.

    Attributes:
        verdict: ``disagree`` if any issue is an error.
        issues: errors first, then in the order of the text.
        version: the rules and the vocabulary that judged, for ledgers and caches.
    """

    verdict: Literal["agree", "disagree"]
    issues: tuple[Issue, ...]
    version: str

    @property
    def agrees(self) -> bool:
        """Whether the caption may be used."""
        return self.verdict == "agree"

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return {"verdict": self.verdict, "issues": [i.to_dict() for i in self.issues], "version": self.version}
