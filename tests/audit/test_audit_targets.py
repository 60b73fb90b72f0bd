"""What can be audited, and what becomes of rows that cannot."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captioner.audit import Columns, audit
from captioner.audit.rows import Bad
from captioner.audit.targets import open_target
from captioner.audit.tars import split_joined
from captioner.demo import make_dataset
from captioner.errors import UsageError
from captioner.pipeline import load_pipeline
from captioner.run import execute, prepare
from captioner.shards import export_unimed
from tests.audit.makers import DENIED, GOOD, NODULE, ROWS, jsonl, picture, table, tar
from tests.small import small_schema

SCHEMA = small_schema()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The output folder of a run of the demo's dataset."""
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder / "data")
    execute(prepare(load_pipeline("demo", [f"data.root={folder / 'data'}", f"out={folder / 'out'}"])))
    return folder / "out"


def rows_of(*arguments, **options):
    return list(open_target(*arguments, **options).rows)


def test_a_table_of_labels_and_captions_is_audited_whatever_its_format(tmp_path):
    jsonl(tmp_path / "a.jsonl")
    table(tmp_path / "b.csv", [("|".join(r["labels"]), r["caption"], r["split"]) for r in ROWS], ROWS[0])
    flat = pa.Table.from_pylist(ROWS)
    pq.write_table(flat, tmp_path / "c.parquet")
    with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as file, pa.ipc.new_stream(file, flat.schema) as writer:
        writer.write_table(flat)
    found = [audit(path, SCHEMA) for path in sorted(tmp_path.iterdir())]
    assert {(f.captions, f.agreement.hits, tuple(f.codes["code"])) for f in found} == {
        (6, 3, ("extra_label", "hedged_label", "negated_label"))
    }
    together = audit(tmp_path, SCHEMA)
    assert (together.captions, together.kind) == (24, "tables")


def test_columns_are_guessed_by_their_usual_names_or_named(tmp_path):
    path = table(tmp_path / "t.csv", [("x.png", "Effusion", GOOD)], ("Image Index", "Finding Labels", "Report"))
    (row,) = rows_of(path, SCHEMA)
    assert (row.labels, row.captions, row.place) == ("Effusion", (GOOD,), "row 2")
    path = table(tmp_path / "u.csv", [("Effusion", GOOD)], ("a", "b"))
    (row,) = rows_of(path, SCHEMA, columns=Columns(labels="a", caption="b"))
    assert row.captions == (GOOD,)
    with pytest.raises(UsageError, match=r"u.csv: no column of labels among: a, b. Name it with --labels-column"):
        rows_of(path, SCHEMA)
    with pytest.raises(UsageError, match=r"no column 'aa'; it has: a, b"):
        rows_of(path, SCHEMA, columns=Columns(labels="aa", caption="b"))


def test_a_column_of_an_attribute_lets_captions_state_it(tmp_path):
    (row,) = rows_of(jsonl(tmp_path / "a.jsonl", [{"labels": "Effusion", "caption": GOOD, "view": "PA"}]), SCHEMA)
    assert row.attributes == (("view", "PA"),)


def test_rows_that_cannot_be_used_are_reported_one_by_one_and_end_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"labels,caption\n"
        + f"Effusion,{GOOD}\n".encode()
        + "Effusion,Herzgröße normal\n".encode("latin-1")
        + f"Goiter,{GOOD}\n,{GOOD}\nEffusion,\nEffusion,a,b\n".encode()
        + f"Effusion,{DENIED}\n".encode()
    )
    found = audit(path, SCHEMA)
    assert found.captions == 2
    assert [(b.place, b.code) for b in found.bad] == [
        ("row 3", "bad_encoding"),
        ("row 4", "unknown_label"),
        ("row 5", "no_label"),
        ("row 6", "empty_caption"),
        ("row 7", "bad_row"),
    ]
    assert "label 'Goiter' is not in schema 'small'" in found.bad[1].reason
    assert found.problems == dict.fromkeys(("bad_encoding", "unknown_label", "no_label", "empty_caption", "bad_row"), 1)
    json.loads(found.to_json().encode())  # what stands in the file can be written again
    with pytest.raises(UsageError, match=r"a.csv: row 3: .*--strict"):
        audit(path, SCHEMA, strict=True)


