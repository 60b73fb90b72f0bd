"""Annotation files are read as pandas and json read them, row by row."""

import csv
import io
import json
import tracemalloc
import warnings

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.unimed import rows, texts
from captioner.unimed.rows import File, Reject, read_csv, read_json
from captioner.unimed.texts import Unusable, strings

CELLS = st.text(st.sampled_from("ab \"',;\\[]é\n\r\t0"), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "file"


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_cells_are_those_that_pandas_reads(path, table, end):
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b", "c"), *table])
    path.write_bytes(text.getvalue().encode())
    ours = [row.cells for row in read_csv(File(path, "file"), width=3)]
    theirs = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    assert ours == theirs.to_numpy().tolist()


@example('"\n"')
@example('""')
@given(st.text(st.sampled_from('ab,"\n'), max_size=30))
def test_any_table_is_read_as_pandas_reads_it_or_refused(path, body):
    path.write_bytes(f"a,b\n{body}".encode())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about rows that are longer than the header
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, index_col=False)
        theirs = [row for row in frame.to_numpy().tolist() if any(row)]
    except pd.errors.ParserError:
        theirs = None
    try:
        ours = list(read_csv(File(path, "file"), width=2))
    except rows.TableError:
        assert theirs is None
        return
    if theirs is not None and not any(isinstance(row, Reject) for row in ours):  # a row may be too long
        assert [row.cells for row in ours if any(row.cells)] == theirs


@given(st.lists(JSON, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
def test_elements_are_those_that_json_reads(path, content, chunk, indent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_CHUNK", chunk)
        path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), "utf-8")
        assert list(read_json(File(path, "file"))) == content
        path.write_text(json.dumps({"x": 1, "a": content, "z": {"a": []}, "b": [0]}, indent=indent), "utf-8")
        assert list(read_json(File(path, "file"), "a")) == content
        assert list(read_json(File(path, "file"))) == [*content, 0]


@given(st.lists(JSON, min_size=1, max_size=4), st.data())
def test_json_that_is_cut_off_is_an_error(path, content, data):
    text = json.dumps(content)
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))], "utf-8")
    with pytest.raises(rows.TableError):
        list(read_json(File(path, "file")))


def test_a_json_file_is_not_held_in_memory(path):
    """What is held is a piece of one size: a file four times as long, of seven million bytes more, takes no more."""
    peaks = []
    for count in (25_000, 100_000):
        with path.open("w") as file:
            file.write("[")
            for i in range(count):
                file.write(json.dumps({"image": f"{i}.jpg", "text": "x" * 60}) + ",")
            file.write("{}]")
        tracemalloc.start()
        assert sum(1 for _ in read_json(File(path, "file"))) == count + 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


@given(st.lists(st.text(max_size=8), max_size=5))
def test_a_list_of_texts_is_read_as_it_was_written(captions):
    assert strings(repr(captions)) == tuple(captions)


@given(st.text(st.sampled_from("[]()'\"\\,ab1{}:.u\n "), max_size=20))
def test_any_cell_is_a_list_of_texts_or_refused(cell):
    try:
        found = strings(cell)
    except Unusable:
        return
    assert all(isinstance(each, str) for each in found)


@given(
    st.lists(st.text(st.sampled_from("ab._ ?dr"), max_size=8), min_size=1, max_size=12),
    st.sampled_from(["chexpert", "dr"]),
)
def test_the_loader_finds_each_caption_of_a_run_and_never_an_empty_one(captions, tag):
    try:
        text = texts.own(captions, tag, texts.DRAWN).content
    except Unusable:
        return
    pieces = text.split(f"_{tag}_")
    assert pieces.pop() == ""
    assert len(pieces) >= texts.DRAWN
    assert all(piece.strip(" .") for piece in pieces)
    wanted = {caption.strip(".") + "." for caption in captions if caption.strip(" .")}
    assert set(pieces) == wanted
