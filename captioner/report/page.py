"""The HTML page of an audit: what stands where, from the audit's tables to the template's words."""

import base64
import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from captioner.agreement import CODES
from captioner.audit.counts import LONGEST, Example
from captioner.audit.result import Audit, percent
from captioner.audit.sketch import hash64
from captioner.report import charts
from captioner.report.thumbnails import thumbnails
from captioner.report.words import marked, reason, visible

EXAMPLES = 600
"""Examples on a page, at most."""

_HERE = Path(__file__).parent
_MOST = 40
_SCALES = (0.9, 0.5, 0.0)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda v: percent(math.nan if v is None else float(v)),
        "count": lambda v: f"{int(v):,}",
        "scale": lambda v: f"{100 * v:.0f} %",
        "short": charts.short,
        "plain": lambda v: str(v).replace("_", " "),
        "breaking": _breaking,
        "visible": lambda v: visible(str(v)),
        "name": lambda v: visible(Path(str(v)).name or str(v)),
    }
    return environment


def _breaking(text: object) -> Markup:
    """Let a long code be broken where its parts meet."""
    return Markup(re.sub(r"([/_|])", r"\1<wbr>", str(escape(text))))  # noqa: S704 - escaped here


def render(template: str, when: datetime, checker: str, scripts: Sequence[str] = ("script.js",), **values: Any) -> str:
    """Return a page; whatever is not markup of our own is escaped."""
    script = "".join((_HERE / "templates" / name).read_text(encoding="utf-8") for name in scripts)
    style = (_HERE / "templates" / "style.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            script=Markup(script),  # noqa: S704 - our own files
            style=Markup(style),  # noqa: S704
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            charts=charts,
            date=f"{when:%Y-%m-%d %H:%M %Z}".strip(),
            checker=checker,
            **values,
        )
    )


def audit_page(audit: Audit, history: Sequence[Mapping[str, Any]], when: datetime) -> str:
    """Return the page of an audit.

    Args:
        audit: what was found.
        history: earlier audits and this one, oldest first, as :func:`captioner.report.writing.entry_of` makes them.
        when: for the foot of the page.
    """
    examples = _chosen(audit)
    view = _Examples(audit, examples)
    sample = [example for example, _ in audit.sample]
    pictures = thumbnails([*examples, *sample])
    classes = audit.by_class.sort_values(["share", "captions"], ascending=[True, False], kind="stable")
    class_rows = [
        _rated(r, r["class"], note="" if _same(r["name"], r["class"]) else r["name"], link=view.link(r["class"]))
        for r in classes.to_dict("records")
    ]
    combinations = [
        _rated(r, r["labels"].replace("|", " + ")) for r in audit.by_combination.head(60).to_dict("records")
    ]
    codes = [r | {"meaning": CODES.get(r["code"], "").partition(";")[0]} for r in audit.codes.to_dict("records")]
    coverage = audit.coverage.sort_values("share", kind="stable").to_dict("records")
    frequencies = audit.frequencies.sort_values("images", ascending=False, kind="stable").to_dict("records")
    values = {
        "audit": audit,
        "sections": _sections(audit),
        "tiles": _tiles(audit),
        "change": _change(history),
        "trend": charts.trend([h["agreement"] for h in history], [h["time"] for h in history], "Agreement"),
        "codes": codes,
        "codes_whole": _round_up(max((r["share"] for r in codes), default=1.0)),
        "details": audit.issues.to_dict("records"),
        "unsupported": audit.unsupported.to_dict("records"),
        "heat": _heat(audit, view),
        "classes": class_rows,
        "classes_start": _start(class_rows),
        "combinations": combinations if audit.by_combination["labels"].str.contains("|", regex=False).any() else [],
        "combinations_start": _start(combinations),
        "groups": _groups(audit, view),
        "coverage": coverage,
        "hedges": audit.hedges.head(12).to_dict("records"),
        "spurious": _spurious(audit.spurious, view),
        "frequencies": frequencies,
        "frequency_whole": _round_up(
            max((max(r["share_of_images"], r["share_asserted"]) for r in frequencies), default=1.0)
        ),
        "lengths": charts.histogram(_length_bins(audit.lengths), "Length of captions", "words"),
        "vocabulary": charts.curve(
            [(0, 0), *audit.vocabulary.itertuples(index=False, name=None)], "Vocabulary", "captions", "different words"
        ),
        "similarity": charts.histogram(
            list(audit.similarity.itertuples(index=False, name=None)), "Likeness inside a set", "overlap", "sets"
        ),
        "diversity": _diversity(audit),
        "openings": audit.openings[audit.openings["captions"] > 1].head(20).to_dict("records"),
        "duplicates": audit.duplicates.head(50).to_dict("records"),
        "examples": [view.card(e, pictures.get(e.id)) for e in examples],
        "review": _review(audit, [view.card(e, pictures.get(e.id)) for e in sample]) if sample else None,
        "filter_codes": view.codes,
        "filter_classes": [(i, c) for c, i in sorted(view.classes.items(), key=lambda x: x[1])],
        "filter_groups": [(i, f"{d}: {v}") for (d, v), i in sorted(view.groups.items(), key=lambda x: x[1])],
        "problems": audit.problems,
        "bad": audit.bad[:200],
        "per_cell": max((_cell_sizes(audit).values()), default=0),
    }
    scripts = ("script.js", "review.js") if sample else ("script.js",)
    return render("audit.html.j2", when, audit.checker, scripts, **values)


