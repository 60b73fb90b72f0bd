"""Annotation files, row by row: CSV, lines of JSON, and JSON too large to be read at once."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from captioner.errors import TableError
from captioner.unimed.texts import Text, Unusable

Cell = TypeVar("Cell")
Made = TypeVar("Made")

_CHUNK = 1 << 20
_CELL = 1 << 24
_SHOWN = 200
_END = "\0end of file\0"
_BEHIND = frozenset(" \t\r\n,:]}")
"""What may stand behind a JSON value, as far as there is anything."""


@dataclass(frozen=True, slots=True)
class File:
    """An annotation file, and what reports call it."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that can become a sample.

    Attributes:
        file: what reports call its file.
        row: its line in the file (the header is 1), or its number among the elements of a JSON list, from 1.
        image: the image's name as UniMed's scripts form it.
        text: the sample's text.
        notes: as for :class:`captioner.unimed.texts.Text`.
    """

    file: str
    row: int
    image: str
    text: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot: where, and why. Its fields are the columns of ``rejected_rows.csv``."""

    file: str
    row: int
    column: str
    value: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Field(Generic[Cell, Made]):
    """What a row says in a column, and what is made of it."""

    column: str
    cell: Cell
    rule: Callable[[Cell], Made]

    def make(self) -> Made:
        """Apply the rule."""
        return self.rule(self.cell)


def entry(file: File, row: int, image: Field[Any, str], text: Field[Any, Text]) -> Entry | Reject:
    """Return what a row comes to."""
    field: Field[Any, Any] = image
    try:
        reference = image.make()
        field = text
        made = text.make()
        return Entry(file.name, row, reference, made.content.encode(), made.notes)
    except Unusable as problem:
        code, reason = problem.code, problem.reason
    except UnicodeEncodeError:
        code, reason = "bad_text", "it has bytes that are not UTF-8, or half of a character"
    return Reject(file.name, row, field.column, shown(field.cell), code, reason)


def shown(cell: object) -> str:
    """Return the beginning of a cell, for a report."""
    if isinstance(cell, tuple):
        cell = cell[0]
    text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
    return text[:_SHOWN].encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row of a CSV: its first line, the header, and its cells, as many as the header has."""

    line: int
    header: list[str]
    cells: list[str]


def read_csv(file: File, *, width: int = 1, columns: tuple[str, ...] = ()) -> Iterator[CsvRow | Reject]:
    """Yield the rows of a CSV as pandas.read_csv cuts them, every cell as text.

    Args:
        file: the file, in UTF-8; other bytes are kept for the row to be refused.
        width: columns that it has at least.
        columns: names that the header must have.

    Raises:
        TableError: there is no such file, it has not these columns, or a quote is never closed.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _CELL))
    lines = read_lines(file, newline="")
    records = csv.reader(_ended(lines))
    line, start = 1, 1
    try:
        header = next(records, [])
        if header in ([], [_END]):
            raise TableError(f"{file.path}: the file is empty.")
        for name in columns:
            if name not in header:
                raise TableError(f"{file.path}: no column {name!r}; it has: {', '.join(header)[:_SHOWN]}.")
        if len(header) < width:
            raise TableError(f"{file.path}: {len(header)} columns, expected at least {width}. Is it the right file?")
        start = records.line_num + 1
        for cells in records:
            line, start = start, records.line_num + 1
            if cells == [_END]:
                return
            if cells and cells[-1].endswith(_END):
                raise TableError(f'{file.path}: row {line}: a quote (") is opened there and never closed.')
            if not cells or (len(cells) == 1 and cells[0] and not cells[0].strip(" \t")):
                continue  # a line of nothing, or of blanks
            if any(cell.strip() for cell in cells[len(header) :]):
                reason = f"{len(cells)} cells, the header has {len(header)}: is a quote missing?"
                yield Reject(file.name, line, "", shown(cells[len(header)]), "bad_row", reason)
                continue
            yield CsvRow(line, header, (cells + [""] * len(header))[: len(header)])
    except csv.Error as problem:
        raise TableError(
            f'{file.path}: row {start}: no CSV: {problem}. Is a quote (") opened and not closed?'
        ) from None


