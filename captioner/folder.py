"""The output folder: whose it is, and that only one run is at work in it."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from captioner import atomic
from captioner.errors import OutputError

MARKER = "captioner.json"
"""What says whose an output folder is."""


def marker(dataset: str) -> bytes:
    """Return the content of the marker of a dataset's output folder."""
    return (json.dumps({"dataset": dataset, "format": 1}) + "\n").encode()


def claim(out: Path, dataset: str) -> None:
    """Make the output folder a dataset's own.

    Raises:
        OutputError: it is somebody else's.
    """
    path = out / MARKER
    if path.is_file():
        try:
            owner = json.loads(path.read_text(encoding="utf-8"))["dataset"]
        except (ValueError, KeyError, TypeError):
            raise OutputError(
                f"{path}: not a captioner output folder's marker. Choose another folder with --out."
            ) from None
        if owner != dataset:
            raise OutputError(
                f"{out}: holds the output for dataset {owner!r}, not {dataset!r}. Choose another folder with --out."
            )
        return
    foreign = sorted(p.name for p in out.iterdir() if p.name != _LOCK)
    if foreign:
        raise OutputError(
            f"{out}: not empty ({', '.join(foreign[:3])}{', …' if foreign[3:] else ''}), and not made by captioner. "
            "Choose another folder with --out."
        )
    atomic.write(path, marker(dataset))


_LOCK = ".lock"


@contextlib.contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder for as long as this one lives, however it ends.

    Raises:
        OutputError: another run is at work in it, or it is no folder.
    """
    with atomic.storage(out):
        out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise OutputError(
                f"{out}: another run is at work in this folder (process {holder}). Wait for it, or choose another with --out."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