def _cell_sizes(audit: Audit) -> dict[tuple[str, str], int]:
    sizes: dict[tuple[str, str], int] = {}
    for code, label, _ in audit.examples:
        sizes[code, label] = sizes.get((code, label), 0) + 1
    return sizes


def _chosen(audit: Audit) -> list[Example]:
    """Return examples, each once: first one of each kind and class, then the second of each, until the page is full."""
    seen: dict[tuple[str, str], int] = {}
    ranked = []
    for place, (code, label, example) in enumerate(audit.examples):
        number = seen[code, label] = seen.get((code, label), 0) + 1
        ranked.append((code == "agree" and number > 1, number, place, example))
    chosen: dict[str, Example] = {}
    for *_, example in sorted(ranked, key=lambda r: r[:3]):
        if len(chosen) == EXAMPLES:
            break
        chosen.setdefault(example.id, example)
    return sorted(chosen.values(), key=lambda e: e.verdict == "agree")


class _Examples:
    """Examples as cards, and the numbers under which the page's filters know codes, classes and groups."""

    def __init__(self, audit: Audit, examples: Sequence[Example]) -> None:
        self.audit = audit
        self.examples = examples
        shown = dict.fromkeys(label for e in examples for label in e.labels)
        self.classes = {c: i for i, c in enumerate(c for c in audit.names if c in shown)}
        self.groups = {g: i for i, g in enumerate(sorted({g for e in examples for g in e.groups.items()}))}
        present = {c for e in examples for c in e.codes}
        self.codes = [c for c in CODES if c in present] + (["agree"] if any(not e.codes for e in examples) else [])
        self.first: dict[tuple[str, str], str] = {}
        for example in examples:
            for code in example.codes:
                for label in example.labels:
                    self.first.setdefault((code, label), example.id)

    def link(self, label: str) -> Markup:
        index = self.classes.get(label)
        return Markup("") if index is None else Markup('data-class="{}"').format(index)

    def card(self, example: Example, picture: str | None) -> dict[str, Any]:
        names = self.audit.names
        place = f"{Path(example.file).name}, {example.place}" if example.place else Path(example.file).name
        known = [f"{d} {v}" for d, v in example.groups.items()]
        images = f"{example.images:,} images" if example.images > 1 else ""
        return {
            "id": example.id,
            "key": visible(example.key),
            "verdict": example.verdict,
            "codes": " ".join(example.codes) or "agree",
            "classes": " ".join(str(self.classes.get(label, "")) for label in example.labels),
            "groups": " ".join(str(self.groups.get(g, "")) for g in example.groups.items()),
            "picture": picture,
            "labels": [{"code": c, "name": names.get(c, c)} for c in example.labels],
            "text": visible(example.caption),
            "caption": marked(example.caption, example.issues),
            "reasons": [
                {
                    "level": i["level"],
                    "text": reason(i, names, example.caption),
                    "accept": ", ".join(list(i["accept"])[:3]),
                }
                for i in example.issues
            ],
            "where": visible(" · ".join(filter(None, [place, *known, images]))),
        }


