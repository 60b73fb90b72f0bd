"""The rows of an export: images that have captions, with where they stand; no image is opened."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.errors import ShardError
from captioner.shards.captions import CaptionRecord, read_record
from captioner.shards.manifest import Manifest, read_manifest
from captioner.shards.members import read_members

Missing = Literal["error", "skip"]
"""What happens to an image without captions: stop, or leave it out."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export holds.

    Attributes:
        samples: images with captions.
        missing: images without, which were left out.
        files: files of images or text, the lists beside them not counted.
        bytes: of those files.
    """

    samples: int
    missing: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """An image that has captions, and where it stands in the image set."""

    position: int
    key: str
    source: str
    type: str
    sha256: str
    shard: str
    record: bytes


class Rows:
    """Iterates over the images of a set that have captions in a run, and counts them. No image is opened.

    Attributes:
        found: images with captions so far.
        missed: images without so far.
    """

    def __init__(self, images: Path, captions: Path, missing: Missing) -> None:
        self.found = self.missed = 0
        manifest = read_manifest(images)
        written = {shard.name for shard in record_of(manifest, captions).shards}
        self._rows = self._read(manifest, captions, written, missing)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        return next(self._rows)

    def _read(self, manifest: Manifest, captions: Path, written: set[str], missing: Missing) -> Iterator[Row]:
        loaded = ""
        records: dict[str, bytes] = {}
        columns = manifest.rows("key", "source", "type", "sha256", "shard")
        for position, (key, source, kind, sha256, shard) in enumerate(columns):
            if shard != loaded:
                loaded, records = shard, read_members(captions / shard) if shard in written else {}
            if (record := records.get(key)) is not None:
                self.found += 1
                yield Row(position, key, source, kind, sha256, shard, record)
            elif missing == "error":
                raise ShardError(f"{captions} has no captions for {key}. Export with missing='skip' to leave it out.")
            else:
                self.missed += 1

    def report(self, target: Path) -> ExportReport:
        """Return the report of a single file."""
        return ExportReport(self.found, self.missed, 1, target.stat().st_size)


def record_of(manifest: Manifest, captions: Path) -> CaptionRecord:
    """Return what a folder of caption shards says of itself, if it fits the images."""
    record = read_record(captions)
    if record is None:
        raise ShardError(f"{captions} holds no caption shards.")
    hashes = tuple(shard.sha256 for shard in manifest.shards)
    if record.dataset != manifest.dataset or record.image_shards != hashes[: len(record.image_shards)]:
        raise ShardError(f"{captions} holds captions of other images than those in {manifest.folder}.")
    return record
