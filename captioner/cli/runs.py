"""Commands that make captions: demo, run, plan, status; and what some datasets need before: unpack, stack."""

import contextlib
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from captioner.cli import texts
from captioner.cli.console import (
    DataOption,
    JsonFlag,
    OutOption,
    SetOption,
    count,
    err,
    grid,
    out,
    overrides_of,
    print_excluded,
    print_json,
    print_notes,
    reporter,
    stoppable,
)
from captioner.errors import UsageError

app = typer.Typer()


@app.command()
def demo(out_dir: Annotated[Path, typer.Option("--out", help="Where to put everything.")] = Path("demo")) -> None:
    """Do the whole job offline, in under a minute, on a small dataset that it makes itself.

    Example: captioner demo --out /tmp/demo
    """
    from captioner import run as running
    from captioner.demo import make_dataset
    from captioner.pipeline import load_pipeline

    data = out_dir / "data"
    if not (data / "labels.csv").is_file():
        if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
            raise UsageError(f"{out_dir}: exists and is not a demo. Choose another folder with --out.")
        make_dataset(data)
        out.print(f"drew a small dataset: {data}/labels.csv and {data}/images/")
    spec = load_pipeline("demo", [f"data.root={json.dumps(str(data))}", f"out={json.dumps(str(out_dir / 'out'))}"])
    plan = running.prepare(spec)
    with stoppable(), reporter() as report:
        summary = running.execute(plan, report)
    print_summary(summary)
    folder = Path(summary.out) / "runs" / summary.run
    print_sample(folder / "captions")
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
        (
            "a page that shows how far the captions agree",
            f"{me} audit {folder} --schema demo --out {out_dir / 'audit'}",
        ),
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
def unpack(
    archive: Annotated[Path, typer.Argument(help="An .npz archive with train_images, train_labels and so on.")],
    out_dir: Annotated[Path, typer.Option("--out", help="A new folder for the images and labels.csv.")],
) -> None:
    """Write the images of a dataset that comes as arrays (MedMNIST) as PNG files, with a label table beside them.

    Example: captioner unpack pathmnist_224.npz --out data/medmnist_pathmnist
    """
    from captioner.arrays import unpack as unpacking

    done = unpacking(archive, out_dir)
    counts = ", ".join(f"{split} {count:,}" for split, count in done.images.items())
    out.print(f"{done.table}: {sum(done.images.values()):,} images ({counts})")


@app.command()
def stack(
    data: Annotated[Path, typer.Argument(help="A folder with folders of slices, or with NIfTI files.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="The folder for the volumes; one begun before is gone on with.")
    ],
    window: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Values that become black and white of 8 bits.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="D,H,W", help="Scale to this depth, height and width, as float32 from 0 to 1.")
    ] = None,
) -> None:
    """Write each folder of slices, and each NIfTI file, as one volume (.npy).

    Example: captioner stack M3D_Cap --out M3D_Cap_volumes --size 32,256,256
    """
    from captioner.volumes import stack as stacking

    low_high = numbers(window, 2, "--window") if window else None
    shape = numbers(size, 3, "--size") if size else None
    if low_high and low_high[0] >= low_high[1]:
        raise UsageError(f"--window {window}: goes from a smaller to a larger value")
    if shape and not all(side >= 1 and side.is_integer() for side in shape):
        raise UsageError(f"--size {size}: three whole numbers, each at least 1")
    with stoppable():
        done = stacking(
            data,
            out_dir,
            window=(low_high[0], low_high[1]) if low_high else None,
            size=(int(shape[0]), int(shape[1]), int(shape[2])) if shape else None,
        )
    for name, problem in done.problems.items():
        err.print(f"{name}: {problem.code}: {problem.reason}", markup=False)
    out.print(f"{out_dir}: {count(done.volumes, 'volume')} ({done.written:,} written now)", markup=False)
    if done.problems:
        out.print(f"no volume of {len(done.problems):,} series")
        raise typer.Exit(1)


