"""One image on its way into a shard: read once, checked, its bytes unchanged."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captioner.images import HEAD, sniff
from captioner.shards import tar
from captioner.shards.convert import NOTHING, Conversion, Stored, accepts, stored
from captioner.shards.manifest import frame_key
from captioner.shards.windows import Refused
from captioner.storage import Place, Remote

_SMALL = 1 << 20
"""Bytes up to which a file is read before it is looked at."""


@dataclass(frozen=True, slots=True)
class ImageItem:
    """An image to put into a shard.

    Attributes:
        key: the sample's key: 1 to 80 of ``A-Z a-z 0-9 _ -``, not beginning with two underscores, unique in the dataset.
        path: the file, or the object behind a URL.
        source: its path relative to the data root, as the manifest records it.
    """

    key: str
    path: Place
    source: str


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """An image that is not in the shards, and why.

    Attributes:
        key, source: as in the item.
        code: ``missing_image``, ``unreadable``, ``corrupt_image``, ``unsupported_type``,
            ``changed_while_read``, ``outside_root``, ``invalid_key`` or ``duplicate_key``.
        reason: one sentence for a person.
        frame: which image of the file, from 1; None if it is about the file as a whole.
    """

    key: str
    source: str
    code: str
    reason: str
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image in memory, ready to be written.

    Attributes:
        key: its own: that of the item, and of a file with several images the frame's number behind it.
        source: as in the item.
        image: what is stored.
        frame: which image of the file, from 1, and of how many; None for a file with one image.
    """

    key: str
    source: str
    image: Stored
    frame: tuple[int, int] | None = None


def load(
    item: ImageItem,
    *,
    decode: bool,
    conversion: Conversion = NOTHING,
    root: str = "",
    room: Callable[[], memoryview] | None = None,
) -> list[Loaded | ImageProblem]:
    """Read an image into memory and look at it.

    The bytes that are looked at and returned are the same: the file is read once.

    Args:
        item: what to read.
        conversion: what may be changed; by default nothing.
        decode: decode every pixel, which finds files that were cut off; otherwise only the header is read.
        root: what the real path of a file must begin with.
        room: gives memory to read the file into, if it is small enough; the image that is returned lies there then.

    Returns:
        The image; or each image of a file with several, where such files may be converted.
    """
    try:
        place = item.path
        kind, payload = _fetch(place, conversion) if isinstance(place, Remote) else _read(place, conversion, root, room)
        found = stored(payload, kind, conversion, decode=decode)
    except Refused as refused:
        return [ImageProblem(item.key, item.source, refused.code, refused.reason)]
    total = len(found)
    if total > 1:
        return [_frame(item, image, number, total) for number, image in found.items()]
    return [Loaded(item.key, item.source, image) for image in found.values() if isinstance(image, Stored)]


def _frame(item: ImageItem, image: Stored | Refused, number: int, total: int) -> Loaded | ImageProblem:
    if isinstance(image, Refused):
        return ImageProblem(item.key, item.source, image.code, f"image {number} of {total}: {image.reason}", number)
    return Loaded(frame_key(item.key, number), item.source, image, (number, total))


def _fetch(remote: Remote, conversion: Conversion) -> tuple[str, bytes]:
    """Do what :func:`_read` does with an object, which comes whole or not at all."""
    try:
        payload = remote.read_bytes()
    except FileNotFoundError:
        raise Refused("missing_image", "the object does not exist any more") from None
    if not payload:
        raise Refused("corrupt_image", "the object is empty")
    if len(payload) > tar.MAX_SIZE:
        raise Refused("unsupported_type", f"{len(payload)} bytes; a tar member holds at most {tar.MAX_SIZE}")
    return _accepted(payload, conversion), payload


def _read(
    path: Path, conversion: Conversion, root: str, room: Callable[[], memoryview] | None
) -> tuple[str, bytes | memoryview]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not block
    except FileNotFoundError:
        raise Refused("missing_image", "the file does not exist any more") from None
    except OSError as error:
        raise Refused("unreadable", f"the file cannot be opened: {error.strerror}") from error
    try:
        if root and not _real_path(descriptor, path).startswith(root):
            raise Refused(
                "outside_root", "the file has become a link to a place outside the image folder, or lies in one"
            )
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Refused("unreadable", "not a regular file")
        if not before.st_size:
            raise Refused("corrupt_image", "the file is empty")
        if before.st_size > tar.MAX_SIZE:
            raise Refused("unsupported_type", f"{before.st_size} bytes; a tar member holds at most {tar.MAX_SIZE}")
        payload: bytes | memoryview
        if room is not None and before.st_size < len(space := room()):
            payload = space[: os.readv(descriptor, (space,))]
            kind = _accepted(payload, conversion)
        elif before.st_size <= _SMALL:
            payload = os.read(descriptor, before.st_size + 1)  # the byte too many shows that the file has grown
            kind = _accepted(payload, conversion)
        else:
            kind = _accepted(os.pread(descriptor, HEAD, 0), conversion)
            payload = _whole(descriptor, before.st_size + 1)
        after = os.fstat(descriptor)
    except OSError as error:
        raise Refused("unreadable", f"the file cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(payload) != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Refused("changed_while_read", "the file was written to while it was read; run again when it is whole")
    return kind, payload


def _real_path(descriptor: int, path: Path) -> str:
    """Return where an open file lies, whatever its path leads to by now."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a Path for each image costs more than this
    except OSError:  # there is no /proc: what the path leads to is the next best
        return os.path.realpath(path)


def _accepted(content: bytes | memoryview, conversion: Conversion) -> str:
    kind = sniff(bytes(content[:HEAD]))
    if (reason := accepts(kind, conversion)) is not None:
        raise Refused("unsupported_type", reason)
    return str(kind)


def _whole(descriptor: int, size: int) -> bytes:
    """Read to the end, or ``size`` bytes; one read takes at most 2 GiB."""
    parts: list[bytes] = []
    while part := os.read(descriptor, size - sum(map(len, parts))):
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
