"""Every Python example of docs/shards.md runs as it stands."""

import contextlib
import gc
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from captioner.push import push
from captioner.shards import ImageItem, build_captions, build_images

TEXT = (Path(__file__).parents[2] / "docs" / "shards.md").read_text("utf-8")
# What is added to a file of UniMed's runs in tests/shards/test_shard_unimed.py, beside that file.
EXAMPLES = re.findall(r"^```python\n(?!# run_configs)(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^(captioner shards [^|#\n]*s3://[^|#\n]*)", TEXT, re.MULTILINE)

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
    assert len(EXAMPLES) == 7
    assert len(COMMANDS) == 3


@pytest.fixture
def pushed(output_folder, bucket):
    """``OUT`` in ``s3://bucket/chestxray14``."""
    for run in ("RUN", "OTHER"):
        Path("OUT/runs", run, "support_sets.parquet").write_text("sets")
    with contextlib.suppress(bucket.server.client.exceptions.BucketAlreadyOwnedByYou):
        bucket.server.client.create_bucket(Bucket="bucket")
    push(Path("OUT"), "s3://bucket/chestxray14")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
@pytest.mark.usefixtures("output_folder")
def test_the_example_runs(example, request):
    if "s3://" in example:
        request.getfixturevalue("pushed")
    exec(compile(example, "docs/shards.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("pushed")
def test_the_command_on_object_storage_runs(command):
    words = [sys.executable, "-m", *shlex.split(command)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
