"""Files that are whole or not there: a temporary name, fsync, rename, fsync of the folder."""

import errno
import fcntl
import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from captioner.errors import OutputError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet as pq

TEMPORARY = ".tmp"
"""What the name of an unfinished file ends in; no reader takes such a file for a shard."""

_DIRECT = getattr(os, "O_DIRECT", 0)

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space and start again: what is finished is kept",
    errno.EDQUOT: "your quota is used up. Free some space and start again: what is finished is kept",
    errno.EFBIG: "the file grows beyond what is allowed. Ask for fewer images a shard, or lift the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only. Choose another folder",
    errno.EACCES: "permission denied. Choose a folder that you may write to",
    errno.EPERM: "permission denied. Choose a folder that you may write to",
    errno.ENOENT: "its folder is not there, or is there no more. Make it, or choose another",
    errno.EIO: "the disk reports an error. Check it before you start again",
}


_WRONG_PLACE = {
    errno.EEXIST: "is a file, not a folder",
    errno.ENOTDIR: "is a file, not a folder",
    errno.EISDIR: "is a folder, not a file",
}


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn operating system errors of writing ``path`` into errors that say what to do.

    Raises:
        OutputError: there is a file where a folder should be, or the other way round.
        StorageError: anything else: no room, no permission, a failing disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _WRONG_PLACE:
            place = Path(error.filename or path)
            at = next((p for p in (place, *place.parents) if p.exists()), place)
            raise OutputError(f"{at}: {_WRONG_PLACE[error.errno]}. Choose another place to write to.") from error
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {reason}.") from error


class _Target(io.FileIO):
    """A file whose failing writes say what to do."""

    def __init__(self, path: Path, final: Path) -> None:
        super().__init__(path, "wb")
        self._final = final

    def write(self, data: Any, /) -> int:
        with storage(self._final):
            return super().write(data) or 0

    def write_past_cache(self, content: memoryview) -> None:
        flags = fcntl.fcntl(self, fcntl.F_GETFL)
        try:
            with suppress(OSError):  # this file system cannot do it; or more is wrong, which is said below
                fcntl.fcntl(self, fcntl.F_SETFL, flags | _DIRECT)
                content = content[super().write(content[: len(content) // mmap.PAGESIZE * mmap.PAGESIZE]) :]
        finally:
            fcntl.fcntl(self, fcntl.F_SETFL, flags)
        while content:
            content = content[self.write(content) :]


class Unfinished:
    """A file under a temporary name. It gets its own, whole and on disk, when it is finished, and never if it is not.

    Attributes:
        file: what to write to.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + TEMPORARY)
        with storage(path):
            self._target = _Target(self._temporary, path)
        self.file: BinaryIO = io.BufferedWriter(self._target)

    def write_past_cache(self, content: memoryview) -> None:
        """Append memory straight to the disk, where the file system can do that; what is over whole pages is not.

        Filling the system's cache with what nobody will read soon costs more time than the disk takes, and the cache.

        Args:
            content: memory that begins with a page, as ``mmap`` gives it; whole pages have been written so far.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        self.file.flush()
        self._target.write_past_cache(content)

    def finish(self, *, named: bool = True) -> None:
        """Bring the file to disk and give it its name, or give it up.

        Args:
            named: bring the name to disk too; if not, whoever calls does so for several files (:func:`sync_folder`), and
                a power cut before costs a file and never leaves half of one.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        try:
            self.file.flush()
            with storage(self._path):
                os.fsync(self._target.fileno())
                self._target.close()
                self._temporary.replace(self._path)
                if named:
                    sync_folder(self._path.parent)
        except BaseException:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Delete the file; not an error if that fails, or if it was given up before."""
        self._target.close()  # not the buffer: what it still holds is given up, not written
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, *, named: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears under its name, whole and on disk, when the block ends; on an error it never does.

    Args:
        path: the file.
        named: as :meth:`Unfinished.finish` has it.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    unfinished = Unfinished(path)
    try:
        yield unfinished.file
    except BaseException:
        unfinished.give_up()
        raise
    unfinished.finish(named=named)


@contextmanager
def parquet(path: Path, schema: "pa.Schema", **options: Any) -> Iterator["pq.ParquetWriter"]:
    """Write a Parquet file that appears as :func:`replacing` has it.

    Args:
        path: the file.
        schema: of its columns.
        options: further ones of ``pyarrow.parquet.ParquetWriter``.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    from pyarrow import parquet as pq

    with replacing(path) as file:
        writer = pq.ParquetWriter(file, schema, compression="zstd", **options)
        try:
            yield writer
            writer.close()
        except BaseException:
            # PyArrow would end the file once more when the writer is forgotten, and complain that it is closed.
            writer.is_open = False
            raise


def write(path: Path, content: bytes, *, named: bool = True) -> None:
    """Write a small file atomically.

    Args:
        path: the file.
        content: of it.
        named: as :meth:`Unfinished.finish` has it.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with replacing(path, named=named) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to disk, so that a renamed file keeps its name through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not know this; they keep names by themselves
            raise
    finally:
        os.close(descriptor)
