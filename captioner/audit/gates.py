"""Thresholds that an audit must meet, and how the systems that run tests are told: JUnit XML, GitHub's annotations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from captioner import atomic
from captioner.agreement import CODES
from captioner.audit.result import Audit, percent
from captioner.errors import UsageError, did_you_mean

_ANY = "captions"


@dataclass(frozen=True, slots=True)
class Gate:
    """One threshold and how the audit stands to it.

    Attributes:
        name: what is measured: ``agreement``, a code, or ``captions`` where there were none.
        passed: whether it is met.
        message: in words.
    """

    name: str
    passed: bool
    message: str

    @property
    def complaint(self) -> str:
        """The message as it is told where it is not met: that there is nothing to judge is no threshold of anybody's."""
        return self.message if self.name == _ANY else f"threshold missed: {self.message}"


def parse_limit(text: str) -> tuple[str, float]:
    """Return the code and the share of ``CODE=SHARE``, such as ``hedged_label=0.01`` or ``invented_detail.age=0``.

    Raises:
        UsageError: it is not of this form, or there is no such code.
    """
    issue, equals, number = text.partition("=")
    code = issue.partition(".")[0]
    if code not in CODES:
        raise UsageError(
            f"--max-issue {text!r}: no code {code!r}; there are: {', '.join(CODES)}.{did_you_mean(code, CODES)}"
        )
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not equals or not 0 <= share <= 1:
        raise UsageError(f"--max-issue {text!r}: write it as CODE=SHARE with a share from 0 to 1, such as {code}=0.01")
    return issue, share


def gates(audit: Audit, min_agreement: float | None = None, max_issues: Sequence[tuple[str, float]] = ()) -> list[Gate]:
    """Hold an audit against thresholds.

    Args:
        audit: the figures.
        min_agreement: the smallest share of captions that must agree.
        max_issues: codes (or ``code.detail``) with the largest share of captions that may have such an error.

    Returns:
        A gate for each threshold; also one that fails if there was no caption to judge.
    """
    found = []
    if not audit.captions:
        why = ", ".join(f"{number:,} {code.replace('_', ' ')}" for code, number in audit.problems.items())
        message = f"no caption could be judged{f' (not audited: {why})' if why else ''}"
        found.append(Gate(_ANY, passed=False, message=message))
    if min_agreement is not None and audit.captions:
        share = audit.agreement.share
        message = f"{percent(share)} of the captions agree with their labels; at least {percent(min_agreement)} must"
        found.append(Gate("agreement", passed=share >= min_agreement, message=message))
    for issue, limit in max_issues:
        share = audit.share_with(issue)
        message = f"{percent(share)} of the captions have an error {issue}; at most {percent(limit)} may"
        found.append(Gate(issue, passed=share <= limit, message=message))
    return found


def write_junit(path: Path, audit: Audit, found: Sequence[Gate]) -> None:
    """Write the gates as test cases in JUnit's XML."""
    failures = [g for g in found if not g.passed]
    suite = ET.Element(
        "testsuite",
        name=f"captioner audit {audit.schema}",
        tests=str(len(found)),
        failures=str(len(failures)),
        errors="0",
    )
    for gate in found:
        case = ET.SubElement(suite, "testcase", classname=f"captioner.audit.{audit.schema}", name=gate.name)
        if not gate.passed:
            failure = ET.SubElement(case, "failure", message=gate.message, type="threshold")
            failure.text = "\n".join([gate.message, *(_printable(line) for line in _worst(audit, gate.name))])
    ET.indent(suite)
    atomic.write(path, ET.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n")


def github(audit: Audit, found: Sequence[Gate], limit: int = 9) -> list[str]:
    """Return workflow commands: an error for each gate that failed, then a warning at some of the captions that disagree.

    GitHub shows ten annotations of a kind for a step; see "Workflow commands for GitHub Actions" in its documentation.
    """
    lines = [f"::error title=captioner audit::{_escape(g.message)}" for g in found if not g.passed]
    seen: set[str] = set()
    for code, _, example in audit.examples:
        if code == "agree" or example.id in seen or len(seen) == limit:
            continue
        seen.add(example.id)
        place = f"file={_escape(example.file, property_value=True)},"
        if example.place.startswith("row "):
            place += f"line={example.place.removeprefix('row ')},"
        first = next(i for i in example.issues if i["level"] == "error" and i["code"] == code)
        text = _escape(f"{example.caption} [{', '.join(example.labels)}]: {first['fix']}")
        lines.append(f"::warning {place}title={code}::{text}")
    return lines


def _worst(audit: Audit, name: str, limit: int = 20) -> list[str]:
    wanted = name.partition(".")[0]
    return [
        f"{e.file}: {e.place}: {code} [{', '.join(e.labels)}]: {e.caption}"
        for code, _, e in audit.examples
        if code != "agree" and wanted in (code, "agreement")
    ][:limit]


def _printable(text: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))


def _escape(text: str, *, property_value: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_value else text
