"""One output, written: tars of numbered samples, each whole or not there, and a list of the rows that are left out."""

import csv
import io
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.errors import OutputError, UsageError
from captioner.folder import lock
from captioner.shards import tar
from captioner.shards.manifest import Shard, write_sums
from captioner.unimed.excluding import CODE as EXCLUDED
from captioner.unimed.journal import NAME, RECORD, VERSION, Journal, Record, read_record, write_record
from captioner.unimed.outputs import Output
from captioner.unimed.rows import Reject
from captioner.unimed.sources import Item, Source
from captioner.unimed.texts import Unusable

REJECTED = "rejected_rows.csv"
PER_SHARD = 1000
"""Samples that UniMed puts into a tar."""

_TOGETHER = 1000
_PROGRESS = 64


@dataclass(frozen=True, slots=True)
class Built:
    """What an output holds.

    Attributes:
        folder: where it is.
        samples: in all tars.
        shards: their number.
        written: tars that this call wrote.
        rejected: code → rows that are left out; ``rejected_rows.csv`` lists them.
        notes: ``short``, ``filled``, ``unfiltered`` as in :class:`captioner.unimed.texts.Text` → of how many samples.
    """

    folder: Path
    samples: int
    shards: int
    written: int
    rejected: dict[str, int]
    notes: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether no row is left out but those that were to be."""
        return not self.rejected.keys() - {EXCLUDED}


def build(
    output: Output,
    source: Source,
    out: Path,
    *,
    per_shard: int = PER_SHARD,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Write an output's tars ``dataset-000001.tar`` … into its folder, or finish an interrupted build.

    A finished output is not touched: its source is compared, its images are not. The same source gives the same bytes,
    undisturbed or resumed.

    Args:
        output: which.
        source: where its samples come from.
        out: the folder in which the output has its own.
        per_shard: samples a tar.
        progress: called now and then with the number of rows handled so far.

    Raises:
        OutputError: the folder holds something else, was built from something else, or another build is at work in it.
        UsageError: the source has no rows.
        TableError: an annotation file cannot be read as a whole.
        ShardError: a run's shards are damaged.
        StorageError: the disk is full or cannot be written. What is finished is kept; call again to go on.
    """
    folder = out / output.folder
    settings = {"version": VERSION, "output": output.name, "per_shard": per_shard, **source.identity()}
    if (record := read_record(folder)) is not None:
        _check_finished(folder, record, settings)
        return _built(folder, record, 0)
    items = source.items()
    first = next(items, None)  # whatever is wrong with the files as a whole shows before anything is written
    if first is None:
        raise UsageError(f"{output.name}: there are no rows to build it from.")
    with atomic.storage(folder), lock(folder):
        if not (folder / NAME).exists():
            _check_foreign(folder, ())
        with Journal(folder, settings) as journal:
            _check_unfinished(folder, journal.shards)
            before = len(journal.shards)
            everything = chain([first], items)
            _write(folder, islice(everything, journal.passed, None), journal, per_shard, progress)
            rejected = _write_rejects(folder / REJECTED, journal)
            record = Record(settings, tuple(journal.shards), rejected, dict(sorted(journal.notes.items())))
            if record.shards:  # nothing at all is not a result to keep
                write_record(folder, record)
                write_sums(folder, record.shards, (RECORD, REJECTED))
            journal.remove()
    return _built(folder, record, len(record.shards) - before)


def _built(folder: Path, record: Record, written: int) -> Built:
    return Built(folder, record.samples, len(record.shards), written, record.rejected, record.notes)


def _check_finished(folder: Path, record: Record, settings: dict[str, Any]) -> None:
    if record.settings != settings:
        changed = ", ".join(
            sorted(k for k in {*record.settings, *settings} if record.settings.get(k) != settings.get(k))
        )
        raise OutputError(
            f"{folder} was built from something else ({changed} differ). Delete it to build it again, or choose another "
            "folder with --out."
        )
    for shard in record.shards:
        path = folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise OutputError(f"{path} is missing or cut off. Delete {folder} to build it again.")
    _check_foreign(folder, record.shards)


def _check_unfinished(folder: Path, shards: list[Shard]) -> None:
    for shard in shards:
        path = folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise OutputError(f"{path} is missing or cut off. Delete {folder} to build it again.")
    # The next one may have got its name, but not its line in the journal.
    _check_foreign(folder, (*shards, Shard(_name(len(shards)), 0, 0, "")))


