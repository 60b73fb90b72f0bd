"""What a folder of image shards holds: ``manifest.parquet``, and the files derived from it.

The manifest is the one truth. Its rows are the images in shard order; its metadata has the dataset and, for each shard,
the number of images, the bytes and the SHA-256 of the file. ``sizes.json`` (images a shard, which some loaders want)
and ``SHA256SUMS`` (for ``sha256sum --check``, and to notice damage to the manifest itself) follow from it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from captioner import atomic
from captioner.errors import ShardError
from captioner.storage import Place, Remote, seekable

NAME = "manifest.parquet"
SIZES = "sizes.json"
SUMS = "SHA256SUMS"
PUSHING = "pushing.json"
"""What a push has put so far; it lies in object storage while a push is under way or was interrupted."""

VERSION = 1

_METADATA = b"captioner"
_ROW_GROUP = 8_192
"""Rows that Parquet keeps together; it remembers some kilobytes of each group until the end."""

_PAGE = 1 << 14
"""Bytes of a column that are packed together: what has to be in memory while a group is written or read."""

_BATCH = 1_024
"""Rows that are Python's objects at a time."""

_REPEATED = ["mode", "type", "shard"]
_MARK = "-f"
_COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("converted", pa.bool_(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("frame", pa.int32()),
        pa.field("frames", pa.int32()),
    ]
)
COLUMNS = tuple(_COLUMNS.names)
_OPTIONAL = frozenset({"frame", "frames"})
"""What manifests have that were written since files with several images are converted."""

Row = tuple[Any, ...]
"""The columns of one image."""


def frame_key(key: str, frame: int) -> str:
    """Return the key of one image of a file with several, from the key of the file and the image's number."""
    return f"{key}{_MARK}{frame:04d}"


