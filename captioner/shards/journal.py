"""What a build has finished so far: one line a shard, on disk before the next shard is begun.

The journal exists while a build is under way or was interrupted; its lock keeps a second build out. A line that was cut
off in the middle of being written counts as not there: its shard is made again, to the same bytes.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from captioner.errors import OutputError
from captioner.shards import atomic
from captioner.shards.manifest import Image, Shard

NAME = "building.jsonl"

_RECORDED = [field.name for field in fields(Image) if field.name != "shard"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished shard and its images."""

    shard: Shard
    images: list[Image]


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
            self._file = self.path.open("a+b")
        try:
            self._lock()
            self._repair()
            self._begin(settings)
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            free = False
        else:
            free = os.fstat(self._file.fileno()).st_nlink > 0  # 0: the other build finished between our open and lock
        if not free:
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
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(end)
                break
            end += len(line)

    def _lines_read(self) -> Iterator[object]:
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise OutputError(
                    f"{self.path}, line {number}, is damaged. Delete the folder and build it again."
                ) from error

    def _append(self, content: object) -> None:
        with atomic.storage(self.path):
            self._file.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def add(self, shard: Shard, images: Sequence[Image]) -> None:
        """Record a shard that stands on disk under its final name."""
        columns = [[getattr(image, name) for name in _RECORDED] for image in images]
        self._append({"shard": [shard.name, shard.samples, shard.bytes, shard.sha256], "images": columns})

    def entries(self) -> Iterator[Entry]:
        """Yield what is recorded, in order."""
        lines = self._lines_read()
        next(lines)
        for line in lines:
            match line:
                case {"shard": [*shard], "images": [*images]}:
                    entry = Shard(*shard)
                    yield Entry(entry, [Image(*(*image, entry.name)) for image in images])
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
        self._file.close()


def _shown(settings: object) -> str:
    return ", ".join(f"{k}={v}" for k, v in settings.items()) if isinstance(settings, dict) else str(settings)
