"""An output folder's shards, and what its runs say of themselves, put into object storage; never a ledger.

An object is there whole or as it was before. What vouches for shards (``manifest.parquet``, ``run.json``) comes behind
them, and goes before one of them is replaced: a reader finds what it is promised, whenever a push ends. What was put is
known by checksum, from the manifests there and from a journal beside them while a push is at work, never because an
object exists. So a push that was killed goes on where it stopped, and ends with the same objects.
"""

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import OutputError, ShardError, UsageError, did_you_mean
from captioner.folder import MARKER, lock, marker
from captioner.shards import journal, manifest
from captioner.shards.captions import RECORD, CaptionRecord, read_record
from captioner.shards.manifest import PUSHING, SIZES, SUMS, Manifest, Shard, file_hash, read_manifest, read_sums
from captioner.storage import Place, Remote, place

_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs"})
"""Storage in which an object appears whole or not at all."""

_AT_ONCE = 4
_OF_A_RUN = ("support_sets.parquet", "captions.parquet", "summary.json", "pipeline.yaml")

Progress = Callable[[int, int], None]
"""Called with the number of shards handled, from 0 on, and the number of all."""


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did.

    Attributes:
        put: objects that were written.
        bytes: of these.
        kept: shards that were there already.
        runs: whose captions are there now.
        left_out: run → why its captions are not.
    """

    put: int
    bytes: int
    kept: int
    runs: tuple[str, ...]
    left_out: Mapping[str, str]


def push(out: Path, target: str | Place, *, run: str | None = None, progress: Progress | None = None) -> PushReport:
    """Put an output folder's shards, manifests, support sets and summaries into object storage, as far as they are new.

    Args:
        out: the output folder; image shards, runs, or both.
        target: the folder to put them into, ``s3://bucket/folder``: empty, or one that an earlier push of this dataset
            went into.
        run: push the captions of this run alone; otherwise those of every finished run.
        progress: called at first and after each shard.

    Raises:
        UsageError: there is nothing to push, no such run, or the target is no object storage.
        OutputError: the target holds something else or other images, or the folder is in use or unfinished.
        ShardError: what the folder holds is damaged.
        StorageError: the storage refuses or does not answer. Push again to go on.
    """
    there = place(target)
    if not isinstance(there, Remote) or there.protocol not in _WHOLE:
        raise UsageError(
            f"{there} is no object storage. Shards are pushed to s3://, gs:// or az://; to a folder, copy them."
        )
    if not out.is_dir():
        raise UsageError(f"{out}: no such folder.")
    with lock(out) if os.access(out, os.W_OK) else contextlib.nullcontext():
        images = _images_of(out)
        runs, left_out = _runs_of(out, images, run)
        if images is None and not runs:
            raise UsageError(f"{out} holds neither image shards nor a finished run: there is nothing to push.")
        sets = [_of_images(out, images)] if images else []
        sets += [_of_run(out, name, record) for name, record in runs.items()]
        for each in sets:
            each.check()
        work = _Push(there, progress, sum(len(each.shards) for each in sets))
        work.claim(images.dataset if images else _dataset_of(out))
        for each in sets:
            each.refuse_others(there, work)
        for each in sets:
            work.put_set(each)
    return PushReport(work.put, work.bytes, work.kept, tuple(runs), left_out)


# ---- what there is to push


@dataclass(frozen=True, slots=True)
class _Set:
    """Shards, and the files that say what they are.

    Attributes:
        out: the output folder.
        folder: of the shards, relative to it.
        shards: in order.
        listed: files whose hashes ``SHA256SUMS`` has beside those of the shards.
        others: files that are put before the last one, relative to the output folder.
        last: what vouches for the shards, relative to the output folder.
        growing: shards may be added, but not replaced.
    """

    out: Path
    folder: str
    shards: tuple[Shard, ...]
    listed: tuple[str, ...]
    others: tuple[str, ...]
    last: str | None
    growing: bool

    def check(self) -> None:
        """Refuse a folder whose list of checksums is not that of its shards; shards are read when they are put."""
        if self.last is None:
            return
        folder = self.out / self.folder
        expected = {shard.name: shard.sha256 for shard in self.shards}
        expected |= {name: file_hash(folder / name) for name in self.listed}
        if read_sums(folder) != expected:
            raise ShardError(f"{folder / SUMS} is not what the folder holds. Build or run again, or verify {self.out}.")

    def vouched(self, target: Remote, names: Mapping[str, int]) -> dict[str, str]:
        """Return the shards that the target's own manifest vouches for, with their hashes."""
        if self.last is None or self.last not in names:
            return {}
        folder = target / self.folder
        if self.growing:
            return {shard.name: shard.sha256 for shard in read_manifest(folder).shards}
        record = read_record(folder)
        return {shard.name: shard.sha256 for shard in record.shards} if record else {}

    def refuse_others(self, target: Remote, work: "_Push") -> None:
        """Refuse a target with shards that are not of this set.

        Raises:
            OutputError: it has some.
        """
        folder = target / self.folder
        names = {shard.name: shard.sha256 for shard in self.shards}
        begun = work.journal(self.folder)
        found = self.vouched(target, work.there)
        if self.growing:
            for name, sha256 in (found | begun).items():
                if names.get(name) != sha256:
                    raise OutputError(
                        f"{folder} holds other images than {self.out / self.folder}: its {name} is not the one here. "
                        "Push to another folder."
                    )
        if strange := sorted(work.tars(self.folder) - names.keys()):
            raise OutputError(
                f"{folder} holds {strange[0]}, which {self.out / self.folder} does not have. "
                "Move it away, or push to another folder."
            )


