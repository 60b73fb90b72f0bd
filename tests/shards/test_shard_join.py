"""Captions are joined to images by key, whatever the loader does to the order."""

import collections
import gc
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset

from captioner.errors import ShardError, UsageError
from captioner.shards import build_captions, build_images, join_captions, scheme

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


def test_several_runs_are_mixed_by_weight_and_drawn_anew(data):
    build_captions(
        data / "images", data / "other", captions=lambda key: {"captions": [f"other {key}"], "run": "r3"}, run="r3"
    )
    random.seed(1)
    runs = {f"{data}/all": 3.0, f"{data}/other": 1.0}
    pipeline = dataset(data, resampled=True).compose(join_captions(runs)).decode().with_epoch(1000)
    counts = collections.Counter(sample["captions.json"]["run"] for sample in pipeline)
    assert 200 < counts["r3"] < 300
    assert counts.total() == 1000


def test_an_image_that_one_of_several_runs_lacks_gets_the_captions_of_the_others(data):
    runs = {f"{data}/some": 1000.0, f"{data}/all": 0.001}
    samples = {s["__key__"]: s for s in dataset(data).compose(join_captions(runs)).decode()}
    assert len(samples) == 10
    assert all("captions.json" in s for s in samples.values())


@pytest.mark.parametrize("runs", [{}, {"a": 0.0}, {"a": -1.0}])
def test_runs_without_weight_are_refused(runs):
    with pytest.raises(ValueError, match="at least one run, and weights above 0"):
        join_captions(runs)