def read_json_lines(file: File) -> Iterator[tuple[int, dict[str, Any]] | Reject]:
    """Yield the number and the object of each line.

    Raises:
        TableError: there is no such file.
    """
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield number, value
        else:
            yield Reject(file.name, number, "", shown(line.strip()), "bad_row", "the line is no JSON object")


def read_json(file: File, name: str | None = None) -> Iterator[Any]:
    """Yield the elements of a JSON list, or of the lists of an object, one at a time.

    Args:
        file: the file.
        name: the one list of the object to take; otherwise all of them, or the list that the file is.

    Raises:
        TableError: there is no such file, it is no JSON, or has no such list.
    """
    text = _Text(file)
    found = False
    if text.peek() == "[" and name is None:
        found = True
        yield from text.elements()
    elif text.peek() == "{":
        for key in text.members():
            if text.peek() == "[" and name in (None, key):
                found = True
                yield from text.elements()
            else:
                text.value()
    if not found:
        what = f"no list {name!r} in it" if name else "neither a list nor an object of lists"
        raise TableError(f"{file.path}: {what}. Is it the right file?")


class _Text:
    """JSON that is read as far as it is needed."""

    def __init__(self, file: File) -> None:
        self._path = file.path
        self._chunks = _chunks(file)
        self._decoder = json.JSONDecoder()
        self._buffer, self._position = "", 0

    def _more(self) -> bool:
        """Read at least as much as is held, so that no element is parsed more often than its size has doubled."""
        held = len(self._buffer) - self._position
        parts = [self._buffer[self._position :]]
        got = 0
        for chunk in self._chunks:
            parts.append(chunk)
            got += len(chunk)
            if got >= held:
                break
        self._buffer, self._position = "".join(parts), 0
        return got > 0

    def peek(self) -> str:
        """Return the next character that is no blank; nothing at the end."""
        while True:
            while self._position < len(self._buffer) and self._buffer[self._position] in " \t\r\n":
                self._position += 1
            if self._position < len(self._buffer):
                return self._buffer[self._position]
            if not self._more():
                return ""

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except (ValueError, RecursionError):
                if not self._more():
                    raise self._broken() from None
                continue
            if self._buffer[end : end + 1] not in _BEHIND and self._more():
                continue  # a number may go on
            self._position = end
            return value

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the list that begins here."""
        for _ in self._separated("[", "]"):
            yield self.value()

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that begins here; the caller takes the values."""
        for _ in self._separated("{", "}"):
            key = self.value()
            self._take(":")
            yield str(key)

    def _separated(self, begin: str, end: str) -> Iterator[None]:
        self._take(begin)
        if self.peek() != end:
            yield
            while self.peek() == ",":
                self._take(",")
                yield
        self._take(end)

    def _take(self, wanted: str) -> None:
        if self.peek() != wanted:
            raise self._broken()
        self._position += 1

    def _broken(self) -> TableError:
        near = self._buffer[self._position : self._position + 40]
        return TableError(f"{self._path}: not valid JSON, or cut off, near {near!r}. Download it again.")


def read_lines(file: File, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, bytes that are not UTF-8 as surrogates.

    Args:
        file: the file.
        newline: as for ``open``.

    Raises:
        TableError: it cannot be read.
    """
    try:
        with file.path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline) as stream:
            yield from stream
    except OSError as problem:
        raise TableError(f"{file.path}: cannot be read: {problem.strerror}.") from None


def _chunks(file: File) -> Iterator[str]:
    try:
        with file.path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError as problem:
        raise TableError(f"{file.path}: cannot be read: {problem.strerror}.") from None


def _ended(lines: Iterator[str]) -> Iterator[str]:
    """Yield one more line behind the last: a quote that is never closed swallows it, and gives itself away."""
    last = "\n"
    for last in lines:
        yield last
    if not last.endswith(("\n", "\r")):
        yield "\n"
    yield _END
