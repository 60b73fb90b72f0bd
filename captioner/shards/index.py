"""Which keys an image set holds, in a few bytes a key."""

from array import array
from typing import Literal

Seen = Literal["held", "moved", "duplicate", "new"]

_CAME_BY = 1
_MASK = (1 << 63) - 1


class KeyIndex:
    """Maps keys to sources without keeping either: 64-bit hashes in an open-addressed table.

    Takes 24 to 64 bytes a key, where a dictionary of strings takes a few hundred. Two of a million keys share a hash
    with a probability of 3e-8; one of them would then be reported as a duplicate, never overwritten.
    """

    def __init__(self) -> None:
        self._keys = array("Q", bytes(8 * 1024))
        self._values = array("Q", bytes(8 * 1024))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def _slot(self, wanted: int) -> int:
        keys, mask = self._keys, len(self._keys) - 1
        slot = wanted & mask
        while keys[slot] and keys[slot] != wanted:
            slot = (slot + 1) & mask
        return slot

    def add(self, key: str, source: str) -> None:
        """Record that the image set has the key, made from the source."""
        self._put(_hash(key), _hash(source) << 1)

    def see(self, key: str, source: str) -> Seen:
        """Look up an item that comes by, and remember that it did.

        Returns:
            ``held``: the image set has the key from this source. ``moved``: it has the key from another source.
            ``duplicate``: the key came by before. ``new``: none of these.
        """
        wanted = _hash(key)
        slot = self._slot(wanted)
        if not self._keys[slot]:
            self._put(wanted, _CAME_BY)
            return "new"
        value = self._values[slot]
        if value & _CAME_BY:
            return "duplicate"
        self._values[slot] = value | _CAME_BY
        return "held" if value >> 1 == _hash(source) else "moved"

    def _put(self, key: int, value: int) -> None:
        if 3 * self._used >= 2 * len(self._keys):
            self._grow()
        slot = self._slot(key)
        self._used += not self._keys[slot]
        self._keys[slot], self._values[slot] = key, value

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._keys = array("Q", bytes(16 * len(self._keys)))
        self._values = array("Q", bytes(16 * len(self._values)))
        for key, value in zip(keys, values, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._values[slot] = key, value


def _hash(text: str) -> int:
    return hash(text) & _MASK or 1