class TestUnmodifiedLoaders:
    """What a loader sees that only knows of tars with images and texts."""

    @pytest.fixture
    def out(self, tmp_path, make_items, record):
        """An output folder with two runs; the second lacks the captions of set-000002."""
        out = tmp_path / "out"
        build_images(make_items(10), out / "images", dataset="set", per_shard=4)
        build_captions(out / "images", out / "runs/r1/captions", captions=record, run="r1")
        build_captions(
            out / "images",
            out / "runs/r2/captions",
            captions=lambda key: None if key == "set-000002" else {"captions": [f"second run, {key}"]},
            run="r2",
        )
        scheme.register()
        return out

    def samples(self, out, query, **options):
        url = f"captioner:{out}/images/set-{{000000..000002}}.tar?{query}"
        return list(webdataset.WebDataset(url, **{"shardshuffle": False, **options}).decode("pil"))

    def test_each_image_has_a_text(self, out, record):
        samples = self.samples(out, "run=r1")
        assert [s["__key__"] for s in samples] == [f"set-{i:06d}" for i in range(10)]
        for sample in samples:
            assert sample["txt"] in record(sample["__key__"])["captions"]
            assert {"jpg", "png"} & sample.keys()

    def test_the_text_is_drawn_anew_in_each_epoch(self, out):
        random.seed(2)
        epochs = [[s["txt"] for s in self.samples(out, "run=r1")] for _ in range(3)]
        assert epochs[0] != epochs[1] or epochs[1] != epochs[2]

    def test_images_are_the_bytes_of_the_image_shard(self, out):
        url = f"{out}/images/set-000000.tar"
        plain = list(webdataset.WebDataset(url, shardshuffle=False))
        merged = list(webdataset.WebDataset(f"captioner:{url}?run=r1", shardshuffle=False))
        for one, other in zip(plain, merged, strict=True):
            assert {k: one.get(k) for k in ("jpg", "png")} == {k: other.get(k) for k in ("jpg", "png")}

    def test_shards_can_be_shuffled_and_drawn_again_and_again(self, out, record):
        url = f"captioner:{out}/images/set-{{000000..000002}}.tar?run=r1"
        pipeline = webdataset.WebDataset(url, resampled=True, shardshuffle=False).shuffle(10).decode().with_epoch(50)
        for sample in pipeline:
            assert sample["txt"] in record(sample["__key__"])["captions"]

    def test_all_captions_can_be_had_as_json(self, out, record):
        for sample in self.samples(out, "run=r1&form=json"):
            assert sample["json"] == record(sample["__key__"])

    def test_all_captions_can_be_had_as_numbered_fields(self, out, record):
        for sample in self.samples(out, "run=r1&form=flat"):
            wanted = record(sample["__key__"])
            assert [sample["json"][f"caption_{i}"] for i in range(10)] == wanted["captions"]
            assert sample["json"]["labels"] == wanted["labels"]

    def test_unimeds_loader_gets_what_it_splits(self, out, record):
        for sample in self.samples(out, "run=r1&form=joined:set"):
            pieces = sample["txt"].split("_set_")[0:10]
            assert pieces == record(sample["__key__"])["captions"]

    def test_runs_are_mixed_by_weight(self, out):
        random.seed(3)
        texts = [s["txt"] for _ in range(40) for s in self.samples(out, "run=r1*3&run=r2")]
        share = sum(text.startswith("second run") for text in texts) / len(texts)
        assert 0.15 < share < 0.35

    def test_an_image_without_captions_is_an_error_or_skipped_or_passed_on(self, out):
        with pytest.raises(ShardError, match="no captions for set-000002"):
            self.samples(out, "run=r2")
        assert len(self.samples(out, "run=r2&missing=skip")) == 9
        passed = self.samples(out, "run=r2&missing=pass")
        assert [s["__key__"] for s in passed if "txt" not in s] == ["set-000002"]

    def test_a_folder_elsewhere_can_be_named(self, out):
        (out / "runs/r1/captions").rename(out / "elsewhere")
        assert len(self.samples(out, f"run={out}/elsewhere")) == 10

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("", "names no run"),
            ("run=r1&forms=txt", "no parameter 'forms'"),
            ("run=r1&form=text", "no form 'text'"),
            ("run=r1&form=joined:", "no form 'joined:'"),
            ("run=r1&missing=ignore", "error, skip or pass"),
            ("run=r9", "no folder"),
        ],
    )
    def test_a_url_that_makes_no_sense_is_refused(self, out, query, message):
        with pytest.raises(UsageError, match=message):
            self.samples(out, query)

    def test_a_damaged_image_shard_is_an_error(self, out):
        path = out / "images/set-000001.tar"
        path.write_bytes(path.read_bytes()[:1536])
        with pytest.raises(ShardError, match="cut off"):
            self.samples(out, "run=r1")

    def test_a_program_is_run_with_the_scheme(self, out, tmp_path):
        (tmp_path / "trainer.py").write_text(
            "import sys, webdataset\n"
            "assert __name__ == '__main__'\n"
            "print(len([s['txt'] for s in webdataset.WebDataset(sys.argv[1], shardshuffle=False)]))\n"
        )
        url = f"captioner:{out}/images/set-{{000000..000002}}.tar?run=r1"
        command = [sys.executable, "-W", "ignore", "-m", "captioner.shards.scheme", "trainer", url]
        done = subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": python_path(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        assert done.stdout == "10\n", done.stderr

    def test_a_pipe_gives_the_same_to_loaders_that_can_register_nothing(self, out, record):
        code = (
            "import sys; from pathlib import Path; from captioner.shards.scheme import copy_url; "
            "copy_url(sys.argv[1], sys.stdout.buffer)"
        )
        command = f"{sys.executable} -c '{code}' 'captioner:{out}/images/set-{{000000..000002}}.tar?run=r1'"
        samples = list(webdataset.WebDataset(f"pipe:{command}", shardshuffle=False).decode())
        assert len(samples) == 10
        assert all(s["txt"] in record(s["__key__"])["captions"] for s in samples)

    def test_a_reader_of_the_pipe_may_stop_early(self, out):
        code = "import sys; from captioner.shards.scheme import copy_url; copy_url(sys.argv[1], sys.stdout.buffer)"
        reader, writer = os.pipe()
        command = [sys.executable, "-c", code, f"captioner:{out}/images/set-000000.tar?run=r1"]
        process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        os.close(reader)
        assert process.communicate()[1] == ""
        assert process.returncode == 0


def python_path(*more):
    return os.pathsep.join([*map(str, more), *filter(None, [os.environ.get("PYTHONPATH")])])


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