def numbers(text: str, how_many: int, option: str) -> list[float]:
    """Return the numbers of an option such as ``32,256,256``."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != how_many:
        raise UsageError(f"{option} {text}: write {how_many} numbers with commas between them")
    return found


@app.command()
def run(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="A pipeline's name or file, or a dataset's name.")
    ],
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log progress as JSON lines on stderr.")] = False,
) -> None:
    """Run a pipeline, or go on with it where it stopped.

    Example: captioner run chestxray14 --data ~/nih

    With an API: captioner run chestxray14 --data ~/nih --set prompt=report --set engine.model=gpt-5-mini

    With your own server: captioner run chestxray14 --data ~/nih --set engine.model=Qwen/Qwen3-32B --set engine.base_url=http://localhost:8000/v1
    """
    from captioner import run as running

    if texts.has_texts(pipeline):
        texts.run(pipeline, data, out_dir, settings, as_json=as_json, log_json=log_json)
    with stoppable(), reporter(quiet=as_json, log_json=log_json) as report:
        plan = running.prepare(pipeline_of(pipeline, data, out_dir, settings), report)
        print_notes(plan.notes, report.note)
        summary = running.execute(plan, report)
    if as_json:
        print_json(asdict(summary) | {"exit_code": summary.exit_code})
    else:
        print_summary(summary)
    raise typer.Exit(summary.exit_code)


@app.command()
def plan(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="A pipeline's name or file, or a dataset's name.")
    ],
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a run would do: samples, distinct triplets, requests, tokens, disk. Nothing is sent or written.

    Example: captioner plan chestxray14 --data ~/nih
    """
    from captioner import run as running

    if texts.has_texts(pipeline):
        texts.plan(pipeline, data, out_dir, settings, as_json=as_json)
        return
    with reporter(quiet=as_json) as report:
        prepared = running.prepare(pipeline_of(pipeline, data, out_dir, settings), report)
        forecast = running.forecast(prepared)
    if as_json:
        print_json(asdict(forecast))
        return
    table = grid("what", "how much", left={"what", "how much"})
    table.show_header = False
    table.add_row("run", f"{prepared.out}/runs/{forecast.run}{' (exists)' if forecast.done else ''}")
    table.add_row("rows", f"{forecast.rows:,}")
    table.add_row(
        "rows with a usable label" + (" and an image" if prepared.with_images else ""), f"{forecast.samples:,}"
    )
    for code, number in forecast.rejected_rows.items():
        table.add_row(f"  left out: {code}", f"{number:,}")
    table.add_row("distinct triplets", f"{forecast.triplets:,} ({forecast.done:,} done)")
    table.add_row("requests", f"{forecast.requests:,} at least")
    table.add_row("prompt tokens", f"about {forecast.prompt_tokens:,} ({forecast.basis})")
    table.add_row("completion tokens", f"about {forecast.completion_tokens:,} (an estimate)")
    if forecast.judged:
        table.add_row("shown to the judge", f"{forecast.judged:,} captions at most, {forecast.judge_tokens:,} tokens")
    if forecast.price:
        table.add_row("cost", f"about {forecast.cost:,.2f}, repairs not counted (by {forecast.price})")
    table.add_row("disk", f"about {forecast.disk_bytes / 1e6:,.1f} MB")
    out.print(table)
    print_notes(prepared.notes, lambda text: out.print(text, markup=False), most=len(prepared.notes))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="An output folder, or one run's folder.")], as_json: JsonFlag = False
) -> None:
    """Say how runs stand, also while they are under way.

    Example: captioner status out/chestxray14
    """
    from captioner.progress import counts, duration, number
    from captioner.store import FINISHED, Ledger

    ledgers = sorted(folder.glob("ledger.sqlite")) or sorted(folder.glob("runs/*/ledger.sqlite"))
    if not ledgers:
        raise UsageError(f"{folder}: no run in this folder (no runs/*/ledger.sqlite)")
    rows: list[dict[str, Any]] = []
    for path in ledgers:
        with Ledger(path, read_only=True) as ledger:
            totals, pace = ledger.totals(), ledger.pace()
        row = {"run": path.parent.name} | asdict(totals)
        finished = sum(totals.triplets.get(state, 0) for state in FINISHED)
        if pace is not None:
            rate, last = pace
            row |= {
                "answers_per_second": round(rate, 3),
                "seconds_since_answer": round(max(0.0, time.time() - last), 1),
            }
            if rate and finished and (left := totals.triplets.get("open", 0)):
                row["seconds_left"] = round(left * totals.requests / finished / rate)
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"[bold]{escape(row['run'])}[/]")
        tokens = row["prompt_tokens"] + row["completion_tokens"]
        refused = f" ({counts(row['by_code'])})" if row["by_code"] else ""
        out.print(f"  triplets    {counts(row['triplets']) or 'none'}")
        out.print(f"  captions    {row['accepted']:,} accepted, {row['rejected']:,} refused{refused}")
        out.print(
            f"  requests    {row['requests']:,} answered, {row['sent'] - row['requests']:,} retries, {tokens:,} tokens"
            + (f", cost {row['cost']:,.2f}" if row["cost"] else "")
        )
        if "answers_per_second" in row:
            more = f", {duration(row['seconds_left'])} left at this pace" if "seconds_left" in row else ""
            ago = duration(row["seconds_since_answer"])
            out.print(f"  pace        {number(row['answers_per_second'])} answers/s, the last {ago} ago{more}")
        for reason, times in row["by_error"].items():
            out.print(f"  no answer   {times:,} x {reason}", markup=False)


