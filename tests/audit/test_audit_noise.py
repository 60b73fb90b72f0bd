"""Two label tables under one schema."""

import pytest

from captioner.audit import diff_readers, diff_tables
from captioner.errors import UsageError
from captioner.schema import load_schema, parse_schema
from tests.audit.makers import table
from tests.small import CHEST, small_schema

SCHEMA = small_schema()
HEAD = ("image", "labels")


def test_images_that_are_labelled_differently_are_listed_with_their_rows(tmp_path):
    (tmp_path / "b").mkdir()
    one = table(
        tmp_path / "labels.csv",
        [("a.png", "Effusion"), ("b.png", "Effusion|Nodule"), ("c.png", "Normal"), ("d.png", "Nodule")],
        HEAD,
    )
    two = table(
        tmp_path / "b" / "labels.csv",
        [("x/c.jpg", "Nodule"), ("x/b.jpg", "Effusion"), ("x/a.jpg", "Effusion"), ("x/e.jpg", "Nodule")],
        HEAD,
    )
    found = diff_tables(one, two, SCHEMA)
    assert (found.images, found.same, found.only_first, found.only_second) == (3, 1, 1, 1)
    assert found.rows.to_numpy().tolist() == [
        ["b", 3, 3, "Effusion|Nodule", "Effusion", "Nodule", ""],
        ["c", 4, 2, "Normal", "Nodule", "Normal", "Nodule"],
    ]
    classes = found.classes.set_index("class")
    assert classes.loc["Effusion"].to_dict() == {"both": 2, "only_first": 0, "only_second": 0, "kappa": 1}
    assert classes.loc["Nodule", "kappa"] < 0
    assert found.headline() == "1 of 3 images that both tables have are labelled the same (33.3 %)"


def test_a_table_differs_from_itself_nowhere(real_data):
    path = real_data / "nih_chestxray14" / "Data_Entry_2017_v2020.csv.gz"
    found = diff_tables(path, path, "chestxray14")
    assert found.same == found.images > 112_000
    assert found.rows.empty
    assert set(found.classes["kappa"]) == {1}


def test_a_second_source_with_classes_of_its_own_is_compared_on_what_both_have(tmp_path):
    adjudicated = parse_schema(
        CHEST
        | {
            "id": "adjudicated",
            "tables": [
                {"layout": "one_hot", "files": [{"match": "expert.csv"}], "image": "Image", "positive": ["YES"]}
            ],
            "classes": [
                {"code": "lung nodule", "name": "lung nodule"},
                {"code": "Fracture", "name": "rib fracture"},
            ],
        }
    )
    one = table(tmp_path / "labels.csv", [("a.png", "Effusion|Nodule"), ("b.png", "Normal"), ("c.png", "Nodule")], HEAD)
    rows = [("a.png", "YES", "NO"), ("b.png", "YES", "YES"), ("c.png", "YES", "YES")]
    two = table(tmp_path / "expert.csv", rows, ("Image", "lung nodule", "Fracture"))
    found = diff_tables(one, two, SCHEMA, adjudicated)
    assert found.rows.to_numpy().tolist() == [["b", 3, 3, "", "Nodule", "", "Nodule"]]
    assert (found.images, found.classes["class"].tolist()) == (3, ["Nodule"])
    with pytest.raises(UsageError, match="have no finding in common"):
        diff_tables(one, two, SCHEMA, load_schema("aptos2019"))


def test_tables_of_other_images_cannot_be_compared(tmp_path):
    (tmp_path / "b").mkdir()
    one = table(tmp_path / "labels.csv", [("a.png", "Effusion")], HEAD)
    two = table(tmp_path / "b" / "labels.csv", [("b.png", "Effusion")], HEAD)
    with pytest.raises(UsageError, match="no image in common"):
        diff_tables(one, two, SCHEMA)


READ_BY = {"files": [{"match": "labels*.csv"}], "image": "image", "column": "labels", "merge": {"reader": "who"}}
READ = small_schema(tables=[{"layout": "names", **READ_BY}])


def test_the_readers_of_one_table_are_compared_each_with_each(tmp_path):
    rows = [
        *(("a.png", "Effusion", "R1"), ("a.png", "Effusion", "R2"), ("a.png", "Nodule", "R3")),
        *(("b.png", "Normal", "R1"), ("b.png", "Normal", "R3")),
        *(("a.png", "Nodule", "R1"), ("c.png", "Nodule", "R2")),
    ]
    found = diff_readers(table(tmp_path / "labels.csv", rows, ("image", "labels", "who")), READ)
    assert (found.images, found.same) == (4, 1)
    assert found.rows.to_numpy().tolist() == [
        ["a", 2, 3, "Effusion|Nodule", "Effusion", "Nodule", "", "R1", "R2"],
        ["a", 2, 4, "Effusion|Nodule", "Nodule", "Effusion", "", "R1", "R3"],
        ["a", 3, 4, "Effusion", "Nodule", "Effusion", "Nodule", "R2", "R3"],
    ]
    assert found.classes.set_index("class").loc["Normal"].to_dict() == {
        "both": 1,
        "only_first": 0,
        "only_second": 0,
        "kappa": 1,
    }
    assert found.headline() == "1 of 4 pairs of readings of one image are the same (25.0 %)"


@pytest.mark.parametrize(
    ("schema", "head", "message"),
    [
        (SCHEMA, ("image", "labels", "who"), "names no column of readers"),
        (READ, ("image", "labels", "by"), "names no column of readers"),
        (READ, ("image", "labels", "who"), "no image was read by two readers"),
    ],
)
def test_a_table_without_several_readers_is_refused(tmp_path, schema, head, message):
    path = table(tmp_path / "labels.csv", [("a.png", "Effusion", "R1"), ("b.png", "Effusion", "R2")], head)
    with pytest.raises(UsageError, match=message):
        diff_readers(path, schema)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01"])
def test_a_table_of_readers_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        diff_readers(tmp_path / "labels.csv", READ)
    with pytest.raises(UsageError, match="cannot be read"):
        diff_readers(tmp_path / "gone.csv", READ)
