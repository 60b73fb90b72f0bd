"""Counting in bounded memory: how many different things there are, and a fair choice among them.

All of these merge: parts counted by several processes add up to what one process would have counted, and the result
depends on the data alone, neither on the number of processes nor on chance.
"""

import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_SPACE = 1 << 64


def hash64(text: str) -> int:
    """Return 64 bits of a text's hash, the same on every machine and in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class Distinct:
    """How many different hashes were added: exact below ``size``, then an estimate from the ``size`` smallest.

    The k-minimum-values estimator (Bar-Yossef et al. 2002; Beyer et al. 2007): its standard error is 1/sqrt(size - 2),
    0.8 % for the default.
    """

    __slots__ = ("bound", "kept", "size")

    def __init__(self, size: int = 16_384) -> None:
        self.size = size
        self.kept: set[int] = set()
        self.bound = _SPACE

    def add(self, hashes: Iterable[int]) -> None:
        """Add hashes as :func:`hash64` gives them."""
        bound = self.bound
        self.kept.update(h for h in hashes if h < bound)
        if len(self.kept) > 2 * self.size:
            self._shrink()

    def merge(self, other: "Distinct") -> None:
        """Add all that another has seen."""
        if other.bound < self.bound:
            self.bound = other.bound
            self.kept = {h for h in self.kept if h <= self.bound}
        self.kept.update(h for h in other.kept if h <= self.bound)
        if len(self.kept) > 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        if len(self.kept) > self.size:
            self.kept = set(heapq.nsmallest(self.size, self.kept))
            self.bound = max(self.kept)  # the k-th smallest itself is in already

    def count(self) -> int:
        """Return the number of different hashes, exact or estimated."""
        self._shrink()
        if self.bound == _SPACE:  # none was left out
            return len(self.kept)
        return round((self.size - 1) / (max(self.kept) / _SPACE))


class Sample(Generic[K, T]):
    """For each stratum, the ``size`` items with the smallest hashes: a random choice that does not depend on order."""

    __slots__ = ("heaps", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.heaps: dict[K, list[tuple[int, T]]] = {}

    def wants(self, stratum: K, rank: int) -> bool:
        """Say whether an item of this hash would be kept, so that others need not be made."""
        heap = self.heaps.get(stratum)
        return bool(self.size) and (heap is None or len(heap) < self.size or rank < -heap[0][0])

    def add(self, stratum: K, rank: int, item: T) -> None:
        """Offer an item; of two items with one hash, the first is kept."""
        if not self.wants(stratum, rank):
            return
        heap = self.heaps.setdefault(stratum, [])
        if any(-held == rank for held, _ in heap):
            return
        # Ranks differ within a heap, so that items themselves are never compared.
        (heapq.heappush if len(heap) < self.size else heapq.heappushpop)(heap, (-rank, item))

    def merge(self, other: "Sample[K, T]") -> None:
        """Offer all that another has kept."""
        for stratum, heap in other.heaps.items():
            for rank, item in heap:
                self.add(stratum, -rank, item)

    def items(self) -> Iterator[tuple[K, list[T]]]:
        """Yield each stratum with its items, in the order of their hashes."""
        for stratum, heap in self.heaps.items():
            yield stratum, [item for _, item in sorted(heap, key=lambda pair: -pair[0])]


class Frequent(Generic[K]):
    """The most frequent things, after lossy counting (Manku and Motwani 2002): the rare are forgotten now and then.

    A count is too small by at most :attr:`lost`.
    """

    __slots__ = ("counts", "lost", "size")

    def __init__(self, size: int = 5_000) -> None:
        self.size = size
        self.counts: Counter[K] = Counter()
        self.lost = 0

    def add(self, item: K) -> None:
        """Count one."""
        self.counts[item] += 1
        if len(self.counts) > 4 * self.size:
            self._shrink()

    def merge(self, other: "Frequent[K]") -> None:
        """Count all that another has counted."""
        self.counts.update(other.counts)
        self.lost += other.lost
        if len(self.counts) > 4 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        kept = self.counts.most_common(self.size)
        self.lost += self.counts.most_common(self.size + 1)[-1][1]
        self.counts = Counter(dict(kept))


class Clashes:
    """Things that stand under several owners: one text under different labels.

    Followed are all texts, or, beyond ``size`` different ones, those with the smallest hashes: whatever is followed is
    followed from first to last, so its clashes are complete and the share of clashing texts is a fair estimate.
    """

    __slots__ = ("bound", "found", "owners", "size")

    def __init__(self, size: int = 100_000) -> None:
        self.size = size
        self.bound = _SPACE
        self.owners: dict[int, Hashable] = {}
        self.found: dict[int, tuple[str, Counter[Hashable]]] = {}

    def add(self, rank: int, owner: Hashable, text: str) -> None:
        """Add a text by its hash."""
        if rank >= self.bound:
            return
        first = self.owners.setdefault(rank, owner)
        if rank in self.found:
            self.found[rank][1][owner] += 1
        elif first != owner:
            self.found[rank] = (text, Counter({first: 1, owner: 1}))
        if len(self.owners) > 2 * self.size:
            self.bound = sorted(self.owners)[self.size]
            self.owners = {h: o for h, o in self.owners.items() if h < self.bound}
            self.found = {h: f for h, f in self.found.items() if h < self.bound}

    @property
    def followed(self) -> int:
        """How many different texts are followed."""
        return len(self.owners)

    @property
    def complete(self) -> bool:
        """Whether all texts are followed."""
        return self.bound == _SPACE
