"""Caption shards: a run's captions beside the image shards, with the same shard names, keys and order.

Writing them opens no image. ``run.json`` says which run and which image shards they belong to, so that captions are
never joined with images that they were not written for.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.errors import OutputError, ShardError
from captioner.shards import members, tar
from captioner.shards.manifest import Manifest, Shard, read_manifest, write_sums
from captioner.storage import Place

RECORD = members.RECORD
VERSION = 1

_REMEMBERED = 4096
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_WRITERS = 4
"""Shards that are brought to disk at a time, which takes longer than making one."""


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """What the caption shards of a run hold.

    Attributes:
        images: in the image set.
        captioned: images with captions.
        missing: images without; they have no member.
        shards: their number.
        written: shards that this call wrote; the others had these bytes already.
        bytes: of all shards.
    """

    images: int
    captioned: int
    missing: int
    shards: int
    written: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CaptionRecord:
    """What ``run.json`` says of a folder of caption shards.

    Attributes:
        run: whose captions they are.
        dataset: whose images.
        images: the image set's hash.
        image_shards: SHA-256 of each image shard, in order.
        shards: the caption shards, in order; fewer than image shards while they are being written.
    """

    run: str
    dataset: str
    images: str
    image_shards: tuple[str, ...]
    shards: tuple[Shard, ...]


def read_record(folder: Place) -> CaptionRecord | None:
    """Return what a folder of caption shards says of itself, None if it says nothing.

    Raises:
        ShardError: the record is damaged or of another version.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise ShardError(f"{path} has format {content['version']}, this captioner reads format {VERSION}.")
        shards = tuple(Shard(**shard) for shard in content["shards"])
        images = content["images"]
        return CaptionRecord(content["run"], images["dataset"], images["hash"], tuple(images["shards"]), shards)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path} cannot be read: {error}. Delete {folder} and write the captions again.") from error


def _write_record(folder: Path, record: CaptionRecord) -> None:
    content = {
        "version": VERSION,
        "run": record.run,
        "images": {"dataset": record.dataset, "hash": record.images, "shards": record.image_shards},
        "shards": [asdict(shard) for shard in record.shards],
    }
    atomic.write(folder / RECORD, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def build_captions(
    images: Path,
    folder: Path,
    *,
    captions: Callable[[str], Mapping[str, Any] | None],
    run: str,
    progress: Callable[[int], None] | None = None,
) -> CaptionReport:
    """Write, complete or bring up to date the caption shards of a run.

    A shard that has the right bytes already is not touched, so that calling again is cheap and always right: after a
    kill, after images were added, after more captions were accepted.

    Args:
        images: the folder of image shards.
        folder: where the caption shards go; made if it does not exist.
        captions: gives the record of an item's key, ``{"captions": [...], "labels": [...], "triplet": "…", "run": "…"}``,
            or None if there is none; a record with no captions counts as none. All images of the item's file share it. A
            record is not changed after it was given; many items may share one.
        run: whose captions they are.
        progress: called after each shard with the number of images handled so far.

    Raises:
        OutputError: the folder holds something else, or captions that were written for other images.
        ShardError: there is no finished image set, or its manifest is damaged.
        StorageError: the disk is full or cannot be written; call again to go on.
    """
    manifest = read_manifest(images)
    hashes = tuple(shard.sha256 for shard in manifest.shards)
    _check_folder(folder, manifest, hashes, run)
    found = read_record(folder)
    known = {shard.name: shard for shard in found.shards} if found else {}
    with atomic.storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if found is None or found.images != manifest.hash:
        found = CaptionRecord(run, manifest.dataset, manifest.hash, hashes, found.shards if found else ())
        _write_record(folder, found)
    serialize = _Serializer()
    shards: list[Shard] = []
    written = done = 0
    with ThreadPoolExecutor(_WRITERS, "disk") as pool:
        writing: deque[Future[None]] = deque()
        for image_shard, items in manifest.items_by_shard():
            content, shard = _shard(image_shard.name, items, captions, serialize)
            path = folder / shard.name
            if known.get(shard.name) != shard or not path.is_file() or path.stat().st_size != shard.bytes:
                if shard.name in known and found.shards:
                    # Until all are as they should be, the record must not vouch for what was there before.
                    found = replace(found, shards=())
                    _write_record(folder, found)
                while len(writing) >= _WRITERS:
                    writing.popleft().result()
                writing.append(pool.submit(atomic.write, path, content, named=False))
                written += 1
            shards.append(shard)
            done += len(items)
            if progress is not None:
                progress(done)
        for each in writing:
            each.result()
    if written:
        with atomic.storage(folder):
            atomic.sync_folder(folder)
    record = CaptionRecord(run, manifest.dataset, manifest.hash, hashes, tuple(shards))
    if record != found:
        _write_record(folder, record)
    write_sums(folder, shards, (RECORD,))
    captioned = sum(shard.samples for shard in shards)
    return CaptionReport(
        images=manifest.samples,
        captioned=captioned,
        missing=manifest.samples - captioned,
        shards=len(shards),
        written=written,
        bytes=sum(shard.bytes for shard in shards),
    )


def _check_folder(folder: Path, manifest: Manifest, hashes: tuple[str, ...], run: str) -> None:
    found = read_record(folder)
    tars = {path.name for path in folder.glob("*.tar")}
    if found is None:
        if tars:
            raise OutputError(
                f"{folder} holds shards ({min(tars)} …) but no {RECORD} that says what they are. Choose another folder."
            )
        return
    if found.run != run:
        raise OutputError(f"{folder} holds the captions of run {found.run}, not of {run}. Choose another folder.")
    if found.dataset != manifest.dataset or found.image_shards != hashes[: len(found.image_shards)]:
        raise OutputError(
            f"{folder} holds captions that were written for other images than those in {manifest.folder} "
            f"(image set {found.images}, now {manifest.hash}). Choose another folder, or delete it to write them again."
        )
    if stale := tars - {shard.name for shard in manifest.shards}:
        raise OutputError(f"{folder} holds {min(stale)}, which the image set does not have. Move it away.")


class _Serializer:
    """Records as JSON bytes. Images that share their labels share a record, which is then turned into bytes once."""

    def __init__(self) -> None:
        # By their ids: none that is held here can give its own to another.
        self._recent: dict[int, tuple[Mapping[str, Any], bytes]] = {}

    def __call__(self, record: Mapping[str, Any]) -> bytes:
        known = self._recent.get(id(record))
        if known is not None:
            return known[1]
        content = _JSON.encode(record).encode()
        if len(self._recent) >= _REMEMBERED:
            self._recent.clear()
        self._recent[id(record)] = record, content
        return content


def _shard(
    name: str, items: list[tuple[str, str]], captions: Callable[[str], Mapping[str, Any] | None], serialize: _Serializer
) -> tuple[bytes, Shard]:
    buffer = BytesIO()
    writer = tar.Writer(buffer)
    for key, item in items:
        record = captions(item)
        if record and record.get("captions"):
            writer.add(key + members.SUFFIX, serialize(record))
    writer.finish()
    content = buffer.getvalue()
    return content, Shard(name, writer.members, writer.size, hashlib.sha256(content).hexdigest())
