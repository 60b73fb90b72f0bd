"""Datasets that have texts of their own: what ``run`` and ``plan`` do with them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.markup import escape

from captioner.cli.console import (
    grid,
    out,
    overrides_of,
    print_excluded,
    print_json,
    print_notes,
    reporter,
    stoppable,
)

if TYPE_CHECKING:
    from captioner.texts.run import TextPlan


def has_texts(name: str) -> bool:
    """Say whether a name (or a file) is a dataset that has texts of its own."""
    from captioner import resources

    if name in resources.names("pipelines") or name in resources.names("label_schemas"):
        return False
    return name in resources.names("text_schemas") or Path(name).parent.name == "text_schemas"


def plan_of(name: str, data: Path | None, out_dir: Path | None, settings: list[str] | None, report: Any) -> "TextPlan":
    """Return what a command line asks for of a dataset that has texts of its own."""
    from captioner.pipeline import settings_of
    from captioner.texts.run import TextPipeline, prepare
    from captioner.texts.schema import load_text_schema

    schema = load_text_schema(name)
    spec = settings_of(TextPipeline, {"texts": name}, overrides_of(data, out_dir, settings), where=schema.id)
    return prepare(spec, schema, report)


def run(
    name: str,
    data: Path | None,
    out_dir: Path | None,
    settings: list[str] | None,
    *,
    as_json: bool,
    log_json: bool,
) -> NoReturn:
    """Run a dataset that has texts of its own."""
    from captioner.progress import counts
    from captioner.texts.run import execute

    with stoppable(), reporter(quiet=as_json, log_json=log_json) as report:
        prepared = plan_of(name, data, out_dir, settings, report)
        print_notes(prepared.notes, report.note)
        summary = execute(prepared, report)
    if as_json:
        print_json(asdict(summary) | {"exit_code": summary.exit_code})
        raise typer.Exit(summary.exit_code)
    out.print(f"[bold]{escape(summary.run)}[/] in {escape(summary.out)}")
    out.print(f"  records     {summary.rows:,}")
    out.print(f"  images      {summary.samples:,} with texts" + ("" if summary.images is None else ", in shards"))
    out.print(f"  captions    {summary.captions:,} (the dataset's own: {', '.join(prepared.use)})")
    if summary.rejected_rows:
        out.print(f"  left out    {counts(summary.rejected_rows)}: see {escape(summary.out)}/rejected_rows.csv")
    print_excluded(summary.excluded, "images have a text and are not there, or not usable")
    raise typer.Exit(summary.exit_code)


def plan(name: str, data: Path | None, out_dir: Path | None, settings: list[str] | None, *, as_json: bool) -> None:
    """Say what a run on a dataset that has texts of its own would do."""
    with reporter(quiet=as_json) as report:
        prepared = plan_of(name, data, out_dir, settings, report)
    samples = prepared.found.samples
    captions = sum(len(prepared.found.texts[i]) for i in samples.frame["labels"])
    left_out = {str(code): int(number) for code, number in samples.rejects["code"].value_counts().items()}
    if as_json:
        forecast = {"run": prepared.run, "rows": samples.rows, "samples": len(samples.frame)}
        print_json(forecast | {"captions": captions, "rejected_rows": left_out, "requests": 0})
        return
    table = grid("what", "how much", left={"what", "how much"})
    table.show_header = False
    table.add_row("run", f"{prepared.out}/runs/{prepared.run}")
    table.add_row("records", f"{samples.rows:,}")
    table.add_row("images with texts" + (", found" if prepared.with_images else ""), f"{len(samples.frame):,}")
    for code, number in left_out.items():
        table.add_row(f"  left out: {code}", f"{number:,}")
    table.add_row("captions", f"{captions:,} (the dataset's own: {', '.join(prepared.use)})")
    table.add_row("requests", "0: nothing is asked of a language model")
    out.print(table)
    print_notes(prepared.notes, lambda text: out.print(text, markup=False), most=len(prepared.notes))