def _sections(audit: Audit) -> list[tuple[str, str]]:
    sections = [
        ("headline", "Agreement"),
        ("issues", "Errors"),
        ("heat", "Where"),
        ("classes", "Classes"),
        ("groups", "Prompts and engines"),
        ("coverage", "Labels"),
        ("text", "Writing"),
        ("examples", "Examples"),
        ("review", "Review"),
        ("rows", "Bad rows"),
    ]
    left_out = {
        "heat": audit.heat_map.empty,
        "groups": audit.by_group.empty,
        "review": not audit.sample,
        "rows": not audit.problems,
    }
    return [(i, text) for i, text in sections if not left_out.get(i)]


def _tiles(audit: Audit) -> list[dict[str, str]]:
    d = audit.diversity
    tiles = [
        ("labels asserted", percent(audit.coverage_rate), "of all positive labels"),
        ("images", f"{audit.images:,}", f"in {audit.rows:,} rows or sets"),
        ("classes", f"{len(audit.by_class)}", f"of {len(audit.names)} in the schema"),
        ("combinations", f"{len(audit.by_combination):,}", "of labels"),
        ("words a caption", _decimal(d["words"], 1), "mean"),
        ("different captions", percent(d["distinct_captions"]), "of all"),
    ]
    if audit.problems:
        tiles.append(("bad rows", f"{sum(audit.problems.values()):,}", "could not be audited"))
    return [{"name": n, "value": v, "note": t} for n, v, t in tiles]


