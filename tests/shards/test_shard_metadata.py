"""Indexes and cards say what the shards hold."""

import gc
import hashlib
import json
import re

import pytest
import yaml

from captioner.shards import (
    build_captions,
    build_images,
    export_card,
    export_croissant,
    export_parquet,
    export_wids,
    load_captions,
)


@pytest.fixture
def out(tmp_path, make_items, record):
    build_images(make_items(10), tmp_path / "OUT/images", dataset="set", per_shard=4)
    build_captions(
        tmp_path / "OUT/images",
        tmp_path / "OUT/runs/r1/captions",
        captions=lambda key: None if key == "set-000002" else record(key),
        run="r1",
    )
    return tmp_path / "OUT"


def test_the_wids_index_lists_every_shard_relative_to_itself(out):
    export_wids(out / "images", out / "index.json")
    index = json.loads((out / "index.json").read_text())
    assert (index["__kind__"], index["wids_version"], index["name"]) == ("wids-shard-index-v1", 1, "set")
    assert [(s["url"], s["nsamples"]) for s in index["shardlist"]] == [
        (f"images/set-00000{i}.tar", n) for i, n in enumerate((4, 4, 2))
    ]
    for shard in index["shardlist"]:
        assert (out / shard["url"]).stat().st_size == shard["filesize"]


def test_wids_reads_what_the_index_says(out, make_items):
    pytest.importorskip("torch", reason="needs torch and wids")
    wids = pytest.importorskip("wids", reason="needs torch and wids")
    export_wids(out / "images", out / "index.json")
    data = wids.ShardListDataset(str(out / "index.json"))
    assert len(data) == 10
    for sample, item in zip(data, make_items(10), strict=True):
        assert sample["__key__"] == item.key


def test_the_card_has_the_figures_of_the_shards(out):
    export_card(out / "images", out / "runs/r1/captions", out / "README.md", title="Großer Satz")
    text = (out / "README.md").read_text("utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert (head["pretty_name"], head["size_categories"]) == ("Großer Satz", ["n<1K"])
    size = sum(path.stat().st_size for path in out.rglob("*.tar"))
    assert f"10 images in 3 WebDataset shards, 90 captions, {size / 1000:.3g} kB." in text
    assert "9 images have captions, 1 have none" in text
    assert "30 of them distinct" in text
    assert "3 distinct pieces of label information" in text
    assert re.search(r"^\| label 0 \| 4 \|$", text, re.MULTILINE)
    assert re.search(r"^\| 10 \| 9 \|$", text, re.MULTILINE)
    assert "Widths 8, 10, 12, heights 6, 6, 6 pixels" in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_example_of_the_card_runs_beside_it(out, monkeypatch):
    export_card(out / "images", out / "runs/r1/captions", out / "README.md")
    (example,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(out)
    names = {}
    exec(example, names)
    assert next(iter(names["dataset"]))["captions.json"]["captions"]
    del names
    gc.collect()


def test_the_card_of_a_dataset_s_own_texts_claims_no_labels(make_items, tmp_path):
    build_images(make_items(1), tmp_path / "images", dataset="set")
    record = {"captions": ["A text."], "labels": [], "triplet": "0", "run": "r1"}
    build_captions(tmp_path / "images", tmp_path / "captions", captions=lambda _: record, run="r1")
    export_card(tmp_path / "images", tmp_path / "captions", tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    assert "1 image in 1 WebDataset shard, 1 caption, " in text
    assert "They are the dataset's own texts, and not checked against labels." in text
    assert "## Labels" not in text
    assert "from labels" not in text


def test_the_card_of_an_empty_set_can_be_written(tmp_path):
    build_images([], tmp_path / "images", dataset="set")
    build_captions(tmp_path / "images", tmp_path / "captions", captions=lambda _: None, run="r1")
    export_card(tmp_path / "images", tmp_path / "captions", tmp_path / "README.md")
    assert "0 images in 0 WebDataset shards" in (tmp_path / "README.md").read_text()


@pytest.fixture
def croissant(out):
    export_parquet(out / "images", out / "runs/r1/captions", out / "captions.parquet")
    target = out / "croissant.json"
    export_croissant(
        out / "images",
        out / "captions.parquet",
        target,
        license_url="https://creativecommons.org/licenses/by/4.0/",
        url="https://example.org/set",
    )
    return target


def test_the_croissant_file_lists_every_file_with_its_hash(croissant):
    content = json.loads(croissant.read_text("utf-8"))
    files = [entry for entry in content["distribution"] if entry["@type"] == "cr:FileObject"]
    assert len(files) == 4
    for file in files:
        path = croissant.parent / file["contentUrl"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    (members,) = (entry for entry in content["distribution"] if entry["@type"] == "cr:FileSet")
    assert {each["@id"] for each in members["containedIn"]} == {f["@id"] for f in files if f["@id"].endswith(".tar")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlcroissant_reads_images_and_captions(croissant, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs mlcroissant")
    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", _path(tmp_path / "cache"))
    data = mlcroissant.Dataset(jsonld=str(croissant))
    assert not data.metadata.ctx.issues.errors
    found = {}
    for record in data.records("samples"):
        captions = record["samples/captions"]
        found[record["samples/key"].decode()] = captions and [caption.decode() for caption in captions]
        assert record["samples/image"].size[1] == 6
    written = {}
    for shard in (croissant.parent / "runs/r1/captions").glob("*.tar"):
        written |= {key: record["captions"] for key, record in load_captions(shard).items()}
    assert {key: captions for key, captions in found.items() if captions} == written
    del data, record
    gc.collect()  # it leaves the files that it reads open


def _path(path):
    from etils import epath

    return epath.Path(path)
