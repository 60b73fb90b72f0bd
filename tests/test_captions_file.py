"""Files of labels and captions: every format in, every format out, and what is wrong with a row."""

import csv
import gc
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captioner.captions_file import check_file, parse_labels
from captioner.errors import SchemaError, UsageError
from tests.small import small_schema

SCHEMA = small_schema()
ROWS = [
    {"id": "a", "labels": ["Effusion"], "caption": "Chest X-ray showing a pleural effusion."},
    {"id": "b", "labels": ["lung nodule", "EFFUSION"], "caption": "Chest X-ray without pleural effusion."},
    {"id": "c", "labels": ["Normal"], "caption": "This chest X-ray shows no abnormality."},
]


def write(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(r | {"labels": "|".join(r["labels"])} for r in rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return pq.read_table(path).to_pylist()


@pytest.mark.parametrize("source", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("target", [".jsonl", ".csv", ".parquet"])
def test_any_format_is_read_and_any_is_written_with_verdicts_beside_the_columns(tmp_path, source, target):
    out = tmp_path / f"out{target}"
    assert check_file(SCHEMA, write(tmp_path / f"in{source}"), out) == (2, 3)
    rows = read(out)
    assert [r["id"] for r in rows] == ["a", "b", "c"]
    assert [r["verdict"] for r in rows] == ["agree", "disagree", "agree"]
    issues = rows[1]["issues"]
    codes = {i["code"] for i in (json.loads(issues) if isinstance(issues, str) else issues)}
    assert codes == {"negated_label", "missing_label"}


@pytest.mark.parametrize(
    "cell",
    [
        "Effusion|Nodule",
        "effusion ; NODULE",
        "['Effusion', 'Nodule']",
        ["Effusion", "lung nodule"],
        '["Effusion","Nodule"]',
    ],
)
def test_labels_may_be_a_list_a_literal_or_joined_by_code_name_or_alias_in_any_case(cell):
    assert parse_labels(cell, SCHEMA) == ("Effusion", "Nodule")


@pytest.mark.parametrize(
    ("cell", "message"),
    [("", "no label"), (None, "no label"), ([], "no label"), ("Efusion", "Did you mean 'Effusion'")],
)
def test_a_cell_without_a_known_label_is_an_error_that_helps(cell, message):
    with pytest.raises(SchemaError, match=message):
        parse_labels(cell, SCHEMA)


def test_an_unknown_label_names_the_file_the_row_and_the_nearest_label_and_leaves_no_output(tmp_path):
    source = write(tmp_path / "in.jsonl", [*ROWS, {"id": "d", "labels": ["Efusion"], "caption": "x"}])
    with pytest.raises(
        UsageError, match=r"in\.jsonl: row 4, column 'labels': label 'Efusion' .* Did you mean 'Effusion'"
    ):
        check_file(SCHEMA, source, tmp_path / "out.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "in.jsonl",
            b'{"labels": ["Effusion"], "captions": "x"}\n',
            r"row 1: no column 'caption'.*Did you mean 'captions'",
        ),
        ("in.jsonl", b'{"labels": \n', "row 1: not JSON"),
        ("in.jsonl", b"[1]\n", "row 1: a row is an object"),
        (
            "in.csv",
            b"labels,caption\n" + b"Effusion,x\n" * 2000 + b"Effusion,\xff\xfe\n",
            "row 2002, byte 22024: not UTF-8 text",
        ),
        ("in.parquet", b"not parquet at all", "not Parquet"),
        ("in.xls", b"", "must be one of .jsonl, .csv, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path, name, content, message):
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        check_file(SCHEMA, source, tmp_path / "out.jsonl")


@pytest.mark.parametrize("caption", ["", None, "x" * 1_000_000, "\u202e\u200b\x00", "(" * 10_000])
def test_any_caption_gets_a_verdict(tmp_path, caption):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"labels": ["Effusion"], "caption": caption}) + "\n", encoding="utf-8")
    assert check_file(SCHEMA, source, tmp_path / "out.jsonl") == (0, 1)


def test_a_parquet_file_that_is_given_up_halfway_leaves_neither_a_file_nor_a_complaint(tmp_path):
    source = write(tmp_path / "in.jsonl", [*ROWS[:1] * 5_000, {"id": "z", "labels": ["Effusion"]}])
    with pytest.raises(UsageError, match="row 5001: no column 'caption'"):
        check_file(SCHEMA, source, tmp_path / "out.parquet")
    gc.collect()  # what is raised as an object is forgotten fails the test
    assert list(tmp_path.iterdir()) == [source]
