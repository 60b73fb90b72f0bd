"""Image shards are written once, whole, and never again."""

import errno
import fcntl
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner import atomic
from captioner.errors import OutputError, ShardError, StorageError
from captioner.shards import ImageItem, build_images, image_shard, read_manifest, verify
from captioner.shards import index as key_index
from captioner.shards.convert import Stored
from captioner.shards.index import KeyIndex
from captioner.shards.items import Loaded
from captioner.shards.manifest import COLUMNS, Manifest, Shard, write_manifest
from tests.shards.shard_helpers import contents, items_in, mount, stamps, unmount


def build(items, folder, **changes):
    return build_images(items, folder, **{"dataset": "set", "per_shard": 4, **changes})


def test_shards_hold_every_image_unchanged_in_order_under_its_key(tmp_path, make_items):
    items = make_items(10)
    report = build(items, tmp_path / "images")
    assert (report.images, report.shards, report.written, report.problems) == (10, 3, 3, ())
    found = []
    for name in ("set-000000.tar", "set-000001.tar", "set-000002.tar"):
        with tarfile.open(tmp_path / "images" / name) as archive:
            found += [(m.name, archive.extractfile(m).read()) for m in archive]
    assert found == [
        (f"{item.key}.{'png' if item.source.endswith('png') else 'jpg'}", item.path.read_bytes()) for item in items
    ]
    assert verify(tmp_path / "images") == []


def test_the_manifest_says_what_is_where(tmp_path, make_items):
    items = make_items(6)
    build(items, tmp_path / "images")
    manifest = read_manifest(tmp_path / "images")
    assert [(s.name, s.samples) for s in manifest.shards] == [("set-000000.tar", 4), ("set-000001.tar", 2)]
    for shard in manifest.shards:
        content = (tmp_path / "images" / shard.name).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [(s.name, keys) for s, keys in manifest.keys_by_shard()] == [
        ("set-000000.tar", [i.key for i in items[:4]]),
        ("set-000001.tar", [i.key for i in items[4:]]),
    ]
    rows = pq.read_table(tmp_path / "images" / "manifest.parquet").to_pylist()
    for row, item in zip(rows, items, strict=True):
        with Image.open(item.path) as image:
            assert (row["width"], row["height"], row["mode"]) == (*image.size, image.mode)
        content = item.path.read_bytes()
        assert (row["key"], row["source"]) == (item.key, item.source)
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert [row["shard"] for row in rows] == ["set-000000.tar"] * 4 + ["set-000001.tar"] * 2
    assert json.loads((tmp_path / "images" / "sizes.json").read_text()) == {"set-000000.tar": 4, "set-000001.tar": 2}


def test_a_manifest_of_any_length_is_written_and_read_in_pieces_of_one_size(tmp_path):
    number = 20_000
    rows = [
        (f"k-{i}", f"{i}.png", hashlib.sha256(b"%d" % i).hexdigest(), i, 1 + i, 2, "L", "png", False, "set-000000.tar")
        + ((1, 2) if i % 2 else (None, None))
        for i in range(number)
    ]
    shard = Shard("set-000000.tar", number, 1, "0" * 64)
    write_manifest(Manifest(tmp_path, "set", number, (shard,)), iter(rows))
    assert list(read_manifest(tmp_path).rows(*COLUMNS)) == rows
    metadata = pq.read_metadata(tmp_path / "manifest.parquet")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [8192, 8192, 3616]
    assert max(group.total_byte_size for group in groups) < 1 << 20


def test_sha256sum_accepts_the_folder(tmp_path, make_items):
    build(make_items(5), tmp_path / "images")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "images", check=True)


