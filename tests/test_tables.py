"""Label tables → samples: every row is a sample or a reject with its place and reason."""

import ast
import csv
import os
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import SchemaError, TableError
from captioner.images import locate
from captioner.labels import Labels, Reader, parse_list
from captioner.schema import LabelSchema, parse_schema
from captioner.tables import SampleTable, read_samples

CLASSES = [
    {"code": "Mass", "name": "mass"},
    {"code": "Opacity", "name": "lung opacity"},
    {"code": "Pneumonia", "name": "pneumonia", "parents": ["Opacity"], "aliases": ["PNA"]},
    {"code": "Pacemaker", "name": "pacemaker", "kind": "device"},
    {"code": "No Finding", "name": "no abnormal finding", "kind": "normal"},
    {"code": "No pneumonia", "name": "no pneumonia", "kind": "absence", "denies": "Pneumonia"},
]
NAMES = {"layout": "names", "column": "labels", "separator": "|", "image": "image", "files": [{"match": "labels*"}]}


def schema(table: dict[str, object] | None = None, **changes: object) -> LabelSchema:
    content = {"id": "test", "title": "Test", "modality": "xray", "anatomy": "chest", "classes": CLASSES}
    return parse_schema(content | {"tables": [table or NAMES]} | changes)


def write(path: Path, *rows: tuple[object, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def read(tmp_path: Path, *rows: tuple[object, ...], **changes: object) -> SampleTable:
    """Read rows of image and labels."""
    write(tmp_path / "labels.csv", ("image", "labels"), *rows)
    return read_samples(schema(**changes), tmp_path)


def labels_of(samples: SampleTable) -> dict[str, tuple[str, ...]]:
    frame = samples.frame
    return {i: samples.combinations[n].positive for i, n in zip(frame["image"], frame["labels"], strict=True)}


def rejected(samples: SampleTable) -> list[tuple[int, str]]:
    return sorted((int(row), code) for row, code in zip(samples.rejects["row"], samples.rejects["code"], strict=True))


def reasons(samples: SampleTable) -> str:
    return "\n".join(samples.rejects["reason"])


# ---- samples


def test_a_row_becomes_a_sample_with_its_line_number_reference_and_key(tmp_path):
    samples = read(tmp_path, ("a/1.png", "Mass"), ("a/2.png", "Pneumonia|Mass"))
    assert samples.frame[["row", "file", "image", "key"]].to_numpy().tolist() == [
        [2, "labels.csv", "a/1.png", "test-a-1"],
        [3, "labels.csv", "a/2.png", "test-a-2"],
    ]
    assert samples.combinations == (Labels(("Mass",)), Labels(("Mass", "Pneumonia")))
    assert samples.frame["labels"].tolist() == [0, 1]
    assert samples.rows == 2
    assert samples.rejects.empty


def test_labels_are_found_by_code_alias_or_name_in_any_case_and_order(tmp_path):
    samples = read(tmp_path, ("1.png", "mass|PNA"), ("2.png", " pneumonia | Mass"), ("3.png", "MASS||pna"))
    assert set(labels_of(samples).values()) == {("Mass", "Pneumonia")}
    assert len(samples.combinations) == 1


def test_combinations_are_in_the_schemas_order_whatever_the_order_of_rows(tmp_path):
    rows = [("1.png", "Pacemaker"), ("2.png", "Mass"), ("3.png", "Opacity|Mass"), ("4.png", "Opacity")]
    expected = (("Mass",), ("Mass", "Opacity"), ("Opacity",), ("Pacemaker",))
    assert tuple(c.positive for c in read(tmp_path, *rows).combinations) == expected
    assert tuple(c.positive for c in read(tmp_path, *reversed(rows)).combinations) == expected


def test_split_group_and_attributes_come_along_with_their_meanings(tmp_path):
    table = NAMES | {"split": "fold", "group": "patient"}
    write(
        tmp_path / "labels.csv",
        ("image", "labels", "fold", "patient", "View Position ", "Sex"),
        ("1.png", "Mass", "train", "007", "PA", "F"),
        ("2.png", "Mass", "test", "008", "LL", ""),
    )
    attributes = {
        "view": {"column": "View Position", "values": {"PA": "frontal"}},
        "sex": {"column": "Gender", "aliases": ["sex"]},
    }
    frame = read_samples(schema(table, attributes=attributes), tmp_path).frame
    assert frame[["split", "group", "view", "sex"]].to_numpy().tolist() == [
        ["train", "007", "frontal", "F"],
        ["test", "008", "LL", ""],
    ]


def test_an_attribute_whose_column_is_missing_is_empty_and_noted(tmp_path):
    write(tmp_path / "labels.csv", ("image", "labels", "Patient Agee"), ("1.png", "Mass", "50"))
    samples = read_samples(schema(attributes={"age": {"column": "Patient Age"}}), tmp_path)
    assert samples.frame["age"].tolist() == [""]
    assert any("'Patient Age'" in n and "Did you mean 'Patient Agee'?" in n for n in samples.notes)


def test_several_files_are_one_dataset_with_a_split_and_a_folder_each(tmp_path):
    files = [
        {"match": "train.csv", "split": "train", "folder": "A/"},
        {"match": "test.csv", "split": "test", "folder": "B"},
    ]
    write(tmp_path / "x" / "train.csv", ("image", "labels"), ("1", "Mass"))
    write(tmp_path / "y" / "test.csv", ("image", "labels"), ("1", "Opacity"))
    samples = read_samples(schema(NAMES | {"image": "{image}.png", "files": files}), tmp_path)
    assert samples.frame[["file", "image", "key", "split"]].to_numpy().tolist() == [
        ["x/train.csv", "A/1.png", "test-A-1", "train"],
        ["y/test.csv", "B/1.png", "test-B-1", "test"],
    ]


def test_a_label_may_mean_another_one_in_one_file(tmp_path):
    files = [{"match": "a.csv", "labels": {"normal": "No pneumonia"}}, {"match": "b.csv"}]
    write(tmp_path / "a.csv", ("image", "labels"), ("1.png", "Normal"))
    write(tmp_path / "b.csv", ("image", "labels"), ("2.png", "Normal"))
    classes = [*CLASSES[:4], CLASSES[4] | {"aliases": ["normal"]}, CLASSES[5]]
    samples = read_samples(schema(NAMES | {"files": files}, classes=classes), tmp_path)
    assert labels_of(samples) == {"1.png": ("No pneumonia",), "2.png": ("No Finding",)}


# ---- rejects


def test_a_row_without_any_label_is_rejected(tmp_path):
    assert rejected(read(tmp_path, ("1.png", ""), ("2.png", " | "))) == [(2, "no_label"), (3, "no_label")]


def test_an_unknown_label_is_rejected_with_its_place_and_a_suggestion(tmp_path):
    samples = read(tmp_path, ("1.png", "Mass"), ("2.png", "Mass|Pneumona"))
    (reject,) = samples.rejects.to_dict("records")
    assert reject == {
        "file": "labels.csv",
        "row": 3,
        "column": "labels",
        "value": "Pneumona",
        "code": "unknown_label",
        "reason": "label 'Pneumona' is not in schema 'test'. Did you mean 'Pneumonia' or 'No pneumonia'?",
    }


@pytest.mark.parametrize(
    "label", ["{{ 7 * 7 }}", "{% for x in y %}", "<script>alert(1)</script>", "'; DROP TABLE x", "%s{0}"]
)
def test_markup_and_code_in_a_label_cell_is_only_an_unknown_label(tmp_path, label):
    samples = read(tmp_path, ("1.png", label))
    assert rejected(samples) == [(2, "unknown_label")]
    assert samples.rejects["value"].tolist() == [label]


@pytest.mark.parametrize(
    ("labels", "clash"),
    [
        ("No Finding|Mass", "'No Finding' cannot stand with 'Mass'"),
        ("No pneumonia|PNA", "'No pneumonia' cannot stand with 'Pneumonia'"),
    ],
)
def test_a_row_that_contradicts_itself_is_rejected(tmp_path, labels, clash):
    samples = read(tmp_path, ("1.png", labels))
    assert rejected(samples) == [(2, "contradiction")]
    assert reasons(samples) == clash


@pytest.mark.parametrize("labels", ["No Finding|Pacemaker", "No Finding|No pneumonia", "No pneumonia|Opacity"])
def test_devices_and_absences_go_with_a_normal_and_an_absence_with_what_is_more_general(tmp_path, labels):
    assert len(read(tmp_path, ("1.png", labels)).frame) == 1


def test_an_absence_denies_what_implies_it_too(tmp_path):
    classes = [*CLASSES[:5], CLASSES[5] | {"denies": "Opacity"}]
    assert rejected(read(tmp_path, ("1.png", "No pneumonia|Pneumonia"), classes=classes)) == [(2, "contradiction")]


def test_concepts_tell_what_an_absence_denies(tmp_path):
    classes = [
        {"code": "npdr", "concept": "retina.mild_npdr"},
        {
            "code": "none",
            "name": "no sign of diabetic retinopathy",
            "kind": "absence",
            "denies": "retina.diabetic_retinopathy",
        },
    ]
    samples = read(tmp_path, ("1.png", "npdr|none"), classes=classes, modality="fundus", anatomy="retina")
    assert rejected(samples) == [(2, "contradiction")]


def test_two_steps_of_one_scale_exclude_each_other_unless_one_implies_the_other(tmp_path):
    grade = {"kind": "grade", "group": "scale"}
    classes = [
        {"code": "mild", "name": "mild disease", "level": 1} | grade,
        {"code": "severe", "name": "severe disease", "level": 2} | grade,
        {"code": "very severe", "name": "very severe disease", "level": 3, "parents": ["severe"]} | grade,
    ]
    samples = read(tmp_path, ("1.png", "mild|severe"), ("2.png", "severe|very severe"), classes=classes)
    assert rejected(samples) == [(2, "contradiction")]
    assert "exclude each other" in reasons(samples)


def test_a_normal_goes_with_the_lowest_step_of_a_scale_only(tmp_path):
    grade = {"kind": "grade", "group": "scale"}
    classes = [
        CLASSES[4],
        {"code": "0", "name": "grade 0", "level": 0} | grade,
        {"code": "1", "name": "grade 1", "level": 1} | grade,
    ]
    samples = read(tmp_path, ("1.png", "No Finding|0"), ("2.png", "No Finding|1"), classes=classes)
    assert rejected(samples) == [(3, "contradiction")]


def test_labels_of_different_anatomy_in_one_row_are_rejected(tmp_path):
    classes = [CLASSES[0], {"code": "acl", "name": "ACL tear", "modality": "mri", "anatomy": "knee"}]
    samples = read(tmp_path, ("1.png", "Mass|acl"), classes=classes)
    assert rejected(samples) == [(2, "several_regions")]
    assert "'Mass' is xray of chest" in reasons(samples)


def test_a_row_longer_than_the_header_is_rejected(tmp_path):
    (tmp_path / "labels.csv").write_text("image,labels\n1.png,Mass\n2.png,Mass,Opacity\n")
    samples = read_samples(schema(), tmp_path)
    assert rejected(samples) == [(3, "extra_cells")]
    assert samples.rows == 2


def test_the_same_row_twice_is_kept_once(tmp_path):
    samples = read(tmp_path, ("1.png", "Mass|PNA"), ("2.png", "Mass"), ("./1.png", "Pneumonia|Mass"))
    assert samples.frame["row"].tolist() == [2, 3]
    assert rejected(samples) == [(4, "duplicate_row")]
    assert reasons(samples) == "the image is already in labels.csv, row 2"


def test_rows_that_say_different_things_of_one_image_are_all_rejected(tmp_path):
    samples = read(tmp_path, ("1.png", "Mass"), ("2.png", "Mass"), ("1.png", "Opacity"))
    assert samples.frame["row"].tolist() == [3]
    assert rejected(samples) == [(2, "duplicate_key"), (4, "duplicate_key")]


@pytest.mark.parametrize(
    "reference",
    [
        "../secret.png",
        "a/../../secret.png",
        "/etc/passwd",
        "C:\\images\\1.png",
        "\\\\server\\x.png",
        "",
        "..",
        "http://x/1.png",
        "a\x00.png",
    ],
)
@pytest.mark.parametrize("folder", [None, "images"])
def test_references_that_could_leave_the_image_folder_are_rejected(tmp_path, reference, folder):
    table = NAMES | {"files": [{"match": "labels.csv"} | ({"folder": folder} if folder else {})]}
    write(tmp_path / "labels.csv", ("image", "labels"), ("1.png", "Mass"), (reference, "Mass"))
    samples = read_samples(schema(table), tmp_path)
    assert rejected(samples) == [(3, "bad_image_reference")]
    assert samples.frame["row"].tolist() == [2]


def test_every_row_is_a_sample_or_a_reject(tmp_path):
    rows = [(f"{i}.png", ["Mass", "", "x", "Mass|No Finding"][i % 4]) for i in range(40)]
    samples = read(tmp_path, *rows)
    assert sorted([*samples.frame["row"], *samples.rejects["row"]]) == list(range(2, 42))


# ---- rules for label strings


def test_dropped_strings_are_left_out_and_counted_in_the_notes(tmp_path):
    rules = {"drop": {"a disease": "names no disease"}}
    samples = read(tmp_path, ("1.png", "A Disease|Mass"), ("2.png", "a disease"), ("3.png", "Mass"), labels=rules)
    assert labels_of(samples) == {"1.png": ("Mass",), "3.png": ("Mass",)}
    assert rejected(samples) == [(3, "no_label")]
    assert reasons(samples) == "'a disease': names no disease"
    assert any("dropped from" in n and "names no disease" in n for n in samples.notes)


def test_one_string_may_mean_several_classes_even_if_it_holds_the_separator(tmp_path):
    rules = {"map": {"mass & pneumonia": ["Mass", "Pneumonia"], "both|of them": ["Mass", "Opacity"]}}
    samples = read(tmp_path, ("1.png", "Mass & Pneumonia"), ("2.png", "both|of them"), labels=rules)
    assert labels_of(samples) == {"1.png": ("Mass", "Pneumonia"), "2.png": ("Mass", "Opacity")}


def test_an_uncertain_string_is_left_unsaid_or_refuses_its_row_as_the_schema_says(tmp_path):
    rules = {"uncertain": {"suspected mass": "Mass"}}
    rows = [("1.png", "suspected mass|Opacity"), ("2.png", "suspected mass"), ("3.png", "suspected mass|Mass")]
    samples = read(tmp_path, *rows, labels=rules)
    assert samples.combinations == (Labels(("Mass",)), Labels(("Opacity",), uncertain=("Mass",)))
    assert "samples with an uncertain label, which is left unsaid: 1" in samples.notes
    assert rejected(samples) == [(3, "no_label")]
    strict = read(tmp_path, *rows, labels=rules, uncertain="reject")
    assert rejected(strict) == [(2, "uncertain_label"), (3, "uncertain_label")]


def test_a_normal_beside_something_uncertain_is_a_contradiction(tmp_path):
    rules = {"uncertain": {"suspected mass": "Mass"}}
    assert rejected(read(tmp_path, ("1.png", "No Finding|suspected mass"), labels=rules)) == [(2, "contradiction")]


def test_in_a_closed_world_a_class_that_is_not_labelled_is_denied_unless_something_else_implies_it(tmp_path):
    samples = read(tmp_path, ("1.png", "Pneumonia"), ("2.png", "No Finding"), negatives="closed_world")
    assert samples.combinations == (
        Labels(("Pneumonia",), negative=("Mass", "Pacemaker")),
        Labels(("No Finding",), negative=("Mass", "Opacity", "Pneumonia", "Pacemaker")),
    )


# ---- layouts


def test_lists_as_python_and_json_write_them_are_read_without_being_run(tmp_path):
    table = {"layout": "literals", "column": "labels", "image": "image"}
    trap = f"__import__('pathlib').Path({str(tmp_path / 'trap')!r}).touch()"
    cells = [
        "['Mass', 'PNA']",
        '["Mass", "PNA"]',
        "('Mass', 'PNA')",
        "[]",
        "['']",
        trap,
        "Mass",
        "[['Mass']]",
        "[" * 9999,
    ]
    write(tmp_path / "labels.csv", ("image", "labels"), *((f"{i}.png", c) for i, c in enumerate(cells)))
    samples = read_samples(schema(table), tmp_path)
    assert labels_of(samples) == dict.fromkeys(("0.png", "1.png", "2.png"), ("Mass", "Pneumonia"))
    assert rejected(samples) == [(5, "no_label"), (6, "no_label"), *((row, "unknown_label") for row in range(7, 11))]
    assert not (tmp_path / "trap").exists()


ONE_HOT = {"layout": "one_hot", "image": "image", "ignore": ["Risk"], "all_negative": "No Finding"}
ONE_HOT_CLASSES = [*CLASSES[:3], CLASSES[4]]


def one_hot(tmp_path: Path, *rows: tuple[object, ...], header: tuple[str, ...] = (), **changes: object) -> SampleTable:
    header = header or ("image", "Risk", "Mass", "Opacity", "Pneumonia")
    write(tmp_path / "labels.csv", header, *rows)
    return read_samples(schema(ONE_HOT | changes, classes=ONE_HOT_CLASSES), tmp_path)


def test_one_hot_columns_assert_deny_or_leave_open(tmp_path):
    samples = one_hot(tmp_path, ("1.png", 1, 1, 0, ""), ("2.png", 1, "1.0", "-1", 0), ("3.png", 0, 0, 0, 0))
    assert samples.combinations == (
        Labels(("Mass",), negative=("Opacity",)),
        Labels(("Mass",), negative=("Pneumonia",), uncertain=("Opacity",)),
        Labels(("No Finding",), negative=("Mass", "Opacity", "Pneumonia")),
    )


def test_a_denied_class_that_another_one_implies_is_not_denied(tmp_path):
    samples = one_hot(tmp_path, ("1.png", 1, 0, 0, 1))
    assert samples.combinations == (Labels(("Pneumonia",), negative=("Mass",)),)


def test_what_a_certain_class_implies_is_not_uncertain(tmp_path):
    samples = one_hot(tmp_path, ("1.png", 1, "", "-1", 1))
    assert samples.combinations == (Labels(("Pneumonia",)),)


def test_a_layout_that_names_its_columns_may_leave_out_classes_of_the_schema(tmp_path):
    columns = {"Mass": "Mass"}
    samples = one_hot(tmp_path, ("1.png", 0), header=("image", "Mass"), columns=columns)
    assert labels_of(samples) == {"1.png": ("No Finding",)}


def test_a_row_is_all_negative_only_if_every_class_is_denied_in_so_many_words(tmp_path):
    assert rejected(one_hot(tmp_path, ("1.png", 0, 0, 0, ""))) == [(2, "no_label")]
    assert rejected(one_hot(tmp_path, ("1.png", 0, 0), header=("image", "Mass", "Opacity"))) == [(2, "no_label")]
    assert labels_of(one_hot(tmp_path, ("1.png", 0, 0, 0, ""), blank="negative")) == {"1.png": ("No Finding",)}


def test_a_value_that_is_none_of_the_known_ones_is_rejected_with_row_and_column(tmp_path):
    samples = one_hot(tmp_path, ("1.png", 1, 1, 0, 0), ("2.png", 1, 1, 2, 0), ("3.png", 1, "x", 0, 0))
    assert samples.rejects[["row", "column", "value", "code"]].to_numpy().tolist() == [
        [3, "Opacity", "2", "unknown_label"],
        [4, "Mass", "x", "unknown_label"],
    ]


def test_a_one_hot_column_that_is_no_class_never_passes_as_normal(tmp_path):
    header = ("image", "Mass", "Opacity", "Pneumonia", "Fractur", "Age")
    samples = one_hot(tmp_path, ("1.png", 0, 0, 0, 1, 50), ("2.png", 0, 0, 0, 0, 60), header=header)
    assert labels_of(samples) == {"2.png": ("No Finding",)}
    assert rejected(samples) == [(2, "unknown_label")]


def test_two_columns_of_one_class_that_disagree_are_a_contradiction(tmp_path):
    columns = {"Mass": "Mass", "Mass 2": "Mass"}
    samples = one_hot(tmp_path, ("1.png", 1, 0), header=("image", "Mass", "Mass 2"), columns=columns)
    assert rejected(samples) == [(2, "contradiction")]


def test_codes_mean_what_their_column_says_and_whole_numbers_may_have_a_point(tmp_path):
    table = {
        "layout": "codes",
        "image": "image",
        "codes": {"grade": {"0": "No Finding", "1": "Mass"}, "risk": {"0": "No pneumonia", "1": "Opacity"}},
    }
    rows = [("1.png", "0", "0"), ("2.png", "1.0", "1"), ("3.png", "1", ""), ("4.png", "7", "0"), ("5.png", "", "")]
    write(tmp_path / "labels.csv", ("image", "grade", "risk "), *rows)
    samples = read_samples(schema(table), tmp_path)
    assert labels_of(samples) == {
        "1.png": ("No Finding", "No pneumonia"),
        "2.png": ("Mass", "Opacity"),
        "3.png": ("Mass",),
    }
    assert rejected(samples) == [(5, "unknown_label"), (6, "no_label")]
    assert "'7' is not a code of this column; known: 0, 1" in reasons(samples)


def test_a_row_with_two_views_is_two_samples(tmp_path):
    table = {
        "layout": "views",
        "views": {"Left": "Left words", "Right": "Right words"},
        "separator": "\uff0c",
        "group": "ID",
    }
    book = openpyxl.Workbook()
    book.active.append(["ID", "Left", "Right", "Left words", "Right words"])
    book.active.append([1, "1_l.jpg", "1_r.jpg", "mass\uff0copacity", "no finding"])
    book.save(tmp_path / "labels.xlsx")
    samples = read_samples(schema(table), tmp_path)
    assert labels_of(samples) == {"1_l.jpg": ("Mass", "Opacity"), "1_r.jpg": ("No Finding",)}
    assert samples.frame[["row", "group"]].to_numpy().tolist() == [[2, "1"], [2, "1"]]
    assert samples.rows == 1


def make_images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_labels_wherever_below_the_root_they_are(tmp_path):
    make_images(
        tmp_path, "x/train/mass/1.png", "x/test/PNA/p7/2.JPG", "x/mass/1_mask.png", "x/readme/3.png", "mass/notes.txt"
    )
    make_images(tmp_path, "mass/.hidden.png", "__MACOSX/mass/1.png")
    samples = read_samples(schema({"layout": "folders", "exclude": ["*_mask*"]}), tmp_path)
    assert labels_of(samples) == {"x/test/PNA/p7/2.JPG": ("Pneumonia",), "x/train/mass/1.png": ("Mass",)}
    assert samples.rejects[["value", "code"]].to_numpy().tolist() == [["x/readme", "unknown_label"]]
    assert samples.rows == 3


def test_a_file_whose_name_is_no_text_is_rejected_not_fatal(tmp_path):
    make_images(tmp_path, "mass/1.png")
    (tmp_path / "mass" / os.fsdecode(b"\xff.png")).touch()
    (tmp_path / os.fsdecode(b"\xfe") / "mass").mkdir(parents=True)
    (tmp_path / os.fsdecode(b"\xfe") / "mass" / "1.png").touch()
    samples = locate(read_samples(schema({"layout": "folders"}), tmp_path), tmp_path)
    assert samples.frame["path"].tolist() == ["mass/1.png"]
    assert samples.rejects["code"].tolist() == ["missing_image", "missing_image"]
    assert "not valid UTF-8" in reasons(samples)


def test_a_folder_path_may_be_a_class_and_the_longest_one_counts(tmp_path):
    classes = [
        {"code": "MR/knee/normal", "name": "normal knee", "kind": "normal"},
        {"code": "normal", "name": "normal", "kind": "normal"},
    ]
    make_images(tmp_path, "data/MR/knee/normal/1.png", "data/CT/normal/2.png")
    samples = read_samples(schema({"layout": "folders"}, classes=classes), tmp_path)
    assert labels_of(samples) == {"data/CT/normal/2.png": ("normal",), "data/MR/knee/normal/1.png": ("MR/knee/normal",)}


def test_two_images_that_differ_only_in_their_ending_have_keys_of_their_own(tmp_path):
    """As ``Y92.jpg`` and ``Y92.png`` of the brain MRI dataset, which are different images."""
    make_images(tmp_path, "mass/Y92.png", "mass/Y92.jpg", "mass/Y93.png")
    first, second, third = read_samples(schema({"layout": "folders"}), tmp_path).frame["key"]
    assert (first, third) == ("test-mass-Y92", "test-mass-Y93")
    assert second.startswith("test-mass-Y92-")


# ---- which layout, which files


def test_the_first_layout_whose_columns_are_all_there_is_used(tmp_path):
    other = NAMES | {"column": "Finding Labels", "image": "Image Index"}
    write(tmp_path / "labels.csv", ("image", "labels"), ("1.png", "Mass"))
    samples = read_samples(schema(tables=[other, NAMES, {"layout": "folders"}]), tmp_path)
    assert len(samples.frame) == 1
    assert "layout 'names', 1 file: labels.csv" in samples.notes


def test_folders_are_used_where_a_schema_knows_both_and_no_table_is_there(tmp_path):
    make_images(tmp_path, "mass/1.png")
    samples = read_samples(schema(tables=[NAMES, {"layout": "folders"}]), tmp_path)
    assert labels_of(samples) == {"mass/1.png": ("Mass",)}


def test_a_missing_column_is_named_with_a_suggestion_and_what_the_file_has(tmp_path):
    write(tmp_path / "labels.csv", ("image", "lables", ""), ("1.png", "Mass", ""))
    with pytest.raises(TableError) as error:
        read_samples(schema(tables=[NAMES | {"image": "x", "column": "y"}, NAMES]), tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'labels.csv'}: row 1: column 'labels' is missing. Did you mean 'lables'? "
        "Layout 'names' of schema 'test' needs it. The file has: image, lables"
    )


def test_a_file_that_the_schema_names_must_fit_even_if_others_do(tmp_path):
    write(tmp_path / "labels_train.csv", ("image", "labels"), ("1.png", "Mass"))
    write(tmp_path / "labels_test.csv", ("image", "label"), ("2.png", "Mass"))
    with pytest.raises(TableError, match=r"labels_test\.csv: row 1: column 'labels' is missing"):
        read_samples(schema(), tmp_path)


def test_without_file_names_every_table_that_fits_is_read_and_the_others_are_noted(tmp_path):
    table = {k: v for k, v in NAMES.items() if k != "files"}
    write(tmp_path / "a.csv", ("image", "labels"), ("1.png", "Mass"))
    write(tmp_path / "b.csv", ("id", "age"), ("1", "50"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "notes.docx").write_bytes(b"PK\x03\x04")
    samples = read_samples(schema(table), tmp_path)
    assert samples.frame["file"].tolist() == ["a.csv"]
    assert any(n.startswith("b.csv is not used: it has no column 'labels'") for n in samples.notes)


def test_no_table_at_all_says_what_was_looked_for_and_what_is_there(tmp_path):
    write(tmp_path / "other.csv", ("a", "b"), ("1", "2"))
    with pytest.raises(TableError, match=r"Looked for a file named labels\*. Table files there: other.csv"):
        read_samples(schema(), tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(TableError, match="nowhere: no such file or folder"):
        read_samples(schema(), tmp_path / "nowhere")


def test_two_files_of_one_name_are_not_guessed_between(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "labels.csv", ("image", "labels"), ("1.png", "Mass"))
    with pytest.raises(TableError, match=r"'labels\.csv' is there 2 times"):
        read_samples(schema(), tmp_path)
    assert len(read_samples(schema(), tmp_path, table=tmp_path / "a" / "labels.csv").frame) == 1


def test_a_table_file_may_be_given_under_any_name(tmp_path):
    path = write(tmp_path / "renamed.csv", ("image", "labels"), ("1.png", "Mass"))
    assert len(read_samples(schema(), path).frame) == 1
    assert len(read_samples(schema(), tmp_path, table=path).frame) == 1


@pytest.mark.parametrize("text", ["image,labels", '"image","labels"\n', "image,labels\r\n"])
def test_a_header_is_no_row_however_its_line_ends(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text, newline="")
    with pytest.raises(TableError, match="a header and no rows"):
        read_samples(schema(), tmp_path)


def test_a_file_without_a_usable_row_leaves_the_other_files(tmp_path):
    write(tmp_path / "a.csv", ("image", "labels", "view"), ("1.png", "Mass", "PA", "one too many"))
    write(tmp_path / "b.csv", ("image", "labels", "view"), ("2.png", "Mass", "PA"))
    files = [{"match": "a.csv"}, {"match": "b.csv"}]
    samples = read_samples(schema(NAMES | {"files": files}, attributes={"view": {"column": "view"}}), tmp_path)
    assert labels_of(samples) == {"2.png": ("Mass",)}
    assert samples.frame["view"].tolist() == ["PA"]
    assert rejected(samples) == [(2, "extra_cells")]


def test_a_table_with_a_header_and_no_rows_is_an_error(tmp_path):
    with pytest.raises(TableError, match="a header and no rows"):
        read(tmp_path)


def test_a_column_that_is_needed_and_stands_twice_is_an_error(tmp_path):
    write(tmp_path / "labels.csv", ("image", "labels", "labels "), ("1.png", "Mass", "Opacity"))
    with pytest.raises(TableError, match="column 'labels' stands twice"):
        read_samples(schema(), tmp_path)


def test_a_layout_that_does_not_say_where_images_are_named_is_a_schema_error(tmp_path):
    write(tmp_path / "labels.csv", ("image", "labels"), ("1.png", "Mass"))
    with pytest.raises(SchemaError, match="does not say which column names the image"):
        read_samples(schema({"layout": "names", "column": "labels"}), tmp_path)


# ---- whatever stands in a table

ANY_LABELS = st.lists(st.sampled_from([c["code"] for c in CLASSES]), min_size=1, max_size=4).map("|".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ANY_LABELS, st.text(max_size=8)), min_size=1, max_size=12))
def test_no_cell_breaks_the_reading_and_no_contradiction_passes(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("any")
    write(
        folder / "labels.csv", ("image", "labels"), *((f"{i}.png", c.replace("\x00", "")) for i, c in enumerate(cells))
    )
    samples = read_samples(schema(), folder)
    assert len(samples.frame) + len(samples.rejects) == samples.rows == len(cells)
    reader = Reader(schema())
    for labels in samples.combinations:
        again = reader.joined("|".join(labels.positive), "|", "labels")
        assert reader.judge(again, "labels", "") == labels
        assert not {"No Finding", "Mass"} <= set(labels.positive)
        assert not {"No pneumonia", "Pneumonia"} <= set(labels.positive)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("[]'\"a, \\\n"), max_size=24))
