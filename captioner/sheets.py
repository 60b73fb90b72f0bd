"""One file of a label table → columns of text. Every cell stays text: what it means is the schema's business.

Tables that are regular (every row as long as the header) are read by Arrow; all others row by row, with the same result, so
that a ragged table costs time but never shifts a cell.
"""

import csv
import datetime as dt
import functools
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from captioner.errors import TableError
from captioner.storage import Place

SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".csv.gz", ".tsv.gz", ".txt.gz")
"""Endings of files that :class:`Sheet` reads."""

_DELIMITERS = (",", ";", "\t", "|")
_NOT_A_TABLE = (
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "a web page; was the download refused?"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer; fetch the file itself with: git lfs pull"),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "an old Excel workbook; save it as .xlsx or .csv"),
    (re.compile(rb"PAR1"), "a Parquet file; save it as .csv"),
    (re.compile(rb"%PDF"), "a PDF"),
)


@dataclass(slots=True)
class Columns:
    """Some columns of a file.

    Attributes:
        rows: for each row, its line number in the file (the header is 1).
        cells: position of a column → its cells; dictionary-encoded unless asked for plain.
        overlong: line number and surplus cells of rows that are longer than the header; they are in no column.
    """

    rows: npt.NDArray[np.int64]
    cells: dict[int, pa.Array]
    overlong: list[tuple[int, str]]


