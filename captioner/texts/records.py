"""Files of texts → records: tables, JSON, JSON lines, XML, Parquet, and pickles that hold nothing but data."""

import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.parquet as pq

from captioner.errors import TableError
from captioner.sheets import SUFFIXES, Sheet
from captioner.texts.schema import TextFile, TextTable

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record of a file that cannot be read, where the others can."""

    reason: str


def read_records(path: Path, entry: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    """Yield row numbers and records of a file.

    The row is the line of a table or of JSON lines (the header is 1), and the position of the record (the first is 1)
    in any other file.

    Args:
        path: the file; its ending says what it is.
        entry: what the schema says of it.
        table: the table that it belongs to.

    Raises:
        TableError: the file cannot be read; says where and what to do.
    """
    name = path.name.lower()
    for endings, reader in _READERS.items():
        if name.endswith(endings):
            yield from reader(path, entry, table)
            return
    known = ", ".join(ending for endings in _READERS for ending in endings)
    raise TableError(f"{path}: no kind of file that texts are read from; these are: {known}")


def _sheet(path: Path, _: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    sheet = Sheet(path, header=table.header, delimiter=table.delimiter)
    positions = range(len(sheet.names))
    columns = sheet.read(positions, plain=positions)
    for line, surplus in columns.overlong:
        yield line, BadRecord(f"the row has more cells than the header's {len(sheet.names)}: {surplus}")
    cells_of = [columns.cells[i].to_pylist() for i in positions]
    for row, cells in zip(columns.rows.tolist(), zip(*cells_of, strict=True), strict=True):
        yield row, dict(zip(sheet.names, cells, strict=True))


def _jsonl(path: Path, _: TextFile, __: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    try:
        with path.open("rb") as file:
            for row, line in enumerate(file, start=1):
                if line.strip():
                    yield row, _parsed_line(line)
    except OSError as e:
        raise TableError(f"{path}: cannot be read: {e.strerror or e}") from None


def _parsed_line(line: bytes) -> Record | BadRecord:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as e:
        return BadRecord(f"the line is not JSON: {e}")
    return record if isinstance(record, dict) else BadRecord("the line is JSON, but no object")


def _json(path: Path, entry: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    raw = _bytes(path)
    try:
        content = json.loads(raw)
    except RecursionError:
        raise TableError(f"{path}: not JSON that can be read: nested too deeply") from None
    except ValueError as e:
        try:  # files of JSON lines are often called .json
            json.loads(raw.lstrip().split(b"\n", 1)[0])
        except ValueError:
            raise TableError(f"{path}: not valid JSON: {e}. Was the download cut short?") from None
        yield from _jsonl(path, entry, table)
        return
    yield from _listed(path, content, entry, table)


def _pickled(path: Path, entry: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    try:
        content = _DataOnly(io.BytesIO(_bytes(path))).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as e:
        raise TableError(f"{path}: not a pickle that can be read: {e}") from None
    yield from _listed(path, content, entry, table)


class _DataOnly(pickle.Unpickler):
    """Loads lists, dictionaries, text and numbers, and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and more than data is never loaded")


def _listed(path: Path, content: Any, entry: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    """Yield the records of what a JSON file or a pickle holds."""
    for part in entry.records.split(".") if entry.records else ():
        if part == "*" and isinstance(content, Mapping):
            content = [record for records in content.values() if isinstance(records, list) for record in records]
            continue
        if not isinstance(content, Mapping) or part not in content:
            there = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else "a list"
            raise TableError(f"{path}: no {entry.records!r} in it; there is: {there}")
        content = content[part]
    if table.keyed:
        pairs = content.items() if isinstance(content, Mapping) else _pairs(path, content)
        content = [{"key": key} | (dict(v) if isinstance(v, Mapping) else {"value": v}) for key, v in pairs]
    if not isinstance(content, list):
        raise TableError(f"{path}: not a list of records but one {type(content).__name__}")
    for row, record in enumerate(content, start=1):
        yield row, dict(record) if isinstance(record, Mapping) else BadRecord("the record is no object")


def _pairs(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(item, Mapping) for item in content):
        raise TableError(f"{path}: neither an object nor a list of objects with one key each")
    for item in content:
        yield from item.items()


def _parquet(path: Path, _: TextFile, __: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    try:
        with pq.ParquetFile(path) as file:
            # Images may lie in the file themselves: bytes are no text and stay where they are.
            names = [f.name for f in file.schema_arrow if not pa.types.is_binary(f.type) and not _holds_bytes(f.type)]
            row = 0
            for batch in file.iter_batches(columns=names):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except (OSError, pa.ArrowException) as e:
        raise TableError(f"{path}: not a Parquet file that can be read: {e}") from None


def _holds_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(pa.types.is_binary(field.type) for field in kind)


def _xml(path: Path, _: TextFile, table: TextTable) -> Iterator[tuple[int, Record | BadRecord]]:
    try:
        root = ET.fromstring(_bytes(path))  # noqa: S314, expat limits the expansion of entities since 2.4.1
    except ET.ParseError as e:
        yield 1, BadRecord(f"not valid XML: {e}")
        return
    yield 1, {name: _found(root, where) for name, where in table.fields.items()}


def _found(root: ET.Element, where: str) -> list[str]:
    path, _, attribute = where.partition("/@")
    elements = root.findall(path)
    texts = [e.get(attribute, "") if attribute else "".join(e.itertext()) for e in elements]
    return [text.strip() for text in texts if text.strip()]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise TableError(f"{path}: cannot be read: {e.strerror or e}") from None


_Reader = Callable[[Path, TextFile, TextTable], Iterator[tuple[int, Record | BadRecord]]]

_READERS: dict[tuple[str, ...], _Reader] = {
    SUFFIXES: _sheet,
    (".jsonl", ".ndjson"): _jsonl,
    (".json",): _json,
    (".xml",): _xml,
    (".parquet",): _parquet,
    (".pkl", ".pickle"): _pickled,
}
