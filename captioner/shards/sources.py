"""Where the captions of an image shard are found: one run's, or several runs' with weights."""

import os
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from captioner.errors import ShardError
from captioner.shards.members import RECORD, read_members
from captioner.storage import Place, Remote, place, without_secrets

Missing = Literal["error", "skip", "pass"]
"""What happens to an image without captions: stop, leave it out, or give it on as it is."""

Folder = str | os.PathLike[str] | Remote
Find = Callable[[str], str | Place] | Folder | Mapping[str, float] | Mapping[Place, float]
"""The folder of the caption shards, a path or a URL; a function from an image shard's URL to its caption shard's path or
URL; or several such folders with weights, which need not add up to one."""

_PIPED = re.compile(r"[^\s/'\"]+\.tar\b")


@dataclass(frozen=True, slots=True)
class Drawn:
    """The captions of one image shard.

    Attributes:
        tables: for each run, undecoded records by key.
        weights: of the runs.
    """

    tables: tuple[dict[str, bytes], ...]
    weights: tuple[float, ...]

    def get(self, key: str) -> bytes | None:
        """Return a record of the key, None if no run has one.

        Of several runs that have one, it is drawn by weight, anew at each call, with the generator that
        ``random.seed`` seeds (and PyTorch seeds differently in each worker).
        """
        if len(self.tables) == 1:
            return self.tables[0].get(key)
        having = [(table[key], w) for table, w in zip(self.tables, self.weights, strict=True) if key in table]
        if not having:
            return None
        records, weights = zip(*having, strict=True)
        chosen: bytes = random.choices(records, weights)[0]  # noqa: S311 - training, not secrets
        return chosen


class Captions:
    """The captions of an image set, loaded shard by shard. Worker processes may have to pickle it."""

    def __init__(self, find: Find, missing: Missing) -> None:
        if missing not in ("error", "skip", "pass"):
            raise ValueError(f"missing must be 'error', 'skip' or 'pass', not {missing!r}")
        runs = find if isinstance(find, Mapping) else {find: 1.0}
        if not runs or any(not weight > 0 for weight in runs.values()):
            raise ValueError("give at least one run, and weights above 0")
        self.missing = missing
        self._runs = [(each if callable(each) else Beside(each), weight) for each, weight in runs.items()]

    def load(self, url: str) -> Drawn:
        """Read the captions of the image shard with this URL or path.

        Raises:
            ShardError: a caption shard is damaged; or it is missing and that is an error.
        """
        tables = tuple(self._table(place(find(url))) for find, _ in self._runs)
        return Drawn(tables, tuple(weight for _, weight in self._runs))

    def _table(self, path: Place) -> dict[str, bytes]:
        if self.missing != "error" and not path.exists():
            return {}
        return read_members(path)

    def places(self, url: str) -> str:
        """Say where the captions of an image shard are looked for, for messages."""
        return " and ".join(str(find(url)) for find, _ in self._runs)

    def lacking(self, key: str, url: str) -> ShardError:
        """Return the error for an image without captions."""
        return ShardError(
            f"no captions for {key} of {url} in {self.places(url)}. Write the captions again, or read with "
            "missing='skip'."
        )


class Beside:
    """Finds the shard of the same name in a folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = place(folder)
        self._known = False

    def __call__(self, url: str) -> Place:
        if not self._known and not self._is_there():
            raise ShardError(f"no folder {self.folder}: it should hold the caption shards of {without_secrets(url)}.")
        return self.folder / shard_name(url)

    def _is_there(self) -> bool:
        if isinstance(self.folder, Path):
            return self.folder.is_dir()
        self._known = (self.folder / RECORD).exists()  # asked once, and of a file: http has no folders
        return self._known


def shard_name(url: str) -> str:
    """Return the file name of the shard that a URL, a path or a pipe (``pipe:aws s3 cp s3://… -``) reads."""
    if url.startswith("pipe:") and (found := _PIPED.findall(url)):
        return str(found[-1])
    return Path(urlsplit(url).path).name
