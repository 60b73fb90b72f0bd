"""What a build has finished so far: one line a shard, on disk before the next shard is begun.

The journal exists while a build is under way or was interrupted; its lock keeps a second build out. A line that was cut
off in the middle of being written counts as not there: its shard is made again, to the same bytes.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from captioner import atomic
from captioner.errors import OutputError
from captioner.shards.manifest import COLUMNS, Row, Shard

NAME = "building.jsonl"

_SHARD = COLUMNS.index("shard")
"""Not written with each image: it is that of the line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished shard and the rows of its images, as the manifest will have them."""

    shard: Shard
    rows: list[Row]


class Journal:
    """The open and locked journal of a folder."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        """Open the folder's journal, or begin one.

        Args:
            folder: where the shards are.
            settings: what the bytes of the shards depend on; an interrupted build is only resumed with the same.

        Raises:
            OutputError: another build is at work, or an interrupted one had other settings.
            StorageError: the disk is full or cannot be written.
        """
        self.path = folder / NAME
        with atomic.storage(self.path):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock()
            self._repair()
            self._begin(settings)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self) -> None:
        free = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError:  # a file system that knows no locks
            return
        if not free or not os.fstat(self._descriptor).st_nlink:  # removed: the other build has finished this moment
            raise OutputError(
                f"{self.path.parent} is in use: another build of these image shards is at work. Wait for it to finish."
            )

    def _begin(self, settings: dict[str, object]) -> None:
        if (found := next(self._lines_read(), None)) is None:
            self._append(settings)
        elif found != settings:
            raise OutputError(
                f"{self.path.parent} holds an interrupted build with other settings ({_shown(found)}; now "
                f"{_shown(settings)}). Start again with those, or delete the folder."
            )

    def _repair(self) -> None:
        """Cut off a last line that was not written to its end."""
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._descriptor, end)
                    break
                end += len(line)

    def _lines_read(self) -> Iterator[object]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise OutputError(
                        f"{self.path}, line {number}, is damaged. Delete the folder and build it again."
                    ) from error

    def _append(self, content: object) -> None:
        with atomic.storage(self.path):
            line = memoryview(json.dumps(content, separators=(",", ":")).encode() + b"\n")
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)

    def add(self, shard: Shard, rows: Sequence[Row]) -> None:
        """Record a shard that stands on disk under its final name, and the manifest's rows of its images."""
        images = [row[:_SHARD] + row[_SHARD + 1 :] for row in rows]
        self._append({"shard": [shard.name, shard.samples, shard.bytes, shard.sha256], "images": images})

    def entries(self) -> Iterator[Entry]:
        """Yield what is recorded, in order."""
        lines = self._lines_read()
        next(lines)
        for line in lines:
            match line:
                case {"shard": [*shard], "images": [*images]}:
                    entry = Shard(*shard)
                    yield Entry(entry, [(*image[:_SHARD], entry.name, *image[_SHARD:]) for image in images])
                case _:
                    raise OutputError(f"{self.path} is damaged. Delete the folder and build it again.")

    def remove(self) -> None:
        """Give up the journal: the build is finished."""
        with atomic.storage(self.path):
            self.path.unlink()
            atomic.sync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _shown(settings: object) -> str:
    return ", ".join(f"{k}={v}" for k, v in settings.items()) if isinstance(settings, dict) else str(settings)
