"""Commands that make captions: demo, run, plan."""

import contextlib
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from captioner.cli import labelled, texts
from captioner.cli.console import (
    DataOption,
    JsonFlag,
    OutOption,
    SetOption,
    grid,
    out,
    overrides_of,
    print_json,
    print_notes,
    reporter,
    stoppable,
)
from captioner.cli.names import kind_of
from captioner.errors import UsageError

app = typer.Typer()

PipelineArgument = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="A dataset's name or schema file, or a pipeline's name or file.")
]


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to put everything.")] = Path("demo"),
) -> None:
    """Do the whole job offline, in under a minute, on a small dataset that it makes itself.

    Example: captioner demo --out /tmp/demo
    """
    from captioner.atomic import TEMPORARY
    from captioner.demo import make_dataset

    data = out_dir / "data"
    if not (data / "labels.csv").is_file():
        if out_dir.exists() and (not out_dir.is_dir() or any(p.suffix != TEMPORARY for p in out_dir.iterdir())):
            raise UsageError(f"{out_dir}: exists and is not a demo. Choose another folder with --out.")
        make_dataset(data)
        out.print(f"drew a small dataset: {data}/labels.csv and {data}/images/")
    settings = [f"data.root={json.dumps(str(data))}", f"out={json.dumps(str(out_dir / 'out'))}"]
    with stoppable(), reporter() as report:
        summary = labelled.execute(labelled.prepare("demo", settings, report), report)
    labelled.print_summary(summary)
    folder = Path(summary.out) / "runs" / summary.run
    me = program()
    again = f"{me} run demo --data {data} --out {out_dir / 'out'}"
    out.print()
    out.print("[bold]Where to look[/]")
    for path, what in (
        (f"{summary.out}/images/", "image shards, with a manifest"),
        (f"{folder}/captions/", "caption shards: same names, keys and order"),
        (f"{folder}/support_sets.parquet", "label information and its captions; rejected.parquet: what was refused"),
        (
            f"{summary.out}/rejected_rows.csv",
            "the rows that were left out (on purpose, here), with the reason for each",
        ),
    ):
        out.print(f"  {path}\n      {what}", markup=False)
    out.print("[bold]What to do next[/]")
    for what, command in (
        ("another style of caption", f"{again} --set prompt=plain"),
        ("an LLM", f"{again} --set engine.model=MODEL --set engine.base_url=http://localhost:8000/v1"),
        ("a page that shows how far the captions agree", f"{me} audit {folder}"),
        ("your own dataset, if it is described already", f"{me} schema list, then {me} run NAME --data FOLDER"),
        ("your own dataset, if it is not", f"{me} schema new TABLE --modality xray --anatomy chest"),
    ):
        out.print(f"  {what}\n      {command}", markup=False)


def program() -> str:
    """Return what a person types to start this program: its name if it is on the PATH, else where it is."""
    here = Path(sys.argv[0])
    found = shutil.which("captioner")
    if found and Path(found).resolve() == here.resolve():
        return "captioner"
    with contextlib.suppress(ValueError):
        return str(here.absolute().relative_to(Path.cwd()))
    return str(here)


@app.command()
def run(
    pipeline: PipelineArgument,
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", metavar="N", help="Stop when the run has cost so much: limits.cost.")
    ] = None,
    max_requests: Annotated[
        int | None,
        typer.Option("--max-requests", metavar="N", help="Stop after so many requests from now on: limits.requests."),
    ] = None,
    as_json: JsonFlag = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log progress as JSON lines on stderr.")] = False,
) -> None:
    """Run a pipeline, or go on with it where it stopped.

    Example: captioner run chestxray14 --data ~/nih

    With an API: captioner run chestxray14 --data ~/nih --set engine.model=gpt-5-mini

    With your own server: captioner run chestxray14 --data ~/nih --set engine.model=Qwen/Qwen3-32B --set engine.base_url=http://localhost:8000/v1

    All settings: docs/pipelines.md.
    """
    job = job_of(pipeline)
    with stoppable(), reporter(quiet=as_json, log_json=log_json) as report:
        limits = {"cost": max_cost, "requests": max_requests}
        overrides = [f"limits.{name}={limit}" for name, limit in limits.items() if limit is not None]
        prepared = job.prepare(pipeline, [*overrides_of(data, out_dir, settings), *overrides], report)
        print_notes(prepared.notes, report.note)
        summary = job.execute(prepared, report)
    if as_json:
        print_json(asdict(summary) | {"exit_code": summary.exit_code})
    else:
        job.print_summary(summary)
    raise typer.Exit(summary.exit_code)


@app.command()
def plan(
    pipeline: PipelineArgument,
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a run would do: samples, distinct triplets, requests, tokens, disk. Nothing is sent or written.

    Example: captioner plan chestxray14 --data ~/nih
    """
    job = job_of(pipeline)
    with stoppable(goes_on=False), reporter(quiet=as_json) as report:
        prepared = job.prepare(pipeline, overrides_of(data, out_dir, settings), report)
        forecast = job.forecast(prepared)
    if as_json:
        print_json(forecast)
        return
    table = grid("what", "how much", left={"what", "how much"})
    table.show_header = False
    for what, how_much in job.forecast_rows(prepared, forecast):
        table.add_row(what, how_much)
    out.print(table)
    print_notes(prepared.notes, lambda text: out.print(text, markup=False), most=len(prepared.notes))


def job_of(name: str) -> ModuleType:
    """Return the module that does it: captions from labels, or a dataset's own texts; both have the same functions."""
    return texts if kind_of(name) == "text_schemas" else labelled