def _change(history: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Return how agreement moved since the previous audit."""
    if len(history) < 2:
        return None
    before, now = history[-2], history[-1]
    points = 100 * (now["agreement"]["share"] - before["agreement"]["share"])
    apart = (
        now["agreement"]["low"] > before["agreement"]["high"] or now["agreement"]["high"] < before["agreement"]["low"]
    )
    kind = "same" if abs(points) < 0.05 else "up" if points > 0 else "down"
    arrow = {"same": "\N{RIGHTWARDS ARROW}", "up": "\N{UPWARDS ARROW}", "down": "\N{DOWNWARDS ARROW}"}[kind]
    text = f"{arrow} {points:+.1f} points since {before['time'][:10]}"
    if kind != "same" and not apart:
        text += " (the intervals overlap)"
    if now["checker"] != before["checker"]:
        text += " (judged by other rules)"
    return {"kind": kind, "text": text}


def _rated(row: Mapping[Any, Any], label: str, note: str = "", link: str = "") -> dict[str, Any]:
    keys = ("share", "low", "high", "captions")
    return {"label": label, "note": note, "link": link} | {k: row[k] for k in keys}


def _same(name: str, code: str) -> bool:
    return name.casefold() == code.casefold().replace("_", " ")


def _start(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return where the scale of agreements begins so that all intervals fit."""
    lowest = min((r["low"] for r in rows), default=0.0)
    return next(s for s in _SCALES if lowest >= s)


def _groups(audit: Audit, view: _Examples) -> list[dict[str, Any]]:
    groups = []
    for dimension in audit.by_group["dimension"].drop_duplicates().tolist():
        part = audit.by_group[audit.by_group["dimension"] == dimension]
        rows = [_rated(r, r["value"]) for r in part.head(100).to_dict("records")]
        errors = audit.group_issues[audit.group_issues["dimension"] == dimension]
        cells = {(r["value"], r["code"]): (r["captions"], r["share"]) for r in errors.to_dict("records")}
        codes = [c for c in audit.codes["code"] if any((r["label"], c) in cells for r in rows)]
        top = max((share for _, share in cells.values()), default=1.0)
        table = []
        for row in rows[:_MOST]:
            value = row["label"]
            found = [(code, *cells.get((value, code), (0, 0.0))) for code in codes]
            table.append(
                {
                    "label": value,
                    "index": view.groups.get((dimension, value), ""),
                    "cells": [{"code": c, "count": n, "share": s, "depth": f"{s / top:.2f}"} for c, n, s in found],
                }
            )
        groups.append(
            {"dimension": dimension, "rows": rows, "start": _start(rows), "codes": codes, "errors": codes and table}
        )
    return groups


def _review(audit: Audit, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what people are asked to judge; the name of the sample keeps verdicts on another one apart."""
    name = hash64(" ".join(case["id"] for case in cases))
    return {"id": f"{name:016x}", "cases": cases, "points": f"{100 * (audit.sample_error or 0):g}"}


def _heat(audit: Audit, view: _Examples) -> dict[str, Any] | None:
    heat = audit.heat_map
    if heat.empty or not heat.to_numpy().any():
        return None
    captions = dict(zip(audit.by_class["class"], audit.by_class["captions"], strict=True))
    worst = heat.sum(axis=1).sort_values(ascending=False, kind="stable")
    kept = set(worst[worst > 0].head(_MOST).index)
    top = max(heat.loc[c, k] / captions[c] for c in kept for k in heat.columns)
    rows = []
    for label in heat.index:
        if label not in kept:
            continue
        cells = []
        for code in heat.columns:
            count = int(heat.loc[label, code])
            share = count / captions[label]
            example = view.first.get((code, label))
            href = f"#c-{example}" if example else "#examples"
            depth = f"{share / top:.2f}" if top else "0"
            cells.append({"code": code, "count": count, "share": share, "depth": depth, "href": href})
        rows.append({"label": label, "index": view.classes.get(label, ""), "captions": captions[label], "cells": cells})
    return {"codes": list(heat.columns), "rows": rows, "left": len(heat) - len(rows)}


def _spurious(frame: pd.DataFrame, view: _Examples) -> dict[str, Any] | None:
    if frame.empty:
        return None
    rows_kept = set(frame.sum(axis=1).sort_values(ascending=False, kind="stable").head(_MOST).index)
    columns_kept = set(frame.sum(axis=0).sort_values(ascending=False, kind="stable").head(_MOST).index)
    columns = [c for c in frame.columns if c in columns_kept]
    top = frame.to_numpy().max()
    rows = [
        {
            "label": label,
            "index": view.classes.get(label, ""),
            "cells": [{"count": n, "depth": f"{n / top:.2f}"} for n in (int(frame.loc[label, c]) for c in columns)],
        }
        for label in frame.index
        if label in rows_kept
    ]
    return {"columns": columns, "rows": rows}


def _length_bins(lengths: pd.DataFrame) -> list[tuple[float, float, int]]:
    """Return the distribution of lengths in at most some forty bins."""
    if lengths.empty:
        return []
    counts = dict(zip(lengths["words"].tolist(), lengths["captions"].tolist(), strict=True))
    last = max(counts)
    width = max(1, math.ceil((last + 1) / 45))
    return [
        (start, start + width, sum(counts.get(w, 0) for w in range(start, start + width)))
        for start in range(0, min(last, LONGEST) + 1, width)
    ]


def _diversity(audit: Audit) -> list[dict[str, str]]:
    d = audit.diversity
    rows = [
        ("distinct-1", _decimal(d["distinct_1"], 4), "different words as a share of all words"),
        ("distinct-2", _decimal(d["distinct_2"], 4), "different pairs of words as a share of all pairs"),
        ("different captions", percent(d["distinct_captions"]), "as a share of all captions"),
        ("self-similarity", _decimal(d["self_similarity"], 3), "mean overlap of two captions of a set"),
        (
            "captions under several labels",
            percent(d["texts_under_several_labels"]),
            "of all different captions: the same text under different labels",
        ),
    ]
    return [{"name": n, "value": v, "note": t} for n, v, t in rows]


def _decimal(value: float, digits: int) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def _round_up(share: float) -> float:
    """Return a round share that is at least as large, for the end of a scale."""
    return next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if s >= share), 1.0)
