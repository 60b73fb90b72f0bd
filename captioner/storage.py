"""Where files are: paths of this machine, and URLs of object storage (``s3://bucket/folder``) that are read alike.

A :class:`Remote` has the few methods of a ``Path`` that readers need, so that they take either. It is opened through
``fsspec``, which is imported when the first URL is. Credentials come from where fsspec's file systems look for them (the
environment, a profile, a role), never from a URL; what is printed of a URL has no query.
"""

import contextlib
import errno
import io
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeAlias

from captioner.errors import CaptionerError, StorageError, UsageError

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]*\]|[^@:]*)(:\d+)?")
"""A bucket or a host, without anything before an ``@`` or behind a colon but a port."""

_PACKAGES = {
    "s3": "captioner[s3]",
    "s3a": "captioner[s3]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
_HTTP = ("http", "https")
_AHEAD = (1 << 20, 8 << 20)
"""How far is read ahead at first, and at most, where an object is read from front to back."""

_PARTS = 2
"""Parts of a large object that are put at a time; s3fs holds 50 MB of each in memory."""

_GAP = 1 << 20
"""What may be left out between two reads that count as following each other: fetching it is quicker than asking again."""

_SECRET = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+://)(?:[^\s/@'\"]*@)?(?P<path>[^\s?'\"]*)(?:\?[^\s'\"]*)?")


def place(name: "str | os.PathLike[str] | Remote") -> "Place":
    """Return the path or the URL that a text names; what is one already stays as it is.

    Raises:
        UsageError: it is a URL that holds credentials.
    """
    if isinstance(name, Path | Remote):
        return name
    text = os.fspath(name)
    return Remote(text) if _URL.fullmatch(text) else Path(text)


def local(name: "str | os.PathLike[str]") -> Path:
    """Return the path that a text names.

    Raises:
        UsageError: it is a URL; what is written is written on this machine first.
    """
    found = place(name)
    if isinstance(found, Remote):
        raise UsageError(
            f"{found}: output is written to a folder of this machine. Then put it there: captioner shards push OUT {found}"
        )
    return found


def without_secrets(text: str) -> str:
    """Return a text in which URLs have neither a user nor a query, both of which may hold keys."""
    return _SECRET.sub(r"\g<scheme>\g<path>", text)


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of an object: its size in bytes."""

    st_size: int


@dataclass(frozen=True, slots=True, init=False, order=True)
class Remote:
    """An object, or the objects below a prefix, by URL. Nothing is looked up before a method needs it.

    What methods raise: ``FileNotFoundError`` with a reason in ``strerror`` for what is not there, and
    :class:`StorageError` if the storage refuses or does not answer. A remote can be pickled and used after a fork.

    Raises:
        UsageError: the URL holds credentials, or names nothing.
    """

    _url: str
    _query: str

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise UsageError(f"{without_secrets(url)!r} is no URL.")
        protocol, rest = found["protocol"].lower(), found["rest"]
        query = ""
        if protocol in _HTTP:
            rest, mark, query = rest.partition("?")
            query = mark + query
        host, _, path = rest.partition("/")
        if not _HOST.fullmatch(host):
            # It is not repeated: a key may have any character in it, and so end anywhere.
            raise UsageError(
                f"{protocol}://…: the URL holds a user or a key. Leave it out: credentials are taken from the environment."
            )
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not host or ".." in parts:
            raise UsageError(
                f"{without_secrets(url)}: no place that can be read; write it as {protocol}://bucket/folder."
            )
        object.__setattr__(self, "_url", f"{protocol}://" + "/".join([host, *parts]))
        object.__setattr__(self, "_query", query)

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"Remote({self._url!r})"

    @property
    def protocol(self) -> str:
        """The kind of storage: ``s3``, ``gs``, ``https``."""
        return self._url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name with its dot, as of a ``Path``."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its ending, as of a ``Path``."""
        return Path(self.name).stem

    @property
    def parent(self) -> "Remote":
        """The folder; that of a bucket is the bucket."""
        above = self._url.rpartition("/")[0]
        return self if above.endswith("/") else self._at(above)

    def __truediv__(self, name: str) -> "Remote":
        """Return what has a relative name below this.

        Raises:
            UsageError: the name leads out of it.
        """
        if ".." in name.split("/") or name.startswith("/"):
            raise UsageError(f"{name!r} leads out of {self}.")
        return self._at(f"{self._url}/{name}")

    def _at(self, url: str) -> "Remote":
        made = object.__new__(Remote)
        object.__setattr__(made, "_url", url)
        object.__setattr__(made, "_query", self._query)
        return made

    # looking and reading

    @property
    def _path(self) -> str:
        return self._url + self._query

    def exists(self) -> bool:
        """Say whether there is an object, or a folder with one, of this name."""
        with _explained(self, "read"):
            return bool(_filesystem(self).exists(self._path))

    def is_file(self) -> bool:
        """Say whether there is an object of this name."""
        with contextlib.suppress(FileNotFoundError):
            self.stat()
            return True
        return False

    def is_dir(self) -> bool:
        """Say whether there are objects below this; over http, which does not list, never."""
        if self.protocol in _HTTP:
            return False
        with _explained(self, "list"):
            return bool(_filesystem(self).isdir(self._path))

    def stat(self) -> Stat:
        """Return what is known of the object."""
        with _explained(self, "read"):
            found = _filesystem(self).info(self._path)
            if found["type"] != "file":
                raise FileNotFoundError
            if found["size"] is None:
                raise OSError("the server does not say how large it is")
            return Stat(int(found["size"]))

    def read_bytes(self) -> bytes:
        """Return the object's content."""
        with _explained(self, "read"):
            content: bytes = _filesystem(self).cat_file(self._path)
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the object's content as text."""
        return self.read_bytes().decode(encoding)

    def read_part(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to before ``end``, all of them.

        Raises:
            StorageError: there are fewer, or more: the object was changed, or its server gives no parts.
        """
        with _explained(self, "read"):
            content: bytes = _filesystem(self).cat_file(self._path, start=start, end=end) if end > start else b""
            if len(content) != end - start:
                raise OSError(
                    f"{len(content)} bytes came instead of {end - start}; it was changed, or the server gives no parts"
                )
        return content

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:  # noqa: ARG002 - as of a Path
        """Open the object for reading, in parts as they are needed."""
        return io.BufferedReader(_File(self), 1 << 16)

    def iterdir(self) -> Iterator["Remote"]:
        """Yield what lies directly below this, in order; over http nothing."""
        if self.protocol in _HTTP:
            return
        for name in _matching(self, "*"):
            yield self / name

    def glob(self, pattern: str) -> list["Remote"]:
        """Return what matches a relative pattern of ``*``, in order; over http nothing."""
        return [] if self.protocol in _HTTP else [self / name for name in _matching(self, pattern)]

    def files(self) -> Mapping[str, int]:
        """Return every object below this: path relative to it → size in bytes, sorted by path; none is not an error.

        Objects whose names could be mistaken for others (``a//b``, ``a/../b``) are left out.

        Raises:
            UsageError: the storage does not list (http).
        """
        if self.protocol in _HTTP:
            raise UsageError(
                f"{self}: what lies there cannot be listed over {self.protocol}. Use a folder or a bucket."
            )
        memory = _LISTINGS.get()
        if memory is not None and self in memory:
            return memory[self]
        with _explained(self, "list", needed=True):
            system = _filesystem(self)
            found = system.find(self._path, detail=True)
            prefix = system._strip_protocol(self._path).rstrip("/") + "/"  # noqa: SLF001 - fsspec's way to compare names
        below = ((path.removeprefix(prefix), info) for path, info in found.items() if path.startswith(prefix))
        files = {
            path: int(info["size"])
            for path, info in sorted(below)
            if info["type"] == "file" and not {"", ".", ".."} & set(path.split("/"))
        }
        if memory is not None:
            memory[self] = files
        return files

    # writing: an object is there whole, or as it was before

    def put(self, file: Path) -> None:
        """Make the object have a file's content.

        Raises:
            StorageError: it cannot be written; the object is as it was before.
        """
        with _explained(self, "write", needed=True):
            _filesystem(self).put_file(str(file), self._path)

    def write_bytes(self, content: bytes) -> None:
        """Make the object have a content.

        Raises:
            StorageError: it cannot be written; the object is as it was before.
        """
        with _explained(self, "write", needed=True):
            _filesystem(self).pipe_file(self._path, content)

    def unlink(self) -> None:
        """Delete the object.

        Raises:
            StorageError: it cannot be deleted.
        """
        with _explained(self, "delete", needed=True):
            _filesystem(self).rm_file(self._path)


Place: TypeAlias = Path | Remote
"""A path, or a URL."""


def matching(folder: Place, pattern: str) -> list[Place]:
    """Return what matches a relative pattern of ``*`` below a folder, in the order of names."""
    found: list[Place] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def seekable(file: Place) -> contextlib.AbstractContextManager[Any]:
    """Return, for a ``with``, what Arrow reads a file from: its path, or a file object over the object behind a URL."""
    return file.open("rb") if isinstance(file, Remote) else contextlib.nullcontext(file)


def relative(file: Place, folder: Place) -> str:
    """Return the path from a folder to what lies below it, ``/`` between parts."""
    return PurePosixPath(str(file)).relative_to(str(folder)).as_posix()


_LISTINGS: ContextVar[dict[Remote, Mapping[str, int]] | None] = ContextVar("listings", default=None)


@contextlib.contextmanager
def listed_once() -> Iterator[None]:
    """Within this, list each remote folder once, however often its files are asked for."""
    token = _LISTINGS.set({})
    try:
        yield
    finally:
        _LISTINGS.reset(token)


class Bytes(Protocol):
    """Bytes by position."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


class Archive(Bytes, Protocol):
    """The bytes of a file, without all of them in memory."""

    def close(self) -> None: ...


def mapped(file: Place) -> Archive:
    """Return a file's bytes by position: a memory map, or parts of an object that are fetched when they are needed.

    Raises:
        OSError: it cannot be read.
        ValueError: it is an empty file.
        StorageError: the storage does not answer.
    """
    if isinstance(file, Remote):
        return Ranges(file)
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


class Ranges:
    """The bytes of an object by position. Reads ahead, more and more, as long as it is read from front to back."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._size = remote.stat().st_size
        self._start = self._last = self._ahead = 0
        self._held = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self._size)
        end = max(start, end)
        if start < self._start or end > self._start + len(self._held):
            follows = 0 < self._last <= start <= self._last + _GAP
            self._ahead = min(max(2 * self._ahead, _AHEAD[0]), _AHEAD[1]) if follows else 0
            stop = min(max(end, start + self._ahead), self._size)
            self._held, self._start = self._remote.read_part(start, stop), start
        self._last = end
        return self._held[start - self._start : end - self._start]

    def close(self) -> None:
        """Forget what was read."""
        self._held = b""


class _File(io.RawIOBase):
    """A file object over the parts of an object."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self._bytes = Ranges(remote)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._bytes)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        content = self._bytes[self._position : self._position + len(buffer)]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _matching(folder: Remote, pattern: str) -> list[str]:
    """Return the relative names below a folder that match a pattern; each part of it with a ``*`` lists a level."""
    first, _, rest = pattern.partition("/")
    if "*" not in first:
        below = folder / first
        return [f"{first}/{name}" for name in _matching(below, rest)] if rest else [first] * below.exists()
    wanted = re.compile(".*".join(map(re.escape, first.split("*"))), re.DOTALL)
    try:
        with _explained(folder, "list"):
            found = _filesystem(folder).ls(str(folder), detail=True)
    except FileNotFoundError:
        return []
    names = ((each["name"].rstrip("/").rpartition("/")[2], each["type"] == "directory") for each in found)
    fitting = sorted((name, is_folder) for name, is_folder in names if name and wanted.fullmatch(name))
    if not rest:
        return [name for name, _ in fitting]
    return [f"{name}/{inner}" for name, is_folder in fitting if is_folder for inner in _matching(folder / name, rest)]


def _filesystem(remote: Remote) -> Any:
    return _opened(remote.protocol, os.getpid())


@lru_cache(maxsize=16)
def _opened(protocol: str, _process: int) -> Any:
    """Return what reads a protocol; one a process, for what one process opens does not work in those forked from it."""
    options = {"max_concurrency": _PARTS} if protocol in ("s3", "s3a") else {}
    try:
        import fsspec

        # What a listing said is not remembered: others write there too.
        return fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except ImportError:
        package = _PACKAGES.get(protocol, "fsspec[http]" if protocol in _HTTP else "fsspec")
        raise UsageError(f"{protocol}:// needs a package that is not installed: pip install '{package}'") from None
    except ValueError:
        raise UsageError(
            f"{protocol}:// is no kind of storage that can be read. Use a path, or s3://bucket/folder."
        ) from None


@contextlib.contextmanager
def _explained(remote: Remote, what: str, *, needed: bool = False) -> Iterator[None]:
    """Turn whatever a file system raises into an error that says what and where, and has no secret in it.

    Args:
        remote: what it is about.
        what: is being done to it.
        needed: whether what is missing is a StorageError too.
    """
    try:
        yield
    except CaptionerError:
        raise
    except FileNotFoundError as error:
        reason = "the bucket does not exist" if "bucket does not exist" in str(error) else "there is no such object"
        if needed:
            raise StorageError(f"cannot {what} {remote}: {reason}.") from None
        raise FileNotFoundError(errno.ENOENT, reason, str(remote)) from None
    except Exception as error:  # noqa: BLE001 - each file system has its own
        if isinstance(error, PermissionError) or getattr(error, "status", 0) in (401, 403) or _no_key(error):
            reason = f"access is denied ({_reason(error)}). Check the credentials in the environment"
            raise StorageError(f"cannot {what} {remote}: {reason}.") from None
        raise StorageError(f"cannot {what} {remote}: {_reason(error)}. What is finished is kept; try again.") from None


def _no_key(error: Exception) -> bool:
    return type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}


def _reason(error: Exception) -> str:
    text = without_secrets(str(error) or type(error).__name__)
    return text.strip().rstrip(".")
