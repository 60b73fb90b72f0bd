"""What all commands share: where they print, the options that many have, and how progress is shown."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Change a setting of the pipeline; may be repeated.")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="The dataset's folder (data.root).")]
OutOption = Annotated[Path | None, typer.Option("--out", help="The output folder.")]


def reporter(*, quiet: bool = False, log_json: bool = False) -> Any:
    """Return the progress display that fits where the output goes."""
    from captioner.progress import JsonReporter, LineReporter, LiveReporter

    if log_json:
        return JsonReporter(err)

    if quiet:
        return LineReporter(Console(quiet=True))
    return LiveReporter(err) if err.is_terminal else LineReporter(err)


def print_json(value: Any) -> None:
    """Print JSON on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def few(items: Any, limit: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C end a command with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("stopped. What was accepted is kept: start the same command again to go on.")
        raise typer.Exit(130) from None
