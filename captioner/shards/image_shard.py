"""One image shard on its way to disk: hashed and written in threads while the next images are read."""

import hashlib
import mmap
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from captioner import atomic
from captioner.shards import tar
from captioner.shards.items import Loaded
from captioner.shards.manifest import Row, Shard

_PIECE = 1 << 21
"""Bytes of a shard that are hashed and written at a time: whole pages of memory. Smaller ones wake threads too often."""
_PIECES = 4
"""One is filled while those before it are hashed and written."""


class _Piece:
    """So many bytes of a shard, and where images lie in them."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _PIECE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.used = 0
        self.parts: list[tuple[int, int, bool]] = []
        """Begin and end of an image or a part of one, and whether it ends there."""
        self.work: list[Future[Any]] = []


class Workers:
    """The threads and the memory that make the shards of a build, one after the other.

    Images are copied into memory that is used again: fresh memory costs more for each than hashing it.
    """

    def __init__(self) -> None:
        # What is given to one of them is done in order.
        self.archive, self.images, self.disk = (ThreadPoolExecutor(1, name) for name in ("archive", "images", "disk"))
        self._pieces = deque(_Piece() for _ in range(_PIECES))

    def piece(self) -> _Piece:
        """Return an empty piece; wait until nothing is done any more with what was in it."""
        piece = self._pieces.popleft()
        self._pieces.append(piece)
        wait(piece.work)
        piece.work.clear()
        piece.parts.clear()
        piece.used = 0
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self.archive, self.images, self.disk):
            pool.shutdown()


class ImageShard:
    """A shard that is being written, under a temporary name.

    Args:
        path: its final name.
        workers: what makes it; only one shard at a time can be added to.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, workers: Workers) -> None:
        self._name = path.name
        self._workers = workers
        self._file = atomic.Unfinished(path)
        self._rows: list[tuple[str, str, tuple[Any, ...], tuple[int, int] | tuple[None, None]]] = []
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._image_sha256 = hashlib.sha256()
        self._hashes: list[str] = []
        self._work: deque[Future[Any]] = deque()
        self._piece = workers.piece()

    def add(self, image: Loaded) -> None:
        """Append an image.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        stored = image.image
        size = len(stored.payload)
        self._append(tar.header(f"{image.key}.{stored.type}", size))
        self._append(stored.payload, is_image=True)
        self._append(tar.padding(size))
        looks = size, stored.width, stored.height, stored.mode, stored.type, stored.converted
        self._rows.append((image.key, image.source, looks, image.frame or (None, None)))

    def _append(self, data: bytes, *, is_image: bool = False) -> None:
        rest = memoryview(data)
        self._size += len(rest)
        while rest:
            piece = self._piece
            begin, end = piece.used, min(piece.used + len(rest), _PIECE)
            piece.memory[begin:end] = rest[: end - begin]
            piece.used = end
            rest = rest[end - begin :]
            if is_image:
                piece.parts.append((begin, end, not rest))
            if end == _PIECE:
                self._hand_over(self._file.write_past_cache)
                self._piece = self._workers.piece()

    def _hand_over(self, write: Callable[[memoryview], object]) -> None:
        """Have the piece hashed and written.

        Raises:
            StorageError: one before it could not be written.
        """
        piece = self._piece
        content = memoryview(piece.memory)[: piece.used]
        piece.work += (
            self._workers.archive.submit(self._sha256.update, content),
            self._workers.images.submit(self._hash_images, content, piece.parts),
            self._workers.disk.submit(write, content),
        )
        self._work += piece.work
        while self._work and self._work[0].done():
            self._work.popleft().result()

    def _hash_images(self, content: memoryview, parts: list[tuple[int, int, bool]]) -> None:
        for begin, end, is_whole in parts:
            self._image_sha256.update(content[begin:end])
            if is_whole:
                self._hashes.append(self._image_sha256.hexdigest())
                self._image_sha256 = hashlib.sha256()

    def end(self) -> None:
        """Append the archive's end; nothing can be added any more.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._append(tar.trailer(self._size))
        self._hand_over(self._file.file.write)

    def finish(self) -> tuple[Shard, list[Row]]:
        """Bring the shard to disk under its name; return what it holds.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        try:
            for work in self._work:
                work.result()
        except BaseException:
            self.give_up()
            raise
        self._file.finish()
        rows = [
            (key, source, sha256, *looks, self._name, *frame)
            for (key, source, looks, frame), sha256 in zip(self._rows, self._hashes, strict=True)
        ]
        return Shard(self._name, len(rows), self._size, self._sha256.hexdigest()), rows

    def give_up(self) -> None:
        """Delete what was written."""
        wait(self._work)
        self._file.give_up()
