"""What all commands share: where they print, the options that many have, and how progress is shown."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from captioner.errors import UsageError
from captioner.storage import Place, local, place

if TYPE_CHECKING:
    from captioner.run import Summary
    from captioner.texts.run import TextSummary

STOPPED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells count."""

WIDE = 200
"""Columns where the output is no terminal: nothing that somebody may copy is cut off."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(stderr=stderr, highlight=False, soft_wrap=True, width=WIDE)
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def grid(*names: str, left: Container[str] = ()) -> Table:
    """Return a table without lines; cells are folded in a narrow terminal, never cut off.

    Args:
        names: the columns.
        left: those that are not figures.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name in left else "right")
    return table


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Change a setting of the pipeline; may be repeated.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", parser=place, metavar="FOLDER", help="The dataset's folder (data.root): a path or a URL."),
]
OutOption = Annotated[Path | None, typer.Option("--out", parser=local, metavar="FOLDER", help="The output folder.")]


def reporter(*, quiet: bool = False, log_json: bool = False) -> Any:
    """Return the progress display that fits where the output goes."""
    from captioner.progress import JsonReporter, LineReporter, LiveReporter

    if log_json:
        return JsonReporter(err)
    if quiet:
        return LineReporter(Console(quiet=True))
    return LiveReporter(err) if err.is_terminal else LineReporter(err)


def look_in(data: Place) -> None:
    """Refuse to go on without the dataset's folder, and say how it is given.

    Raises:
        UsageError: it is not there.
    """
    if isinstance(data, Path) and not data.exists():
        raise UsageError(f"{data}: no such file or folder. Give the dataset's folder with --data FOLDER.")


def make_folder_of(file: Path) -> None:
    """Make the folder that a file is to be written into, as those are made that a run is written into."""
    from captioner import atomic

    with atomic.storage(file):
        file.parent.mkdir(parents=True, exist_ok=True)


def print_json(value: Any) -> None:
    """Print JSON on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def count(number: int, what: str) -> str:
    """Return ``"1 folder"``, ``"2 folders"``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def few(items: Iterable[str], limit: int = 3) -> str:
    """Return the first few of some words, and how many more there are."""
    items = list(items)
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


@contextlib.contextmanager
def stoppable(*, goes_on: bool = True) -> Iterator[None]:
    """Let Ctrl-C end a command with a word on how to go on, where the same command does that."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(
            "stopped. What is finished is kept: start the same command again to go on." if goes_on else "stopped."
        )
        raise typer.Exit(STOPPED) from None


def overrides_of(data: Path | None, out_dir: Path | None, settings: list[str] | None) -> list[str]:
    """Return all settings that a command line gives, as ``--set`` would."""
    overrides = list(settings or ())
    if data is not None:
        overrides.append(f"data.root={json.dumps(str(data))}")
    if out_dir is not None:
        overrides.append(f"out={json.dumps(str(out_dir))}")
    return overrides


def print_notes(notes: list[str], write: Callable[[str], None], most: int = 6) -> None:
    """Print what a person should know before a run, the most important first."""
    for note in notes[:most]:
        write(f"note: {note}")
    if notes[most:]:
        write(f"note: and {len(notes) - most} more: captioner plan shows all, and so does the run's summary.json")


_AS_ASKED = frozenset({"duplicate_row", "not_chosen"})
"""Reasons for which a row is left out that takes nothing from what is wanted."""


def print_left_out(summary: "Summary | TextSummary", rows: str, what: str, images: str, listed: str) -> None:
    """Say at the end of a run, where it cannot be overlooked, how much is not in its shards, and where it is listed.

    Args:
        summary: of the run.
        rows: what a table is made of.
        what: a row has that captions are made from.
        images: what has it: rows, or images of their own.
        listed: the file with every reason.
    """
    from captioner.run import IMAGE_CODES

    of_images = frozenset() if summary.images is None else IMAGE_CODES
    unusable = sum(n for code, n in summary.rejected_rows.items() if code not in of_images | _AS_ASKED)
    see = f"each with its reason in {escape(listed)}"
    if unusable:
        have = "has" if unusable == 1 else "have"
        out.print(f"[yellow]{unusable:,} of {summary.rows:,} {rows} {have} no usable {what}[/]: {see} (exit code 0)")
    if summary.excluded:
        have = f"{images} has" if summary.excluded == 1 else f"{images}s have"
        more = "exit code 1; --set data.missing=ignore where this is as it should be"
        out.print(f"[yellow]{summary.excluded:,} {have} a {what} but no usable image[/]: {see} ({more})")