def test_plain_lists_are_read_as_python_reads_them(cell):
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError):
        return
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        assert parse_list(cell) == value


# ---- tables that owners wrote for people


def test_lines_above_the_header_are_skipped_and_rows_keep_their_numbers(tmp_path):
    (tmp_path / "labels.csv").write_text('The "list"\n\nimage,labels\na.png,Mass\nb.png,Zorgitis\n', encoding="utf-8")
    samples = read_samples(schema(NAMES | {"skip_rows": 2}), tmp_path)
    assert samples.frame[["row", "image"]].to_numpy().tolist() == [[4, "a.png"]]
    assert rejected(samples) == [(5, "unknown_label")]


def test_a_column_may_have_another_name_in_another_file_or_none_at_all(tmp_path):
    write(tmp_path / "labels1.csv", ("image", "labels"), ("a.png", "Mass"))
    write(tmp_path / "labels2.csv", ("", "Answer"), ("b.png", "Mass"))
    table = NAMES | {"renamed": {"labels": ["answer"], "image": ["Unnamed: 0"]}}
    assert labels_of(read_samples(schema(table), tmp_path)) == {"a.png": ("Mass",), "b.png": ("Mass",)}


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    write(tmp_path / "x" / "Train" / "labels.csv", ("image", "labels"), ("a.png", "Mass"))
    write(tmp_path / "x" / "Test" / "labels.csv", ("image", "labels"), ("a.png", "Opacity"))
    files = [{"match": "train/labels.csv", "folder": "Train"}, {"match": "test/*.csv", "image": "Test/{image}"}]
    samples = read_samples(schema(NAMES | {"files": files}), tmp_path)
    assert labels_of(samples) == {"Train/a.png": ("Mass",), "Test/a.png": ("Opacity",)}
    with pytest.raises(TableError, match="2 times"):
        read_samples(schema(), tmp_path)