def test_the_extension_follows_the_bytes_not_the_name(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.jpg", "PNG")
    build([ImageItem("k-1", tmp_path / "a.jpg", "a.jpg")], tmp_path / "images")
    with tarfile.open(tmp_path / "images" / "set-000000.tar") as archive:
        assert archive.getnames() == ["k-1.png"]


@pytest.mark.parametrize("decode_check", [True, False])
def test_the_same_images_give_the_same_bytes(tmp_path, make_items, decode_check):
    items = make_items(9)
    build(items, tmp_path / "one")
    build(iter(items), tmp_path / "two", decode_check=decode_check)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_touches_nothing_and_opens_no_image(tmp_path, make_items):
    items = make_items(9)
    build(items, tmp_path / "images")
    before = stamps(tmp_path / "images")
    for item in items:
        item.path.unlink()
    report = build(items, tmp_path / "images")
    assert (report.images, report.written, report.problems) == (9, 0, ())
    assert stamps(tmp_path / "images") == before


def test_a_second_run_that_finds_the_same_problems_touches_nothing(tmp_path, make_items):
    items = make_items(5)
    items[2].path.write_bytes(b"\xff\xd8\xff broken")
    first = build(items, tmp_path / "images")
    before = stamps(tmp_path / "images")
    second = build(items, tmp_path / "images")
    assert second.problems == first.problems != ()
    assert stamps(tmp_path / "images") == before


def test_images_that_are_added_later_go_into_new_shards(tmp_path, make_items):
    items = make_items(6)
    build(items, tmp_path / "images")
    before = stamps(tmp_path / "images")
    report = build(items + make_items(3, start=6), tmp_path / "images")
    assert (report.images, report.shards, report.written) == (9, 3, 1)
    after = stamps(tmp_path / "images")
    assert all(after[name] == before[name] for name in ("set-000000.tar", "set-000001.tar"))
    manifest = read_manifest(tmp_path / "images")
    assert [len(keys) for _, keys in manifest.keys_by_shard()] == [4, 2, 3]
    assert verify(tmp_path / "images") == []


def test_a_problem_that_was_put_right_is_added_later(tmp_path, make_items):
    items = make_items(5)
    good = items[1].path.read_bytes()
    items[1].path.write_bytes(b"")
    assert build(items, tmp_path / "images").images == 4
    items[1].path.write_bytes(good)
    report = build(items, tmp_path / "images")
    assert (report.images, report.written, report.problems) == (5, 1, ())


def test_images_that_are_not_asked_for_any_more_stay_and_are_counted(tmp_path, make_items):
    items = make_items(6)
    build(items, tmp_path / "images")
    report = build(items[:4], tmp_path / "images")
    assert (report.images, report.unlisted, report.written) == (6, 2, 0)


def test_no_image_at_all_makes_an_empty_image_set(tmp_path):
    report = build([], tmp_path / "images")
    assert (report.images, report.shards) == (0, 0)
    assert read_manifest(tmp_path / "images").samples == 0
    assert verify(tmp_path / "images") == []


def test_progress_ends_at_the_number_of_items(tmp_path, make_items):
    calls = []
    build(make_items(5), tmp_path / "images", progress=calls.append)
    assert calls[-1] == 5


HALF_A_JPEG, HTML, WEBP = "half.jpg", "page.jpg", "true.webp"


@pytest.fixture
def bad(tmp_path):
    """One file of each kind that cannot go into a shard."""
    root = tmp_path / "bad"
    root.mkdir()
    Image.effect_noise((64, 64), 50).save(root / "whole.jpg")
    content = (root / "whole.jpg").read_bytes()
    (root / HALF_A_JPEG).write_bytes(content[: len(content) // 2])
    (root / HTML).write_bytes(b"<!DOCTYPE html><html>not found</html>")
    (root / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(root / WEBP)
    Image.new("I;16", (4, 4)).save(root / "deep.png")
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    return root


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        (HALF_A_JPEG, "corrupt_image", "cannot be decoded"),
        (HTML, "unsupported_type", "no image by its content"),
        ("empty.png", "corrupt_image", "empty"),
        (WEBP, "unsupported_type", "of type webp"),
        ("deep.png", "unsupported_type", "more than 8 bits"),
        ("folder.jpg", "unreadable", "not a regular file"),
        ("pipe.jpg", "unreadable", "not a regular file"),
        ("gone.jpg", "missing_image", "does not exist"),
    ],
)
def test_a_bad_file_is_reported_with_its_reason_and_the_others_are_written(tmp_path, bad, name, code, reason):
    items = [
        ImageItem("k-0", bad / "whole.jpg", "whole.jpg"),
        ImageItem("k-1", bad / name, name),
        ImageItem("k-2", bad / "whole.jpg", "again.jpg"),
    ]
    report = build(items, tmp_path / "images")
    assert report.images == 2
    (problem,) = report.problems
    assert (problem.key, problem.source, problem.code) == ("k-1", name, code)
    assert reason in problem.reason


@pytest.mark.parametrize("key", ["", "a.b", "a b", "__a__", "a/b", "../a", "é", "a" * 81, "a\n"])
def test_a_key_that_readers_would_misread_is_reported(tmp_path, make_items, key):
    (item,) = make_items(1)
    report = build([ImageItem(key, item.path, item.source)], tmp_path / "images")
    assert [problem.code for problem in report.problems] == ["invalid_key"]


def test_a_file_name_that_is_not_utf_8_is_reported(tmp_path, make_items):
    (item,) = make_items(1)
    source = os.fsdecode(b"caf\xe9.png")
    report = build([ImageItem("k-1", item.path, source)], tmp_path / "images")
    assert [(problem.source, problem.code) for problem in report.problems] == [(source, "unreadable")]


@pytest.mark.parametrize("name", ["a.b.c.png", "two words.png", "größe 图.png", "x" * 250 + ".png", "quote'\".png"])
def test_a_file_may_have_any_other_name(tmp_path, name):
    Image.new("L", (4, 4)).save(tmp_path / name)
    assert build([ImageItem("k-1", tmp_path / name, name)], tmp_path / "images").problems == ()
    assert [image.source for image in read_manifest(tmp_path / "images").images()] == [name]


def test_the_second_of_two_images_with_one_key_is_reported(tmp_path, make_items):
    a, b = make_items(2)
    report = build([a, ImageItem(a.key, b.path, b.source)], tmp_path / "images")
    assert report.images == 1
    assert [(p.source, p.code) for p in report.problems] == [(b.source, "duplicate_key")]
    again = build([a, ImageItem(a.key, b.path, b.source)], tmp_path / "images")
    assert again.problems == report.problems


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("change", ["grows", "shrinks", "is overwritten"])
def test_a_file_that_is_written_to_while_it_is_read_is_reported(tmp_path, make_items, monkeypatch, decode, change):
    items = make_items(3)
    changed = items[1].path
    size = changed.stat().st_size

    def changing(read):
        def read_and_change(descriptor, where):
            part = read(descriptor, where)
            if os.path.samestat(os.fstat(descriptor), changed.stat()):
                with changed.open("r+b") as file:
                    file.truncate(size + {"grows": 4, "shrinks": -1, "is overwritten": 0}[change])
                os.utime(changed, ns=(1, 1))
            return part

        return read_and_change

    monkeypatch.setattr(os, "read", changing(os.read))
    monkeypatch.setattr(os, "readv", changing(os.readv))
    report = build(items, tmp_path / "images", decode_check=decode)
    assert [(problem.key, problem.code) for problem in report.problems] == [(items[1].key, "changed_while_read")]
    assert report.images == 2
    assert verify(tmp_path / "images") == []


def test_a_key_that_stands_for_another_file_than_before_is_refused(tmp_path, make_items):
    items = make_items(4)
    build(items, tmp_path / "images")
    moved = [ImageItem(items[0].key, items[1].path, items[1].source)]
    with pytest.raises(OutputError, match="set-000000 from another file"):
        build(moved, tmp_path / "images")


def test_a_folder_of_another_dataset_is_refused(tmp_path, make_items):
    build(make_items(4), tmp_path / "images")
    with pytest.raises(OutputError, match="the images of set, not of other"):
        build(make_items(4), tmp_path / "images", dataset="other")


def test_foreign_shards_are_refused(tmp_path, make_items):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "set-000000.tar").write_bytes(b"from another tool")
    with pytest.raises(OutputError, match=r"set-000000\.tar, which is not part"):
        build(make_items(4), tmp_path / "images")
    assert contents(tmp_path / "images") == {"set-000000.tar": b"from another tool"}


def test_a_shard_that_went_missing_or_changed_its_size_is_refused(tmp_path, make_items):
    items = make_items(8)
    build(items, tmp_path / "images")
    shard = tmp_path / "images" / "set-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(OutputError, match=r"set-000001\.tar has \d+ bytes"):
        build(items, tmp_path / "images")
    shard.unlink()
    with pytest.raises(OutputError, match=r"set-000001\.tar is missing"):
        build(items, tmp_path / "images")


def test_a_damaged_manifest_is_refused(tmp_path, make_items):
    items = make_items(4)
    build(items, tmp_path / "images")
    (tmp_path / "images" / "manifest.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ShardError, match=r"manifest\.parquet cannot be read"):
        build(items, tmp_path / "images")


class StopError(Exception):
    """Stands for whatever ends a build."""


def stopping(items, after):
    yield from items[:after]
    raise StopError


@pytest.mark.parametrize("after", [0, 3, 4, 9, 12])
def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, make_items, after):
    items = make_items(14)
    build(items, tmp_path / "whole")
    with pytest.raises(StopError):
        build(stopping(items, after), tmp_path / "images", decode_check=False)
    report = build(items, tmp_path / "images")
    assert report.images == 14
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")


def test_an_interrupted_build_is_not_resumed_with_other_settings(tmp_path, make_items):
    items = make_items(14)
    with pytest.raises(StopError):
        build(stopping(items, 9), tmp_path / "images", decode_check=False)
    with pytest.raises(OutputError, match=r"per_shard=4, .*; now .*per_shard=5"):
        build(items, tmp_path / "images", per_shard=5)


def test_a_journal_line_that_was_cut_off_counts_as_not_there(tmp_path, make_items):
    items = make_items(14)
    build(items, tmp_path / "whole")
    with pytest.raises(StopError):
        build(stopping(items, 13), tmp_path / "images", decode_check=False)
    journal = tmp_path / "images" / "building.jsonl"
    content = journal.read_bytes()
    for cut in (1, 40, len(content) // 2):
        journal.write_bytes(content[:-cut])
        for path in (tmp_path / "images").glob("*.tar"):
            if path.name.encode() not in content[: content.rfind(b"\n", 0, len(content) - cut) + 1]:
                path.unlink()
        with pytest.raises(StopError):
            build(stopping(items, 13), tmp_path / "images", decode_check=False)
        assert journal.read_bytes() == content
    build(items, tmp_path / "images")
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")


def test_a_second_build_at_the_same_time_says_so_and_stops(tmp_path, make_items):
    items = make_items(9)
    at_work, go_on = threading.Event(), threading.Event()

    def slowly():
        yield from items[:8]
        at_work.set()
        go_on.wait()
        yield items[8]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(build, slowly(), tmp_path / "images", decode_check=False)
        first.add_done_callback(lambda _: at_work.set())  # also if it fails before
        at_work.wait()
        try:
            with pytest.raises(OutputError, match="in use"):
                build(items, tmp_path / "images")
        finally:
            go_on.set()
        assert first.result().images == 9
    assert read_manifest(tmp_path / "images").samples == 9
    assert verify(tmp_path / "images") == []


@pytest.mark.parametrize("side", [900, 1400])
def test_large_images_are_written_and_hashed_like_small_ones(tmp_path, side):
    rows = [ImageItem(f"k-{i}", tmp_path / f"{i}.png", f"{i}.png") for i in range(5)]
    for i, item in enumerate(rows):
        Image.effect_noise((side + i, side), 90).save(item.path)
    build(rows, tmp_path / "images")
    assert sum(item.path.stat().st_size for item in rows) > 3 << 20
    assert verify(tmp_path / "images") == []
    for image, item in zip(read_manifest(tmp_path / "images").images(), rows, strict=True):
        assert image.sha256 == hashlib.sha256(item.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("direct", [True, False])
def test_a_shard_of_any_size_is_what_tarfile_makes(tmp_path, direct, monkeypatch):
    if not direct:
        monkeypatch.setattr(fcntl, "fcntl", _refusing_direct(fcntl.fcntl))
    draw = random.Random(3)
    # One ends where a piece of memory ends, one a byte behind that, one is longer than several.
    sizes = [image_shard._PIECE - 512, 1, 512, image_shard._PIECE - 1535, 3 * image_shard._PIECE + 77, 100_000]
    loaded = [
        Loaded(f"k-{i}", f"{i}.npy", Stored(draw.randbytes(n), 1, 1, "L", "jpg", False)) for i, n in enumerate(sizes)
    ]
    with image_shard.Workers() as workers:
        for take in range(len(loaded) + 1):
            writing = image_shard.ImageShard(tmp_path / f"{take}.tar", workers)
            for image in loaded[:take]:
                writing.add(image)
            writing.end()
            shard, rows = writing.finish()
            expected = io.BytesIO()
            with tarfile.open(fileobj=expected, mode="w") as archive:
                for image in loaded[:take]:
                    info = tarfile.TarInfo(f"{image.key}.jpg")
                    info.size = len(image.image.payload)
                    archive.addfile(info, io.BytesIO(image.image.payload))
            content = (tmp_path / shard.name).read_bytes()
            assert content == expected.getvalue()
            assert (shard.samples, shard.bytes, shard.sha256) == (
                take,
                len(content),
                hashlib.sha256(content).hexdigest(),
            )
            assert [row[2] for row in rows] == [hashlib.sha256(i.image.payload).hexdigest() for i in loaded[:take]]


def test_images_of_any_size_are_stored_the_same_whether_or_not_they_are_decoded(tmp_path):
    """Without the check they are read straight to where they belong, if there is room for them."""
    draw = random.Random(5)
    piece, room = image_shard._PIECE, image_shard._ROOM
    edges = [room, piece, piece + room]
    sizes = [
        100_000,
        *(edge + over for edge in edges for over in (-1025, -1024, -1023, -513, -512, 0, 1)),
        5 * piece,
        400,
    ]
    draw.shuffle(sizes)
    buffer = io.BytesIO()
    Image.new("L", (5, 4)).save(buffer, "PNG")
    items = [ImageItem(f"k-{i}", tmp_path / f"{i}.png", f"{i}.png") for i in range(len(sizes))]
    for item, size in zip(items, sizes, strict=True):
        item.path.write_bytes(buffer.getvalue() + draw.randbytes(size - len(buffer.getvalue())))
    items[3:3] = [
        ImageItem("missing", tmp_path / "missing.png", "missing.png"),
        ImageItem("k-0", items[0].path, "0.png"),
    ]
    reports = [build(items, tmp_path / str(decode), per_shard=7, decode_check=decode) for decode in (True, False)]
    assert [problem.code for problem in reports[0].problems] == ["missing_image", "duplicate_key"]
    assert reports[0] == reports[1]
    assert contents(tmp_path / "True") == contents(tmp_path / "False")
    assert verify(tmp_path / "False") == []
    with tarfile.open(tmp_path / "False" / "set-000001.tar") as archive:
        stored = {member.name: archive.extractfile(member).read() for member in archive}
    assert stored == {f"{item.key}.png": item.path.read_bytes() for item in items[9:16]}


def _refusing_direct(real):
    """As a file system that has no way past the cache."""

    def fcntl_(file, command, argument=0):
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(file, command, argument)

    return fcntl_


def is_open(descriptor, path):
    """Return whether a descriptor is of this file."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def test_a_folder_that_is_gone_while_it_is_written_to_is_said_to_be_gone(tmp_path):
    with pytest.raises(
        StorageError, match=r"gone/a: its folder is not there, or is there no more\. Make it, or choose"
    ):
        atomic.write(tmp_path / "gone" / "a", b"")


def test_a_disk_that_is_full_in_the_middle_of_a_large_shard_leaves_nothing_of_it(tmp_path, monkeypatch):
    real = atomic._Target.write

    def write(self, data):
        if self.tell() >= 2 * image_shard._PIECE:
            with atomic.storage(self._final):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(atomic._Target, "write", write)
    monkeypatch.setattr(fcntl, "fcntl", _refusing_direct(fcntl.fcntl))
    rows = [ImageItem(f"k-{i}", tmp_path / f"{i}.png", f"{i}.png") for i in range(12)]
    for i, item in enumerate(rows):
        Image.effect_noise((900 + i, 900), 90).save(item.path)
    with pytest.raises(StorageError, match=r"set-000000\.tar: the disk is full"):
        build(rows, tmp_path / "images", per_shard=12)
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"building.jsonl"}
    monkeypatch.undo()
    assert build(rows, tmp_path / "images", per_shard=12).images == 12
    assert verify(tmp_path / "images") == []


def test_a_full_disk_is_said_clearly_and_the_build_goes_on_when_there_is_room(tmp_path, make_items, monkeypatch):
    items = make_items(12)
    build(items, tmp_path / "whole")
    real, budget = atomic._Target.write, [30_000]

    def write(self, data):
        budget[0] -= len(data)
        if budget[0] < 0:
            with atomic.storage(self._final):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(atomic._Target, "write", write)
    monkeypatch.setattr(fcntl, "fcntl", _refusing_direct(fcntl.fcntl))
    with pytest.raises(StorageError, match="the disk is full"):
        build(items, tmp_path / "images")
    left = {path.name for path in (tmp_path / "images").iterdir()}
    assert left == {"building.jsonl", "set-000000.tar", "set-000001.tar"}
    monkeypatch.undo()
    assert build(items, tmp_path / "images").written == 1
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")


def test_a_disk_that_fails_while_a_shard_is_brought_to_it_is_said_and_the_build_goes_on_later(
    tmp_path, make_items, monkeypatch
):
    items = make_items(14)
    build(items, tmp_path / "whole")
    real = os.fsync

    def fsync(descriptor):
        if is_open(descriptor, tmp_path / "images" / "set-000001.tar.tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=r"set-000001\.tar: the disk reports an error"):
        build(items, tmp_path / "images")
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"building.jsonl", "set-000000.tar"}
    monkeypatch.undo()
    assert build(items, tmp_path / "images").images == 14
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")


def test_a_really_full_disk(tmp_path):
    """The same on a file system of one megabyte, where the test may mount one."""
    if not mount(tmp_path, "size=1m"):
        pytest.skip("may not mount a small file system here")
    try:
        root = tmp_path.parent / f"{tmp_path.name}-data"
        root.mkdir()
        Image.effect_noise((400, 400), 80).save(root / "a.png")
        items = [ImageItem(f"k-{i}", root / "a.png", f"{i}.png") for i in range(40)]
        with pytest.raises(StorageError, match="the disk is full"):
            build(items, tmp_path / "images", per_shard=2)
        for path in (tmp_path / "images").glob("*.tar"):
            with tarfile.open(path) as archive:
                assert len(archive.getnames()) == 2
        assert not list((tmp_path / "images").glob("*.tmp"))
    finally:
        unmount(tmp_path)


def test_a_file_in_place_of_the_folder_is_said_clearly(tmp_path, make_items):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        build(make_items(1), tmp_path / "file" / "images")


KILLED = """
import itertools, os, signal, sys, threading
from pathlib import Path
from tests.shards.shard_helpers import items_in
from captioner.shards import build_images

root, last = Path(sys.argv[1]), int(sys.argv[2])
items, calls = items_in(root / "data", 60), itertools.count(1)

def count(frame, event, argument):
    if event in ("call", "c_call") and next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)

threading.setprofile(count)
sys.setprofile(count)
build_images(items, root / "images", dataset="set", per_shard=4)
sys.setprofile(None)
print(next(calls))
"""


def test_a_build_that_is_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    """A moment is a call of a function in any of its threads; it is killed when it comes to the call of that number."""

    def start(last):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(last)]
        return subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, check=False)

    undisturbed = start(0)
    assert undisturbed.returncode == 0
    images, whole = tmp_path / "images", (tmp_path / "images").rename(tmp_path / "whole")
    for tenth in range(1, 11):
        killed = start(int(undisturbed.stdout) * tenth // 11)
        assert killed.returncode in (-signal.SIGKILL, 0)  # how often threads look at each other differs a little
        for path in images.glob("*.tar"):
            assert path.read_bytes() == (whole / path.name).read_bytes()
        if tenth % 2:  # else the next one goes on, and is killed in its turn
            build(items_in(tmp_path / "data", 60), images)
            assert contents(images) == contents(whole)
            shutil.rmtree(images)
    build(items_in(tmp_path / "data", 60), images)
    assert contents(images) == contents(whole)


def test_the_key_index_tells_apart_what_is_held_and_what_came_by():
    with KeyIndex() as index:
        assert index.held("k1", "s1") == ("no", 0)
        index.hold((f"k{i}", f"s{i}", 1) for i in range(5000))
        assert {index.held(f"k{i}", f"s{i}") for i in range(5000)} == {("whole", 1)}
        assert {index.held(f"k{i}", "other") for i in range(5000)} == {("moved", 0)}
        assert index.held("n1", "s1") == ("no", 0)
        assert all(index.first(f"k{i}") for i in range(5000))
        assert not any(index.first(f"k{i}") for i in range(5000))


@given(st.lists(st.integers(0, 30).map(lambda n: f"k{n:02d}" if n % 3 else f"K{n}"), max_size=60))
def test_the_key_index_tells_first_from_later_in_any_order(keys):
    with mock.patch.object(key_index, "_TOGETHER", 4), KeyIndex() as index:
        assert [index.first(key) for key in keys] == [key not in keys[:i] for i, key in enumerate(keys)]


def test_the_key_index_counts_the_images_of_a_file_with_several():
    with KeyIndex() as index:
        index.hold([("scan", "scan.dcm", 3), ("scan", "scan.dcm", 3)])
        assert index.held("scan", "scan.dcm") == ("partly", 2)
        index.hold([("scan", "scan.dcm", 3)])
        assert index.held("scan", "scan.dcm") == ("whole", 3)


def test_a_full_temporary_folder_is_said_clearly():
    with KeyIndex() as index:
        index._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StorageError, match=r"temporary folder .* set TMPDIR"):
            all(index.first(f"key-{i}") for i in range(5000))


def test_a_disk_that_is_full_when_the_journal_is_written_is_said_clearly(tmp_path, make_items, monkeypatch):
    items = make_items(12)
    build(items, tmp_path / "whole")
    real, calls = os.write, []

    def write(descriptor, data):
        calls.extend([descriptor] * is_open(descriptor, tmp_path / "images" / "building.jsonl"))
        if len(calls) == 3:
            calls.append(descriptor)
            real(descriptor, bytes(data)[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError, match=r"building\.jsonl: the disk is full"):
        build(items, tmp_path / "images")
    monkeypatch.undo()
    assert build(items, tmp_path / "images").written == 2
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")
