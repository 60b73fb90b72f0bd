"""Captions are joined to images by key, whatever the loader does to the order."""

import collections
import gc
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset

from captioner.errors import ShardError
from captioner.shards import build_captions, build_images, join_captions

REPOSITORY = Path(__file__).parents[2]

# webdataset leaves the shards that it reads open until they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected():
    yield
    gc.collect()


@pytest.fixture
def data(tmp_path, make_items, record):
    """Ten images in three shards, all with captions but set-000002 in ``some``."""
    build_images(make_items(10), tmp_path / "images", dataset="set", per_shard=4)
    build_captions(tmp_path / "images", tmp_path / "all", captions=record, run="r1")
    build_captions(
        tmp_path / "images",
        tmp_path / "some",
        captions=lambda key: None if key == "set-000002" else record(key),
        run="r2",
    )
    return tmp_path


def dataset(data, **options):
    return webdataset.WebDataset(f"{data}/images/set-{{000000..000002}}.tar", **{"shardshuffle": False, **options})


def test_each_image_meets_its_own_captions(data, record):
    samples = list(dataset(data).compose(join_captions(f"{data}/all")).decode("pil"))
    assert [s["__key__"] for s in samples] == [f"set-{i:06d}" for i in range(10)]
    for sample in samples:
        assert sample["captions.json"] == record(sample["__key__"])
        assert {"jpg", "png"} & sample.keys()


def test_shuffled_shards_and_samples_meet_their_captions(data, record):
    pipeline = dataset(data, shardshuffle=10).compose(join_captions(f"{data}/all")).shuffle(100).decode()
    for _ in range(3):
        samples = list(pipeline)
        assert len(samples) == 10
        assert all(s["captions.json"] == record(s["__key__"]) for s in samples)


def test_the_stage_may_stand_behind_a_shuffle_and_behind_a_filter(data, record):
    pipeline = (
        dataset(data).select(lambda s: s["__key__"] != "set-000001").shuffle(100).compose(join_captions(f"{data}/all"))
    )
    samples = list(pipeline.decode())
    assert len(samples) == 9
    assert all(s["captions.json"] == record(s["__key__"]) for s in samples)


def test_shards_that_are_drawn_again_and_again_meet_their_captions(data, record):
    pipeline = dataset(data, resampled=True).compose(join_captions(f"{data}/all")).decode().with_epoch(100)
    counts = collections.Counter()
    for sample in pipeline:
        assert sample["captions.json"] == record(sample["__key__"])
        counts[sample["__key__"]] += 1
    assert max(counts.values()) > 1


def test_a_missing_caption_is_an_error_by_default(data):
    with pytest.raises(ShardError, match="no captions for set-000002"):
        list(dataset(data).compose(join_captions(f"{data}/some")))


def test_images_without_captions_can_be_skipped(data):
    samples = list(dataset(data).compose(join_captions(f"{data}/some", missing="skip")))
    assert len(samples) == 9
    assert all("captions.json" in s for s in samples)


def test_images_without_captions_can_be_passed_on(data):
    samples = list(dataset(data).compose(join_captions(f"{data}/some", missing="pass")))
    assert [s["__key__"] for s in samples if "captions.json" not in s] == ["set-000002"]


def test_a_missing_shard_is_an_error_or_is_treated_as_missing_captions(data):
    (data / "all" / "set-000001.tar").unlink()
    with pytest.raises(ShardError, match="no caption shard"):
        list(dataset(data).compose(join_captions(f"{data}/all")))
    assert len(list(dataset(data).compose(join_captions(f"{data}/all", missing="skip")))) == 6


@pytest.mark.parametrize("missing", ["error", "skip", "pass"])
def test_a_missing_folder_is_always_an_error(data, missing):
    with pytest.raises(ShardError, match="no folder"):
        list(dataset(data).compose(join_captions(f"{data}/nowhere", missing=missing)))


@pytest.mark.parametrize("missing", ["error", "skip", "pass"])
def test_a_damaged_caption_shard_is_always_an_error(data, missing):
    path = data / "all" / "set-000001.tar"
    path.write_bytes(path.read_bytes()[:1536])
    with pytest.raises(ShardError, match="cut off"):
        list(dataset(data).compose(join_captions(f"{data}/all", missing=missing)))


def test_a_function_may_say_where_captions_are(data):
    stage = join_captions(lambda url: url.replace("/images/", "/all/"))
    assert len(list(dataset(data).compose(stage))) == 10


def test_the_workers_of_a_loader_share_the_work(data, record, monkeypatch):
    """webdataset reads worker and number of workers from these variables when torch is not there."""
    found = []
    for worker in range(2):
        monkeypatch.setitem(os.environ, "WORKER", str(worker))
        monkeypatch.setitem(os.environ, "NUM_WORKERS", "2")
        stage = pickle.loads(pickle.dumps(join_captions(f"{data}/all")))
        found += [(s["__key__"], json.loads(s["captions.json"])) for s in dataset(data).compose(stage)]
    assert sorted(found) == [(key, record(key)) for key in (f"set-{i:06d}" for i in range(10))]


def test_an_unknown_way_to_treat_missing_captions_is_refused():
    with pytest.raises(ValueError, match="'error', 'skip' or 'pass'"):
        join_captions("folder", missing="ignore")


@pytest.mark.skipif(webdataset.__version__.startswith("0.2"), reason="this is that version")
def test_all_of_this_holds_for_the_version_that_open_clip_requires():
    old = Path(os.environ.get("CAPTIONER_OLD_WEBDATASET", Path(sys.prefix) / "webdataset-0.2.86"))
    if not (old / "webdataset").is_dir():
        pytest.skip(f"needs webdataset 0.2.86: pip install --no-deps --target {old} webdataset==0.2.86")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(old)}, capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout[-3000:]