def test_a_reference_may_be_joined_from_parts_of_the_cell(tmp_path):
    table = NAMES | {"image": "RET{image}OD", "image_pattern": "(RET)#?([0-9]+O[DS])"}
    samples = read(tmp_path, ("#002", "Mass"), ("3", "Mass"), ("other", "Mass"), tables=[table])
    assert list(samples.frame["image"]) == ["RET002OD", "RET3OD", "RETotherOD"]


def test_a_code_may_say_nothing(tmp_path):
    codes = {"mass": {"0": "", "1": "Mass"}, "grade": {"1": "Opacity"}}
    table = {"layout": "codes", "codes": codes, "image": "image", "files": [{"match": "labels.csv"}]}
    write(tmp_path / "labels.csv", ("image", "mass", "grade"), ("a", 0, 1), ("b", 1, ""), ("c", 0, ""), ("d", 2, 1))
    samples = read_samples(schema(table), tmp_path)
    assert labels_of(samples) == {"a": ("Opacity",), "b": ("Mass",)}
    assert rejected(samples) == [(4, "no_label"), (5, "unknown_label")]


def test_copies_of_an_image_in_several_folders_are_one_image(tmp_path):
    for name in ("Mass/a.png", "Opacity/a.png", "Mass/b.png", "No Finding/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folders = {"layout": "folders", "merge": {"agree": "any", "copies": "[^/]+$"}}
    samples = read_samples(schema(folders), tmp_path)
    assert labels_of(samples) == {"Mass/a.png": ("Mass", "Opacity")}
    assert rejected(samples) == [(0, "contradiction")]


def test_an_image_that_the_pattern_of_folders_does_not_find_has_no_label(tmp_path):
    for name in ("Mass/a_color.png", "Mass/a_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folders = {"layout": "folders", "pattern": "(?P<label>[^/]+)/[^/]*_color"}
    samples = read_samples(schema(folders), tmp_path)
    assert labels_of(samples) == {"Mass/a_color.png": ("Mass",)}
    assert rejected(samples) == [(0, "unknown_label")]
