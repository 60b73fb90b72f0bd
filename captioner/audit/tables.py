"""Rows of labels and captions from tables: CSV, JSONL, Parquet, Arrow. Streaming; a bad row never ends the reading."""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from captioner.audit.rows import Bad, Columns, Lookup, Row, decodable, texts_of
from captioner.errors import UsageError
from captioner.schema import LabelSchema

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow")

Cells = tuple[str, dict[str, Any]]


@dataclass
class TableReader:
    """Reads the rows of one table.

    Attributes:
        path: a file with one of :data:`SUFFIXES`.
        schema: tells which columns are attributes that a caption may state.
        columns: which hold what; guessed from the file's first row where they are not given.
        images: the folder that the image column's paths start from; pictures outside of it are not looked at.
        names: column → class names, where cells are positions in such a list; a file of Hugging Face's may say so itself.
        groups: dimensions that hold for all rows of the file.
        lookup: labels by key, where the rows have none.
    """

    path: Path
    schema: LabelSchema
    columns: Columns
    images: Path | None = None
    names: Mapping[str, list[str]] = field(default_factory=dict)
    groups: tuple[tuple[str, str], ...] = ()
    lookup: Lookup | None = None

    def rows(self) -> Iterator[Row | Bad]:
        """Yield the rows.

        Raises:
            UsageError: the file is no such table, or has no column of labels or captions.
        """
        columns: Columns | None = None
        attributes: dict[str, str] = {}
        self.names = self.names or _names_in(self.path)
        for item in cells_of(self.path):
            if isinstance(item, Bad):
                yield item
                continue
            place, cells = item
            if columns is None:
                columns = self._guess(cells)
                attributes = self._attributes(cells, columns)
            if columns.wants(cells):
                yield self._row(place, cells, columns, attributes)

    def _guess(self, cells: Mapping[str, Any]) -> Columns:
        if self.lookup is None:
            return self.columns.guess(cells, str(self.path))
        found = self.columns.guess(cells, str(self.path), need=("caption", "key"))
        return found if found.labels in cells else replace(found, labels="")

    def _attributes(self, cells: Mapping[str, Any], columns: Columns) -> dict[str, str]:
        """Return the columns that hold attributes: attribute → column."""
        found = {}
        for name, attribute in self.schema.attributes.items():
            known = (c for c in (name, attribute.column, *attribute.aliases) if c in cells)
            column = next((c for c in known if c not in (columns.labels, columns.caption)), None)
            if column is not None:
                found[name] = column
        return found

    def _row(self, place: str, cells: Mapping[str, Any], columns: Columns, attributes: Mapping[str, str]) -> Row | Bad:
        file = str(self.path)
        for column in (columns.labels, columns.caption):
            if column and column not in cells:
                return Bad(file, place, "bad_row", f"no column {column!r}")
        captions, labels = texts_of(cells[columns.caption]), cells.get(columns.labels)
        if columns.labels in self.names:
            labels = _named(labels, self.names[columns.labels])
        stated = []
        for name, column in attributes.items():
            if value := str(cells.get(column) or "").strip():
                stated.append((name, self.schema.attributes[name].values.get(value, value)))
        key = cells.get(columns.key) if columns.key else None
        if self.lookup is not None and labels in (None, "", []):
            name = Path(str(key)).name.partition(".")[0]
            labels = self.lookup.find("", name)
            if not labels:
                return Bad(file, place, "no_label", self.lookup.lacks(name))
        negatives = cells.get("negatives")
        known = columns.groups(cells)
        return Row(
            file,
            place,
            labels,
            captions,
            key=str(key) if isinstance(key, str | int) and decodable(str(key)) else "",
            groups=known + tuple(g for g in self.groups if g[0] not in dict(known)),
            negatives=texts_of(negatives) if isinstance(negatives, list) else (),
            attributes=tuple(stated),
            image=_picture(self.images, cells.get(columns.image) if columns.image else None),
        )


def read_labels(table: Path, columns: Columns) -> Lookup:
    """Read a table of labels by key.

    Raises:
        UsageError: it cannot be read, has no rows, or no column of keys or labels.
    """
    by_key: dict[str, Any] = {}
    shared: dict[Any, Any] = {}  # labels repeat: one object each
    found: Columns | None = None
    for item in cells_of(table):
        if isinstance(item, Bad):
            raise UsageError(str(item))
        _, cells = item
        found = found or Columns(labels=columns.labels, key=columns.key).guess(
            cells, str(table), need=("labels", "key")
        )
        value = cells[found.labels]
        key = Path(str(cells[found.key])).name.partition(".")[0]
        if cells.get("shard"):
            key = f"{Path(str(cells['shard'])).name.partition('.')[0]}/{key}"
        by_key[key] = shared.setdefault(value if isinstance(value, str) else repr(value), value)
    if found is None:
        raise UsageError(f"{table}: no rows; a table of labels has columns 'key' and 'labels'")
    return Lookup(table, found.key, by_key)


