"""The command that says how runs stand: status."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from captioner.cli.console import JsonFlag, out, print_json
from captioner.errors import UsageError

app = typer.Typer()

_STANDS_STILL = 900.0
"""Seconds without an answer after which nobody can say how long a run will take."""


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An output folder, or one run's folder.")],
    as_json: JsonFlag = False,
) -> None:
    """Say how runs stand, also while they are under way.

    Example: captioner status out/chestxray14
    """
    runs = [f for f in (folder, *sorted(folder.glob("runs/*"))) if _is_run(f)]
    if not runs:
        raise UsageError(f"{folder}: no run in this folder. Give an output folder (it holds runs/), or OUT/runs/RUN.")
    rows = [_labelled(run) if (run / "ledger.sqlite").is_file() else _texts(run) for run in runs]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"[bold]{escape(row['run'])}[/]")
        if "triplets" in row:
            _print_labelled(row)
        else:
            out.print(f"  captions    {row['captions']:,} (the dataset's own texts)")


def _is_run(folder: Path) -> bool:
    """A run on a dataset's own texts has no ledger; it is one when it is finished."""
    return (folder / "ledger.sqlite").is_file() or (folder / "summary.json").is_file()


def _texts(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return found


def _labelled(run: Path) -> dict[str, Any]:
    from captioner.store import FINISHED, Ledger

    with Ledger(run / "ledger.sqlite", read_only=True) as ledger:
        totals, pace = ledger.totals(), ledger.pace()
    row = {"run": run.name} | asdict(totals)
    finished = sum(totals.triplets.get(state, 0) for state in FINISHED)
    if pace is not None:
        rate, last = pace
        silent = max(0.0, time.time() - last)
        row |= {"answers_per_second": round(rate, 3), "seconds_since_answer": round(silent, 1)}
        if silent < _STANDS_STILL and rate and finished and (left := totals.triplets.get("open", 0)):
            row["seconds_left"] = round(left * totals.requests / finished / rate)
    return row


def _print_labelled(row: dict[str, Any]) -> None:
    from captioner.progress import counts, duration, number

    if not row["triplets"]:
        out.print("  not begun   nothing was asked; start the same `captioner run …` again to go on")
        return
    refused = f" ({counts(row['by_code'])})" if row["by_code"] else ""
    out.print(f"  triplets    {counts(row['triplets'])}")
    out.print(f"  captions    {row['accepted']:,} accepted, {row['rejected']:,} refused{refused}")
    cached = f" ({row['cached_tokens']:,} from a cache)" if row["cached_tokens"] else ""
    tokens = f"{row['prompt_tokens']:,} tokens in{cached}, {row['completion_tokens']:,} tokens out"
    cost = f", cost {row['cost']:,.2f}" if row["cost"] else ""
    retries = row["sent"] - row["requests"]
    out.print(f"  requests    {row['requests']:,} answered, {retries:,} sent again, {tokens}{cost}")
    if "answers_per_second" in row:
        more = f", {duration(row['seconds_left'])} left at this pace" if "seconds_left" in row else ""
        ago = duration(row["seconds_since_answer"])
        out.print(f"  pace        {number(row['answers_per_second'])} answers/s, the last {ago} ago{more}")
    for reason, times in row["by_error"].items():
        out.print(f"  no answer   {times:,} x {reason}", markup=False)
