"""One image on its way into a shard: read once, checked, its bytes unchanged."""

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from captioner.images import HEAD, sniff
from captioner.shards import tar

_FORMATS = {"jpg": "JPEG", "png": "PNG"}
"""What shards hold, and how Pillow names it."""


@dataclass(frozen=True, slots=True)
class ImageItem:
    """An image to put into a shard.

    Attributes:
        key: the sample's key: 1 to 80 of ``A-Z a-z 0-9 _ -``, not beginning with two underscores, unique in the dataset.
        path: the file.
        source: its path relative to the data root, as the manifest records it.
    """

    key: str
    path: Path
    source: str


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """An image that is not in the shards, and why.

    Attributes:
        key, source: as in the item.
        code: ``missing_image``, ``unreadable``, ``corrupt_image``, ``unsupported_type``,
            ``changed_while_read``, ``invalid_key`` or ``duplicate_key``.
        reason: one sentence for a person.
    """

    key: str
    source: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image in memory, ready to be written."""

    item: ImageItem
    payload: bytes
    sha256: str
    width: int
    height: int
    mode: str
    type: str


class _Refused(Exception):  # noqa: N818 - carries a problem to the one place that makes it
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def load(item: ImageItem | ImageProblem, *, decode: bool) -> Loaded | ImageProblem:
    """Read an image into memory and look at it; a problem passes through.

    The bytes that are hashed, decoded and returned are the same: the file is read once.

    Args:
        item: what to read.
        decode: decode every pixel, which finds files that were cut off; otherwise only the header is read.
    """
    if isinstance(item, ImageProblem):
        return item
    try:
        payload = _read(item.path)
        width, height, mode, kind = _look(payload, decode=decode)
    except _Refused as refused:
        return ImageProblem(item.key, item.source, refused.code, refused.reason)
    return Loaded(item, payload, hashlib.sha256(payload).hexdigest(), width, height, mode, kind)


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not block
    except FileNotFoundError:
        raise _Refused("missing_image", "the file does not exist any more") from None
    except OSError as error:
        raise _Refused("unreadable", f"the file cannot be opened: {error.strerror}") from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _Refused("unreadable", "not a regular file")
        if not before.st_size:
            raise _Refused("corrupt_image", "the file is empty")
        if before.st_size > tar.MAX_SIZE:
            raise _Refused("unsupported_type", f"{before.st_size} bytes; a tar member holds at most {tar.MAX_SIZE}")
        if (kind := sniff(os.pread(descriptor, HEAD, 0))) not in _FORMATS:
            raise _Refused("unsupported_type", _what_to_do(kind))
        # One read takes at most 2 GiB; one byte more than expected shows that the file has grown.
        parts: list[bytes] = []
        while part := os.read(descriptor, before.st_size + 1 - sum(len(part) for part in parts)):
            parts.append(part)
        after = os.fstat(descriptor)
    except OSError as error:
        raise _Refused("unreadable", f"the file cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    payload = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(payload) != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise _Refused("changed_while_read", "the file was written to while it was read; run again when it is whole")
    return payload


def _look(payload: bytes, *, decode: bool) -> tuple[int, int, str, str]:
    """Return width, height, mode and type."""
    kind = sniff(payload[:HEAD])
    if kind not in _FORMATS:
        raise _Refused("changed_while_read", "the file was written to while it was read; run again when it is whole")
    try:
        with Pillow.open(io.BytesIO(payload), formats=(_FORMATS[kind],)) as image:
            if decode:
                image.load()
            width, height, mode = *image.size, image.mode
    except Pillow.DecompressionBombError as error:
        raise _Refused("unsupported_type", f"more pixels than are safe to decode: {error}") from error
    except UnidentifiedImageError as error:  # its message holds an address in memory
        raise _Refused("corrupt_image", f"it begins like {kind} but has no valid header") from error
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise _Refused("corrupt_image", f"it cannot be decoded: {error}") from error
    if mode[0] in "IF":
        raise _Refused(
            "unsupported_type",
            f"pixels of more than 8 bits ({mode}), which training loaders turn white; convert it to 8 bits with a window of your choice",
        )
    return width, height, mode, kind


def _what_to_do(kind: str | None) -> str:
    if kind is None:
        return "no image by its content, whatever its name says"
    return f"an image of type {kind} by its content; shards hold JPEG and PNG: convert it to PNG, which loses nothing"