def _images_of(out: Path) -> Manifest | None:
    folder = out / "images"
    if (folder / journal.NAME).exists():
        raise OutputError(f"{folder} holds an unfinished build. Build or run again to finish it, then push.")
    return read_manifest(folder) if folder.is_dir() else None


def _runs_of(
    out: Path, images: Manifest | None, wanted: str | None
) -> tuple[dict[str, CaptionRecord | None], dict[str, str]]:
    """Return the runs to push, and why others are left out."""
    names = sorted(path.name for path in out.glob("runs/*") if path.is_dir())
    if wanted is not None and wanted not in names:
        raise UsageError(
            f"{out}: no run {wanted!r}; it has: {', '.join(names) or 'none'}.{did_you_mean(wanted, names)}"
        )
    runs: dict[str, CaptionRecord | None] = {}
    left_out: dict[str, str] = {}
    for name in [wanted] if wanted is not None else names:
        folder = out / "runs" / name
        record = read_record(folder / "captions")
        if reason := _unfit(folder, record, images):
            left_out[name] = reason
        else:
            runs[name] = record
    if wanted is not None and left_out:
        raise OutputError(f"{out / 'runs' / wanted}: {left_out[wanted]}.")
    return runs, left_out


def _unfit(folder: Path, record: CaptionRecord | None, images: Manifest | None) -> str | None:
    if not (folder / "support_sets.parquet").is_file():
        return "the run is not finished; start it again"
    if record is None:
        return None if (folder / "captions.parquet").is_file() else "it has no captions; start it again"
    if len(record.shards) != len(record.image_shards):
        return f"its captions are not all written; write them with: captioner shards captions {folder}"
    hashes = tuple(shard.sha256 for shard in images.shards) if images else ()
    if images is None or record.dataset != images.dataset or record.image_shards != hashes[: len(record.image_shards)]:
        return "its captions were written for other images"
    return None


def _of_images(out: Path, found: Manifest) -> _Set:
    others = (f"images/{SIZES}", f"images/{SUMS}")
    return _Set(out, "images", found.shards, (manifest.NAME, SIZES), others, f"images/{manifest.NAME}", growing=True)


def _of_run(out: Path, name: str, record: CaptionRecord | None) -> _Set:
    folder = f"runs/{name}/captions"
    files = tuple(f"runs/{name}/{file}" for file in _OF_A_RUN if (out / "runs" / name / file).is_file())
    if record is None:
        return _Set(out, folder, (), (), files, None, growing=False)
    return _Set(
        out, folder, record.shards, (RECORD,), (f"{folder}/{SUMS}", *files), f"{folder}/{RECORD}", growing=False
    )


