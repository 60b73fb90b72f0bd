"""One image shard on its way to disk: hashed in threads while the next images are read."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.shards import tar
from captioner.shards.items import Loaded
from captioner.shards.manifest import Row, Shard

HASHES = 2
"""Threads that hashing keeps busy: one for the archive, one for the images in it."""

_PIECE = 1 << 20


class _Piece:
    """Whole members of an archive, one behind the other.

    Images are copied into memory that is used again: fresh memory costs more for each than hashing it.
    """

    def __init__(self) -> None:
        self._bytes = bytearray(_PIECE)
        self.used = 0
        self._images: list[tuple[int, int]] = []

    def fits(self, size: int) -> bool:
        """Say whether a member of a size has room; an empty piece makes room for any."""
        wanted = self.used + tar.BLOCK + size + -size % tar.BLOCK
        if wanted > len(self._bytes) and not self.used:
            self._bytes = bytearray(wanted)
        return wanted <= len(self._bytes)

    def add(self, head: bytes, payload: bytes) -> None:
        """Append a member that fits."""
        begin = self.used + tar.BLOCK
        end = begin + len(payload)
        fill = tar.padding(len(payload))
        self._bytes[self.used : begin] = head
        self._bytes[begin:end] = payload
        self._bytes[end : end + len(fill)] = fill
        self._images.append((begin, end))
        self.used = end + len(fill)

    def view(self) -> memoryview:
        """Return all members."""
        return memoryview(self._bytes)[: self.used]

    def hashes(self) -> list[str]:
        """Return the SHA-256 of each image, in hex."""
        view = self.view()
        return [hashlib.sha256(view[begin:end]).hexdigest() for begin, end in self._images]

    def clear(self) -> None:
        """Make room for others."""
        self.used = 0
        self._images.clear()


class ImageShard:
    """A shard that is being written, under a temporary name.

    Args:
        path: its final name.
        pool: :data:`HASHES` threads to hash in.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, pool: ThreadPoolExecutor) -> None:
        self._name = path.name
        self._file = atomic.Unfinished(path)
        self._pool = pool
        self._rows: list[tuple[str, str, tuple[Any, ...], tuple[int, int] | tuple[None, None]]] = []
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._hashes: list[str] = []
        self._filling, self._other = _Piece(), _Piece()
        self._hashing: tuple[Future[None], Future[list[str]]] | None = None

    def add(self, image: Loaded) -> None:
        """Append an image.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        stored = image.image
        size = len(stored.payload)
        if not self._filling.fits(size):
            self._write()
            self._filling.fits(size)
        self._filling.add(tar.header(f"{image.key}.{stored.type}", size), stored.payload)
        looks = size, stored.width, stored.height, stored.mode, stored.type, stored.converted
        self._rows.append((image.key, image.source, looks, image.frame or (None, None)))

    def _write(self) -> None:
        """Write one piece, and hash it while the other one is filled."""
        piece, members = self._filling, self._filling.view()
        self._wait()
        self._hashing = self._pool.submit(self._sha256.update, members), self._pool.submit(piece.hashes)
        self._file.file.write(members)
        self._size += piece.used
        self._filling, self._other = self._other, piece

    def _wait(self) -> None:
        """Wait until the other piece is hashed, and can be filled again."""
        if self._hashing is not None:
            archive, images = self._hashing
            archive.result()
            self._hashes += images.result()
            self._other.clear()

    def end(self) -> None:
        """Append the archive's end; nothing can be added any more.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._write()
        self._wait()
        end = tar.trailer(self._size)
        self._size += len(end)
        self._sha256.update(end)
        self._file.file.write(end)

    def finish(self) -> tuple[Shard, list[Row]]:
        """Bring the shard to disk under its name; return what it holds.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._file.finish()
        rows = [
            (key, source, sha256, *looks, self._name, *frame)
            for (key, source, looks, frame), sha256 in zip(self._rows, self._hashes, strict=True)
        ]
        return Shard(self._name, len(rows), self._size, self._sha256.hexdigest()), rows

    def give_up(self) -> None:
        """Delete what was written."""
        self._file.give_up()
