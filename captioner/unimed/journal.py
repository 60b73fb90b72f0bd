"""What a build of an output has finished so far, so that it can be resumed; and what a finished one holds.

A line of the journal is on disk before the next tar is begun. What stands behind the last finished tar is done again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Self

from captioner import atomic
from captioner.errors import OutputError
from captioner.shards.manifest import Shard
from captioner.unimed.rows import Reject

NAME = "building.jsonl"
RECORD = "unimed.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What a finished output says of itself.

    Attributes:
        settings: what its bytes depend on.
        shards: in order.
        rejected: code → rows that are not in it.
        notes: what a person should know → of how many samples.
    """

    settings: dict[str, Any]
    shards: tuple[Shard, ...]
    rejected: dict[str, int]
    notes: dict[str, int]

    @property
    def samples(self) -> int:
        """Samples in all tars."""
        return sum(shard.samples for shard in self.shards)


def read_record(folder: Path) -> Record | None:
    """Return what a finished output says of itself, None if it is not finished.

    Raises:
        OutputError: the record is damaged.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_bytes())
        shards = tuple(Shard(**shard) for shard in content["shards"])
        return Record(content["settings"], shards, content["rejected"], content["notes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{path} cannot be read: {error}. Delete {folder} and build it again.") from None


def write_record(folder: Path, record: Record) -> None:
    """Write what a finished output says of itself.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    content = {"samples": record.samples, **asdict(record)}
    atomic.write(folder / RECORD, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


class Journal:
    """The journal of an output that is being built.

    Args:
        folder: the output's folder.
        settings: what its bytes depend on.

    Attributes:
        shards: the tars that are finished.
        passed: items of the source that they, and the rejects between them, have used up.
        notes: of the samples in them.

    Raises:
        OutputError: an interrupted build had other settings.
        StorageError: the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._path = folder / NAME
        self.shards: list[Shard] = []
        self.passed = 0
        self.notes: Counter[str] = Counter()
        with atomic.storage(self._path):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._resume(settings)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _resume(self, settings: dict[str, Any]) -> None:
        """Read what is finished, and cut off what is not."""
        end = position = 0
        found: dict[str, Any] | None = None
        for size, line in self._lines():
            position += size
            if "settings" in line:
                found, end = line["settings"], position
            elif "shard" in line:
                self.shards.append(Shard(*line["shard"]))
                self.passed = line["passed"]
                self.notes.update(line["notes"])
                end = position
        if self.shards and found != settings:
            raise OutputError(
                f"{self._path.parent} holds an interrupted build from other annotations, captions or settings. "
                "Delete the folder, or choose another."
            )
        with atomic.storage(self._path):
            os.ftruncate(self._descriptor, end if found == settings else 0)
        if found != settings:
            self._append({"settings": settings})

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # cut off while it was written
                try:
                    content = json.loads(line)
                except ValueError:
                    content = None
                if not isinstance(content, dict):
                    raise OutputError(f"{self._path}, line {number}, is damaged. Delete the folder and build it again.")
                yield len(line), content

    def _append(self, content: dict[str, Any]) -> None:
        with atomic.storage(self._path):
            line = memoryview(json.dumps(content, separators=(",", ":")).encode() + b"\n")
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)

    def reject(self, rows: Sequence[Reject]) -> None:
        """Record rows that are left out."""
        self._append({"rejects": [astuple(row) for row in rows]})

    def finish(self, shard: Shard, passed: int, notes: Counter[str]) -> None:
        """Record a tar that stands on disk under its name."""
        self._append({"shard": astuple(shard), "passed": passed, "notes": notes})
        self.shards.append(shard)
        self.passed = passed
        self.notes.update(notes)

    def rejects(self) -> Iterator[Reject]:
        """Yield all rows that are left out."""
        for _, line in self._lines():
            yield from (Reject(*row) for row in line.get("rejects", ()))

    def remove(self) -> None:
        """Give up the journal: the build is finished."""
        with atomic.storage(self._path):
            self._path.unlink()
            atomic.sync_folder(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