@pytest.mark.parametrize(
    "line", ["{", "[]", '"text"', '{"labels": "Effusion"}', '{"labels": {}, "caption": "x"}', "[" * 100_000]
)
def test_a_bad_line_of_jsonl_is_one_bad_row(tmp_path, line):
    path = tmp_path / "a.jsonl"
    good = json.dumps({"labels": "Effusion", "caption": GOOD})
    path.write_text(f"{good}\n{line}\n\n{good}\n", encoding="utf-8")
    found = audit(path, SCHEMA)
    assert found.captions == 2
    assert [b.place for b in found.bad] == ["row 2"]


def test_a_table_with_semicolons_between_its_cells_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f'labels;caption\nEffusion;"{GOOD[:-1]}, seen here."\n', encoding="utf-8")
    assert audit(path, SCHEMA).agreement.share == 1


def test_one_table_of_several_that_cannot_be_read_is_reported_and_ends_nothing(tmp_path):
    jsonl(tmp_path / "a.jsonl")
    table(tmp_path / "b.csv", [("x", "y")], ("sample", "note"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "d.csv").write_text("labels,caption\nEffusion,x\n", encoding="utf-16")
    (tmp_path / "e.csv").write_text("")
    found = audit(tmp_path, SCHEMA)
    assert found.captions == 6
    assert found.problems == {"broken_file": 3}
    reasons = {b.file.rsplit("/", 1)[-1]: b.reason for b in found.bad}
    assert reasons["b.csv"].startswith("no column of labels among: sample, note.")
    assert reasons["c.parquet"].startswith("not Parquet")
    assert reasons["d.csv"] == "this is UTF-16; save it as UTF-8"
    with pytest.raises(UsageError, match=r"b.csv: no column of labels.*--strict"):
        audit(tmp_path, SCHEMA, strict=True)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x89PNG\r\n\x1a\n\x00\x00", "byte 8: not UTF-8 text"), (b"\xff\xd8\xff\xe0,a\n1,2\n", "row 1: not")],
)
def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path, ending, content, message):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    try:
        said = str(audit(path, SCHEMA).bad[0])
    except UsageError as e:
        said = str(e)
    assert f"{path}: {message}" in said
    said.encode()


def test_surrogates_that_json_can_hold_and_utf_8_cannot_are_a_bad_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"labels": "Effusion", "caption": "\\ud83d effusion"}\n')
    assert audit(path, SCHEMA).problems == {"bad_encoding": 1}


def test_a_damaged_parquet_file_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UsageError, match="not Parquet"):
        audit(path, SCHEMA)


def test_a_run_is_audited_with_what_it_knows_of_prompts_engines_and_images(demo):
    (run,) = (demo / "runs").iterdir()
    for path in (run, demo):
        found = audit(path, "demo")
        assert found.agreement.share == 1
        assert (found.images, found.captions) == (18, 150)
        assert found.facts[0]["prompt"] == "template"
        known = set(zip(found.by_group["dimension"], found.by_group["value"], strict=True))
        assert {("run", run.name), ("prompt", "template"), ("source", "rules")} <= known
    assert found.kind == "output folder with 1 run"
    assert all(e.image[0].startswith(str(demo / "images")) for _, _, e in found.examples)


def test_a_run_without_images_is_audited_by_its_support_sets(tmp_path):
    make_dataset(tmp_path / "data")
    settings = [f"data.root={tmp_path / 'data'}", f"out={tmp_path / 'out'}", "data.images=none"]
    execute(prepare(load_pipeline("demo", settings)))
    found = audit(tmp_path / "out", "demo")
    assert (found.captions, found.agreement.share) == (160, 1)
    assert found.images > found.rows


