"""What the tests of shards share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.shards import ImageItem
from tests.shards.shard_helpers import items_in


@pytest.fixture
def make_items(tmp_path: Path) -> Callable[..., list[ImageItem]]:
    return lambda count, start=0: items_in(tmp_path / "data", count, start=start)


@pytest.fixture
def record() -> Callable[[str], dict[str, object]]:
    """A caption record for any key: the same for every third image, as images of a triplet share theirs."""

    def make(key: str) -> dict[str, object]:
        kind = int(key[-6:]) % 3
        return {
            "captions": [f"Größe {kind}, caption {n}." for n in range(10)],
            "labels": [f"label {kind}"],
            "triplet": f"t{kind:016x}",
            "run": "r1",
        }

    return make