def _dataset_of(out: Path) -> str:
    try:
        return str(json.loads((out / MARKER).read_text(encoding="utf-8"))["dataset"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{out} is no output folder of captioner's: it has no {MARKER}.") from None


# ---- putting it


class _Push:
    """One call of push.

    Attributes:
        there: what the target held at first: path → bytes.
        put, bytes, kept: as in the report.
    """

    def __init__(self, target: Remote, progress: Progress | None, shards: int) -> None:
        self.target = target
        self.there = dict(target.files())
        self.put = self.bytes = self.kept = 0
        self._progress, self._shards, self._handled = progress, shards, 0
        self._advance(0)

    def claim(self, dataset: str) -> None:
        """Make the target this dataset's, before anything else is put there.

        Raises:
            OutputError: it is somebody else's.
        """
        if MARKER not in self.there:
            if self.there:
                few = ", ".join(list(self.there)[:3]) + (" …" if len(self.there) > 3 else "")
                raise OutputError(
                    f"{self.target} is not empty ({few}), and nothing was pushed to it before. Choose another folder."
                )
            content = marker(dataset)
            (self.target / MARKER).write_bytes(content)
            self._count(len(content))
            return
        try:
            owner = json.loads((self.target / MARKER).read_bytes())["dataset"]
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{self.target / MARKER} is not captioner's. Push to another folder.") from None
        if owner != dataset:
            raise OutputError(f"{self.target} holds the dataset {owner!r}, not {dataset!r}. Push to another folder.")

    def tars(self, folder: str) -> set[str]:
        """Return the names of the shards that the target held in a folder."""
        names = {path.removeprefix(f"{folder}/") for path in self.there if path.startswith(f"{folder}/")}
        return {name for name in names if name.endswith(".tar") and "/" not in name}

    def journal(self, folder: str) -> dict[str, str]:
        """Return what an interrupted push had put into a folder: name → hash."""
        path = f"{folder}/{PUSHING}"
        if path not in self.there:
            return {}
        try:
            found = json.loads((self.target / path).read_bytes())["put"]
            return {str(name): str(sha256) for name, sha256 in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutputError(f"{self.target / path} is damaged. Delete it and push again.") from None

    def put_set(self, each: _Set) -> None:
        """Bring the target up to date with a set of shards, in an order in which nothing is promised too early."""
        known = each.vouched(self.target, self.there) | self.journal(each.folder)
        done: dict[str, str] = {}
        todo: list[Shard] = []
        for shard in each.shards:
            size = self.there.get(f"{each.folder}/{shard.name}")
            if known.get(shard.name) == shard.sha256 and size == shard.bytes:
                done[shard.name] = shard.sha256
            else:
                todo.append(shard)
        self.kept += len(done)
        if done:
            self._advance(len(done))
        if any(known.get(shard.name, shard.sha256) != shard.sha256 for shard in todo):
            # Nothing there may vouch for shards that are about to be replaced, and for the others something must.
            self._write_journal(each.folder, done)
            if each.last and self.there.pop(each.last, None) is not None:
                (self.target / each.last).unlink()
        self._put_shards(each, todo, done)
        for path in (*each.others, each.last):
            if path and not self._same(each.out, path):
                self._put(each.out, path)
        if f"{each.folder}/{PUSHING}" in self.there:
            (self.target / each.folder / PUSHING).unlink()

    def _put_shards(self, each: _Set, todo: Sequence[Shard], done: dict[str, str]) -> None:
        """Put shards, a few at a time, and write down now and then which are there."""
        noted = len(done)
        try:
            for shard in self._putting(each, todo):
                done[shard.name] = shard.sha256
                self._count(shard.bytes)
                self._advance(1)
                if len(done) - noted > len(done) // 20:
                    self._write_journal(each.folder, done)
                    noted = len(done)
        except BaseException:
            if len(done) > noted:
                with contextlib.suppress(Exception):  # the storage may be what failed
                    self._write_journal(each.folder, done)
            raise

    def _putting(self, each: _Set, todo: Sequence[Shard]) -> Iterator[Shard]:
        with ThreadPoolExecutor(_AT_ONCE, "push") as pool:
            ahead: deque[Future[Shard]] = deque()
            for shard in todo:
                ahead.append(pool.submit(self._put_shard, each, shard))
                if len(ahead) >= _AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _put_shard(self, each: _Set, shard: Shard) -> Shard:
        path = f"{each.folder}/{shard.name}"
        if not (each.out / path).is_file() or file_hash(each.out / path) != shard.sha256:
            raise ShardError(f"{each.out / path} is missing or damaged. Restore it; captioner shards verify says more.")
        (self.target / path).put(each.out / path)
        return shard

    def _put(self, out: Path, path: str) -> None:
        (self.target / path).put(out / path)
        self._count((out / path).stat().st_size)

    def _count(self, size: int) -> None:
        self.put += 1
        self.bytes += size

    def _write_journal(self, folder: str, done: Mapping[str, str]) -> None:
        path = f"{folder}/{PUSHING}"
        content = json.dumps({"put": done}, separators=(",", ":")).encode()
        (self.target / path).write_bytes(content)
        self.there[path] = len(content)

    def _same(self, out: Path, path: str) -> bool:
        """Say whether an object has a file's content."""
        if self.there.get(path) != (out / path).stat().st_size:
            return False
        return file_hash(self.target / path) == file_hash(out / path)

    def _advance(self, shards: int) -> None:
        self._handled += shards
        if self._progress is not None:
            self._progress(self._handled, self._shards)
