"""Exports say what the shards say, in the forms of others."""

import ast
import csv
import io
import json
import subprocess
import tarfile

import pyarrow.parquet as pq
import pytest

from captioner.errors import OutputError, ShardError, UsageError
from captioner.shards import (
    build_captions,
    build_images,
    export_csv,
    export_llava,
    export_parquet,
    export_tars,
    export_unimed,
)
from captioner.shards.forms import joined
from tests.shards.shard_helpers import contents


@pytest.fixture
def out(tmp_path, make_items, record):
    """Ten images; ``some`` lacks the captions of set-000002."""
    build_images(make_items(10), tmp_path / "images", dataset="set", per_shard=4)
    build_captions(tmp_path / "images", tmp_path / "all", captions=record, run="r1")
    build_captions(
        tmp_path / "images",
        tmp_path / "some",
        captions=lambda key: None if key == "set-000002" else record(key),
        run="r2",
    )
    return tmp_path


KEYS = [f"set-{i:06d}" for i in range(10)]


def test_a_parquet_file_has_a_row_for_each_image_with_captions(out, make_items, record):
    report = export_parquet(out / "images", out / "some", out / "table.parquet")
    assert (report.samples, report.missing, report.files) == (9, 1, 1)
    rows = pq.read_table(out / "table.parquet").to_pylist()
    sources = {item.key: item.source for item in make_items(10)}
    assert [row["key"] for row in rows] == [key for key in KEYS if key != "set-000002"]
    assert all(row == {"key": row["key"], "source": sources[row["key"]], **record(row["key"])} for row in rows)


def test_a_csv_file_has_a_line_for_each_caption(out, record):
    report = export_csv(out / "images", out / "all", out / "table.csv")
    assert report.samples == 10
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["labels"], row["caption"]) for row in rows] == [
        (key, "|".join(record(key)["labels"]), caption) for key in KEYS for caption in record(key)["captions"]
    ]


def test_llavas_file_has_a_conversation_for_each_caption(out, make_items, record):
    export_llava(out / "images", out / "all", out / "llava.json", question="What is shown?")
    entries = json.loads((out / "llava.json").read_text("utf-8"))
    sources = {item.key: item.source for item in make_items(10)}
    assert entries == [
        {
            "id": f"{key}-{i}",
            "image": sources[key],
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is shown?"},
                {"from": "gpt", "value": caption},
            ],
        }
        for key in KEYS
        for i, caption in enumerate(record(key)["captions"])
    ]


def test_llavas_file_of_no_captions_is_an_empty_list(out):
    build_captions(out / "images", out / "none", captions=lambda _: None, run="r3")
    assert export_llava(out / "images", out / "none", out / "llava.json").missing == 10
    assert json.loads((out / "llava.json").read_text()) == []


def members(folder):
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found += [(member.name, archive.extractfile(member).read()) for member in archive]
    return found


@pytest.mark.parametrize("form", ["one", "json", "flat", "joined:set"])
def test_plain_tars_hold_images_and_captions(out, make_items, record, form):
    report = export_tars(out / "images", out / "all", out / "tars", form=form)
    assert (report.samples, report.files) == (10, 3)
    found = members(out / "tars")
    assert [content for _, content in found[::2]] == [item.path.read_bytes() for item in make_items(10)]
    assert [name.rpartition(".")[0] for name, _ in found] == [key for key in KEYS for _ in (0, 1)]
    for key, (name, content) in zip(KEYS, found[1::2], strict=True):
        captions = record(key)["captions"]
        assert name == f"{key}.{'json' if form in ('json', 'flat') else 'txt'}"
        if form == "one":
            assert content.decode() in captions
        elif form == "json":
            assert json.loads(content) == record(key)
        elif form == "flat":
            assert [json.loads(content)[f"caption_{i}"] for i in range(10)] == captions
        else:
            assert content.decode().split("_set_")[:10] == captions
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out / "tars", check=True)
    assert json.loads((out / "tars/sizes.json").read_text()) == {
        f"set-00000{i}.tar": n for i, n in enumerate((4, 4, 2))
    }


