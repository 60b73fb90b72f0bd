"""Captions joined to images while they are read, as a stage of a webdataset pipeline.

::

    dataset = (
        webdataset.WebDataset("OUT/images/chestxray14-{000000..000112}.tar", shardshuffle=100)
        .compose(join_captions("OUT/runs/RUN/captions"))
        .shuffle(1000)
        .decode("pil")
        .map(lambda sample: (sample["jpg"], random.choice(sample["captions.json"]["captions"])))
    )

Samples are matched by key within the shard that they come from, not by position: workers, shuffled or resampled shards,
shards drawn twice and samples that an earlier stage dropped are all the same to it. webdataset itself is not imported.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from captioner.errors import ShardError
from captioner.shards.members import SUFFIX, read_members

Missing = Literal["error", "skip", "pass"]
Stage = Callable[[Iterable[dict[str, Any]]], Iterator[dict[str, Any]]]


def join_captions(find: Callable[[str], str] | str | os.PathLike[str], missing: Missing = "error") -> Stage:
    """Return a stage that adds ``captions.json`` (bytes, for ``decode()``) to each sample of an image shard.

    It must stand before any stage that merges samples of different shards in ways that lose ``__url__``; shuffling does
    not. Placed before ``shuffle`` it opens each caption shard once a pass.

    Args:
        find: the folder of the caption shards, or a function from an image shard's URL to its caption shard's path.
        missing: what happens to a sample without captions: ``error`` stops, ``skip`` leaves it out, ``pass`` gives it on
            as it is.

    Raises:
        ShardError: (while reading) a caption shard is damaged; or a sample or shard is missing and that is an error.
    """
    if missing not in ("error", "skip", "pass"):
        raise ValueError(f"missing must be 'error', 'skip' or 'pass', not {missing!r}")
    if callable(find):
        return _Join(find, missing)
    return _Join(_Beside(Path(find)), missing)


class _Beside:
    """Finds the shard of the same name in a folder. A class, because worker processes may have to pickle it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, url: str) -> str:
        if not self.folder.is_dir():
            raise ShardError(f"no folder {self.folder}: it should hold the caption shards of {url}.")
        return str(self.folder / Path(urlsplit(url).path).name)


class _Join:
    def __init__(self, find: Callable[[str], str], missing: Missing) -> None:
        self.find, self.missing = find, missing

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        url: str | None = None
        captions: dict[str, bytes] = {}
        for sample in samples:
            if sample["__url__"] != url:
                url = str(sample["__url__"])
                captions = self._load(url)
            content = captions.get(sample["__key__"].rsplit("/", 1)[-1])
            if content is not None:
                sample[SUFFIX[1:]] = content
            elif self.missing == "error":
                raise ShardError(
                    f"no captions for {sample['__key__']} of {url} in {self.find(str(url))}. Write the captions again, or "
                    "join with missing='skip'."
                )
            elif self.missing == "skip":
                continue
            yield sample

    def _load(self, url: str) -> dict[str, bytes]:
        path = Path(self.find(url))
        if self.missing != "error" and not path.exists():
            return {}
        return read_members(path)