def test_caption_shards_alone_are_audited_and_find_their_images_beside_them(demo):
    (run,) = (demo / "runs").iterdir()
    found = audit(run / "captions", "demo")
    assert (found.kind, found.captions, found.images) == ("caption shards", 150, 18)
    assert found.examples[0][2].image is not None


def test_a_caption_shard_that_was_cut_off_is_reported_and_the_rest_is_audited(demo, tmp_path):
    (run,) = (demo / "runs").iterdir()
    (tmp_path / "run.json").write_bytes((run / "captions" / "run.json").read_bytes())
    shard = min((run / "captions").glob("*.tar"))
    (tmp_path / shard.name).write_bytes(shard.read_bytes()[:9_000])
    (tmp_path / "empty.tar").write_bytes(b"")
    found = audit(tmp_path, "demo")
    assert 0 < found.captions < 150
    assert found.problems == {"broken_file": 2}
    assert "cut off" in str(found.bad[0].reason) + str(found.bad[1].reason)


def test_shards_as_unimed_writes_them_are_audited_with_labels_from_a_table(demo, tmp_path):
    (run,) = (demo / "runs").iterdir()
    export_unimed(demo / "images", run / "captions", tmp_path / "unimed", tag="demo", per_shard=7)
    from captioner.shards import load_captions

    records = [r for s in sorted((run / "captions").glob("*.tar")) for r in load_captions(s).values()]
    rows = [(f"dataset-{i // 7 + 1:06d}", f"{i:06d}", "|".join(r["labels"])) for i, r in enumerate(records)]
    labels = table(tmp_path / "labels.csv", rows, ("shard", "key", "labels"))
    found = audit(tmp_path / "unimed", "demo", labels=labels)
    assert (found.kind, found.rows, found.captions, found.agreement.share) == ("shards", 18, 180, 1)
    without = audit(tmp_path / "unimed", "demo")
    assert without.captions == 0
    assert without.problems == {"no_label": 18}
    assert "--labels" in without.bad[0].reason


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("One thing.", ("One thing.",)),
        ("One._chest_xray8_Two._chest_xray8_", ("One.", "Two.")),
        ("Only one._chest_xray8_", ("Only one.",)),
        ("One lung_rad_Two lung_rad_\n", ("One lung", "Two lung")),
        ("", ("",)),
    ],
)
def test_joined_captions_are_split_at_their_tag(text, captions):
    assert split_joined(text) == captions


def test_tars_of_others_give_labels_and_captions_from_json_texts_and_classes(tmp_path):
    tar(
        tmp_path / "a.tar",
        [
            ("x/000.jpg", picture(kind="JPEG")),
            ("x/000.json", json.dumps({"labels": ["Effusion"], "caption_0": GOOD, "caption_1": DENIED}).encode()),
            ("x/001.png", picture()),
            ("x/001.txt", NODULE.encode()),
            ("x/001.cls", b"Nodule"),
            ("x/002.txt", b"\xff\xfe"),
            ("x/002.cls", b"Nodule"),
        ],
    )
    found = audit(tmp_path, SCHEMA)
    assert (found.rows, found.captions, found.agreement.hits) == (2, 3, 2)
    assert found.problems == {"bad_encoding": 1}


def test_tars_that_are_damaged_are_reported_each(tmp_path):
    whole = tar(tmp_path / "a.tar", [("000.txt", GOOD.encode()), ("000.cls", b"Effusion")] * 1).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1024])
    (tmp_path / "c.tar").write_bytes(b"no tar at all")
    (tmp_path / "d.tar").write_bytes(b"")
    found = audit(tmp_path, SCHEMA)
    assert found.captions == 1
    assert {b.file.rsplit("/", 1)[-1] for b in found.bad if b.code == "broken_file"} == {"b.tar", "c.tar", "d.tar"}
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "e.tar.gz").write_bytes(gzip.compress(whole))
    assert audit(tmp_path / "e", SCHEMA).captions == 1


