"""What an audit finds, for notebooks, for reports and for programs."""

import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from captioner.audit.counts import Example
from captioner.audit.rows import Bad
from captioner.audit.statistics import Rate

VERSION = 1
"""Of the form of :meth:`Audit.to_dict`; raised whenever a program that reads it must change."""


@dataclass(frozen=True, eq=False)
class Audit:
    """How far captions agree with labels, and how they fail to.

    Attributes:
        target: what was audited, as it was given; ``kind`` says what it turned out to be.
        schema: id of the label schema; ``title`` is its name.
        checker: version of the rules and the vocabulary that judged: figures of one version can be compared.
        rows: images, or sets of captions that images share; ``images`` counts images.
        captions: texts that were judged; ``agreement`` is the share of them that agree with their labels.
        by_class, by_combination, by_group: agreement with 95 % intervals.
        codes: captions with at least one error of each code.
        issues: captions with each kind of issue, by code, level and detail.
        group_issues: captions with each error, by split, run, prompt, engine and source.
        heat_map: captions with an error, class by code.
        coverage: share of positive labels that captions assert, by class.
        spurious: captions that assert a class that is no label of theirs, class by asserted class.
        frequencies: how frequent classes are among images, captions, and in what captions say.
        lengths, similarity, vocabulary, openings, duplicates, unsupported, hedges: see :mod:`captioner.audit.figures`.
        diversity: figures by name, see :func:`captioner.audit.figures.diversity`.
        problems: rows that could not be audited, by code; ``bad`` has the first of them.
        examples: captions for each code and class, agreeing ones included (code ``agree``).
        sample: captions drawn for human review, in a random order, with the number of captions that each stands for;
            ``sample_error`` is half the interval's width that it was drawn for.
        facts: what runs say of themselves.
    """

    target: str
    kind: str
    schema: str
    title: str
    checker: str
    rows: int
    images: int
    captions: int
    agreement: Rate
    by_class: pd.DataFrame
    by_combination: pd.DataFrame
    by_group: pd.DataFrame
    codes: pd.DataFrame
    issues: pd.DataFrame
    group_issues: pd.DataFrame
    heat_map: pd.DataFrame
    coverage: pd.DataFrame
    spurious: pd.DataFrame
    frequencies: pd.DataFrame
    lengths: pd.DataFrame
    similarity: pd.DataFrame
    vocabulary: pd.DataFrame
    openings: pd.DataFrame
    duplicates: pd.DataFrame
    unsupported: pd.DataFrame
    hedges: pd.DataFrame
    diversity: Mapping[str, float]
    problems: Mapping[str, int]
    bad: tuple[Bad, ...]
    names: Mapping[str, str]
    examples: tuple[tuple[str, str, Example], ...] = ()
    sample: tuple[tuple[Example, float], ...] = ()
    sample_error: float | None = None
    facts: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def coverage_rate(self) -> float:
        """Share of all positive labels that their captions assert."""
        total = int(self.coverage["captions"].sum())
        return float(self.coverage["asserted"].sum() / total) if total else math.nan

    def first_bad(self, code: str) -> str:
        """Return the first row that could not be audited for a reason, in words."""
        return next((str(b) for b in self.bad if b.code == code), "")

    def share_with(self, issue: str) -> float:
        """Return the share of captions that have an error: ``code``, or ``code.detail`` (``invented_detail.age``)."""
        code, _, detail = issue.partition(".")
        found = self.codes[self.codes["code"] == code]
        if detail:
            same = (self.issues["code"] == code) & (self.issues["detail"] == detail) & (self.issues["level"] == "error")
            found = self.issues[same]
        return float(found["share"].sum())

    def to_dict(self) -> dict[str, Any]:
        """Return all figures and examples as what JSON can hold; numbers that are none become null."""
        tables = {
            name: _records(getattr(self, name))
            for name in (
                *(
                    "by_class",
                    "by_combination",
                    "by_group",
                    "codes",
                    "issues",
                    "group_issues",
                    "coverage",
                    "frequencies",
                    "lengths",
                ),
                *("similarity", "vocabulary", "openings", "duplicates", "unsupported", "hedges"),
            )
        }
        matrices = {name: _matrix(getattr(self, name)) for name in ("heat_map", "spurious")}
        return {
            "version": VERSION,
            "target": self.target,
            "kind": self.kind,
            "schema": self.schema,
            "checker": self.checker,
            "rows": self.rows,
            "images": self.images,
            "captions": self.captions,
            "agreement": asdict(self.agreement) | {"share": _number(self.agreement.share)},
            "coverage_rate": _number(self.coverage_rate),
            "diversity": {k: _number(v) for k, v in self.diversity.items()},
            "problems": dict(self.problems),
            "bad_rows": [asdict(b) for b in self.bad],
            **tables,
            **matrices,
            "examples": [{"code": code, "class": label, **asdict(example)} for code, label, example in self.examples],
            "facts": [dict(f) for f in self.facts],
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False, default=str) + "\n"

    def headline(self) -> str:
        """Return the finding in one sentence."""
        if not self.captions:
            return "There is no caption that could be judged"
        a = self.agreement
        return (
            f"{a.hits:,} of {a.total:,} captions agree with their labels: {percent(a.share)} "
            f"(95 % interval {percent(a.low)} to {percent(a.high)})"
        )

    def _repr_html_(self) -> str:
        """Show the audit in a notebook."""
        rows = self.by_class.sort_values("share").head(12)
        parts = [
            f"<h3>Audit of {html.escape(self.target)}</h3><p><b>{html.escape(self.headline())}.</b></p>",
            "<h4>Issues</h4>",
            self.issues.head(12).to_html(index=False, float_format="{:.3f}".format, border=0),
            "<h4>Classes, worst first</h4>",
            rows.to_html(index=False, float_format="{:.3f}".format, border=0),
        ]
        return "".join(parts)

    def __repr__(self) -> str:
        """Say the headline; the tables would fill pages."""
        return f"<Audit of {self.target} ({self.schema}): {self.headline()}>"


def percent(share: float) -> str:
    """Return a share in per cent, with words where rounding would call a few none, or almost all all."""
    if math.isnan(share):
        return "n/a"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return "< 0.1 %" if share < 0.0005 else "> 99.9 %" if share > 0.9995 else f"{100 * share:.1f} %"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): _number(v) for k, v in row.items()} for row in frame.to_dict("records")]


def _matrix(frame: pd.DataFrame) -> dict[str, Any]:
    return {"rows": list(frame.index), "columns": list(frame.columns), "values": frame.to_numpy().tolist()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
