"""Several rows of one image → one sample: boxes put together, readers counted."""

import csv
from pathlib import Path

import pytest

from captioner.errors import SchemaError
from captioner.schema import LabelSchema, parse_schema
from captioner.tables import SampleTable, read_samples

CLASSES = [
    {"code": "Mass", "name": "mass"},
    {"code": "Effusion", "name": "pleural effusion"},
    {"code": "No Finding", "name": "no abnormal finding", "kind": "normal"},
]
BOXES = {"layout": "names", "column": "label", "image": "image", "files": [{"match": "boxes.csv"}]}


def schema(agree: str | None, **changes: object) -> LabelSchema:
    merge = {"reader": "reader"} | ({"agree": agree} if agree else {})
    table = BOXES | {"merge": merge} | changes
    content = {"id": "test", "title": "Test", "modality": "xray", "anatomy": "chest", "classes": CLASSES}
    return parse_schema(content | {"tables": [table], "labels": {"drop": {"Other": "does not say which"}}})


def read(
    tmp_path: Path, *rows: tuple[str, ...], agree: str | None = None, header: str = "image,label,reader"
) -> SampleTable:
    with (tmp_path / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([tuple(header.split(",")), *rows])
    return read_samples(schema(agree), tmp_path)


def said(samples: SampleTable) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    found = {}
    for image, position in zip(samples.frame["image"], samples.frame["labels"], strict=True):
        labels = samples.combinations[position]
        found[image] = (labels.positive, labels.uncertain)
    return found


THREE = [("a.png", "Mass", "R1"), ("a.png", "Mass", "R1"), ("a.png", "Effusion", "R2"), ("a.png", "Mass", "R2")]


@pytest.mark.parametrize(
    ("agree", "positive", "uncertain"),
    [
        ("majority", ("Mass",), ("Effusion",)),
        ("any", ("Mass", "Effusion"), ()),
        ("all", ("Mass",), ("Effusion",)),
    ],
)
def test_a_label_that_too_few_readers_give_is_left_open(tmp_path, agree, positive, uncertain):
    assert said(read(tmp_path, *THREE, agree=agree)) == {"a.png": (positive, uncertain)}


def test_two_of_three_readers_are_a_majority_and_not_all(tmp_path):
    rows = [("a.png", "Mass", "R1"), ("a.png", "Mass", "R2"), ("a.png", "Effusion", "R3")]
    assert said(read(tmp_path, *rows)) == {"a.png": (("Mass",), ("Effusion",))}
    assert read(tmp_path, *rows, agree="all").rejects["code"].tolist() == ["no_label"]


def test_two_boxes_of_one_reader_are_one_voice(tmp_path):
    rows = [("a.png", "Mass", "R1"), ("a.png", "Mass", "R1"), ("a.png", "Effusion", "R2"), ("a.png", "Effusion", "R3")]
    assert said(read(tmp_path, *rows)) == {"a.png": (("Effusion",), ("Mass",))}


def test_a_normal_of_most_readers_does_not_stand_against_a_finding_of_one(tmp_path):
    rows = [("a.png", "No Finding", "R1"), ("a.png", "No Finding", "R2"), ("a.png", "Mass", "R3")]
    assert read(tmp_path, *rows).rejects["code"].tolist() == ["contradiction"]


def test_where_any_reader_is_enough_a_finding_of_one_outweighs_a_normal_of_the_others(tmp_path):
    rows = [("a.png", "No Finding", "R1"), ("a.png", "Mass", "R2")]
    assert said(read(tmp_path, *rows, agree="any")) == {"a.png": (("Mass",), ())}


def test_a_file_without_the_column_of_readers_was_read_by_one(tmp_path):
    rows = [("a.png", "Mass"), ("a.png", "Effusion"), ("b.png", "No Finding")]
    samples = read(tmp_path, *rows, header="image,label")
    assert said(samples) == {"a.png": (("Mass", "Effusion"), ()), "b.png": (("No Finding",), ())}
    assert any("3 rows are 2 images" in note for note in samples.notes)


def test_what_is_dropped_from_one_row_does_not_hide_the_others(tmp_path):
    samples = read(tmp_path, ("a.png", "Other", "R1"), ("a.png", "Mass", "R1"), ("b.png", "Other", "R1"))
    assert said(samples) == {"a.png": (("Mass",), ())}
    assert [(r.code, r.reason) for r in samples.rejects.itertuples()] == [("no_label", "'Other': does not say which")]


def test_an_unknown_label_of_one_row_refuses_the_image_and_shows_where_it_starts(tmp_path):
    samples = read(tmp_path, ("a.png", "Mass", "R1"), ("a.png", "Mas", "R2"), ("b.png", "Mass", "R1"))
    assert list(said(samples)) == ["b.png"]
    assert [(r.row, r.code, r.value) for r in samples.rejects.itertuples()] == [(2, "unknown_label", "Mas")]


def test_a_reference_that_could_leave_the_image_folder_is_refused_before_rows_are_put_together(tmp_path):
    samples = read(tmp_path, ("../a.png", "Mass", "R1"), ("b.png", "Mass", "R1"))
    assert (list(said(samples)), samples.rejects["code"].tolist()) == (["b.png"], ["bad_image_reference"])


def test_readers_of_one_hot_columns_deny_a_class_only_together(tmp_path):
    table = {
        "layout": "one_hot",
        "columns": {"Mass": "Mass", "Effusion": "Effusion", "No Finding": "No Finding"},
        "image": "image",
        "merge": {"reader": "reader"},
    }
    content = {"id": "test", "title": "Test", "modality": "xray", "anatomy": "chest", "classes": CLASSES}
    text = "image,reader,Mass,Effusion,No Finding\na,R1,1,0,0\na,R2,1,0,0\na,R3,0,0,1\nb,R1,1,1,0\nb,R2,1,0,0\n"
    (tmp_path / "labels.csv").write_text(text)
    samples = read_samples(parse_schema(content | {"tables": [table]}), tmp_path)
    a, b = (samples.combinations[i] for i in samples.frame["labels"])
    assert (a.positive, a.negative, a.uncertain) == (("Mass",), ("Effusion",), ())
    assert (b.positive, b.negative, b.uncertain) == (("Mass",), (), ("Effusion",))


# ---- rows chosen, marks, patterns, refused labels


def parse(table: dict[str, object], **more: object) -> LabelSchema:
    content = {"id": "test", "title": "Test", "modality": "xray", "anatomy": "chest", "classes": CLASSES}
    return parse_schema(content | {"tables": [table]} | more)


def test_rows_that_a_schema_does_not_choose_are_rejects_with_that_reason(tmp_path):
    (tmp_path / "t.csv").write_text("image,label,view\na.png,Mass,PA\nb.png,Mass,LL\nc.png,Mass,\n")
    samples = read_samples(
        parse({"layout": "names", "column": "label", "image": "image", "where": {"view": ["PA"]}}), tmp_path
    )
    assert samples.frame["image"].tolist() == ["a.png"]
    assert [(r.row, r.column, r.value, r.code) for r in samples.rejects.itertuples()] == [
        (3, "view", "LL", "not_chosen"),
        (4, "view", "", "not_chosen"),
    ]
    assert "'PA'" in samples.rejects["reason"][0]


def test_a_cell_of_marks_says_that_something_is_there(tmp_path):
    classes = [
        {"code": "yes", "name": "pneumothorax"},
        {"code": "no", "name": "no pneumothorax", "kind": "absence", "denies": "yes"},
    ]
    table = {
        "layout": "marks",
        "column": "mask",
        "unmarked": ["-1"],
        "present": "yes",
        "absent": "no",
        "image": "image",
    }
    (tmp_path / "t.csv").write_text("image, mask\na.png,12 3 4\nb.png, -1\n")
    samples = read_samples(parse(table, classes=classes), tmp_path)
    assert [samples.combinations[i].positive for i in samples.frame["labels"]] == [("yes",), ("no",)]


def test_the_classes_of_a_table_of_marks_must_exist():
    with pytest.raises(SchemaError, match="names class 'yes'"):
        parse({"layout": "marks", "column": "mask", "present": "yes", "absent": "Mass", "image": "image"})


def test_a_pattern_finds_the_reference_and_the_patient_in_a_path(tmp_path):
    table = {"layout": "names", "column": "label", "image": "Path", "group": "Path"}
    table |= {"image_pattern": "(?:train|valid)/.*", "group_pattern": r"patient\d+"}
    (tmp_path / "t.csv").write_text("Path,label\nSet-v1.0/train/patient01/view1.jpg,Mass\nelsewhere/b.jpg,Mass\n")
    frame = read_samples(parse(table), tmp_path).frame
    assert frame["image"].tolist() == ["train/patient01/view1.jpg", "elsewhere/b.jpg"]
    assert frame["group"].tolist() == ["patient01", ""]


@pytest.mark.parametrize("name", ["image_pattern", "group_pattern"])
def test_a_pattern_that_is_none_is_an_error_of_the_schema(name):
    with pytest.raises(SchemaError, match=f"{name}.*not a regular expression"):
        parse({"layout": "names", "column": "label", "image": "image", name: "("})


def test_a_label_may_refuse_its_row_whatever_else_stands_there(tmp_path):
    table = {"layout": "names", "column": "label", "separator": "|", "image": "image"}
    (tmp_path / "t.csv").write_text("image,label\na.png,Mass|exclude\nb.png,Mass\n")
    samples = read_samples(parse(table, labels={"refuse": {"exclude": "marked as one to be left out"}}), tmp_path)
    assert samples.frame["image"].tolist() == ["b.png"]
    assert [(r.code, r.value, r.reason) for r in samples.rejects.itertuples()] == [
        ("refused_label", "exclude", "marked as one to be left out")
    ]


def test_that_an_image_is_not_normal_is_nothing_that_labels_deny(tmp_path):
    table = {"layout": "one_hot", "columns": {"Mass": "Mass", "No Finding": "No Finding"}, "image": "image"}
    (tmp_path / "t.csv").write_text("image,Mass,No Finding\na.png,1,0\n")
    assert read_samples(parse(table), tmp_path).combinations[0].negative == ()
