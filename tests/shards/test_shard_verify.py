"""Verification finds every truncation and every flipped bit, and says which file it is."""

import random
import shutil

import pytest

from captioner.errors import ShardError
from captioner.shards import build_captions, build_images, verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Image and caption shards of six images."""
    from tests.shards.shard_helpers import items_in

    root = tmp_path_factory.mktemp("whole")
    build_images(items_in(root / "data", 6), root / "images", dataset="set", per_shard=4)
    build_captions(root / "images", root / "captions", captions=lambda key: {"captions": [key]}, run="r1")
    return root


@pytest.fixture(params=["images", "captions"])
def folder(request, whole, tmp_path):
    shutil.copytree(whole / request.param, tmp_path / request.param)
    return tmp_path / request.param


def test_a_whole_folder_has_no_problem(folder):
    assert verify(folder) == []


def test_any_flipped_bit_in_any_file_is_found(folder):
    draw = random.Random(7)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for _ in range(40):
            position = draw.randrange(len(content))
            flipped = bytearray(content)
            flipped[position] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            assert verify(folder), f"bit flip in byte {position} of {path.name}"
        path.write_bytes(content)
    assert verify(folder) == []


def test_any_truncation_of_any_file_is_found(folder):
    draw = random.Random(7)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        ends = {
            0,
            1,
            len(content) - 1,
            len(content) // 512 * 512 - 512,
            *(draw.randrange(len(content)) for _ in range(20)),
        }
        for end in ends:
            path.write_bytes(content[:end])
            assert verify(folder), f"{path.name} cut off at byte {end}"
        path.write_bytes(content)
    assert verify(folder) == []


def test_any_missing_file_is_found(folder):
    for path in sorted(folder.iterdir()):
        if path.name in ("manifest.parquet", "run.json"):
            continue  # then it is no folder of shards: see below
        moved = path.rename(folder.parent / "moved")
        assert verify(folder), f"{path.name} is missing"
        moved.rename(path)


def test_foreign_shards_and_leftovers_are_found(folder):
    (folder / "set-000007.tar").write_bytes(b"")
    (folder / "set-000002.tar.tmp").write_bytes(b"")
    assert [(p.file, p.code) for p in verify(folder)] == [
        ("set-000002.tar.tmp", "unfinished"),
        ("set-000007.tar", "foreign"),
    ]


def test_a_damaged_image_is_named(whole, tmp_path):
    folder = shutil.copytree(whole / "images", tmp_path / "images")
    path = folder / "set-000001.tar"
    content = bytearray(path.read_bytes())
    content[512 + 40] ^= 1
    path.write_bytes(content)
    problems = verify(folder)
    assert {p.file for p in problems} == {"set-000001.tar"}
    assert any("the bytes of set-000004" in p.reason for p in problems)


def test_a_truncated_shard_is_called_so(whole, tmp_path):
    folder = shutil.copytree(whole / "images", tmp_path / "images")
    path = folder / "set-000001.tar"
    path.write_bytes(path.read_bytes()[:1024])
    assert [(p.file, p.code) for p in verify(folder)] == [("set-000001.tar", "truncated")]


def test_two_shards_that_were_swapped_are_found(folder):
    one, two = folder / "set-000000.tar", folder / "set-000001.tar"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert {p.file for p in verify(folder)} == {"set-000000.tar", "set-000001.tar"}


def test_a_folder_without_shards_of_ours_is_refused(tmp_path):
    with pytest.raises(ShardError, match="holds no shards"):
        verify(tmp_path)