def pipeline_of(name: str, data: Path | None, out_dir: Path | None, settings: list[str] | None) -> Any:
    """Return the pipeline that a command line asks for."""
    from captioner import resources
    from captioner.pipeline import load_pipeline

    overrides = overrides_of(data, out_dir, settings)
    known = resources.names("pipelines")
    if name not in known and name in resources.names("label_schemas"):  # every schema can be run with the defaults
        return load_pipeline({"schema": name}, overrides)
    return load_pipeline(name, overrides)


def print_summary(summary: Any) -> None:
    """Print what a run came to."""
    from captioner.progress import counts

    states = summary.triplets
    out.print(f"[bold]{escape(summary.run)}[/] in {escape(summary.out)}")
    out.print(f"  rows        {summary.rows:,}, {summary.samples:,} usable")
    if summary.images is not None:
        out.print(f"  images      {summary.images:,} in shards")
    out.print(f"  triplets    {sum(states.values()):,} ({counts(states)})")
    sources = f" ({counts(summary.sources)})" if summary.sources else ""
    out.print(f"  captions    {summary.captions:,} accepted{sources}, {summary.rejected:,} refused")
    if summary.rejected_by_code:
        out.print(f"  refused for {counts(summary.rejected_by_code)}")
    if summary.prompt_tokens:
        out.print(
            f"  tokens      {summary.prompt_tokens:,} in, {summary.completion_tokens:,} out, {summary.requests:,} requests"
        )
    if summary.rejected_rows:
        out.print(f"  left out    {counts(summary.rejected_rows)}: see {escape(summary.out)}/rejected_rows.csv")
    if summary.cost:
        out.print(f"  cost        {summary.cost:,.2f}")
    for reason, number in summary.failures.items():
        out.print(f"  no answer   {number:,} x {reason}", markup=False)
    if summary.stopped:
        out.print(f"[yellow]stopped:[/] {escape(summary.stopped)}")
    if not summary.complete:
        unfinished = {s: n for s, n in states.items() if s in ("open", "failed", "incomplete")}
        out.print(f"[red]not complete:[/] {counts(unfinished) or 'no captions'}; start the same command again to go on")
    print_excluded(summary.excluded, "rows have a label but no usable image")


def print_sample(captions: Path) -> None:
    """Print a few of the captions that were written."""
    from captioner.shards import load_captions

    shard = next(iter(sorted(captions.glob("*.tar"))), None)
    if shard is None:
        return
    out.print("[bold]Some of the captions[/]")
    records = load_captions(shard)
    for key in list(records)[:: max(1, len(records) // 6)][:6]:
        out.print(f"  {key}: {records[key]['captions'][0]}", markup=False)