def test_a_hugging_face_dataset_on_disk_is_audited_with_its_class_names_and_splits(tmp_path):
    flat = pa.table({"label": [0, 1], "text": [GOOD, NODULE], "image": [{"bytes": b"x", "path": None}] * 2})
    info = {"features": {"label": {"names": ["Effusion", "Nodule"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}}
    for split in ("train", "test"):
        folder = tmp_path / split
        folder.mkdir()
        with pa.OSFile(str(folder / "data-0.arrow"), "wb") as file, pa.ipc.new_stream(file, flat.schema) as writer:
            writer.write_table(flat)
        (folder / "dataset_info.json").write_text(json.dumps(info))
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    found = audit(tmp_path, SCHEMA)
    assert (found.kind, found.captions, found.agreement.share) == ("Hugging Face dataset", 4, 1)
    assert list(found.by_group["value"]) == ["test", "train"]


def test_a_hugging_face_dataset_as_it_is_downloaded_is_audited_too(tmp_path):
    features = {"label": {"names": ["Effusion", "Nodule"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    flat = pa.table({"label": [0, 1], "text": [GOOD, NODULE]}).replace_schema_metadata(metadata)
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("A card.")
    for split in ("train", "test"):
        pq.write_table(flat, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    found = audit(tmp_path, SCHEMA)
    assert (found.kind, found.captions, found.agreement.share) == ("tables", 4, 1)
    assert list(found.by_group["value"]) == ["test", "train"]


@pytest.mark.parametrize("content", [b"[", b"{}", b"[1]", b'{"info": {"features": [1]}}'])
def test_metadata_that_say_nothing_of_classes_do_no_harm(tmp_path, content):
    flat = pa.table({"label": ["Effusion"], "text": [GOOD]}).replace_schema_metadata({b"huggingface": content})
    pq.write_table(flat, tmp_path / "a.parquet")
    assert audit(tmp_path, SCHEMA).captions == 1


def test_rows_of_a_table_can_be_chosen_by_their_cells(tmp_path):
    found = audit(jsonl(tmp_path / "a.jsonl"), SCHEMA, columns=Columns(where=(("split", "train"),)))
    assert (found.captions, found.kind) == (2, "table, rows with split = train")
    with pytest.raises(UsageError, match=r"no column 'spilt'; it has: labels, caption, split. Did you mean 'split'"):
        audit(tmp_path / "a.jsonl", SCHEMA, columns=Columns(where=(("spilt", "train"),)))


def test_shards_have_no_columns_to_choose_rows_by(tmp_path):
    tar(tmp_path / "a.tar", [("000.txt", GOOD.encode()), ("000.cls", b"Effusion")])
    with pytest.raises(UsageError, match="has no columns"):
        audit(tmp_path / "a.tar", SCHEMA, columns=Columns(where=(("split", "train"),)))


def test_pictures_outside_the_folder_of_images_are_not_looked_at(tmp_path):
    rows = [{"labels": "Effusion", "caption": GOOD, "image": name} for name in ("a.png", "../b.png", "/etc/x.png")]
    found = rows_of(jsonl(tmp_path / "a.jsonl", rows), SCHEMA)
    assert [r.image is not None for r in found] == [True, False, False]


def test_a_run_that_is_not_finished_is_said_to_be_so(demo, tmp_path):
    (run,) = (demo / "runs").iterdir()
    begun = tmp_path / "out" / "runs" / run.name
    begun.mkdir(parents=True)
    for name in ("ledger.sqlite", "pipeline.yaml"):
        (begun / name).write_bytes((run / name).read_bytes())
    for target in (begun, tmp_path / "out"):
        with pytest.raises(
            UsageError, match=rf"{run.name}: this run is not finished: start the same `captioner run …`"
        ):
            audit(target, "demo")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_path_with_nothing_to_audit_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no such file|nothing to audit"):
        audit(tmp_path / name, SCHEMA)


def test_bad_rows_say_where_they_stand():
    assert str(Bad("a.csv", "row 3", "no_label", "no label")) == "a.csv: row 3: no label"
    assert str(Bad("a.tar", "", "broken_file", "cut off")) == "a.tar: cut off"