def item_key(key: str, frame: int | None) -> str:
    """Return the key of the file that an image came from: the opposite of :func:`frame_key`."""
    return key if frame is None else key.removesuffix(f"{_MARK}{frame:04d}")


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a shard.

    Attributes:
        key: the sample's key.
        source: where it came from, relative to the data root.
        sha256: of its bytes as stored, in hex.
        bytes: its size.
        width, height: in pixels, as stored.
        mode: Pillow's name of its pixel format (``L``, ``RGB``, ``I;16`` …).
        type: ``jpg`` or ``png``: what its bytes are, and the extension of its member.
        converted: whether it was changed on the way; otherwise its bytes are those of the file.
        shard: the file name of its shard.
        frame: which image of a file with several it is, from 1; None for files with one.
        frames: how many images such a file has.
    """

    key: str
    source: str
    sha256: str
    bytes: int
    width: int
    height: int
    mode: str
    type: str
    converted: bool
    shard: str
    frame: int | None = None
    frames: int | None = None

    @property
    def member(self) -> str:
        """The name of the image inside its shard."""
        return f"{self.key}.{self.type}"


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard file: its name, the number of its samples, its bytes and their SHA-256."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image set. Rows stay on disk and are read in pieces: a manifest takes little memory whatever its size.

    Attributes:
        folder: where the shards are.
        dataset: the id that shard names begin with.
        per_shard: the number of images that a full shard has.
        shards: in order.
        conversion: what was changed in images where they needed it; empty if nothing.
    """

    folder: Place
    dataset: str
    per_shard: int
    shards: tuple[Shard, ...]
    conversion: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Identifies the image set: SHA-256 over the dataset and the shards' names and hashes, sixteen hex digits."""
        content = [self.dataset, *([shard.name, shard.sha256] for shard in self.shards)]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:16]

    @property
    def samples(self) -> int:
        """The number of images."""
        return sum(shard.samples for shard in self.shards)

    def images(self) -> Iterator[Image]:
        """Yield every row, in shard order."""
        return (Image(*row) for row in self.rows(*COLUMNS))

    def rows(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield the named columns of every row, in shard order.

        Raises:
            ShardError: the manifest is damaged.
        """
        try:
            with (
                seekable(self.folder / NAME) as source,
                # Read ahead, a file would be in memory as a whole; behind a URL, each piece would be a request.
                pq.ParquetFile(
                    source, pre_buffer=isinstance(self.folder, Remote), page_checksum_verification=True
                ) as file,
            ):
                for batch in file.iter_batches(_BATCH, columns=list(columns), use_threads=False):
                    yield from zip(*(_values(batch, name) for name in columns), strict=True)
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise _unreadable(self.folder, error) from error

    def keys_by_shard(self) -> Iterator[tuple[Shard, list[str]]]:
        """Yield every shard with the keys of its samples, in order."""
        rows = self.rows("key")
        for shard in self.shards:
            yield shard, [key for (key,) in islice(rows, shard.samples)]

    def items_by_shard(self) -> Iterator[tuple[Shard, list[tuple[str, str]]]]:
        """Yield every shard with the keys of its samples, in order, each with the key of the item that it came from."""
        rows = self.rows("key", "frame")
        for shard in self.shards:
            yield (
                shard,
                [(key, key if frame is None else item_key(key, frame)) for key, frame in islice(rows, shard.samples)],
            )


def read_manifest(folder: Place) -> Manifest:
    """Return the manifest of a folder of image shards. Reads the shard list only, however many images there are.

    Raises:
        ShardError: there is none, or it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise ShardError(f"{folder} holds no finished image shards: there is no {NAME}. Build the image shards first.")
    try:
        with seekable(path) as source:
            metadata = pq.read_metadata(source)
        content = json.loads((metadata.metadata or {}).get(_METADATA, b"null"))
        if content["version"] != VERSION:
            raise ShardError(f"{path} has format {content['version']}, this captioner reads format {VERSION}.")
        shards = tuple(Shard(**shard) for shard in content["shards"])
        manifest = Manifest(folder, content["dataset"], content["per_shard"], shards, content["conversion"])
        rows = metadata.num_rows
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise _unreadable(folder, error) from error
    if manifest.samples != rows:
        raise ShardError(f"{path} is damaged: {rows} rows, but its shards have {manifest.samples} images.")
    return manifest


def write_manifest(manifest: Manifest, rows: Iterable[Row]) -> None:
    """Write the manifest and what follows from it. The same image set gives the same bytes.

    Args:
        manifest: what the metadata say.
        rows: all images in shard order, each a tuple of :data:`COLUMNS`.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    content = {
        "version": VERSION,
        "dataset": manifest.dataset,
        "per_shard": manifest.per_shard,
        "conversion": manifest.conversion,
        "shards": [asdict(shard) for shard in manifest.shards],
    }
    folder = manifest.folder
    assert isinstance(folder, Path), "shards are written on this machine"
    write_sizes(folder, manifest.shards)
    with atomic.parquet(
        folder / NAME,
        _COLUMNS,
        use_dictionary=_REPEATED,
        data_page_size=_PAGE,
        write_page_checksum=True,
        store_schema=False,  # a second copy of the metadata; Parquet's own types say all
        write_statistics=False,  # they grow with the number of row groups, and are held until the end
    ) as writer:
        pending = iter(rows)
        while group := list(islice(_tables(pending), _ROW_GROUP // _BATCH)):
            writer.write_table(pa.concat_tables(group), row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata({_METADATA: json.dumps(content, separators=(",", ":")).encode()})
    write_sums(folder, manifest.shards, (NAME, SIZES))


def _tables(rows: Iterator[Row]) -> Iterator[pa.Table]:
    """Yield rows as tables. The rows themselves are not kept."""
    while columns := list(zip(*islice(rows, _BATCH), strict=True)):
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _COLUMNS, strict=True)]
        yield pa.Table.from_arrays(arrays, schema=_COLUMNS)


def write_sizes(folder: Path, shards: Iterable[Shard]) -> None:
    """Write ``sizes.json``: how many samples each shard has."""
    sizes = {shard.name: shard.samples for shard in shards}
    atomic.write(folder / SIZES, json.dumps(sizes, indent=0).encode() + b"\n")


def write_sums(folder: Path, shards: Iterable[Shard], others: Sequence[str]) -> None:
    """Write ``SHA256SUMS`` over the shards, whose hashes are known, and over small files, which are read.

    If it says so already, it is not touched.
    """
    known = {shard.name: shard.sha256 for shard in shards}
    for name in others:
        known[name] = file_hash(folder / name)
    content = _sums(known).encode()
    path = folder / SUMS
    if not path.is_file() or path.read_bytes() != content:
        atomic.write(path, content)


def _sums(known: Mapping[str, str]) -> str:
    return "".join(f"{known[name]}  {name}\n" for name in sorted(known))


def read_sums(folder: Place) -> dict[str, str]:
    """Return what ``SHA256SUMS`` says: file name to hash.

    Raises:
        ShardError: it is missing or damaged.
    """
    try:
        text = (folder / SUMS).read_text("ascii")
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    except (OSError, ValueError) as error:
        raise ShardError(f"{folder / SUMS} cannot be read: {error}.") from error
    if text != _sums(listed):
        raise ShardError(f"{folder / SUMS} is damaged.")
    return listed


def file_hash(path: Place) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    if name in _OPTIONAL and name not in batch.schema.names:
        return [None] * len(batch)
    column = batch.column(name)
    if column.null_count == len(batch):
        return [None] * len(batch)
    values: list[Any] = column.to_pylist()
    return values


def _unreadable(folder: Place, error: Exception) -> ShardError:
    return ShardError(
        f"{folder / NAME} cannot be read: {error}. It is damaged; restore it, or build in another folder."
    )
