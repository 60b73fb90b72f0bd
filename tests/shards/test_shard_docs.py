"""Every Python example of docs/shards.md runs as it stands."""

import gc
import re
from pathlib import Path

import pytest
from PIL import Image

from captioner.shards import ImageItem, build_captions, build_images

TEXT = (Path(__file__).parents[2] / "docs" / "shards.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def output_folder(tmp_path, monkeypatch, record):
    """``OUT`` in the working directory: three shards of PNGs and two runs."""
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    items = [ImageItem(f"chestxray14-{i:06d}", tmp_path / "a.png", f"{i}.png") for i in range(6)]
    build_images(items, tmp_path / "OUT/images", dataset="chestxray14", per_shard=2)
    for run in ("RUN", "OTHER"):
        build_captions(tmp_path / "OUT/images", tmp_path / f"OUT/runs/{run}/captions", captions=record, run=run)
    monkeypatch.chdir(tmp_path)
    yield
    gc.collect()


def test_there_are_examples():
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
@pytest.mark.usefixtures("output_folder")
def test_the_example_runs(example):
    exec(compile(example, "docs/shards.md", "exec"), {})
