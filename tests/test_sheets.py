"""One file of a label table → columns of text: nothing shifts, nothing is guessed, and bad files say what they are."""

import csv
import gzip
import io
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import TableError
from captioner.sheets import Sheet


def sheet(tmp_path: Path, content: bytes | str, name: str = "labels.csv", **options) -> Sheet:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Sheet(path, **options)


def rows_of(table: Sheet, *columns: int) -> list[tuple[int, ...]]:
    found = table.read(columns or range(len(table.names)))
    cells = [found.cells[c].to_pylist() for c in found.cells]
    return list(zip(found.rows.tolist(), *cells, strict=True))


# ---- cells stay what they are


def test_every_cell_is_text_and_no_spelling_of_missing_is_special(tmp_path):
    table = sheet(tmp_path, "image,label\n001,NA\n1e5,None\nnan,\n")
    assert rows_of(table) == [(2, "001", "NA"), (3, "1e5", "None"), (4, "nan", "")]


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    assert rows_of(sheet(tmp_path, "a,b,c\n1,2,3\n"), 2, 0) == [(2, "3", "1")]


def test_header_names_lose_outer_spaces_and_unquoted_commas_split_them(tmp_path):
    table = sheet(tmp_path, "Image Index,Grade ,Size[Width,Height]\nx.png,1,2,3\n")
    assert table.names == ("Image Index", "Grade", "Size[Width", "Height]")
    assert rows_of(table) == [(2, "x.png", "1", "2", "3")]


def test_trailing_empty_columns_in_header_and_rows_are_no_data(tmp_path):
    table = sheet(tmp_path, "Image name,Grade,,\r\nA,3,,\r\nB,2\r\nC,1,,,,\r\n")
    assert rows_of(table, 0, 1) == [(2, "A", "3"), (3, "B", "2"), (4, "C", "1")]


def test_a_row_with_more_cells_than_the_header_is_set_aside_not_shifted(tmp_path):
    table = sheet(tmp_path, "image,label\na.png,Mass\nb.png,Mass,left\nc.png,Edema\n")
    found = table.read([0, 1])
    assert found.cells[1].to_pylist() == ["Mass", "Edema"]
    assert found.rows.tolist() == [2, 4]
    assert found.overlong == [(3, "left")]


def test_line_numbers_count_blank_lines_and_line_breaks_inside_cells(tmp_path):
    table = sheet(tmp_path, 'image,label\na,1\n\n"b",2\n"c\nc",3\nd,4\n')
    assert [row for row, *_ in rows_of(table)] == [2, 4, 5, 7]


def test_a_table_without_header_takes_the_names_that_it_is_given(tmp_path):
    table = sheet(tmp_path, "a.png 1\nb.png  2\n", "labels.txt", delimiter=" ", header=["image", "label"])
    assert table.names == ("image", "label")
    assert rows_of(table) == [(1, "a.png", "1"), (2, "b.png", "2")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_from_the_first_line(tmp_path, delimiter):
    text = "file-name,class-name,split\na.png,polyp,0\n".replace(",", delimiter)
    assert rows_of(sheet(tmp_path, text)) == [(2, "a.png", "polyp", "0")]


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    assert sheet(tmp_path, b"\xef\xbb\xbfimage,label\na,b\n").names == ("image", "label")


def test_gzip_is_told_by_the_bytes_not_by_the_name(tmp_path):
    assert rows_of(sheet(tmp_path, gzip.compress(b"image,label\na,b\n", mtime=0), "labels.csv")) == [(2, "a", "b")]


def test_other_encodings_are_read_when_the_schema_names_them(tmp_path):
    table = sheet(tmp_path, "image,label\na,Œdème\n".encode("cp1252"), encoding="cp1252")
    assert rows_of(table) == [(2, "a", "Œdème")]
    table = sheet(tmp_path, "image,label\na,水肿\n".encode("utf-16"), encoding="utf-16")
    assert rows_of(table) == [(2, "a", "水肿")]


def test_a_workbook_reads_like_the_same_table_as_text(tmp_path):
    book = openpyxl.Workbook()
    for row in (
        ["ID ", "Age", "Label", None],
        [7, 54.0, "normal", None],
        [None, None, None, None],
        [8, 1.5, None, None],
    ):
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    table = Sheet(tmp_path / "labels.xlsx")
    assert table.names == ("ID", "Age", "Label", "")
    assert rows_of(table, 0, 1, 2) == [(2, "7", "54", "normal"), (4, "8", "1.5", "")]


def test_a_workbook_sheet_is_chosen_by_name_and_a_wrong_name_lists_what_there_is(tmp_path):
    book = openpyxl.Workbook()
    book.active.title = "Readme"
    book.create_sheet("Labels").append(["image", "label"])
    book.save(tmp_path / "labels.xlsx")
    assert Sheet(tmp_path / "labels.xlsx", sheet="Labels").names == ("image", "label")
    with pytest.raises(TableError, match="no sheet 'labels'; there are: Readme, Labels"):
        Sheet(tmp_path / "labels.xlsx", sheet="labels")


# ---- files that are not what they should be


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel workbook"),
        (b"PK\x03\x04 no zip", "not an Excel workbook"),
        (gzip.compress(b"image,label\na,b\n" * 1000, mtime=0)[:40], "damaged gzip"),
        (b"image,label\na,b\nc,\xe9d\xe8me\n", "row 3, byte 18: not UTF-8 text .* encoding: cp1252"),
        ("image,label\na,b\n".encode("utf-16"), "encoding: utf-16"),
        ("image,label\na,水肿水肿\n".encode("gb18030"), "encoding: gb18030"),
        (b'image,label\na,"b\nc,d\n', "row 2: not a valid table"),
        (b'image,label\na,"b"x\n\nc,d\n', "row 2: not a valid table"),
    ],
)
def test_a_bad_file_gives_one_message_with_the_place_and_what_to_do(tmp_path, content, message):
    with pytest.raises(TableError, match=message) as error:
        rows_of(sheet(tmp_path, content))
    assert "labels.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_encoding_is_named(tmp_path):
    with pytest.raises(TableError, match="unknown encoding 'utf-9'"):
        sheet(tmp_path, "a,b\n", encoding="utf-9")


