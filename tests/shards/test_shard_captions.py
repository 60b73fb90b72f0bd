"""Caption shards have the names, keys and order of the image shards, and no image is opened to write them."""

import json
import tarfile
from pathlib import Path

import pytest

from captioner import atomic
from captioner.errors import OutputError, ShardError, StorageError
from captioner.shards import build_captions, build_images, load_captions, verify
from tests.shards.shard_helpers import contents, stamps


@pytest.fixture
def images(tmp_path, make_items):
    build_images(make_items(10), tmp_path / "images", dataset="set", per_shard=4)
    return tmp_path / "images"


def test_caption_shards_mirror_the_image_shards(tmp_path, images, record):
    report = build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert (report.images, report.captioned, report.missing, report.shards, report.written) == (10, 10, 0, 3, 3)
    for path in images.glob("*.tar"):
        with tarfile.open(path) as image_shard, tarfile.open(tmp_path / "captions" / path.name) as caption_shard:
            keys = [name.split(".", 1)[0] for name in image_shard.getnames()]
            assert caption_shard.getnames() == [f"{key}.captions.json" for key in keys]
            for member in caption_shard:
                content = caption_shard.extractfile(member).read()
                assert json.loads(content) == record(member.name.split(".", 1)[0])
                assert "Größe".encode() in content
    assert verify(tmp_path / "captions", images=images) == []


def test_an_image_without_captions_has_no_member_and_is_counted(tmp_path, images, record):
    def some(key):
        return None if key.endswith(("2", "3")) else record(key)

    report = build_captions(images, tmp_path / "captions", captions=some, run="r1")
    assert (report.captioned, report.missing) == (8, 2)
    assert list(load_captions(tmp_path / "captions" / "set-000000.tar")) == ["set-000000", "set-000001"]
    assert verify(tmp_path / "captions", images=images) == []


def test_a_record_with_no_captions_counts_as_none(tmp_path, images, record):
    report = build_captions(
        images, tmp_path / "captions", captions=lambda key: record(key) | {"captions": []}, run="r1"
    )
    assert (report.captioned, report.missing) == (0, 10)


def test_no_image_is_opened(tmp_path, images, record):
    for path in images.glob("*.tar"):
        path.write_bytes(b"")
    assert build_captions(images, tmp_path / "captions", captions=record, run="r1").captioned == 10


def test_writing_them_again_touches_nothing(tmp_path, images, record):
    first = build_captions(images, tmp_path / "captions", captions=record, run="r1")
    before = stamps(tmp_path / "captions")
    again = build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert again.written == 0
    assert (again.captioned, again.bytes) == (first.captioned, first.bytes)
    assert stamps(tmp_path / "captions") == before


def test_captions_that_were_accepted_later_rewrite_only_their_shard(tmp_path, images, record):
    build_captions(
        images, tmp_path / "captions", captions=lambda key: None if key == "set-000005" else record(key), run="r1"
    )
    before = stamps(tmp_path / "captions")
    report = build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert (report.written, report.missing) == (1, 0)
    after = stamps(tmp_path / "captions")
    assert {name for name in after if name.endswith(".tar") and after[name] != before[name]} == {"set-000001.tar"}
    assert verify(tmp_path / "captions", images=images) == []


def test_the_captions_of_images_that_were_added_leave_the_old_shards_untouched(tmp_path, images, make_items, record):
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    before = stamps(tmp_path / "captions")
    build_images(make_items(13), images, dataset="set", per_shard=4)
    problems = verify(tmp_path / "captions", images=images)
    assert [problem.code for problem in problems] == ["other_images"]
    report = build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert (report.images, report.written) == (13, 1)
    after = stamps(tmp_path / "captions")
    assert all(after[f"set-00000{i}.tar"] == before[f"set-00000{i}.tar"] for i in range(3))
    assert verify(tmp_path / "captions", images=images) == []


def test_the_bytes_depend_on_nothing_but_images_and_captions(tmp_path, images, record):
    def backwards(key):
        return dict(reversed(record(key).items()))

    build_captions(images, tmp_path / "one", captions=record, run="r1")
    build_captions(images, tmp_path / "two", captions=backwards, run="r1")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class StopError(Exception):
    """Stands for whatever ends a build."""