def class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return, for columns whose cells are positions in a list of class names, those names.

    Args:
        features: as Hugging Face's datasets describe their columns.
    """
    found = {}
    for name, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[name] = list(inner["names"])
    return found


def _names_in(path: Path) -> dict[str, list[str]]:
    """Return the class names that a Parquet file of Hugging Face's has in its metadata; reading the file tells of damage."""
    if path.suffix.lower() != ".parquet":
        return {}
    try:
        metadata = pq.read_schema(path).metadata or {}
        return class_names(json.loads(metadata[b"huggingface"])["info"]["features"])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError):
        return {}


def _named(value: Any, names: list[str]) -> Any:
    """Return class names for positions in a list of names, as Hugging Face datasets store them."""
    if isinstance(value, list):
        return [_named(v, names) for v in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _picture(images: Path | None, name: Any) -> tuple[str, str] | None:
    if images is None or not isinstance(name, str) or not name or not decodable(name) or "\0" in name:
        return None
    root = images.resolve()
    path = (root / name).resolve()
    return (str(path), "") if path.is_relative_to(root) else None


def cells_of(path: Path) -> Iterator[Cells | Bad]:
    """Yield each row of a table as its place and its cells; bytes that are not UTF-8 stay marked in CSV and JSONL.

    Raises:
        UsageError: the file cannot be read as what its ending says.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet, ".arrow": _arrow}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: the ending must be one of {', '.join(SUFFIXES)}")
    try:
        yield from reader(path)
    except OSError as e:
        raise UsageError(f"{path}: cannot be read: {e.strerror or e}") from None


def tolerant(reader: TableReader) -> Iterator[Row | Bad]:
    """Yield the rows of one table of several: one that cannot be read, or lacks a column, is reported and ends nothing."""
    try:
        yield from reader.rows()
    except UsageError as e:
        yield Bad(str(reader.path), "", "broken_file", str(e).removeprefix(f"{reader.path}: "))


def _text(path: Path) -> TextIO:
    """Open a text; bytes that are not UTF-8 stay marked.

    Raises:
        UsageError: its first bytes say that it is UTF-16, or no text.
    """
    with path.open("rb") as file:
        first = file.read(4096)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"{path}: this is UTF-16; save it as UTF-8")
    if (zero := first.find(b"\0")) >= 0:
        raise UsageError(f"{path}: byte {zero}: not UTF-8 text (0x00); is this a table?")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv(path: Path) -> Iterator[Cells | Bad]:
    with _text(path) as file:
        first = file.readline()
        file.seek(0)
        # Where a comma is the decimal sign, spreadsheets put semicolons between cells.
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter)
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                yield Bad(str(path), f"row {reader.line_num}", "bad_row", f"not CSV: {e}")
                continue
            if header is None:
                header = cells
            elif cells:
                if len(cells) != len(header):
                    reason = f"{len(cells)} cells under {len(header)} columns"
                    yield Bad(str(path), f"row {reader.line_num}", "bad_row", reason)
                    continue
                yield f"row {reader.line_num}", dict(zip(header, cells, strict=True))


def _jsonl(path: Path) -> Iterator[Cells | Bad]:
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"row {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as e:
                yield Bad(str(path), place, "bad_row", f"not JSON: {e}")
                continue
            if not isinstance(row, dict):
                yield Bad(str(path), place, "bad_row", "not an object with labels and a caption")
                continue
            yield place, row


def _parquet(path: Path) -> Iterator[Cells | Bad]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as e:
        raise UsageError(f"{path}: not Parquet: {e}") from None
    light = [f.name for f in file.schema_arrow if not pa.types.is_binary(f.type) and not _holds_bytes(f.type)]
    with file:
        yield from _batches(path, file.iter_batches(batch_size=1024, columns=light))


def _arrow(path: Path) -> Iterator[Cells | Bad]:
    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_stream(file)
        except pa.ArrowException as e:
            raise UsageError(f"{path}: not an Arrow stream: {e}") from None
        yield from _batches(path, iter(reader))


def _batches(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[Cells | Bad]:
    number = 0
    try:
        for batch in batches:
            keep = [f.name for f in batch.schema if not pa.types.is_binary(f.type) and not _holds_bytes(f.type)]
            light = batch.select(keep)
            for start in range(0, light.num_rows, 1024):
                for row in light.slice(start, 1024).to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError) as e:
        yield Bad(str(path), f"after row {number}", "broken_file", f"damaged: {e}")


def _holds_bytes(kind: pa.DataType) -> bool:
    """Say whether a column is one of encoded images, which an audit has no use for."""
    if pa.types.is_struct(kind):
        return any(pa.types.is_binary(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_large_binary(kind))
