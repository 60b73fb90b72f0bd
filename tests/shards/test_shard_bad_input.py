"""Whatever a label table names and whatever the files are: each bad one is reported with its row, the others are stored.

Nothing outside the image folder is read, and nothing disappears without a word.
"""

import csv
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from captioner.cli import main
from captioner.errors import StorageError
from captioner.shards import ImageItem, build_images, read_manifest, verify
from tests.shards.shard_helpers import mount, unmount

SECRET = b"somebody else's file"
STORED = None
LONG = f"{'d' * 150}/{'e' * 146}.png"
assert len(LONG) > 300

CASES = {
    "good.png": STORED,
    "half.jpg": "corrupt_image",
    "page.jpg": "unsupported_type",
    "empty.png": "corrupt_image",
    "true.webp": "unsupported_type",
    "deep.png": "unsupported_type",
    "1.2.840.113619.png": STORED,
    "two words.png": STORED,
    "größe 図.png": STORED,
    LONG: STORED,
    f"{'x' * 300}.png": "missing_image",
    "../outside.png": "bad_image_reference",
    "sub/../../outside.png": "bad_image_reference",
    "{root}/outside.png": "bad_image_reference",
    "link.png": "outside_root",
    "elsewhere/outside.png": "outside_root",
    "one/same.png": STORED,
    "two/same.png": STORED,
    "same.png": "ambiguous_image",
    "gone.png": "missing_image",
}
"""What the table names → why it is rejected."""


@pytest.fixture
def data(tmp_path):
    """A dataset with each kind of bad file beside good ones."""
    folder = tmp_path / "data"
    for place in ("one", "two", "sub", Path(LONG).parent):
        (folder / place).mkdir(parents=True)
    (tmp_path / "away").mkdir()
    for path in (tmp_path / "outside.png", tmp_path / "away" / "outside.png"):
        Image.new("L", (5, 5), 5).save(path)
        path.write_bytes(path.read_bytes() + SECRET)
    for i, (name, code) in enumerate(CASES.items()):
        if code is STORED:
            Image.new("L", (9, 9), i).save(folder / name)
    Image.effect_noise((64, 64), 50).save(folder / "half.jpg")
    (folder / "half.jpg").write_bytes((folder / "half.jpg").read_bytes()[:900])
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html>not found</html>")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(folder / "true.webp")
    Image.new("I;16", (4, 4)).save(folder / "deep.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "elsewhere").symlink_to(tmp_path / "away")
    names = [name.replace("{root}", str(tmp_path)) for name in CASES]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "labels", "view"), *((name, "cxr_nodule", "PA") for name in names)])
    return folder


def test_every_bad_file_is_reported_with_its_row_and_every_other_one_is_stored(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["captioner", "shards", "build", "demo", "--data", str(data), "--out", "out"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == 1, printed
    assert "Traceback" not in printed.out + printed.err
    with (tmp_path / "out/rejected_rows.csv").open(newline="", encoding="utf-8") as file:
        rejected = {int(row["row"]): row["code"] for row in csv.DictReader(file)}
    expected = dict(enumerate(CASES.values(), 2))  # the header is row 1
    assert rejected == {row: code for row, code in expected.items() if code is not STORED}
    images = list(read_manifest(tmp_path / "out/images").images())
    assert [image.source for image in images] == [name for name, code in CASES.items() if code is STORED]
    assert len({image.key for image in images}) == len(images)
    assert verify(tmp_path / "out/images") == []
    assert not any(SECRET in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("decode_check", [True, False])
@pytest.mark.parametrize("swapped", ["data/one/a.png", "data/one"])
def test_what_became_a_link_out_of_the_folder_after_it_was_found_is_not_read(tmp_path, swapped, decode_check):
    for folder in ("data/one", "data/two", "away"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / folder / "a.png")
    (tmp_path / "data/within.png").symlink_to(tmp_path / "data/two/a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    names = ("one/a.png", "two/a.png", "within.png")
    items = [ImageItem(f"k-{i}", tmp_path / "linked" / name, name) for i, name in enumerate(names)]
    (tmp_path / swapped).rename(tmp_path / "moved")
    (tmp_path / swapped).symlink_to(tmp_path / ("away/a.png" if swapped.endswith("png") else "away"))
    report = build_images(
        items, tmp_path / "images", dataset="set", root=tmp_path / "linked", decode_check=decode_check
    )
    assert [(problem.source, problem.code) for problem in report.problems] == [("one/a.png", "outside_root")]
    assert [image.source for image in read_manifest(tmp_path / "images").images()] == ["two/a.png", "within.png"]


def test_without_proc_a_link_out_of_the_folder_is_not_read_either(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "outside.png")
    (tmp_path / "data/a.png").symlink_to(tmp_path / "outside.png")
    real = os.readlink

    def readlink(path):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "readlink", readlink)
    report = build_images(
        [ImageItem("k-1", tmp_path / "data/a.png", "a.png")], tmp_path / "images", dataset="set", root=tmp_path / "data"
    )
    assert [problem.code for problem in report.problems] == ["outside_root"]


def test_a_name_that_no_file_system_takes_is_reported(tmp_path):
    name = "x" * 300 + ".png"
    report = build_images([ImageItem("k-1", tmp_path / name, name)], tmp_path / "images", dataset="set")
    assert [(problem.code, problem.source) for problem in report.problems] == [("unreadable", name)]
    assert "too long" in report.problems[0].reason


def test_a_read_only_folder_is_said_clearly(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    target = tmp_path / "target"
    target.mkdir()
    mounted = mount(target, "ro,size=1m")
    if not mounted:
        target.chmod(0o555)
        if os.access(target, os.W_OK):
            pytest.skip("nothing is read-only for this user, and no file system may be mounted")
    try:
        with pytest.raises(StorageError, match=r"read-only. Choose another folder|permission denied"):
            build_images([ImageItem("k-1", tmp_path / "a.png", "a.png")], target / "images", dataset="set")
    finally:
        if mounted:
            unmount(target)
