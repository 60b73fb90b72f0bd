"""A language model's second opinion on captions that the rules pass.

It can refuse a caption and never pass one: only accepted captions are shown to it. Its verdict counts if it is one JSON
object that quotes words of the caption; any other is noted and changes nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from captioner.answers import json_of
from captioner.engines import Answer, Engine, Message, Request, Sampling
from captioner.schema import LabelSchema, hash_of
from captioner.store import CheckedCaption
from captioner.triplets import Triplet

FORM = '{"agrees": true or false, "quote": "words of the caption", "reason": "one sentence"}'

INSTRUCTIONS = f"""You check captions of medical images against ground-truth labels. You see no image: the labels are the truth.
A caption is wrong if it denies, doubts or leaves out a label, states a finding that no label holds, another grade, another \
modality or body region, or a detail that neither labels nor metadata hold. A caption in other words than the labels' is right, \
and so is one that names what a label always implies.
Answer with one JSON object and nothing else: {FORM}
"quote" is the part of the caption that decides, copied letter by letter."""

_MAX_QUOTE, _MAX_REASON, _MAX_TOKENS = 600, 600, 2048
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "agrees": {"type": "boolean"},
        "quote": {"type": "string", "minLength": 1, "maxLength": _MAX_QUOTE},
        "reason": {"type": "string", "minLength": 1, "maxLength": _MAX_REASON},
    },
    "required": ["agrees", "quote", "reason"],
    "additionalProperties": False,
}

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_MAX_QUOTE)]


class JudgeAnswer(BaseModel):
    """What a judge is asked to answer with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    agrees: bool
    quote: _Text
    reason: _Text


@dataclass(frozen=True, slots=True)
class CaptionJudge:
    """Asks an engine about captions that the rules leave open.

    Attributes:
        schema: the dataset's.
        engine: whatever answers.
        of: codes or details of warnings ("unsupported_finding", "severity") whose captions are shown to the judge; None:
            those with any warning.
        everything: show it every accepted caption.
    """

    schema: LabelSchema
    engine: Engine
    of: frozenset[str] | None = None
    everything: bool = False

    @property
    def hash(self) -> str:
        """What decides its verdicts: the instructions, the model, and what it is shown."""
        return hash_of([INSTRUCTIONS, self.engine.name, self.engine.model, sorted(self.of or ()), self.everything])

    def wants(self, caption: CheckedCaption) -> bool:
        """Say whether a caption is one for the judge: accepted, and left open by the rules."""
        if not caption.accepted:
            return False
        warnings = [i for i in caption.issues if i["level"] == "warning"]
        if self.everything or self.of is None:
            return self.everything or bool(warnings)
        return any(i["code"] in self.of or i.get("detail") in self.of for i in warnings)

    def request(self, triplet: Triplet, caption: CheckedCaption) -> Request:
        """Return the question about a caption: the same for the same caption, labels, metadata and model."""
        doubts = [f"{i['code'].replace('_', ' ')}: {i.get('text') or ''}" for i in caption.issues]
        shown = {
            "modality": triplet.modality,
            "body region": triplet.anatomy,
            "labels": [self.schema[code].name for code in triplet.findings],
            "known to be absent": [self.schema[code].name for code in triplet.negatives],
            "metadata": dict(triplet.attributes),
            "look at": doubts,
            "caption": caption.caption,
        }
        text = json.dumps({k: v for k, v in shown.items() if v}, ensure_ascii=False, indent=1)
        messages = (Message("system", INSTRUCTIONS), Message("user", text))
        sampling = Sampling(temperature=0.0, max_tokens=_MAX_TOKENS, seed=0)
        key = hash_of(["judge", [[m.role, m.content] for m in messages], self.engine.name, self.engine.model])
        return Request(f"j{key}", messages, triplet, 1, sampling, _SCHEMA)

    def apply(self, caption: CheckedCaption, answer: Answer) -> CheckedCaption:
        """Return a caption with the judge's verdict among its issues, as code ``judged``; refused if it disagrees."""
        issue = opinion(caption.caption, answer)
        accepted = caption.accepted and issue["level"] != "error"
        return caption._replace(accepted=accepted, issues=(*caption.issues, issue))


def opinion(caption: str, answer: Answer) -> Mapping[str, Any]:
    """Return a verdict as an issue: ``error`` if the judge disagrees, ``info`` if it agrees, ``warning`` if it does not count.

    Args:
        caption: what was judged.
        answer: of the judge.
    """
    data, problem = json_of(answer, FORM)
    if problem is None:
        try:
            verdict = JudgeAnswer.model_validate(data)
        except ValidationError:
            problem = f"the answer is not of the form {FORM}"
        else:
            found = re.search(re.escape(verdict.quote), caption, re.IGNORECASE)
            if found is not None:
                level, detail = ("info", "agrees") if verdict.agrees else ("error", "disagrees")
                return _issue(level, detail, verdict.reason, found.span(), found.group())
            problem = "the quotation is not in the caption"
    return _issue("warning", "discarded", f"The judge's verdict does not count: {problem}.")


def _issue(
    level: str, detail: str, reason: str, span: tuple[int, int] | None = None, text: str | None = None
) -> dict[str, Any]:
    return {
        "code": "judged",
        "level": level,
        "label": None,
        "span": span,
        "text": text,
        "detail": detail,
        "fix": reason,
    }
