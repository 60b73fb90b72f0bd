"""One image shard on its way to disk: hashed and written in threads while the next images are read."""

import hashlib
import mmap
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from captioner import atomic
from captioner.shards import tar
from captioner.shards.items import Loaded
from captioner.shards.manifest import Row, Shard

_PIECE = 1 << 21
"""Bytes of a shard, or more, that are hashed and written at a time. Fewer wake threads too often."""
_PIECES = 4
"""One is filled while those before it are hashed and written."""
_ROOM = 1 << 21
"""An image of not quite so many bytes has room behind whatever a piece holds by then, and is read to where it belongs."""


class _Piece:
    """So many bytes of a shard, and the images that begin in it."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, _PIECE + _ROOM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without large pages; with them, copying and writing take less
                memory.madvise(mmap.MADV_HUGEPAGE)
        self.memory = memoryview(memory)
        self.used = 0
        self.images: list[bytes | memoryview] = []
        self.work: tuple[Future[Any], ...] = ()


class Workers:
    """The threads and the memory that make the shards of a build, one after the other.

    Images are read or copied into memory that is used again: fresh memory costs more for each than hashing it.

    Attributes:
        piece: what is being filled.
    """

    def __init__(self) -> None:
        # What is given to one of them is done in order.
        self.archive, self.images, self.disk = (ThreadPoolExecutor(1, name) for name in ("archive", "images", "disk"))
        self._pieces = deque(_Piece() for _ in range(_PIECES))
        self.piece = self._pieces[0]

    def room(self) -> memoryview:
        """Return the memory where the next image belongs: behind its header, with space for the zeros behind it.

        An image that is read into it, and added before anything else is, need not be copied.
        """
        return self.piece.memory[self.piece.used + tar.BLOCK : -tar.BLOCK]

    def turn(self) -> None:
        """Fill another piece; wait until nothing is done any more with what was in it."""
        self._pieces.rotate(-1)
        self.piece = self._pieces[0]
        wait(self.piece.work)
        self.piece.work = ()
        self.piece.used = 0

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
        self._hashes: list[str] = []
        self._work: deque[Future[Any]] = deque()

    def add(self, image: Loaded) -> None:
        """Append an image.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        stored, piece = image.image, self._workers.piece
        payload, size = stored.payload, len(stored.payload)
        header, padding = tar.header(f"{image.key}.{stored.type}", size), tar.padding(size)
        piece.images.append(payload)
        if isinstance(payload, memoryview):  # it was read into Workers.room
            begin = piece.used + tar.BLOCK
            end = begin + size
            piece.memory[piece.used : begin] = header
            piece.used = end + len(padding)
            piece.memory[end : piece.used] = padding
        else:
            for part in (header, payload, padding):
                self._append(part)
        looks = size, stored.width, stored.height, stored.mode, stored.type, stored.converted
        self._rows.append((image.key, image.source, looks, image.frame or (None, None)))
        if self._workers.piece.used >= _PIECE:
            self._hand_over()

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            piece = self._workers.piece
            taken = rest[: len(piece.memory) - piece.used]
            piece.memory[piece.used : piece.used + len(taken)] = taken
            piece.used += len(taken)
            if rest := rest[len(taken) :]:
                self._hand_over()

    def _hand_over(self, *, last: bool = False) -> None:
        """Have the whole pages of the piece hashed and written; what is over begins the next one, unless this is the last.

        Raises:
            StorageError: one before it could not be written.
        """
        workers, piece = self._workers, self._workers.piece
        end = piece.used if last else piece.used // mmap.PAGESIZE * mmap.PAGESIZE
        content, over = piece.memory[:end], piece.memory[end : piece.used]
        self._size += end
        piece.work = (
            workers.archive.submit(self._sha256.update, content),
            workers.images.submit(self._hash_images, piece.images),
            workers.disk.submit(self._file.write_past_cache, content),
        )
        piece.images = []
        self._work += piece.work
        workers.turn()
        workers.piece.memory[: len(over)] = over
        workers.piece.used = len(over)
        while self._work and self._work[0].done():
            self._work.popleft().result()

    def _hash_images(self, images: list[bytes | memoryview]) -> None:
        self._hashes += [hashlib.sha256(image).hexdigest() for image in images]

    def end(self) -> None:
        """Append the archive's end; nothing can be added any more.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self._append(tar.trailer(self._size + self._workers.piece.used))
        self._hand_over(last=True)

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
