"""An audit as Markdown: for pull requests, notes and terminals."""

import math
from collections.abc import Iterable, Sequence

from captioner.agreement import CODES
from captioner.audit.result import Audit, percent
from captioner.report.words import reason, visible


def audit_markdown(audit: Audit, examples: int = 12) -> str:
    """Return the figures and a few examples as Markdown that is harmless whatever the captions hold."""
    a = audit.agreement
    parts = [
        f"# How far captions agree with labels: {text(audit.target)}",
        f"**{audit.headline()}.** Schema `{audit.schema}`, {audit.kind}, {audit.images:,} images, checker `{audit.checker}`.",
        f"Captions assert {percent(audit.coverage_rate)} of all positive labels; {a.total - a.hits:,} captions disagree.",
    ]
    if audit.problems:
        listed = ", ".join(f"{n:,} {code.replace('_', ' ')}" for code, n in audit.problems.items())
        parts.append(f"Rows that could not be audited: {listed}.")
    rows: list[tuple[object, ...]]
    if len(audit.codes):
        rows = [
            (f"{c} ({CODES.get(c, '')})", n, percent(s), f"{percent(lo)} to {percent(hi)}")
            for c, n, s, lo, hi in audit.codes.itertuples(index=False, name=None)
        ]
        parts += ["## Errors", table(("error", "captions", "share", "95 % interval"), rows)]
    worst = audit.by_class.sort_values(["share", "captions"], ascending=[True, False], kind="stable")
    rows = [
        (c, n, percent(s), f"{percent(lo)} to {percent(hi)}")
        for c, _, n, _, s, lo, hi in worst.itertuples(index=False, name=None)
    ]
    parts += ["## Classes, worst first", table(("class", "captions", "agreement", "95 % interval"), rows)]
    if len(audit.by_group):
        rows = [
            (d, v, n, percent(s), f"{percent(lo)} to {percent(hi)}")
            for d, v, n, _, s, lo, hi in audit.by_group.head(200).itertuples(index=False, name=None)
        ]
        parts += [
            "## Prompts, engines, splits",
            table(("by", "value", "captions", "agreement", "95 % interval"), rows),
        ]
    figures = [(k.replace("_", " "), "n/a" if math.isnan(v) else f"{v:.4g}") for k, v in audit.diversity.items()]
    parts += ["## Writing", table(("figure", "value"), figures)]
    shown = [e for code, _, e in audit.examples if code != "agree"]
    unique = list({e.id: e for e in shown}.values())[:examples]
    if unique:
        parts.append("## Examples")
        for e in unique:
            reasons = "; ".join(reason(i, audit.names, e.caption) for i in e.issues if i["level"] == "error")
            labels = ", ".join(audit.names.get(c, c) for c in e.labels)
            parts.append(f"- *{text(labels)}*: {text(e.caption)}  \n  {text(reasons)}")
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers stand on the right."""
    rows = list(rows)
    right = [bool(rows) and isinstance(rows[0][i], int) for i in range(len(head))]
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(" ---: " if r else " --- " for r in right) + "|",
        *("| " + " | ".join(f"{c:,}" if isinstance(c, int) else text(str(c)) for c in row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def text(value: str) -> str:
    """Return text in which nothing is markup."""
    value = " ".join(visible(value).split())
    for mark in "\\`*_[]<>|#!~":
        value = value.replace(mark, "\\" + mark)
    return value.replace("&", "&amp;")
