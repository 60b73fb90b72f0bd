"""Samples by key and by position, without webdataset."""

import pickle

import pytest

from captioner.errors import ShardError
from captioner.shards import Samples, build_captions, build_images


@pytest.fixture
def out(tmp_path, make_items, record):
    items = make_items(10)
    build_images(items, tmp_path / "images", dataset="set", per_shard=4)
    build_captions(
        tmp_path / "images",
        tmp_path / "captions",
        captions=lambda key: None if key == "set-000002" else record(key),
        run="r1",
    )
    return tmp_path


def test_every_sample_is_found_by_its_key_and_by_its_position(out, make_items, record):
    items = make_items(10)
    with Samples(out / "images", out / "captions") as samples:
        assert len(samples) == 10
        assert samples.keys() == tuple(item.key for item in items)
        for i in (9, 0, 5, 4, 3, 8):
            sample = samples[items[i].key]
            assert sample == samples[i] == samples[i - 10]
            assert sample.image == items[i].path.read_bytes()
            assert sample.record == record(items[i].key)
            assert sample.captions == record(items[i].key)["captions"]
            assert sample.open().size == (8 + i % 5, 6)


def test_a_sample_without_captions_has_none(out):
    with Samples(out / "images", out / "captions") as samples:
        assert samples["set-000002"].record is None
        assert samples["set-000002"].captions == []


def test_images_can_be_read_alone(out):
    with Samples(out / "images") as samples:
        assert {sample.record for sample in samples} == {None}


def test_what_is_not_there_is_an_error(out):
    with Samples(out / "images") as samples:
        assert "set-000009" in samples
        assert "set-000010" not in samples
        with pytest.raises(KeyError):
            samples["set-000010"]
        with pytest.raises(IndexError):
            samples[10]


def test_samples_can_be_sent_to_a_worker_process(out):
    with Samples(out / "images", out / "captions") as samples:
        first = samples[0]
        with pickle.loads(pickle.dumps(samples)) as copy:
            assert copy[0] == first


def test_more_shards_than_are_kept_open_can_be_read(tmp_path, make_items):
    build_images(make_items(70), tmp_path / "images", dataset="set", per_shard=1)
    with Samples(tmp_path / "images") as samples:
        assert [sample.key for sample in samples] == list(samples.keys())
        assert samples[0].image


def test_an_empty_image_set_has_no_samples(tmp_path):
    build_images([], tmp_path / "images", dataset="set")
    assert list(Samples(tmp_path / "images")) == []


@pytest.mark.parametrize("damage", ["cut off", "another shard", "missing", "empty"])
def test_a_shard_that_is_not_as_its_manifest_says_is_an_error(out, damage):
    path = out / "images" / "set-000001.tar"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        other = (out / "images" / "set-000000.tar").read_bytes()
        path.write_bytes({"cut off": content[:1100], "another shard": other, "empty": b""}[damage])
    with Samples(out / "images") as samples, pytest.raises(ShardError, match=r"set-000001\.tar"):
        samples["set-000007"]
