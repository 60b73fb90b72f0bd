"""A label table and the files that say more of its rows."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import TableError
from captioner.joins import JoinedSheet
from captioner.schema import parse_schema
from captioner.sheets import Sheet
from captioner.tables import read_samples

TABLE = {
    "layout": "names",
    "files": [{"match": "labels.csv"}],
    "column": "label",
    "image": "{study}/{image}.jpg",
    "join": [{"match": "images.csv", "by": ["study"]}, {"match": "split.csv", "by": ["image"]}],
    "split": "split",
    "group": "patient",
}
SCHEMA = parse_schema(
    {
        "id": "test",
        "title": "Test",
        "modality": "xray",
        "anatomy": "chest",
        "tables": [TABLE],
        "classes": [{"code": "Mass", "name": "mass"}, {"code": "Effusion", "name": "pleural effusion"}],
    }
)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text.replace(";", "\n") + "\n")
    return folder


def good(folder: Path) -> Path:
    return write(
        folder,
        labels="patient,study,label;p1,s1,Mass;p2,s2,Effusion",
        images="image,study,view;i1,s1,PA;i2,s1,LL;i3,s2,PA",
        split="image,split;i3,test;i1,train;i2,train",
    )


def test_the_labels_of_a_study_are_those_of_each_of_its_images(tmp_path):
    samples = read_samples(SCHEMA, good(tmp_path))
    rows = [(r.row, r.image, r.group, r.split, SCHEMA.codes[r.labels]) for r in samples.frame.itertuples()]
    assert rows == [
        (2, "s1/i1.jpg", "p1", "train", "Mass"),
        (2, "s1/i2.jpg", "p1", "train", "Mass"),
        (3, "s2/i3.jpg", "p2", "test", "Effusion"),
    ]


def test_files_beside_a_table_that_is_named_are_found(tmp_path):
    good(tmp_path / "data")
    samples = read_samples(SCHEMA, tmp_path / "data" / "labels.csv")
    assert samples.frame["split"].tolist() == ["train", "train", "test"]


def test_a_study_without_images_is_a_reject_and_an_image_without_a_split_has_none(tmp_path):
    good(tmp_path)
    write(tmp_path, labels="patient,study,label;p1,s1,Mass;p9,s9,Mass", split="image,split;i1,train")
    samples = read_samples(SCHEMA, tmp_path)
    assert samples.frame["split"].tolist() == ["train", ""]
    assert [(r.row, r.code) for r in samples.rejects.itertuples()] == [(3, "bad_image_reference")]


def test_a_missing_file_is_named_with_what_it_is_for(tmp_path):
    (good(tmp_path) / "split.csv").unlink()
    with pytest.raises(TableError, match=r"labels\.csv: no file split\.csv beside it.*by 'image'; put it there"):
        read_samples(SCHEMA, tmp_path)


def test_a_file_without_the_column_that_joins_it_is_named(tmp_path):
    write(good(tmp_path), split="imgae,split;i1,train")
    with pytest.raises(TableError, match=r"split\.csv: row 1: column 'image' is missing.*'imgae'"):
        read_samples(SCHEMA, tmp_path)


def test_two_files_that_could_be_meant_are_not_guessed_between(tmp_path):
    good(tmp_path / "a")
    write(tmp_path / "b", split="image,split;i1,test")
    (tmp_path / "a" / "split.csv").rename(tmp_path / "split.csv")
    with pytest.raises(TableError, match=r"'split\.csv' is there 2 times"):
        read_samples(SCHEMA, tmp_path)


def test_a_column_that_both_have_is_the_tables_own(tmp_path):
    write(tmp_path, left="k,v;1,own", right="k,v,w;1,other,more")
    joined = JoinedSheet(Sheet(tmp_path / "left.csv"), Sheet(tmp_path / "right.csv"), ["k"])
    assert joined.names == ("k", "v", "w")
    content = joined.read([1, 2])
    assert [content.cells[i].to_pylist() for i in (1, 2)] == [["own"], ["more"]]


keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(left=keys, right=keys)
def test_every_row_stands_beside_all_that_match_it_in_order_or_beside_nothing(tmp_path_factory, left, right):
    folder = tmp_path_factory.mktemp("join")
    write(folder, left="k,n;" + ";".join(f"{k},{i}" for i, k in enumerate(left)))
    write(folder, right="k,m;" + ";".join(f"{k},{i}" for i, k in enumerate(right)))
    content = JoinedSheet(Sheet(folder / "left.csv"), Sheet(folder / "right.csv"), ["k"]).read([1, 2], plain=[2])
    got = list(zip(content.rows.tolist(), content.cells[1].to_pylist(), content.cells[2].to_pylist(), strict=True))
    expected = []
    for i, k in enumerate(left):
        beside = [str(j) for j, other in enumerate(right) if other == k] or [""]
        expected += [(i + 2, str(i), m) for m in beside]
    assert got == expected
