"""What a run is made of: which triplets, which attributes, which name, what is written about it."""

import gc
import json

import pyarrow.parquet as pq
import pytest
import yaml

from captioner import outputs
from captioner import run as running
from captioner.agreement import Checker
from captioner.demo import make_dataset
from captioner.errors import OutputError, PipelineError, SchemaError, StorageError
from captioner.pipeline import load_pipeline
from captioner.schema import load_schema
from captioner.tables import read_samples


@pytest.fixture
def prepare(tmp_path):
    make_dataset(tmp_path / "data")

    def call(*overrides):
        settings = [f"data.root={tmp_path / 'data'}", f"out={tmp_path / 'out'}", *overrides]
        return running.prepare(load_pipeline("demo", settings))

    return call


def test_by_default_triplets_are_label_combinations_that_a_present_image_has(prepare):
    plan = prepare()
    assert len(plan.asked) == 16
    assert all(t.attributes == () for t in plan.asked)
    missing = [t for t in prepare("data.images=none").asked if t not in plan.asked]
    assert missing == []  # the missing image's labels are another image's too


def test_attributes_tell_triplets_apart_where_a_pipeline_chooses_them(prepare):
    by_view = prepare("triplets.attributes=[view]").asked
    assert {dict(t.attributes).get("view") for t in by_view} == {None, "posteroanterior", "anteroposterior"}
    assert len(by_view) == len(prepare().asked) + 1  # cardiomegaly is there in both views
    assert prepare("triplets.per=image").asked == by_view


def test_images_that_share_their_label_information_share_their_support_set(prepare):
    plan = prepare("triplets.attributes=[view]")
    running.execute(plan)
    sets = pq.read_table(plan.out / "runs" / plan.run / "support_sets.parquet").to_pylist()
    assert len(sets) == len(plan.asked) < len(plan.samples.frame)


def test_negatives_are_asked_for_only_where_a_pipeline_wants_them(tmp_path):
    table = tmp_path / "RFMiD_Training_Labels.csv"
    columns = ["ID", "Disease_Risk"]
    rfmid = load_schema("rfmid")
    codes = [c for c in rfmid.codes if c not in {"NORMAL", "normal"} and rfmid[c].kind == "finding"]
    table.write_text(
        ",".join([*columns, *codes]) + "\n" + ",".join(["1", "1", *("1" if c == "DR" else "0" for c in codes)]) + "\n"
    )
    samples = read_samples(rfmid, table)
    assert samples.combinations[0].positive == ("DR",)
    base = {"schema": "rfmid", "data": {"root": table, "images": "none"}}
    without = running.prepare(load_pipeline(base)).asked[0]
    with_them = running.prepare(load_pipeline(base, ["triplets.negatives=true"])).asked[0]
    assert without.negatives == ()
    assert len(with_them.negatives) > 30
    assert without.id != with_them.id


def test_a_run_is_named_by_its_content_and_not_by_where_things_are(prepare, tmp_path):
    name = prepare().run
    assert prepare(f"out={tmp_path / 'elsewhere'}").run == name
    assert (
        prepare("engine.model=m", "engine.base_url=http://a/v1").run
        == prepare("engine.model=m", "engine.base_url=http://b/v1").run
    )
    different = ["prompt=plain", "captions=9", "seed=1", "engine.model=m", "loop.repairs=0", "sampling.temperature=0.5"]
    names = {prepare(d).run for d in different}
    assert name not in names
    assert len(names) == len(different)


def test_a_named_run_with_other_settings_is_refused(prepare):
    running.execute(prepare("name=first"))
    with pytest.raises(OutputError, match="another run"):
        running.execute(prepare("name=first", "captions=9"))


def test_the_resolved_pipeline_holds_every_setting_the_prompt_and_the_hashes(prepare):
    plan = prepare()
    running.execute(plan)
    record = yaml.safe_load((plan.out / "runs" / plan.run / "pipeline.yaml").read_text(encoding="utf-8"))
    assert record["hashes"] == {"run": plan.hash, "schema": plan.schema.hash, "prompt": plan.prompt.hash}
    assert record["engine"]["name"] == "rules"
    assert "_base.j2" in record["prompt_text"]
    assert record["resolved_schema"]["id"] == "demo"
    assert record["loop"] == {
        "repairs": 2,
        "regenerations": 1,
        "fill": "rules",
        "near_duplicate": 0.9,
        "unknown_words": "refuse",
    }


