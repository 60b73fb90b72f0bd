"""Images: what their bytes are, which file a reference names, and that nothing outside the root is ever touched."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from captioner.errors import UsageError
from captioner.images import HEAD, ImageIndex, Problem, locate, sample_key, sniff
from captioner.tables import Labels, SampleTable, read_samples
from tests.test_tables import schema, write

# ---- keys


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("00000001_000.png", "test-00000001_000"),
        ("a/b/Image_1.JPG", "test-a-b-Image_1"),
        ("IDRiD_001", "test-IDRiD_001"),
        (".//a//b.png", "test-a-b"),
        ("a\\b.png", "test-a-b"),
        ("benign (125).png", "test-benign-125-796158b1"),
        ("1.2.840.10008.png", "test-1-2-840-10008-441c12d6"),
        ("œil.png", "test-il-c4432ded"),
        ("眼.png", "test-8a40abbd"),
    ],
)
def test_a_key_is_the_reference_without_its_extension_marked_where_that_loses_something(reference, key):
    assert sample_key("test", reference) == key


def test_a_dash_and_a_slash_never_meet():
    assert sample_key("d", "a/b.png") == "d-a-b"
    assert re.fullmatch("d-a-b-[0-9a-f]{8}", sample_key("d", "a-b.png"))


def test_names_that_differ_after_eighty_letters_have_different_keys():
    long = "x" * 100
    keys = {sample_key("dataset", f"{long}{i}.png") for i in range(50)}
    assert len(keys) == 50
    assert max(map(len, keys)) == 80


@settings(deadline=None)
@given(st.from_regex("[a-z][a-z0-9_]{0,63}", fullmatch=True), st.text(min_size=1))
def test_every_key_is_safe_in_a_tar_whatever_the_reference(dataset, reference):
    key = sample_key(dataset, reference)
    assert re.fullmatch("[A-Za-z0-9_-]{1,80}", key)
    assert key.startswith(dataset)
    assert key == sample_key(dataset, reference)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab-/_. ")), min_size=2, max_size=2, unique=True))
def test_different_references_have_different_keys_unless_only_their_form_or_extension_differs(pair):
    def form(reference: str) -> tuple[bool, list[str]]:
        parts = [p for p in reference.strip().split("/") if p not in ("", ".")]
        return reference.strip().startswith("/"), parts

    if form(pair[0]) != form(pair[1]):
        assert sample_key("d", pair[0]) != sample_key("d", pair[1])


@settings(deadline=None)
@given(
    st.lists(
        st.from_regex(r"[A-Za-z0-9_]{1,3}(/[A-Za-z0-9_.-]{1,3})?\.(png|jpg)", fullmatch=True), min_size=1, max_size=8
    )
)
def test_a_tables_keys_are_those_of_its_references_and_unique(tmp_path_factory, references):
    folder = tmp_path_factory.mktemp("keys")
    unique = sorted({r for r in references if ".." not in r.split("/")})
    write(folder / "labels.csv", ("image", "labels"), *((r, "Mass") for r in unique))
    if not unique:
        return
    samples = read_samples(schema(), folder)
    keys = dict(zip(samples.frame["image"], samples.frame["key"], strict=True))
    assert len(set(keys.values())) == len(keys)
    owners = {sample_key("test", r) for r in keys}
    assert owners <= set(keys.values())
    assert sum(sample_key("test", r) == k for r, k in keys.items()) >= len(owners)


# ---- bytes


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "jp2"])
def test_an_image_is_known_by_its_first_bytes_whatever_its_name(tmp_path, kind):
    path = tmp_path / "image.dat"
    Image.new("RGB", (20, 10)).save(
        path, format={"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(kind, kind.upper())
    )
    assert sniff(path.read_bytes()[:HEAD]) == kind


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_sniffer(content):
    assert sniff(content) in {None, "jpg", "png", "gif", "bmp", "tif", "webp", "dcm", "jp2", "npy", "pbm", "pgm", "ppm"}


# ---- which file


def tree(root: Path, *names: str) -> ImageIndex:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return ImageIndex(root)


def test_a_reference_joined_to_the_root_comes_before_any_other_place(tmp_path):
    index = tree(tmp_path, "1.png", "a/1.png")
    assert index.find("1.png") == tmp_path / "1.png"
    assert index.find("a/1.png") == tmp_path / "a/1.png"


def test_else_the_one_path_that_ends_with_the_whole_reference_is_meant(tmp_path):
    index = tree(tmp_path, "images/train/1.png", "images/test/1.png", "images/other/train11.png")
    assert index.find("train/1.png") == tmp_path / "images/train/1.png"
    assert index.find("rain/1.png") == Problem("missing_image", "no file of this name; there is images/test/1.png")


def test_several_files_that_could_be_meant_are_never_guessed_between(tmp_path):
    index = tree(tmp_path, "a/1.png", "b/1.png", "c/1.jpg")
    assert index.find("1.png") == Problem("ambiguous_image", "2 files could be meant: a/1.png, b/1.png")
    assert index.find("1") == Problem("ambiguous_image", "3 files could be meant: a/1.png, b/1.png, c/1.jpg")


@pytest.mark.parametrize(
    ("file", "reference"),
    [
        ("x/IDRiD_001.jpg", "IDRiD_001"),
        ("x/IDRiD_001.jpg", "x/IDRiD_001"),
        ("x/1.JPG", "1.jpg"),
        ("x/1.jpg", "1.JPG"),
        ("1.2.840.5.png", "1.2.840.5"),
        ("x/scan", "scan"),
        ("x/y.jpg", "x//y.jpg"),
        ("x/y.jpg", "x\\y.jpg"),
    ],
)
def test_the_ending_may_be_missing_or_in_another_case(tmp_path, file, reference):
    assert tree(tmp_path, file).find(reference) == tmp_path / file


def test_another_name_in_another_case_is_another_image(tmp_path):
    assert isinstance(tree(tmp_path, "IMG_1.png").find("img_1.png"), Problem)


def test_only_an_image_is_found_by_a_name_without_ending(tmp_path):
    assert tree(tmp_path, "a/1.txt", "b/1.png").find("1") == tmp_path / "b/1.png"


@pytest.mark.parametrize("reference", ["../x.png", "a/../x.png", "/x.png", "c:/x.png", "", "x\x00.png", "s3://b/x.png"])
def test_references_that_lead_elsewhere_are_refused_unseen(tmp_path, reference):
    (tmp_path / "x.png").touch()
    found = tree(tmp_path / "root", "a/x.png").find(reference)
    assert isinstance(found, Problem)
    assert found.code == "bad_image_reference"


def test_links_that_leave_the_root_are_refused_and_links_inside_are_followed(tmp_path):
    (tmp_path / "secret.png").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.png").touch()
    root = tmp_path / "root"
    tree(root, "real.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").symlink_to("real.png")
    (root / "dead.png").symlink_to("nothing.png")
    (root / "chain.png").symlink_to("out.png")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    index = ImageIndex(root)
    assert index.find("in.png") == root / "in.png"
    codes = {
        r: getattr(index.find(r), "code", None) for r in ("out.png", "chain.png", "folder/y.png", "dead.png", "y.png")
    }
    assert codes == {
        "out.png": "outside_root",
        "chain.png": "outside_root",
        "folder/y.png": "outside_root",
        "dead.png": "missing_image",
        "y.png": "missing_image",
    }


def test_a_root_that_is_itself_a_link_is_fine(tmp_path):
    tree(tmp_path / "real", "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert ImageIndex(tmp_path / "link").find("1.png") == tmp_path / "link" / "1.png"


def test_a_root_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no such image folder"):
        ImageIndex(tmp_path / "nowhere")


def test_pipes_hidden_files_and_resource_forks_are_no_images(tmp_path):
    index = tree(tmp_path, "a/.1.png", "__MACOSX/a/1.png")
    os.mkfifo(tmp_path / "2.png")
    assert isinstance(index.find("1.png"), Problem)
    assert isinstance(ImageIndex(tmp_path).find("2.png"), Problem)


# ---- samples


def samples_of(*images: str) -> SampleTable:
    frame = pd.DataFrame({"row": range(2, 2 + len(images)), "file": "t.csv", "image": list(images)})
    frame["key"] = [sample_key("t", i) for i in images]
    return SampleTable(frame.assign(labels=0), (Labels(("a",)),), pd.DataFrame(), len(images), ())


def test_samples_get_the_path_of_their_image_and_those_without_become_rejects(tmp_path):
    root = tmp_path / "root"
    tree(root, "x/1.png", "x/3.png", "y/3.png")
    (tmp_path / "secret.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    found = locate(samples_of("1.png", "2.png", "3.png", "out.png"), root)
    assert found.frame[["row", "path"]].to_numpy().tolist() == [[2, "x/1.png"]]
    assert found.rejects[["file", "row", "column", "value", "code"]].to_numpy().tolist() == [
        ["t.csv", 3, "image", "2.png", "missing_image"],
        ["t.csv", 4, "image", "3.png", "ambiguous_image"],
        ["t.csv", 5, "image", "out.png", "outside_root"],
    ]
    assert found.rows == 4


def test_two_samples_that_name_one_file_are_both_rejected(tmp_path):
    tree(tmp_path, "x/1.png", "2.png")
    found = locate(samples_of("1", "x/1.png", "2.png"), tmp_path)
    assert found.frame["path"].tolist() == ["2.png"]
    assert found.rejects["code"].tolist() == ["duplicate_image", "duplicate_image"]


def test_an_index_of_no_images_rejects_every_sample(tmp_path):
    found = locate(samples_of("1.png"), tmp_path)
    assert found.frame["path"].tolist() == []
    assert found.rejects["code"].tolist() == ["missing_image"]
