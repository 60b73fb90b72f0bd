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

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from captioner.shards.members import SUFFIX
from captioner.shards.sources import Captions, Drawn, Find, Missing

Stage = Callable[[Iterable[dict[str, Any]]], Iterator[dict[str, Any]]]


def join_captions(find: Find, missing: Missing = "error") -> Stage:
    """Return a stage that adds ``captions.json`` (bytes, for ``decode()``) to each sample of an image shard.

    It belongs before ``shuffle``, where it opens each caption shard once a pass; behind it, it opens one whenever the
    shard changes from one sample to the next.

    Args:
        find: the folder of the caption shards; a function from an image shard's URL to its caption shard's path; or
            several folders with weights, ``{"OUT/runs/A/captions": 3, "OUT/runs/B/captions": 1}``: then each sample gets
            the captions of one of the runs that have some for it, drawn anew each time by ``random``.
        missing: what happens to a sample without captions: ``error`` stops, ``skip`` leaves it out, ``pass`` gives it on
            as it is.

    Raises:
        ShardError: (while reading) a caption shard is damaged; or a sample or shard is missing and that is an error.
    """
    return _Join(Captions(find, missing))


class _Join:
    def __init__(self, captions: Captions) -> None:
        self.captions = captions

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        url, drawn = "", Drawn((), ())
        for sample in samples:
            if sample["__url__"] != url:
                url = sample["__url__"]
                drawn = self.captions.load(url)
            content = drawn.get(sample["__key__"].rsplit("/", 1)[-1])
            if content is not None:
                sample[SUFFIX[1:]] = content
            elif self.captions.missing == "error":
                raise self.captions.lacking(sample["__key__"], url)
            elif self.captions.missing == "skip":
                continue
            yield sample
