"""Files of labels and captions, JSONL, CSV or Parquet: read in pieces, checked, written with verdicts."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from captioner import atomic
from captioner.agreement import Checker
from captioner.errors import SchemaError, UsageError, did_you_mean
from captioner.labels import parse_list
from captioner.schema import LabelSchema, NamesTable

_PART = 4_096

FORMATS = (".jsonl", ".csv", ".parquet")
PIPE = Path("-")
"""JSONL on standard input, or on standard output."""


def check_file(
    schema: LabelSchema, source: Path, target: Path, *, labels: str = "labels", caption: str = "caption"
) -> tuple[int, int]:
    """Write every row of a file with the verdict on its caption; return how many rows agree, and how many there are.

    Args:
        schema: what the labels mean.
        source: a file with at least a column of labels and one of captions, or :data:`PIPE`; other columns are kept.
        target: the file to write, in the format of its own ending; it appears whole or not at all. CSV cannot hold
            lists: ``issues`` is JSON there. :data:`PIPE` has each row as soon as it is checked.
        labels: name of the column of labels.
        caption: name of the column of captions.

    Raises:
        UsageError: a file cannot be read or has no rows, a column is missing, or a label is not in the schema; says the
            row.
    """
    checker = Checker(schema)
    agreeing = rows = 0

    def checked() -> Iterator[dict[str, Any]]:
        nonlocal agreeing, rows
        for number, row in read_rows(source):
            for column, option in ((labels, "--labels-column"), (caption, "--caption-column")):
                if column not in row:
                    raise UsageError(
                        f"{source}: row {number}: no column {column!r}; it has: {', '.join(map(str, row))}."
                        f"{did_you_mean(column, map(str, row))} Name it with {option}."
                    )
            try:
                codes = parse_labels(row[labels], schema)
            except SchemaError as e:
                raise UsageError(f"{source}: row {number}, column {labels!r}: {e}") from None
            text = row[caption]
            verdict = checker.check("" if text is None else str(text), codes)
            rows += 1
            agreeing += verdict.agrees
            yield row | verdict.to_dict()
        if not rows:
            raise UsageError(f"{source}: no rows; there is nothing to check")

    write_rows(target, checked())
    return agreeing, rows


def parse_labels(value: Any, schema: LabelSchema) -> tuple[str, ...]:
    """Return the class codes that a cell of labels names: a list, a list literal, or names joined by a separator.

    Raises:
        SchemaError: there is none, or one is not in the schema.
    """
    items: Sequence[Any]
    if isinstance(value, str):
        items = _listed(value.strip(), schema)
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        items = list(value)
    else:
        items = [] if value is None else [value]
    codes = tuple(dict.fromkeys(schema.resolve(str(i)).code for i in items if str(i).strip()))
    if not codes:
        raise SchemaError("no label")
    return codes


def _listed(text: str, schema: LabelSchema) -> Sequence[str]:
    if schema.find(text) is not None:
        return [text]
    if text.startswith("[") and (listed := parse_list(text)) is not None:
        return listed
    separators = [t.separator for t in schema.tables if isinstance(t, NamesTable) and t.separator]
    for separator in (*separators, "|", ";"):
        if separator in text:
            return [part.strip() for part in text.split(separator)]
    return [text]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file with their numbers, as an editor counts them (a CSV's header is row 1).

    Raises:
        UsageError: the file cannot be read; says the row.
    """
    reader = _by_suffix(path, {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet})
    if path != PIPE and not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        yield from reader(path)
    except UnicodeDecodeError:
        place = "" if path == PIPE else f"{_not_utf8(path)}: "
        raise UsageError(f"{path}: {place}not UTF-8 text; save it as UTF-8") from None


def _not_utf8(path: Path) -> str:
    """Return where a file's first bytes are that are not UTF-8; who reads it in pieces counts from the last of them."""
    before = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as e:
                return f"row {number}, byte {before + e.start}"
            before += len(line)
    return "at its end"


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows to a file that appears whole or not at all.

    Raises:
        UsageError: the ending is none of the three.
    """
    _by_suffix(path, {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet})(path, rows)


def _by_suffix(path: Path, table: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        return table[".jsonl" if path == PIPE else path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{path}: the ending must be one of {', '.join(FORMATS)}; - is JSONL from a pipe, or into one"
        ) from None


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig") if path == PIPE else path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as e:
                raise UsageError(f"{path}: row {number}: not JSON: {e}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}: row {number}: a row is an object with 'labels' and 'caption'")
            yield number, row


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, delimiter=max(",;\t", key=first.count))
        try:
            for row in reader:
                row.pop(None, None)  # cells beyond the header
                yield reader.line_num, dict(row)
        except csv.Error as e:
            raise UsageError(f"{path}: row {reader.line_num}: not CSV: {e}") from None


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as e:
        raise UsageError(f"{path}: not Parquet: {e}") from None
    number = 0
    for batch in file.iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _write_jsonl(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    opened: contextlib.AbstractContextManager[BinaryIO]
    opened = contextlib.nullcontext(sys.stdout.buffer) if path == PIPE else atomic.replacing(path)
    with opened as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")
            if path == PIPE:
                file.flush()


def _write_csv(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with atomic.replacing(path) as file:
        columns: list[str] | None = None
        for row in rows:
            columns = columns or list(row)
            flat = {k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for k, v in row.items()}
            if not file.tell():
                file.write(_csv_line(columns))
            file.write(_csv_line([flat.get(c) for c in columns]))


def _csv_line(cells: Sequence[Any]) -> bytes:
    from io import StringIO

    line = StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Arrow infers the types from the first rows; issues are JSON, since their fields differ from row to row."""
    flat = (row | {"issues": json.dumps(row["issues"], ensure_ascii=False)} for row in rows)
    first = pa.Table.from_pylist(list(islice(flat, _PART)))
    with atomic.parquet(path, first.schema) as writer:
        writer.write_table(first)
        while part := list(islice(flat, _PART)):
            writer.write_table(pa.Table.from_pylist(part, schema=first.schema))