class Sheet:
    """One file of a label table.

    Args:
        path: a text table (``.csv``, ``.tsv``, ``.txt``, gzipped or not) or an Excel workbook.
        encoding: of a text table.
        delimiter: of a text table; None: the one that splits the first line into the most cells.
        header: column names, for a file that has none of its own.
        sheet: name or position of a workbook's sheet.
        skip: lines above the header (or above the first row), which are not read.

    Raises:
        TableError: the file cannot be read as a table; says where and what to do.

    Attributes:
        names: column names, outer spaces removed.
    """

    names: tuple[str, ...]

    def __init__(
        self,
        path: Place,
        *,
        encoding: str = "utf-8-sig",
        delimiter: str | None = None,
        header: Sequence[str] | None = None,
        sheet: str | int = 0,
        skip: int = 0,
    ) -> None:
        self.path = path
        self._skipped = skip
        self._records: list[tuple[int, list[str]]] | None = None
        raw = _read(path)
        for pattern, what in _NOT_A_TABLE:
            if pattern.match(raw):
                raise TableError(f"{path}: not a table but {what}")
        if raw.startswith(b"PK\x03\x04"):
            self._records = list(_workbook(path, raw, sheet))[skip:]
            first = self._records[0][1] if self._records else []
        else:
            self._body = b"\n".join(_to_utf8(path, raw, encoding).split(b"\n", skip)[skip:])
            line = io.BytesIO(self._body).readline().split(b"\r", 1)[0].rstrip(b"\n").decode()
            self._delimiter = delimiter or max(_DELIMITERS, key=line.count)
            if len(self._delimiter) != 1:
                raise TableError(f"{path}: the delimiter must be one character, not {delimiter!r}")
            first = next(self._parse(), (1, []))[1]
            self._one_line_header = first == next(csv.reader([line], delimiter=self._delimiter), [])
        if not any(cell.strip() for cell in first):
            raise TableError(f"{path}: the file is empty")
        self._has_header = header is None
        self.names = tuple(name.strip() for name in (header or first))

    def read(self, columns: Sequence[int], *, plain: Sequence[int] = ()) -> Columns:
        """Return the columns at some positions.

        Args:
            columns: positions in :attr:`names`.
            plain: those of them that are not to be dictionary-encoded (nearly every cell is different).

        Raises:
            TableError: a quoted cell is never closed, or is followed by text; says the line.
        """
        wanted = tuple(dict.fromkeys(columns))
        if self._records is None:
            regular = self._read_regular(wanted, plain)
            if regular is not None:
                return regular
        return self._read_any(wanted, plain)

    def _read_regular(self, columns: Sequence[int], plain: Sequence[int]) -> Columns | None:
        """Return the columns, or None if the file is anything but rows with a cell for every name."""
        body = self._body
        start = body.find(b"\n") + 1 or len(body) if self._has_header else 0
        if len(self.names) < 2 or not self._delimiter.isascii() or not self._one_line_header:
            return None
        names = [f"c{i}" for i in range(len(self.names))]
        wanted = [names[i] for i in columns]
        quoted = b'"' in body
        lines = _first_lines(body, self._delimiter) if quoted else None
        if quoted and lines is None:
            return None
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(pa.py_buffer(body).slice(start)),
                read_options=pa.csv.ReadOptions(column_names=names),
                parse_options=pa.csv.ParseOptions(
                    delimiter=self._delimiter, ignore_empty_lines=False, newlines_in_values=quoted
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            return None
        header = int(self._has_header)
        if lines is None:
            lines = np.arange(header, header + table.num_rows)
        elif len(lines) != header + table.num_rows:
            return None
        else:
            lines = lines[header:]
        arrays = [_one_chunk(table.column(name)) for name in wanted]
        # An empty line is no row, but comes as one whose cells are all empty.
        empty = functools.reduce(pc.and_, (pc.equal(array, "") for array in arrays))
        if pc.any(empty).as_py():
            return None
        cells = {i: a if i in plain else a.dictionary_encode() for i, a in zip(columns, arrays, strict=True)}
        return Columns(self._skipped + 1 + lines, cells, [])

    def _read_any(self, columns: Sequence[int], plain: Sequence[int]) -> Columns:
        rows: list[int] = []
        cells: list[list[str]] = []
        overlong: list[tuple[int, str]] = []
        width = len(self.names)
        records = iter(self._parse() if self._records is None else self._records)
        if self._has_header:
            next(records)
        for line, record in records:
            if not any(record):
                continue
            surplus = [c for c in record[width:] if c.strip()]
            if surplus:
                overlong.append((line, self._joined(surplus)))
                continue
            rows.append(line)
            cells.append([record[i] if i < len(record) else "" for i in columns])
        values = {}
        for position, column in enumerate(columns):
            array = pa.array([c[position] for c in cells], type=pa.string())
            values[column] = array if column in plain else array.dictionary_encode()
        return Columns(np.array(rows, dtype=np.int64), values, overlong)

    def _joined(self, cells: Sequence[str]) -> str:
        return ("," if self._records is not None else self._delimiter).join(cells)

    def _parse(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of every record of a text table."""
        # A quote that is never closed swallows the rest of the file: strict parsing says so.
        text = io.TextIOWrapper(io.BytesIO(self._body), encoding="utf-8", newline="")
        reader = csv.reader(text, delimiter=self._delimiter, strict=True, skipinitialspace=self._delimiter == " ")
        line = self._skipped + 1
        try:
            for record in reader:
                yield line, record
                line = self._skipped + reader.line_num + 1
        except csv.Error as e:
            raise TableError(
                f"{self.path}: row {line}: not a valid table: {e}. "
                f'Is a quote (") opened there and not closed, or is the delimiter not {self._delimiter!r}?'
            ) from None


def _first_lines(body: bytes, delimiter: str) -> npt.NDArray[np.int64] | None:
    """Return the line, from 0, on which each record starts; None if line breaks are not what they seem.

    Where every quote opens or closes a whole cell, or is one of two that stand for a quote, a line break lies inside a
    cell exactly if the number of quotes before it is odd. Otherwise every line is taken for a record.
    """
    if b"\r" in body and body.count(b"\r") != body.count(b"\r\n"):
        return None
    characters = np.frombuffer(body, dtype=np.uint8)
    breaks = _positions(characters, "\n")
    quotes = _positions(characters, '"')
    outer = quotes + np.where(np.arange(len(quotes)) % 2, 1, -1)
    good = np.zeros(256, dtype=bool)
    good[[ord(c) for c in ('"', "\r", "\n", delimiter)]] = True
    starts = 1 + np.arange(len(breaks))
    if len(quotes) % 2 == 0 and good[characters.take(outer, mode="clip")].all():
        starts = starts[np.searchsorted(quotes, breaks) % 2 == 0]
    else:
        # A quote that is opened in the last line and never closed leaves as many records as lines.
        last = body[body.rfind(b"\n", 0, -1) + 1 :].decode()
        if len(list(csv.reader([last, "another line"], delimiter=delimiter))) == 1:
            return None
    return np.concatenate([[0], starts[:-1] if body.endswith(b"\n") else starts])


def _positions(characters: npt.NDArray[np.uint8], wanted: str) -> npt.NDArray[np.int64]:
    """Return where a character is; in pieces that a processor's cache holds."""
    pieces = range(0, len(characters), 1 << 18)
    return np.concatenate([i + np.flatnonzero(characters[i : i + pieces.step] == ord(wanted)) for i in pieces])


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def _read(path: Place) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    except OSError as e:  # gzip.BadGzipFile is one
        raise TableError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (EOFError, zlib.error) as e:
        raise TableError(f"{path}: damaged gzip file, probably cut short ({e}); fetch it again") from None


def _to_utf8(path: Place, raw: bytes, encoding: str) -> bytes:
    """Return the text in UTF-8 without a byte order mark."""
    if not raw[:4096].strip() and not raw.strip():
        raise TableError(f"{path}: the file is empty")
    try:
        text = raw.decode(encoding)
    except LookupError:
        raise TableError(f"{path}: unknown encoding {encoding!r}; utf-8 and cp1252 are common ones") from None
    except UnicodeError as e:
        start = getattr(e, "start", 0)
        row = raw.count(b"\n", 0, start) + 1
        raise TableError(
            f"{path}: row {row}, byte {start}: not {encoding.upper().removesuffix('-SIG')} text (0x{raw[start]:02x}). "
            f"If the table is in another encoding, say so in the schema: encoding: {_likely_encoding(raw)}"
        ) from None
    if encoding.lower() in ("utf-8", "utf-8-sig"):
        return raw.removeprefix(b"\xef\xbb\xbf")
    return text.removeprefix("\ufeff").encode()


def _likely_encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Accented letters stand alone between ASCII letters; the bytes of Chinese characters stand in runs.
    accents = len(re.findall(rb"[\x80-\xff]", raw))
    chinese = len(b"".join(re.findall(rb"[\x80-\xff]{2,}", raw)))
    for encoding in ("gb18030", "cp1252") if 2 * chinese > accents else ("cp1252",):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _workbook(path: Place, raw: bytes, sheet: str | int) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and cells of a sheet, every cell as the text that a person would type."""
    import openpyxl

    try:
        with warnings.catch_warnings():  # about styles and extensions, which do not touch cells
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
        names = book.sheetnames
        if isinstance(sheet, str) and sheet not in names:
            raise TableError(f"{path}: no sheet {sheet!r}; there are: {', '.join(names)}")
        if isinstance(sheet, int) and sheet >= len(names):
            raise TableError(f"{path}: no sheet number {sheet}; there are {len(names)}, counted from 0")
        chosen = book[sheet] if isinstance(sheet, str) else book[names[sheet]]
        for number, cells in enumerate(chosen.iter_rows(values_only=True), start=1):
            yield number, [_typed(c) for c in cells]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError) as e:
        raise TableError(f"{path}: not an Excel workbook that can be read: {e}") from None


def _typed(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        return cell.isoformat(sep=" ")
    return str(cell)