@pytest.mark.parametrize("after", [0, 3, 4, 9])
def test_interrupted_writing_ends_with_the_same_bytes(tmp_path, images, record, after):
    def stopping(key):
        if int(key[-6:]) == after:
            raise StopError
        return record(key)

    build_captions(images, tmp_path / "whole", captions=record, run="r1")
    with pytest.raises(StopError):
        build_captions(images, tmp_path / "captions", captions=stopping, run="r1")
    assert "unfinished" in {problem.code for problem in verify(tmp_path / "captions")}
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert contents(tmp_path / "captions") == contents(tmp_path / "whole")


def test_records_of_one_triplet_that_differ_are_kept_apart(tmp_path, images, record):
    def per_image(key):
        return record(key) | {"triplet": "t0", "captions": [f"Caption of {key}."]}

    build_captions(images, tmp_path / "captions", captions=per_image, run="r1")
    found = load_captions(tmp_path / "captions" / "set-000002.tar")
    assert found == {key: per_image(key) for key in ("set-000008", "set-000009")}


def test_captions_of_another_run_are_refused(tmp_path, images, record):
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    with pytest.raises(OutputError, match="the captions of run r1, not of r2"):
        build_captions(images, tmp_path / "captions", captions=record, run="r2")


def test_captions_that_were_written_for_other_images_are_refused(tmp_path, images, make_items, record):
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    build_images(make_items(9, start=1), tmp_path / "others", dataset="set", per_shard=4)
    with pytest.raises(OutputError, match="written for other images"):
        build_captions(tmp_path / "others", tmp_path / "captions", captions=record, run="r1")


def test_a_folder_with_shards_of_unknown_origin_is_refused(tmp_path, images, record):
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "set-000000.tar").write_bytes(b"")
    with pytest.raises(OutputError, match=r"no run\.json"):
        build_captions(images, tmp_path / "captions", captions=record, run="r1")


def test_captions_without_images_are_refused(tmp_path, record):
    with pytest.raises(ShardError, match="Build the image shards first"):
        build_captions(tmp_path / "images", tmp_path / "captions", captions=record, run="r1")


def test_an_image_shard_is_no_caption_shard(images):
    with pytest.raises(ShardError, match="no caption shard"):
        load_captions(images / "set-000000.tar")


def test_captions_that_change_back_after_an_interruption_are_those_of_the_last_call(tmp_path, images, record):
    def changed(key):
        return record(key) | {"captions": [text.replace("caption", "CAPTION") for text in record(key)["captions"]]}

    def interrupted(key):
        if key == "set-000008":
            raise StopError
        return changed(key)

    build_captions(images, tmp_path / "whole", captions=record, run="r1")
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    with pytest.raises(StopError):
        build_captions(images, tmp_path / "captions", captions=interrupted, run="r1")
    assert verify(tmp_path / "captions") != []
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert contents(tmp_path / "captions") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["run.json", "SHA256SUMS", "set-000001.tar"])
def test_a_full_disk_at_any_file_is_made_good_by_the_next_call(tmp_path, images, record, monkeypatch, name):
    write = atomic.write

    def full(path, content, **options):
        if path.name == name and (name != "run.json" or b"set-000002.tar" in content):
            raise StorageError("the disk is full")
        write(path, content, **options)

    build_captions(images, tmp_path / "whole", captions=record, run="r1")
    build_captions(images, tmp_path / "captions", captions=lambda key: record("x000001"), run="r1")
    monkeypatch.setattr(atomic, "write", full)
    with pytest.raises(StorageError):
        build_captions(images, tmp_path / "captions", captions=record, run="r1")
    monkeypatch.undo()
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    assert contents(tmp_path / "captions") == contents(tmp_path / "whole")
    assert verify(tmp_path / "captions", images=images) == []


def test_before_the_record_vouches_for_the_shards_their_names_are_on_disk(tmp_path, images, record, monkeypatch):
    """A power cut must not leave a record of shards whose names it has taken."""
    done = []
    replace, sync = Path.replace, atomic.sync_folder

    def renamed(path, target):
        done.append(Path(target).name)
        return replace(path, target)

    def synced(folder):
        done.append(folder.name)
        sync(folder)

    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(atomic, "sync_folder", synced)
    build_captions(images, tmp_path / "captions", captions=record, run="r1")
    last = max(i for i, name in enumerate(done) if name.endswith(".tar"))
    record_of_all = max(i for i, name in enumerate(done) if name == "run.json")
    assert "captions" in done[last:record_of_all]
