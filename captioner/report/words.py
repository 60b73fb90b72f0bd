"""Captions and verdicts as a person reads them: offending words marked, reasons in sentences, nothing that can do harm."""

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape

from captioner.agreement import CODES

_LEVELS = {"info": 1, "warning": 2, "error": 3}
_UNSEEN = dict.fromkeys(
    (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200F), "\N{REPLACEMENT CHARACTER}"
)
_UNSEEN |= {c: chr(0x2400 + c) for c in range(0x20) if c not in (9, 10)}


def visible(text: str) -> str:
    """Return text in which control characters and changes of direction show; as long as before."""
    return text.translate(_UNSEEN)


def marked(caption: str, issues: Iterable[Mapping[str, Any]]) -> Markup:
    """Return a caption as HTML with the words marked that issues are about, and those that decided it (cues)."""
    text = visible(caption)
    kinds = [0] * (len(text) + 1)
    tips: list[set[str]] = [set() for _ in range(len(text) + 1)]
    for issue in issues:
        level = _LEVELS.get(issue["level"], 0)
        for span, tip in ((issue.get("span"), issue["code"]), (issue.get("cue"), f"cue of {issue['code']}")):
            start, end = span or (0, 0)
            for i in range(max(0, start), min(len(text), end)):
                kinds[i] = max(kinds[i], level)
                tips[i].add(tip)
    out, start = [], 0
    for i in range(1, len(text) + 1):
        if i < len(text) and (kinds[i], tips[i]) == (kinds[start], tips[start]):
            continue
        part = escape(text[start:i])
        if kinds[start]:
            name = next(n for n, k in _LEVELS.items() if k == kinds[start])
            cue = " cue" if all(t.startswith("cue of ") for t in tips[start]) else ""
            tip = ", ".join(sorted(tips[start])).replace("_", " ")
            part = Markup('<mark class="{}{}" title="{}">{}</mark>').format(name, cue, tip, part)
        out.append(part)
        start = i
    return Markup("").join(out)


def reason(issue: Mapping[str, Any], names: Mapping[str, str], caption: str) -> str:
    """Return an issue in a sentence or two."""
    code = issue["code"]
    meaning = CODES.get(code, code.replace("_", " ")).partition(";")[0]
    parts = ["not a caption" if code == "not_a_caption" else meaning]
    if issue.get("detail"):
        parts[0] += f" ({issue['detail'].replace('_', ' ')})"
    if issue.get("text"):
        quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{issue['text']}\N{RIGHT DOUBLE QUOTATION MARK}"
        cue = issue.get("cue")
        if cue and tuple(cue) != tuple(issue.get("span") or ()):
            quoted += (
                f", because of \N{LEFT DOUBLE QUOTATION MARK}{caption[cue[0] : cue[1]]}\N{RIGHT DOUBLE QUOTATION MARK}"
            )
        parts.append(quoted)
    elif issue.get("label"):
        parts.append(names.get(issue["label"], issue["label"]))
    sentence = ": ".join(parts)
    sentence = sentence[:1].upper() + sentence[1:]
    return visible(f"{sentence}. {issue['fix']}")
