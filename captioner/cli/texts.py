"""Datasets that have texts of their own: what ``run`` and ``plan`` do with them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from captioner.cli.console import look_in, out, print_left_out

if TYPE_CHECKING:
    from captioner.run import Reporter
    from captioner.texts.run import TextPlan, TextSummary


def prepare(name: str, overrides: Sequence[str], report: "Reporter") -> "TextPlan":
    """Read the texts that a run is made of, and find their images."""
    from captioner.pipeline import settings_of
    from captioner.texts.run import TextPipeline, prepare
    from captioner.texts.schema import load_text_schema

    schema = load_text_schema(name)
    spec = settings_of(TextPipeline, {"texts": name}, overrides, where=schema.id)
    if spec.data.table is None:
        look_in(spec.data.root or Path("data") / schema.prefix)
    return prepare(spec, schema, report)


def execute(plan: "TextPlan", report: "Reporter") -> "TextSummary":
    """Write images and texts."""
    from captioner.texts.run import execute

    return execute(plan, report)


def forecast(plan: "TextPlan") -> dict[str, Any]:
    """Return what a run would do."""
    samples = plan.found.samples
    return {
        "run": plan.run,
        "rows": samples.rows,
        "samples": len(samples.frame),
        "captions": sum(len(plan.found.texts[i]) for i in samples.frame["labels"]),
        "rejected_rows": {str(code): int(number) for code, number in samples.rejects["code"].value_counts().items()},
        "requests": 0,
    }


def forecast_rows(plan: "TextPlan", forecast: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield it for people: what, and how much."""
    yield "run", f"{plan.out}/runs/{plan.run}"
    yield "records", f"{forecast['rows']:,}"
    yield "images with texts" + (", found" if plan.with_images else ""), f"{forecast['samples']:,}"
    for code, number in forecast["rejected_rows"].items():
        yield f"  left out: {code}", f"{number:,}"
    yield "captions", f"{forecast['captions']:,} (the dataset's own: {', '.join(plan.use)})"
    yield "requests", "0: nothing is asked of a language model"


def print_summary(summary: "TextSummary") -> None:
    """Print what a run came to."""
    from captioner.progress import counts

    folder = f"{summary.out}/runs/{summary.run}"
    out.print(f"[bold]{escape(folder)}[/]")
    out.print(f"  records     {summary.rows:,}")
    out.print(f"  images      {summary.samples:,} with texts" + ("" if summary.images is None else ", in shards"))
    out.print(f"  captions    {summary.captions:,} (the dataset's own: {', '.join(summary.use)})")
    if summary.rejected_rows:
        out.print(f"  left out    {counts(summary.rejected_rows)}: see {escape(folder)}/rejected_rows.csv")
    print_left_out(summary, "records", "text", "image", f"{folder}/rejected_rows.csv")