def _check_foreign(folder: Path, shards: tuple[Shard, ...]) -> None:
    if foreign := {path.name for path in folder.glob("*.tar")} - {shard.name for shard in shards}:
        raise OutputError(f"{folder} holds {min(foreign)}, which is not part of this build. Choose another folder.")


def _name(position: int) -> str:
    return f"dataset-{position + 1:06d}.tar"


def _write(
    folder: Path,
    items: Iterator[Item | Reject],
    journal: Journal,
    per_shard: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Write tars until the items are used up; nothing is opened before there is a sample for it."""
    passed, samples = journal.passed, sum(shard.samples for shard in journal.shards)
    with ThreadPoolExecutor(1, "hash") as hasher, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd headers of images that can be decoded
        shard: _Tar | None = None
        rejects: list[Reject] = []
        try:
            for found in _loaded(items):
                passed += 1
                if progress is not None and not passed % _PROGRESS:
                    progress(passed)
                if isinstance(found, Reject):
                    rejects.append(found)
                    if len(rejects) >= _TOGETHER:
                        journal.reject(rejects)
                        rejects = []
                    continue
                if shard is None:
                    shard = _Tar(folder / _name(len(journal.shards)), hasher)
                item, image = found
                shard.add(f"{samples:06d}", image, item.entry.text, item.entry.notes)
                samples += 1
                if shard.samples == per_shard:
                    _finish(shard, journal, passed, rejects)
                    shard, rejects = None, []
            if shard is not None:
                _finish(shard, journal, passed, rejects)
            elif rejects:
                journal.reject(rejects)
        except BaseException:
            if shard is not None:
                shard.give_up()
            raise
    if progress is not None:
        progress(passed)


def _finish(shard: "_Tar", journal: Journal, passed: int, rejects: list[Reject]) -> None:
    done = shard.finish()
    if rejects:
        journal.reject(rejects)
    journal.finish(done, passed, shard.notes)


class _Tar:
    """A tar that is being written, under a temporary name."""

    def __init__(self, path: Path, hasher: ThreadPoolExecutor) -> None:
        self._name = path.name
        self._file = atomic.Unfinished(path)
        self._target = tar.Hashing(self._file.file, hasher)
        self._writer = tar.Writer(self._target)
        self.samples = 0
        self.notes: Counter[str] = Counter()

    def add(self, number: str, image: bytes, text: bytes, notes: tuple[str, ...]) -> None:
        self._writer.add(f"{number}.jpg", image)  # whatever the image's type, as UniMed's scripts do
        self._writer.add(f"{number}.txt", text)
        self.samples += 1
        self.notes.update(notes)

    def finish(self) -> Shard:
        self._writer.finish()
        digest = self._target.sha256()
        self._file.finish()
        return Shard(self._name, self.samples, self._writer.size, digest)

    def give_up(self) -> None:
        self._file.give_up()


def _loaded(items: Iterator[Item | Reject]) -> Iterator[tuple[Item, bytes] | Reject]:
    """Load images in the items' order, in threads a few ahead of the writer: Pillow frees the interpreter."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers, "decode") as pool:
        ahead: deque[Reject | Future[tuple[Item, bytes] | Reject]] = deque()
        for item in items:
            ahead.append(item if isinstance(item, Reject) else pool.submit(_load, item))
            if len(ahead) > 2 * workers:
                yield _result(ahead.popleft())
        while ahead:
            yield _result(ahead.popleft())


def _result(found: Reject | Future[tuple[Item, bytes] | Reject]) -> tuple[Item, bytes] | Reject:
    return found if isinstance(found, Reject) else found.result()


def _load(item: Item) -> tuple[Item, bytes] | Reject:
    try:
        return item, item.load()
    except Unusable as problem:
        row = item.entry
        return Reject(row.file, row.row, "image", row.image, problem.code, problem.reason)


def _write_rejects(path: Path, journal: Journal) -> dict[str, int]:
    """Write the rows that are left out, with the reason for each; return how many there are of each code."""
    codes: Counter[str] = Counter()
    with atomic.replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in fields(Reject))
        for row in journal.rejects():
            codes[row.code] += 1
            writer.writerow(astuple(row))
        text.flush()
        text.detach()
    return dict(sorted(codes.items()))