def test_a_table_with_other_numbers_than_the_published_dataset_is_taken_for_another_version(prepare, tmp_path):
    assert [n for n in prepare().notes if "another version" in n] == []
    table = tmp_path / "data" / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(lines[:9]), encoding="utf-8")
    assert "labels for 8 images, the published dataset for about 22" in prepare().notes[0]


def test_every_rejected_row_names_its_file_its_line_and_the_reason(prepare):
    plan = prepare()
    running.execute(plan)
    lines = (plan.out / "rejected_rows.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,row,column,value,code,reason"
    found = {line.split(",")[1]: line for line in lines[1:]}
    assert "corrupt_image" in found["18"]
    assert "missing_image" in found["15"]
    assert "contradiction" in found["22"]
    assert "cxr_something" in found["23"]


def test_a_schema_that_would_make_captions_wrong_stops_a_run_before_anything_is_written(tmp_path):
    path = tmp_path / "bad.yaml"
    classes = [{"code": "a", "name": "AF", "anatomy": "ankle_foot"}, {"code": "b", "name": "nodule"}]
    table = {"layout": "names", "files": [{"match": "*.csv"}], "image": "image", "column": "label"}
    path.write_text(
        json.dumps(
            {"id": "bad", "title": "Bad", "modality": "mri", "anatomy": "knee", "tables": [table], "classes": classes}
        )
    )
    (tmp_path / "labels.csv").write_text("image,label\nx.png,a\n")
    spec = load_pipeline({"schema": str(path), "data": {"root": tmp_path}, "out": tmp_path / "out"})
    with pytest.raises(SchemaError, match="AF"):
        running.prepare(spec)
    assert not (tmp_path / "out").exists()


def test_an_images_folder_that_is_not_there_is_an_error_and_no_reason_to_leave_images_out(prepare):
    with pytest.raises(PipelineError, match="nowhere is not a folder"):
        prepare("data.images=nowhere")


def test_images_that_are_added_later_extend_the_shards_and_the_run(tmp_path):
    make_dataset(tmp_path / "data")
    table = tmp_path / "data" / "labels.csv"
    lines = table.read_text().splitlines(keepends=True)
    settings = [f"data.root={tmp_path / 'data'}", f"out={tmp_path / 'out'}", "shards.size=4"]
    table.write_text("".join(lines[:9]))
    first = running.execute(running.prepare(load_pipeline("demo", settings)))
    shards = {p.name: p.read_bytes() for p in sorted((tmp_path / "out" / "images").glob("*.tar"))}
    table.write_text("".join(lines))
    second = running.execute(running.prepare(load_pipeline("demo", settings)))
    assert first.run == second.run
    assert (first.images, second.images) == (8, 18)
    for name, content in shards.items():
        assert (tmp_path / "out" / "images" / name).read_bytes() == content


def test_a_run_refuses_words_that_the_check_does_not_know_unless_it_is_told_not_to_or_a_judge_decides(prepare):
    caption, label = "A Zorbax chest X-ray with cardiomegaly.", ["cxr_cardiomegaly"]
    judge = "judge={engine: {name: openai, model: m, base_url: 'http://127.0.0.1:9/v1'}}"
    for settings, agrees in (((), False), (("loop.unknown_words=accept",), True), ((judge,), True)):
        verdict = Checker(prepare(*settings).schema).check(caption, label)
        assert verdict.agrees is agrees
        assert [(i.code, i.text) for i in verdict.issues] == [("unknown_word", "Zorbax")]


def test_a_table_that_is_given_up_leaves_neither_a_file_nor_a_complaint(tmp_path):
    def rows():
        yield {"key": "a", "image": "a.png", "split": None, "labels": ["x"], "triplet": "t", "captions": ["A."]}
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="the disk is full"):
        outputs.write_parquet(tmp_path / "captions.parquet", rows(), outputs.CAPTIONS)
    gc.collect()  # what is raised as an object is forgotten fails the test
    assert list(tmp_path.iterdir()) == []
