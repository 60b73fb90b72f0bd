"""Reading images and captions by key or position, without webdataset: for notebooks, checks and map-style loaders."""

import io
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from captioner.errors import ShardError
from captioner.shards import tar
from captioner.shards.manifest import read_manifest
from captioner.shards.sources import Captions, Drawn, Find, Folder
from captioner.storage import Archive, Place, mapped, place

_OPEN = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is said of it.

    Attributes:
        key: the sample's key.
        type: ``jpg`` or ``png``.
        image: the bytes of the image file.
        record: captions, labels, triplet and run; None if the image has no captions, or none were asked for.
    """

    key: str
    type: str
    image: bytes
    record: dict[str, Any] | None

    def open(self) -> Pillow.Image:
        """Return the image, not decoded yet."""
        return Pillow.open(io.BytesIO(self.image))

    @property
    def captions(self) -> list[str]:
        """The captions; none if there is no record."""
        return list(self.record["captions"]) if self.record else []


class Samples:
    """All samples of a folder of image shards, in order: ``samples[7]``, ``samples["chestxray14-00000001_000"]``.

    Where an image lies follows from the manifest, so nothing is scanned; shards are memory-mapped when they are needed.
    An object can be pickled into worker processes, and serves as a map-style data set.

    Args:
        images: the folder of image shards.
        captions: a folder of caption shards, or several with weights, as for ``join_captions``.

    Raises:
        ShardError: there are no finished image shards.
    """

    def __init__(self, images: Folder, captions: Find | None = None) -> None:
        self._manifest = read_manifest(place(images))
        self._captions = None if captions is None else Captions(captions, "pass")
        rows = self._manifest.samples
        self._keys: list[str] = []
        self._types: list[str] = []
        self._sizes = np.zeros(rows, np.int64)
        for i, (key, kind, size) in enumerate(self._manifest.rows("key", "type", "bytes")):
            self._keys.append(key)
            self._types.append(kind)
            self._sizes[i] = size
        self._shards, self._offsets = _places([s.samples for s in self._manifest.shards], self._sizes)
        self._rows: dict[str, int] | None = None
        self._maps: OrderedDict[int, Archive] = OrderedDict()
        self._drawn: OrderedDict[int, Drawn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.__getitem__, range(len(self)))

    def __contains__(self, key: object) -> bool:
        return key in self._row_of

    def keys(self) -> tuple[str, ...]:
        """Return all keys, in order."""
        return tuple(self._keys)

    @property
    def _row_of(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {key: row for row, key in enumerate(self._keys)}
        return self._rows

    def __getitem__(self, which: int | str) -> Sample:
        """Return the sample with this key, or at this position; negative positions count from the end.

        Raises:
            KeyError, IndexError: there is none.
            ShardError: the shard is missing or damaged.
        """
        row = self._row_of[which] if isinstance(which, str) else range(len(self))[which]
        key, kind = self._keys[row], self._types[row]
        shard, offset, size = int(self._shards[row]), int(self._offsets[row]), int(self._sizes[row])
        member = self._map(shard)[offset - tar.BLOCK : offset + size]  # in one piece: of an object, one request
        if len(member) != tar.BLOCK + size or not member.startswith(tar.header(f"{key}.{kind}", size)):
            raise ShardError(f"{self._path(shard)} is not as its manifest says: {key} is not at byte {offset}.")
        return Sample(key, kind, member[tar.BLOCK :], self._record(shard, key))

    def _path(self, shard: int) -> Place:
        return self._manifest.folder / self._manifest.shards[shard].name

    def _map(self, shard: int) -> Archive:
        if shard not in self._maps:
            try:
                self._maps[shard] = mapped(self._path(shard))
            except (OSError, ValueError) as error:
                raise ShardError(f"{self._path(shard)} cannot be read: {error}.") from error
            if len(self._maps) > _OPEN:
                self._maps.popitem(last=False)[1].close()
        self._maps.move_to_end(shard)
        return self._maps[shard]

    def _record(self, shard: int, key: str) -> dict[str, Any] | None:
        if self._captions is None:
            return None
        if shard not in self._drawn:
            self._drawn[shard] = self._captions.load(str(self._path(shard)))
            if len(self._drawn) > _OPEN:
                self._drawn.popitem(last=False)
        self._drawn.move_to_end(shard)
        content = self._drawn[shard].get(key)
        return None if content is None else json.loads(content)

    def close(self) -> None:
        """Unmap the shards; they are mapped again if they are needed."""
        while self._maps:
            self._maps.popitem()[1].close()
        self._drawn.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict(), "_drawn": OrderedDict()}


def _places(counts: list[int], sizes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return, for each row, the number of its shard and the offset of its payload there."""
    shards = np.repeat(np.arange(len(counts)), counts)
    taken = tar.BLOCK + -(-sizes // tar.BLOCK) * tar.BLOCK
    ends = np.cumsum(taken)
    first = np.cumsum([0, *counts[:-1]])[: len(counts)]
    before = np.concatenate([[0], ends])[first] if len(counts) else np.zeros(0, np.int64)
    return shards, ends - taken - before[shards] + tar.BLOCK
