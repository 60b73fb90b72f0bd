"""A minimal tar writer and scanner for WebDataset shards.

One kind of member (a regular file with a short ASCII name), one format (POSIX ustar), nothing from the machine that
writes it: mtime, uid and gid are 0, the owner names empty, the mode 0644, and the archive is filled up to whole records
of 10,240 bytes. The same members give the same bytes, which equal those of CPython's ``tarfile`` (3.9 and later) with a
default ``TarInfo``. ``tarfile`` itself spends about 50 µs a member on its headers, a third of what writing a medium-sized
image costs, and its reader takes an archive that was cut off for a whole one; :func:`scan` does not.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from captioner.errors import ShardError
from captioner.storage import Bytes

BLOCK = 512
RECORD = 10_240
MAX_SIZE = 8**11 - 1
"""Bytes that a member can have: eleven octal digits."""

_MODE_UID_GID = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"00000000000\0"
_REST = b"0" + bytes(100) + b"ustar\x0000" + bytes(32) + bytes(32) + bytes(8) + bytes(8) + bytes(155) + bytes(12)
# The checksum is the sum of the header's bytes with its own eight taken as blanks.
_FIXED_SUM = sum(_MODE_UID_GID) + sum(_MTIME) + sum(_REST) + 8 * 32
_ZEROS = bytes(BLOCK)
_HELD = 1 << 20


def header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a member.

    Args:
        name: 1 to 100 printable ASCII characters.
        size: bytes of the payload, at most :data:`MAX_SIZE`.
    """
    raw = name.encode("ascii")
    if not 1 <= len(raw) <= 100 or not 0 <= size <= MAX_SIZE:
        raise ValueError(f"not a member that ustar can hold: {name!r} of {size} bytes")
    fields, total = _fields(size)
    return b"%b%b%06o\0 %b" % (raw.ljust(100, b"\0"), fields, total + sum(raw), _REST)


@lru_cache(4096)
def _fields(size: int) -> tuple[bytes, int]:
    """Return what stands between name and checksum, and the sum of all bytes but the name's. Captions share sizes."""
    digits = b"%011o\0" % size
    return _MODE_UID_GID + digits + _MTIME, _FIXED_SUM + sum(digits)


def padding(size: int) -> bytes:
    """Return the zeros that fill a payload of ``size`` bytes up to whole blocks."""
    return _ZEROS[: -size % BLOCK]


def trailer(size: int) -> bytes:
    """Return the end of an archive whose members take ``size`` bytes: two zero blocks, then zeros to a whole record."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)


class Target(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of them."""


class Writer:
    """Writes members, in blocks of about a megabyte.

    Attributes:
        size: bytes that the target has been given.
        members: members so far.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parts: list[bytes] = []
        self._held = 0
        self.size = 0
        self.members = 0

    def add(self, name: str, payload: bytes) -> None:
        """Append one member."""
        size = len(payload)
        fill = -size % BLOCK
        self._parts += (header(name, size), payload, _ZEROS[:fill])
        self._held += BLOCK + size + fill
        self.members += 1
        if self._held >= _HELD:
            self._flush()

    def finish(self) -> None:
        """Append the end of the archive, and give everything to the target."""
        end = trailer(self.size + self._held)
        self._parts.append(end)
        self._held += len(end)
        self._flush()

    def _flush(self) -> None:
        self._target.write(b"".join(self._parts))
        self._parts.clear()
        self.size += self._held
        self._held = 0


class Hashing:
    """Passes bytes on and hashes them, in threads of the given pool while the writing goes on."""

    def __init__(self, target: Target, pool: ThreadPoolExecutor) -> None:
        self._target, self._pool = target, pool
        self._hash = hashlib.sha256()
        self._last: Future[None] | None = None

    def write(self, data: bytes, /) -> None:
        """Take bytes. At most two pieces are held: the one that is hashed, and this one."""
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(self._hash.update, data)
        self._target.write(data)

    def sha256(self) -> str:
        """Return the SHA-256 of all bytes so far, in hex."""
        if self._last is not None:
            self._last.result()
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's payload lies in its archive."""

    name: str
    offset: int
    size: int


def scan(archive: Bytes, name: str = "archive") -> Iterator[Member]:
    """Yield the members of a plain ustar archive, checking all that the format lets one check.

    Args:
        archive: the whole archive (bytes, a memory map, or parts of an object that are fetched as they are needed).
        name: what messages call it.

    Raises:
        ShardError: the archive is cut off, or a header is not exactly one that :class:`Writer` writes. Most readers
            pass over this in silence.
    """
    total, position = len(archive), 0
    while True:
        head = archive[position : position + BLOCK]
        if len(head) < BLOCK:
            raise ShardError(f"{name} is cut off at byte {position}: its end is missing. Make it or copy it again.")
        if not any(head):
            break
        member = _parse(head, position, name)
        end = member.offset + member.size + -member.size % BLOCK
        if end > total:
            raise ShardError(
                f"{name} is cut off at byte {total}, inside {member.name}, which ends at byte {end}. "
                "Make it or copy it again."
            )
        yield member
        position = end
    if total - position < 2 * BLOCK or total % RECORD:
        raise ShardError(f"{name} is cut off at byte {total}, inside the archive's end. Make it or copy it again.")
    if any(archive[position:]):
        raise ShardError(f"{name} has data after the archive's end at byte {position}: it is damaged.")


def _parse(head: bytes, position: int, name: str) -> Member:
    try:
        member, size = head[:100].rstrip(b"\0").decode("ascii"), int(head[124:135], 8)
        sound = head == header(member, size)
    except ValueError:
        sound = False
    if not sound:
        raise ShardError(f"{name} is damaged at byte {position}, or no shard of captioner's: unexpected header.")
    return Member(member, position + BLOCK, size)
