"""A model whose captions are right, or wrong in one agreement code each: by construction, at a set rate, with a seed."""

import json
import random
import re
from collections.abc import Collection
from typing import Any

from tests.model import FRAMES

_OPENINGS = ("", "In this picture, ", "As can be seen, ", "Here is what is shown: ")
_OTHER = {
    "chest": ("pneumothorax", "lung nodule", "pleural effusion", "consolidation", "cardiomegaly"),
    "retina": ("glaucoma", "macular hole"),
    "breast": ("malignant breast lesion", "benign breast lesion"),
    "brain": ("brain tumor", "intracranial hemorrhage"),
}
_GRADES = ("mild non-proliferative", "moderate non-proliferative", "severe non-proliferative", "proliferative")
_INVENTED = (
    "{view} of a 63-year-old man with {findings}.",
    "{view} showing {findings}, measuring 3.2 cm.",
    "{view} with {findings}, unchanged since the previous examination.",
    "{view} showing {findings}; a biopsy is recommended.",
)
_NO_CAPTIONS = (
    "Is there {findings} on this {view}?",
    "I am sorry, but I cannot describe the {view} with {findings}.",
    "- {view}\n- {findings}",
    "{view} showing {findings} and a",
)

CODES = (
    *(
        "missing_label",
        "negated_label",
        "hedged_label",
        "extra_label",
        "wrong_grade",
        "normal_conflict",
        "wrong_modality",
    ),
    *("wrong_anatomy", "invented_detail", "unsupported_finding", "not_a_caption"),
)
"""What a caption can be wrong in; ``denied_class`` and ``unknown_word`` alone make no caption wrong."""


class Question:
    """What a request's prompt says: what the captions must say, and which were seen before."""

    def __init__(self, body: dict[str, Any]) -> None:
        texts = [m["content"] for m in body["messages"]]
        asked = next(m["content"] for m in body["messages"] if m["role"] == "user")
        facts = dict(re.findall(r"^(Image|Modality|Body region): (.+)$", asked, re.MULTILINE))
        self.view, self.modality, self.region = facts["Image"], facts["Modality"], facts["Body region"]
        found = re.findall(r"^(?:Finding|Shown): (.+?)(?: \((nothing abnormal|a statement)?.*)?$", asked, re.MULTILINE)
        self.findings = [name for name, _ in found]
        self.present = [name for name, note in found if not note]
        self.wanted = int(re.search(r"Write (\d+)", texts[-1])[1])
        self.about = asked.partition("\n\nWrite")[0]
        self.seen = "\n".join(texts[1:])

    def said(self, frame: str, *more: str) -> str:
        text = frame.format(view=self.view, findings=" and ".join([*self.findings, *more]))
        return text[0].upper() + text[1:]


class Model:
    """Answers as many captions as are asked for; a class to be given to a server as its ``caption``.

    Args:
        rates: agreement code → share of answers that hold a caption which is wrong in it.
        seed: of the draw; the same question gets the same answer.

    Attributes:
        wrong: what was asked about, and each wrong caption that was said of it → its code.
    """

    def __init__(self, rates: dict[str, float] | None = None, seed: int = 0) -> None:
        assert set(rates or {}) <= set(CODES)
        self.rates = rates or {}
        self.seed = seed
        self.wrong: dict[tuple[str, str], str] = {}

    def __call__(self, body: dict[str, Any]) -> str:
        question = Question(body)
        rng = random.Random(f"{self.seed} {body['messages'][1:]} {body.get('seed')}")
        texts = [question.said(frame) for frame in FRAMES]
        rng.shuffle(texts)
        texts.sort(key=lambda text: text[1:] in question.seen)  # those that were not said before come first
        openings = rng.choices(_OPENINGS, k=question.wanted)
        captions = [o + (t[0].lower() + t[1:] if o else t) for o, t in zip(openings, texts, strict=False)]
        point = rng.random()
        for code, rate in self.rates.items():
            point -= rate
            if point < 0:
                caption = wrong(code, question, rng)
                if caption is not None:
                    captions[rng.randrange(len(captions))] = caption
                    self.wrong[question.about, caption] = code
                break
        return json.dumps({"captions": captions})


def wrong(code: str, question: Question, rng: random.Random) -> str | None:
    """Return a caption that is wrong in a code; None where labels of this kind cannot be."""
    view, first, say = question.view, question.findings[0], question.said
    if code == "missing_label":
        if question.findings[1:]:
            return f"{view[0].upper()}{view[1:]} showing {first}."
        return f"This {view} was taken in the usual way."
    if code == "invented_detail":
        return say(rng.choice(_INVENTED))
    if code == "not_a_caption":
        return say(rng.choice(_NO_CAPTIONS))
    if code == "wrong_modality":
        other = "CT scan" if question.modality != "CT" else "ultrasound image"
        return f"{other} showing {' and '.join(question.findings)}."
    if code == "wrong_anatomy":
        return f"{question.modality[0].upper()}{question.modality[1:]} of the knee showing {' and '.join(question.findings)}."
    if not question.present:  # what is said of a normal image is a denial already
        return None
    if code == "unsupported_finding":
        return say("{view} showing {findings}.", "sarcoidosis")
    if code == "extra_label":
        others = [o for o in _OTHER[question.region] if o not in " ".join(question.findings)]
        return say("{view} showing {findings}.", rng.choice(others))
    if code == "negated_label":
        return f"{view[0].upper()}{view[1:]} without {first}."
    if code == "hedged_label":
        return f"{view[0].upper()}{view[1:]} with possible {first}."
    if code == "normal_conflict":
        return f"Normal {view} with {first}."
    if code == "wrong_grade":
        grade = next((g for g in reversed(_GRADES) if first.startswith(g)), None)
        others = [g for g in _GRADES if g != grade]
        return grade and say("{view} showing {findings}.").replace(grade, rng.choice(others))
    raise AssertionError(code)


def spread(rate: float, codes: Collection[str] = CODES) -> dict[str, float]:
    """Return the same rate for each code."""
    return dict.fromkeys(codes, rate / len(codes))