def test_a_delimiter_of_two_letters_is_refused(tmp_path):
    with pytest.raises(TableError, match="must be one character"):
        sheet(tmp_path, "a,b\n", delimiter="::")


# ---- both ways of reading agree

CELL = st.text(st.sampled_from("aé0 ,;|'\"\n[]"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_writes_is_what_is_read(tmp_path_factory, rows, newline):
    """Whether a table is regular enough for the fast way or not, the cells are the same."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline).writerows([["x", "y", "z"], *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode())
    read = [list(cells) for _, *cells in rows_of(Sheet(path))]
    assert read == [row for row in rows if any(row)]


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from('ab,"\n\r '), max_size=40))
def test_any_text_is_read_alike_in_both_ways_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"x,y\n" + text.encode())
    table = Sheet(path, delimiter=",")
    fast = table._read_regular((0, 1), (0, 1))
    if fast is None:
        return
    try:
        slow = table._read_any((0, 1), (0, 1))
    except TableError:  # text after a closing quote: the fast way keeps it in the cell
        return
    assert [fast.cells[i].to_pylist() for i in (0, 1)] == [slow.cells[i].to_pylist() for i in (0, 1)]
    assert fast.rows.tolist() == slow.rows.tolist()


def test_a_row_that_spans_lines_is_read_at_once_and_keeps_the_number_of_its_first_line(tmp_path):
    path = tmp_path / "reports.csv"
    path.write_text('image,report,label\na.png,"one\ntwo\nthree",x\nb.png,"a ""b""\n",y\nc.png,,z\n')
    content = Sheet(path)._read_regular((0, 2), ())
    assert content is not None
    assert content.rows.tolist() == [2, 5, 7]
    assert content.cells[2].to_pylist() == ["x", "y", "z"]


def test_an_unclosed_quote_in_the_last_line_is_an_error_also_after_quotes_inside_cells(tmp_path):
    path = tmp_path / "sizes.csv"
    path.write_text('image,size\na.png,5" wide\nb.png,"three\n')
    with pytest.raises(TableError, match="row 3"):
        rows_of(Sheet(path))


def test_quotes_inside_cells_are_letters(tmp_path):
    path = tmp_path / "sizes.csv"
    path.write_text('image,size\na.png,5" wide\nb.png,6\n')
    assert rows_of(Sheet(path)) == [(2, "a.png", '5" wide'), (3, "b.png", "6")]


def test_an_unclosed_quote_is_an_error_also_where_rows_span_lines(tmp_path):
    path = tmp_path / "reports.csv"
    path.write_text('image,report\na.png,"one\ntwo"\nb.png,"three\n')
    with pytest.raises(TableError, match="row 4"):
        rows_of(Sheet(path))
