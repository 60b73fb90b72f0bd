"""A comparison of runs as a page, and as a table for a paper in Markdown or LaTeX."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from captioner.audit.compare import Comparison, Difference, RunFigures
from captioner.audit.result import percent
from captioner.report import markdown
from captioner.report.page import render
from captioner.report.words import marked

Cell = Callable[[RunFigures], str]

FIGURES: tuple[tuple[str, Cell], ...] = (
    ("prompt", lambda r: r.prompt),
    ("engine", lambda r: r.engine),
    ("captions in first answers", lambda r: f"{r.written:,}"),
    ("agree as written", lambda r: percent(r.agreement.share)),
    ("95 % interval", lambda r: f"{percent(r.agreement.low)} to {percent(r.agreement.high)}"),
    ("sets accepted at once", lambda r: percent(r.accepted_at_once.share)),
    ("captions put right in code", lambda r: f"{r.repaired:,}"),
    ("sets asked for again", lambda r: f"{r.asked_again:,}"),
    ("captions by the built-in writer", lambda r: f"{r.filled:,}"),
    ("sets given up", lambda r: f"{r.given_up:,}"),
    ("requests", lambda r: f"{r.requests:,}"),
    ("prompt tokens", lambda r: f"{r.prompt_tokens:,}"),
    ("completion tokens", lambda r: f"{r.completion_tokens:,}"),
    ("cost", lambda r: "n/a" if r.cost is None else f"{r.cost:.2f}"),
    ("seconds an answer", lambda r: _decimal(r.seconds, 2) if r.seconds else "n/a"),
    ("time of asking", lambda r: _duration(r.asking)),
    ("captions a second", lambda r: _decimal(r.captions_a_second, 1)),
    ("words a caption", lambda r: _decimal(r.diversity["words"], 1)),
    ("distinct-1", lambda r: _decimal(r.diversity["distinct_1"], 4)),
    ("distinct-2", lambda r: _decimal(r.diversity["distinct_2"], 4)),
    ("self-similarity", lambda r: _decimal(r.diversity["self_similarity"], 3)),
)
"""What is compared, with how it is written."""


def _decimal(value: float, digits: int) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def _duration(seconds: float) -> str:
    if not seconds:
        return "n/a"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def p_value(p: float) -> str:
    """Return a p-value as papers write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _rows(comparison: Comparison) -> list[tuple[str, ...]]:
    return [(name, *(cell(r) for r in comparison.runs)) for name, cell in FIGURES]


def _pairs(comparison: Comparison) -> list[tuple[str, ...]]:
    return [
        (
            f"{p.second} against {p.first}",
            f"{100 * p.gain:+.1f} ({100 * p.low:+.1f} to {100 * p.high:+.1f})",
            f"{p.only_second:,} against {p.only_first:,}",
            p_value(p.p),
        )
        for p in comparison.pairs
    ]


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    head = ("", *(markdown.text(r.run) for r in comparison.runs))
    pairs = ("pair", "agreement as written, points", "accepted at once by one alone", "McNemar")
    return (
        "\n\n".join(
            [
                f"# Runs compared: {markdown.text(comparison.title)}",
                f"{comparison.triplets:,} label combinations that all runs asked for; {comparison.left_out:,} others left out.",
                markdown.table(head, _rows(comparison)),
                markdown.table(pairs, _pairs(comparison)),
            ]
        )
        + "\n"
    )


def comparison_latex(comparison: Comparison) -> str:
    """Return the comparison as a LaTeX table (package booktabs)."""
    columns = "l" + "r" * len(comparison.runs)
    head = " & ".join(["", *(latex(r.run) for r in comparison.runs)])
    body = [" & ".join(map(latex, row)) + r" \\" for row in _rows(comparison)]
    notes = "; ".join(f"{latex(name)}: {latex(gain)} points, {latex(p)}" for name, gain, _, p in _pairs(comparison))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Runs on {latex(comparison.title)}, {comparison.triplets} label combinations. {notes}.}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def latex(text: str) -> str:
    """Return text with what means something in LaTeX escaped."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def comparison_page(comparison: Comparison, when: datetime) -> str:
    """Return the comparison as a page."""
    lowest = min(r.agreement.low for r in comparison.runs)
    return render(
        "compare.html.j2",
        when,
        comparison.schema,
        comparison=comparison,
        rows=_rows(comparison),
        pairs=_pairs(comparison),
        start=next(s for s in (0.9, 0.5, 0.0) if lowest >= s),
        differences=[_difference(comparison, d) for d in comparison.differences],
    )


def why(issues: Iterable[Mapping[str, Any]]) -> str:
    """Return in a few words why a caption does not agree as it was written."""
    codes = dict.fromkeys(i["code"].replace("_", " ") for i in issues if i["level"] == "error")
    return ", ".join(codes) or "put right afterwards"


def _difference(comparison: Comparison, difference: Difference) -> dict[str, Any]:
    names = comparison.names
    return {
        "id": difference.triplet,
        "labels": [{"code": c, "name": names.get(c, c)} for c in difference.labels],
        "sides": [
            {
                "run": run.run,
                "share": share,
                "captions": [
                    {
                        "text": marked(text, [] if agrees else issues),
                        "agrees": agrees,
                        "why": "" if agrees else why(issues),
                    }
                    for text, agrees, issues in captions
                ],
            }
            for run, share, captions in zip(comparison.runs, difference.shares, difference.captions, strict=True)
        ],
    }
