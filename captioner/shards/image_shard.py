"""One image shard on its way to disk: hashed in a thread while the next images are read."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from captioner import atomic
from captioner.shards import tar
from captioner.shards.items import Loaded
from captioner.shards.manifest import Image, Shard

_TOGETHER = 1 << 20


class ImageShard:
    """A shard that is being written, under a temporary name.

    Args:
        path: its final name.
        pool: a thread to hash in.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, pool: ThreadPoolExecutor) -> None:
        self._name = path.name
        self._file = atomic.Unfinished(path)
        self._pool = pool
        self._rows: list[tuple[str, str, int, int, int, str, str, bool]] = []
        self._members: list[tuple[bytes, bytes, bytes]] = []
        self._held = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._hashes: list[str] = []
        self._hashing: Future[None] | None = None

    def add(self, image: Loaded) -> None:
        """Append an image.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        item, stored = image.item, image.image
        size = len(stored.payload)
        self._rows.append(
            (item.key, item.source, size, stored.width, stored.height, stored.mode, stored.type, stored.converted)
        )
        fill = tar.padding(size)
        self._members.append((tar.header(f"{item.key}.{stored.type}", size), stored.payload, fill))
        self._held += tar.BLOCK + size + len(fill)
        if self._held >= _TOGETHER:
            self._write()

    def _write(self) -> None:
        members, self._members = self._members, []
        self._size += self._held
        self._held = 0
        self._wait()  # no more images in memory than are being hashed, and these
        self._hashing = self._pool.submit(self._hash, members)
        self._file.file.write(b"".join(part for member in members for part in member))

    def _hash(self, members: list[tuple[bytes, bytes, bytes]]) -> None:
        # Both hashes of an image in turn: the second finds it in the processor's cache.
        for head, payload, fill in members:
            self._hashes.append(hashlib.sha256(payload).hexdigest())
            self._sha256.update(head)
            self._sha256.update(payload)
            self._sha256.update(fill)

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()

    def end(self) -> None:
        """Append the archive's end; nothing can be added any more.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._write()
        end = tar.trailer(self._size)
        self._size += len(end)
        self._wait()
        self._sha256.update(end)
        self._file.file.write(end)

    def finish(self) -> tuple[Shard, list[Image]]:
        """Bring the shard to disk under its name; return what it holds.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._file.finish()
        return Shard(self._name, len(self._rows), self._size, self._sha256.hexdigest()), list(self._images())

    def _images(self) -> Iterator[Image]:
        for row, sha256 in zip(self._rows, self._hashes, strict=True):
            key, source, size, width, height, mode, kind, converted = row
            yield Image(key, source, sha256, size, width, height, mode, kind, converted, self._name)

    def give_up(self) -> None:
        """Delete what was written."""
        self._file.give_up()
