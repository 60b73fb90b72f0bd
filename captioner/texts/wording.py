"""From a record to its texts: templates, sections of a report, and clean text."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FIELD = re.compile(r"\{([^{}]*)\}")
_PARTS = re.compile(r"([^?#{}]+)(?:#([a-z ]+))?(\?)?")
_NOTHING = frozenset({"", "nan", "none", "null", "n/a"})
_SPACE = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2028\u2029\ufeff]")


@dataclass(frozen=True, slots=True)
class _Field:
    paths: tuple[tuple[str, ...], ...]
    section: str | None
    optional: bool


class Template:
    """A text with fields: ``'{findings?} {impression?}'``.

    A field is a column, or the dotted path into a JSON record (``conversations.1.value``). ``Answer|Anwser`` is the first of
    several columns that is there. A ``*`` in the path stands for all items of a list, and gives as many texts. ``#`` takes one section of a report (``report#impression``). A field that
    is empty gives no text at all, unless it ends in ``?``; if all fields are empty there is no text either.

    Raises:
        ValueError: the template cannot be read; says why.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._literals = _FIELD.split(text)[::2]
        self._fields = [_field(inner, text) for inner in _FIELD.findall(text)]
        if not self._fields:
            raise ValueError(f"{text!r} has no field such as '{{caption}}'")
        if any("{" in literal or "}" in literal for literal in self._literals):
            raise ValueError(f"{text!r} has a brace that is not closed, or not opened")
        if sum(any("*" in path for path in field.paths) for field in self._fields) > 1:
            raise ValueError(f"{text!r} has '*' in more than one field; one list at a time")

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """For each field, the columns that it may begin with."""
        return tuple(tuple(dict.fromkeys(path[0] for path in field.paths)) for field in self._fields)

    def fill(self, record: Mapping[str, Any]) -> list[str]:
        """Return the texts of a record, as they are; none where a field is empty."""
        values = [_values(record, field) for field in self._fields]
        filled = []
        for i in range(max(map(len, values), default=0)):
            chosen = [v[i] if len(v) > 1 else v[0] if v else "" for v in values]
            if any(not c and not f.optional for c, f in zip(chosen, self._fields, strict=True)) or not any(chosen):
                continue
            pieces = [self._literals[0]]
            for value, literal in zip(chosen, self._literals[1:], strict=True):
                pieces += [value, literal]
            filled.append("".join(pieces))
        return filled


def _field(inner: str, template: str) -> _Field:
    match = _PARTS.fullmatch(inner.strip())
    if match is None:
        raise ValueError(
            f"{template!r}: {{{inner}}} is no field; write {{column}}, {{a.b}}, {{list.*}} or {{report#findings}}"
        )
    paths = tuple(tuple(part.strip() for part in path.split(".")) for path in match[1].split("|"))
    if any(path[0] == "*" or not all(path) for path in paths):
        raise ValueError(f"{template!r}: {{{inner}}} is no path; it begins with a column")
    return _Field(paths, match[2], bool(match[3]))


def _values(record: Mapping[str, Any], field: _Field) -> list[str]:
    for path in field.paths:
        texts = [text for value in _walk(record, path) if (text := _text(value))]
        if field.section is not None:
            texts = [found for text in texts if (found := sections(text).get(field.section, ""))]
        if texts:
            return texts
    return []


def _walk(value: Any, path: Sequence[str]) -> Iterator[Any]:
    for at, part in enumerate(path):
        if isinstance(value, Mapping):
            # A column of a table may have a dot in its name.
            whole = ".".join(path[at:])
            if whole in value:
                yield value[whole]
                return
            value = value.get(part)
        elif isinstance(value, list):
            if part == "*":
                for item in value:
                    yield from _walk(item, path[at + 1 :])
                return
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        elif part == "*" and value is not None:
            continue  # one item that stands for a list of one
        else:
            value = None
        if value is None:
            return
    yield value


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = value.strip()
        return "" if text.casefold() in _NOTHING else text
    if isinstance(value, bool) or value is None or value != value:  # noqa: PLR0124, only a NaN differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))
    return str(value) if isinstance(value, int | float) else ""


def clean(text: str) -> str:
    """Return a text as one line of ordinary characters: composed, without control characters, single spaces."""
    return _SPACE.sub(" ", _CONTROL.sub(" ", unicodedata.normalize("NFC", text))).strip()


_HEADER = re.compile(r"^[ \t]*([A-Za-z][A-Za-z /,()'-]{2,60}?)[ \t]*:(?=\s|$)", re.MULTILINE)
_KNOWN = {
    "findings": "findings",
    "finding": "findings",
    "findings and impression": "findings",
    "findings/impression": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "conclusions": "impression",
    "opinion": "impression",
    "indication": "indication",
    "indications": "indication",
    "clinical indication": "indication",
    "reason for exam": "indication",
    "reason for examination": "indication",
    "history": "history",
    "clinical history": "history",
    "clinical information": "history",
    "comparison": "comparison",
    "comparisons": "comparison",
    "technique": "technique",
    "examination": "examination",
    "exam": "examination",
    "procedure": "examination",
    "study": "examination",
    "recommendation": "recommendation",
    "recommendations": "recommendation",
    "notification": "notification",
}
"""Headings of radiology reports in any case; any other heading in capitals ends a section too, and is not used.

Headings as in MIMIC-CXR's own sectioning script (Johnson et al. 2019, https://github.com/MIT-LCP/mimic-cxr).
"""


def sections(report: str) -> dict[str, str]:
    """Return the sections of a report by their name in small letters; a heading that comes twice gives both texts."""
    starts = [
        (m, _KNOWN.get(_SPACE.sub(" ", m[1]).strip().casefold()))
        for m in _HEADER.finditer(report)
        if _SPACE.sub(" ", m[1]).strip().casefold() in _KNOWN or m[1].isupper()
    ]
    found: dict[str, str] = {}
    for (match, name), following in zip(starts, [*starts, None][1:], strict=True):
        text = report[match.end() : following[0].start() if following else len(report)].strip()
        if name and text:
            found[name] = f"{found[name]} {text}" if name in found else text
    return found