def test_an_export_can_be_made_again_to_the_same_bytes(out):
    export_tars(out / "images", out / "all", out / "tars", form="one")
    before = contents(out / "tars")
    export_tars(out / "images", out / "all", out / "tars", form="one")
    assert contents(out / "tars") == before


def test_a_folder_of_something_else_is_refused(out):
    (out / "tars").mkdir()
    (out / "tars" / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        export_tars(out / "images", out / "all", out / "tars", form="one")


def test_a_folder_of_another_export_is_refused(out):
    export_tars(out / "images", out / "all", out / "tars", form="one")
    with pytest.raises(OutputError, match="another export"):
        export_tars(out / "images", out / "all", out / "tars", form="json")


def test_an_image_without_captions_stops_the_export_or_is_left_out(out):
    with pytest.raises(ShardError, match="no captions for set-000002"):
        export_tars(out / "images", out / "some", out / "tars", form="one")
    report = export_tars(out / "images", out / "some", out / "fewer", form="one", missing="skip")
    assert (report.samples, report.missing) == (9, 1)


def test_a_damaged_image_is_not_copied(out):
    path = out / "images" / "set-000001.tar"
    content = bytearray(path.read_bytes())
    content[512 + 30] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"the image set-000004 .* is damaged"):
        export_tars(out / "images", out / "all", out / "tars", form="one")


def test_captions_of_other_images_are_refused(out, make_items):
    build_images(make_items(6, start=2), out / "others", dataset="set", per_shard=4)
    with pytest.raises(ShardError, match="captions of other images"):
        export_parquet(out / "others", out / "all", out / "table.parquet")


def test_a_form_that_is_drawn_anew_cannot_be_exported(out):
    with pytest.raises(UsageError, match="Use 'one'"):
        export_tars(out / "images", out / "all", out / "tars", form="txt")


def as_unimed_writes(rows, folder, tag, tar_size):
    """The tars that UniMed's scripts make of a table with file names and caption lists, one row an image."""
    folder.mkdir()
    for first in range(0, len(rows), tar_size):
        with tarfile.open(folder / f"dataset-{first // tar_size + 1:06d}.tar", "w") as archive:
            for number, (path, captions) in enumerate(rows[first : first + tar_size], first):
                text = "".join(caption.strip(".") + f"._{tag}_" for caption in ast.literal_eval(captions))
                for name, content in ((f"{number:06d}.jpg", path.read_bytes()), (f"{number:06d}.txt", text.encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("per_shard", [3, 5, 1000])
def test_unimeds_tars_are_byte_for_byte_what_its_script_writes(out, make_items, record, per_shard):
    rows = [(item.path, repr(record(item.key)["captions"])) for item in make_items(10)]
    as_unimed_writes(rows, out / "theirs", "chestxray8", per_shard)
    export_unimed(out / "images", out / "all", out / "ours", tag="chestxray8", per_shard=per_shard)
    ours = {name: content for name, content in contents(out / "ours").items() if name.endswith(".tar")}
    assert ours == contents(out / "theirs")


def test_unimeds_rule_strips_full_stops_and_adds_one():
    assert joined(["A mass.", "No mass", "...odd...", "Sure?"], "x") == "A mass._x_No mass._x_odd._x_Sure?._x_"


@pytest.mark.parametrize("tag", ["", "a b", "_a", "a/b"])
def test_what_is_no_tag_is_refused(out, tag):
    with pytest.raises(UsageError, match="no form"):
        export_unimed(out / "images", out / "all", out / "ours", tag=tag)
    assert not (out / "ours").exists()


def test_a_caption_that_contains_the_tag_is_refused(out):
    build_captions(out / "images", out / "odd", captions=lambda _: {"captions": ["See a_dr_b."]}, run="r3")
    with pytest.raises(UsageError, match="would split it"):
        export_unimed(out / "images", out / "odd", out / "ours", tag="dr")
