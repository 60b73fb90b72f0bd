"""Datasets whose captions are made from labels: what ``run`` and ``plan`` do with them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from captioner.cli.console import count, look_in, out, print_left_out

if TYPE_CHECKING:
    from captioner.run import Plan, Reporter, Summary

_WRITERS = {"engine": "by the model", "rules": "by the built-in writer", "code": "put right in code"}
_EXAMPLES = 3
_HALF_A_CENT = 0.005


def prepare(name: str, overrides: Sequence[str], report: "Reporter") -> "Plan":
    """Read everything that a run is made of; a label schema can be run with the defaults, without a pipeline."""
    from captioner import run
    from captioner.cli.names import kind_of
    from captioner.pipeline import load_pipeline
    from captioner.schema import load_schema

    asked: Any = {"schema": name} if kind_of(name) == "label_schemas" else name
    spec = load_pipeline(asked, overrides)
    if spec.data.table is None:
        look_in(run.data_root(spec, load_schema(spec.label_schema)))
    return run.prepare(spec, report)


def execute(plan: "Plan", report: "Reporter") -> "Summary":
    """Make the captions."""
    from captioner import run

    return run.execute(plan, report)


def forecast(plan: "Plan") -> dict[str, Any]:
    """Return what a run would do."""
    from captioner import run

    return asdict(run.forecast(plan))


def forecast_rows(plan: "Plan", forecast: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield it for people: what, and how much."""
    f = forecast
    yield "run", f"{plan.out}/runs/{f['run']}{' (exists)' if f['done'] else ''}"
    yield "rows", f"{f['rows']:,}"
    yield "rows with a usable label" + (" and an image" if plan.with_images else ""), f"{f['samples']:,}"
    for code, number in f["rejected_rows"].items():
        yield f"  left out: {code}", f"{number:,}"
    yield "distinct triplets", f"{f['triplets']:,} ({f['done']:,} done)"
    if plan.engine.name == "rules":
        yield "requests", "0: the built-in writer asks no model"
    else:
        yield "requests", f"{f['requests']:,} at least"
        yield "prompt tokens", f"about {f['prompt_tokens']:,} ({f['basis']})"
        yield "completion tokens", f"about {f['completion_tokens']:,} (an estimate)"
    if f["judged"]:
        yield "shown to the judge", f"{f['judged']:,} captions at most, {f['judge_tokens']:,} tokens"
    if f["price"]:
        cost = f"about {f['cost']:,.2f}" if f["cost"] >= _HALF_A_CENT else "less than 0.01"
        yield "cost", f"{cost}, repairs not counted (by {f['price']})"
    yield "disk", f"about {f['disk_bytes'] / 1e6:,.1f} MB"


def print_summary(summary: "Summary") -> None:
    """Print what a run came to, and a few of its captions."""
    from captioner.progress import counts

    states = summary.triplets
    folder = Path(summary.out) / "runs" / summary.run
    out.print(f"[bold]{escape(str(folder))}[/]")
    out.print(f"  rows        {summary.rows:,}, {summary.samples:,} usable")
    if summary.images is not None:
        out.print(f"  images      {summary.images:,} in shards")
    out.print(f"  triplets    {sum(states.values()):,} ({counts(states)})")
    writers = ", ".join(f"{summary.sources[w]:,} {words}" for w, words in _WRITERS.items() if w in summary.sources)
    written = f" ({writers})" if writers else ""
    out.print(f"  captions    {summary.captions:,} accepted{written}, {summary.rejected:,} refused")
    if summary.rejected_by_code:
        out.print(f"  refused for {counts(summary.rejected_by_code)}")
    if summary.prompt_tokens:
        tokens = f"{summary.prompt_tokens:,} in, {summary.completion_tokens:,} out"
        out.print(f"  tokens      {tokens}, {count(summary.requests, 'request')}")
    if summary.rejected_rows:
        out.print(f"  left out    {counts(summary.rejected_rows)}: see {escape(summary.out)}/rejected_rows.csv")
    if summary.cost:
        out.print(f"  cost        {summary.cost:,.2f}")
    for label, caption in _examples(folder / "support_sets.parquet"):
        out.print(f"  for example {label}: {caption}", markup=False)
    for reason, number in summary.failures.items():
        out.print(f"  no answer   {number:,} x {reason}", markup=False)
    if summary.stopped:
        out.print(f"[yellow]stopped:[/] {escape(summary.stopped)}")
    if not summary.complete:
        unfinished = {s: n for s, n in states.items() if s in ("open", "failed", "incomplete")}
        out.print(f"[red]not complete:[/] {counts(unfinished) or 'no captions'}; start the same command again to go on")
    print_left_out(summary, "rows", "label", "row", f"{summary.out}/rejected_rows.csv")


def _examples(sets: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels and the first caption of a few support sets."""
    from pyarrow import parquet

    first = next(parquet.ParquetFile(sets).iter_batches(1000, columns=["findings", "captions"]), None)
    rows = first.to_pylist() if first is not None else []
    for row in rows[:: max(1, len(rows) // _EXAMPLES)][:_EXAMPLES]:
        yield " | ".join(row["findings"]), row["captions"][0]
