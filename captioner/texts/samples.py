"""Records → samples and their texts: one sample an image, with all texts that its records have for it."""

import fnmatch
import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from captioner.errors import TableError, UsageError, did_you_mean
from captioner.images import ImageIndex
from captioner.layouts import walk
from captioner.references import Problem, name_samples, normalise
from captioner.schema import Join
from captioner.tables import REJECT_COLUMNS, SampleTable
from captioner.texts.records import BadRecord, Record, read_records
from captioner.texts.schema import TextFile, TextSchema, TextTable
from captioner.texts.wording import Template, clean

_LONGEST_VALUE = 200


@dataclass(slots=True)
class TextSamples:
    """The samples of a dataset that has texts of its own.

    Attributes:
        samples: one row an image, as :class:`captioner.tables.SampleTable` says; it has no labels, and column ``labels``
            is the position in :attr:`texts`.
        texts: the texts of each image, all different, in the order of the files.
    """

    samples: SampleTable
    texts: list[tuple[str, ...]]


def read_texts(schema: TextSchema, data: Path, *, use: Sequence[str] = (), table: Path | None = None) -> TextSamples:
    """Read a dataset's texts.

    Args:
        schema: what the dataset's texts are.
        data: the dataset's folder.
        use: the kinds of text that are wanted; the schema's own choice if empty.
        table: the file of the texts, where it is called otherwise or lies elsewhere.

    Raises:
        TableError: no table of the schema is there, or a file cannot be read; says what to do.
        UsageError: a kind of text that the dataset does not have.
    """
    if not data.is_dir():
        raise TableError(f"{data}: no such folder")
    wanted = tuple(use) or schema.use
    for kind in wanted:
        if kind not in schema.kinds:
            raise UsageError(
                f"use: {kind!r} is no kind of text of {schema.id} (it has: {', '.join(schema.kinds)})."
                f"{did_you_mean(kind, schema.kinds)}"
            )
    folder = _Folder(data)
    problem: _OtherColumnsError | None = None
    for chosen, files, notes in _candidates(schema, folder, table, wanted):
        gathered = _Gatherer(schema, chosen, wanted, folder)
        try:
            for entry, path in files:
                gathered.add(entry, path)
        except _OtherColumnsError as e:
            problem = problem or e
            continue
        return gathered.finish([path for _, path in files], notes)
    assert problem is not None
    raise problem


class _OtherColumnsError(TableError):
    """A file that has the right name, but not the columns of a table."""


class _Folder:
    """The files of a dataset's folder, walked once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @functools.cached_property
    def names(self) -> list[tuple[str, str]]:
        return list(walk(self.root))

    @functools.cached_property
    def index(self) -> ImageIndex:
        return ImageIndex(self.root)

    def matching(self, match: str) -> list[Path]:
        """Return the files that a name, a path below the folder, or a glob means."""
        pattern = re.compile(fnmatch.translate(match.lower() if "/" not in match else f"*/{match.lower()}"))
        if "/" in match:
            return [self.root / path for path, _ in self.names if pattern.match(f"/{path.lower()}")]
        return [self.root / path for path, name in self.names if pattern.match(name.lower())]


Candidate = tuple[TextTable, list[tuple[TextFile, Path]], list[str]]


def _candidates(schema: TextSchema, folder: _Folder, given: Path | None, use: Sequence[str]) -> list[Candidate]:
    """Return the tables that are there, each with its files and with notes on files that are not there."""
    candidates: list[Candidate] = []
    lacks: list[str] = []
    for table in schema.tables:
        if not any(kind in table.texts for kind in use):
            continue
        if given is not None:
            entry = next((e for e in table.files if fnmatch.fnmatch(given.name, e.match.rpartition("/")[2])), None)
            if entry is not None or len(schema.tables) == 1:
                candidates.append((table, [(entry or table.files[0], given)], []))
            continue
        found = [(entry, _one_or_glob(folder, entry.match)) for entry in table.files]
        files = {(path, entry.records): (entry, path) for entry, paths in found for path in paths}
        absent = [join.match for join in table.join if join.match and not folder.matching(join.match)]
        if files and not absent:
            here = {entry.split for entry, paths in found if paths}
            gone = [entry.match for entry, paths in found if not paths and entry.split not in here]
            notes = [f"not there, and left out: {', '.join(gone)}"] if gone else []
            candidates.append((table, list(files.values()), notes))
        lacks.append(" and ".join(absent) if files else " or ".join(dict.fromkeys(e.match for e in table.files)))
    if candidates:
        return candidates
    if given is not None:
        names = ", ".join(entry.match for table in schema.tables for entry in table.files)
        raise TableError(f"{given}: {schema.id} has several tables; call the file as one of them: {names}")
    raise TableError(
        f"{folder.root}: the texts of {schema.id} are not there; it needs {', or '.join(dict.fromkeys(lacks))}"
    )


def _one_or_glob(folder: _Folder, match: str) -> list[Path]:
    found = folder.matching(match)
    if len(found) > 1 and not any(c in match for c in "*?["):
        raise TableError(
            f"{match!r} is there {len(found)} times: {', '.join(map(str, found[:4]))}. Say which with --set data.table=FILE"
        )
    return found


@dataclass(slots=True)
class _Image:
    """What the records say of one image."""

    file: str
    row: int
    split: str
    texts: dict[str, None]


class _Gatherer:
    """Collects the texts of each image."""

    def __init__(self, schema: TextSchema, table: TextTable, use: Sequence[str], folder: _Folder) -> None:
        self.schema, self.table, self.folder = schema, table, folder
        self._image = Template(table.image)
        self._texts = [Template(table.texts[kind]) for kind in use if kind in table.texts]
        self._read = {name: Template(text) for name, text in table.read.items()}
        self._joins = [_Joined(join, folder, table) for join in table.join]
        self.images: dict[str, _Image] = {}
        self.rejects: list[dict[str, object]] = []
        self.rows = 0

    def add(self, entry: TextFile, path: Path) -> None:
        """Take in the records of a file."""
        name = path.relative_to(self.folder.root).as_posix() if path.is_relative_to(self.folder.root) else path.name
        checked = not path.name.lower().endswith(".xml")  # columns of XML are what the schema says they are
        for row, record in read_records(path, entry, self.table):
            self.rows += 1
            if isinstance(record, BadRecord):
                self._reject((name, row), "", "", "bad_record", record.reason)
                continue
            rows = list(self._with_joined(record))
            if checked:
                self._check_columns(path, rows[0])
                checked = False
            for each in rows:
                self._add(name, row, entry.split or "", each)

    def _with_joined(self, record: Record) -> Iterator[Record]:
        records = [record]
        for join in self._joins:
            records = [more for each in records for more in join.beside(each)]
        yield from records

    def _check_columns(self, path: Path, record: Record) -> None:
        """Refuse a file of another release, whose columns have other names, before all its records are left out."""
        templates = [self._image, *self._read.values()]
        needed = [columns for template in templates for columns in template.columns]
        needed += [(column,) for column in (*self.table.where, *([self.table.split] if self.table.split else []))]
        for columns in needed:
            if not any(self._has(record, column) for column in columns):
                known = ", ".join(map(str, list(record)[:12]))
                raise _OtherColumnsError(
                    f"{path}: no column {columns[0]!r}; it has: {known}.{did_you_mean(columns[0], map(str, record))} "
                    "Is it another release? A copy of the text schema in text_schemas/ can name its columns."
                )

    def _has(self, record: Record, column: str) -> bool:
        joined = any(column in join.columns for join in self._joins)  # a record may find nothing to be joined with
        return (
            joined or column in record or column in self._read or any(str(c).startswith(f"{column}.") for c in record)
        )

    def _add(self, file: str, row: int, split: str, record: Record) -> None:
        for column, wanted in self.table.where.items():
            value = record.get(column)
            if str("" if value is None else value).strip() not in wanted:
                reason = f"only records in which {column!r} is {' or '.join(map(repr, wanted))} are used"
                self._reject((file, row), column, value, "not_chosen", reason)
                return
        images = [self._reference(text) for text in self._image.fill(record)]
        if not images:
            self._reject((file, row), _shown(self._image), "", "no_image", "the record names no image")
            return
        problem = self._read_files(record)
        texts = list(dict.fromkeys(c for t in self._texts for text in t.fill(record) if (c := clean(text))))
        if not texts:
            columns = _shown(*self._texts)
            reason = problem.reason if problem else "the record has no text of the kinds that are used"
            self._reject((file, row), columns, images[0], problem.code if problem else "no_text", reason)
            return
        if self.table.split:
            split = str(record.get(self.table.split) or split)
        for reference in images:
            found = self.images.setdefault(normalise(reference), _Image(file, row, split, {}))
            found.texts.update(dict.fromkeys(texts))

    def _reference(self, text: str) -> str:
        found = re.search(self.table.image_pattern, text) if self.table.image_pattern else None
        return found[0] if found else text

    def _read_files(self, record: Record) -> Problem | None:
        """Add the content of the files that a record names; return why one of them cannot be read."""
        problem = None
        for column, template in self._read.items():
            record[column] = ""
            for name in template.fill(record)[:1]:
                found = self.folder.index.find(name)
                if isinstance(found, Problem):
                    problem = Problem(
                        "missing_report", f"{name}: {found.reason.replace('the image folder', 'the folder')}"
                    )
                    continue
                try:
                    record[column] = found.read_text(encoding="utf-8", errors="replace")
                except OSError as e:
                    problem = Problem("missing_report", f"{name}: cannot be read: {e.strerror or e}")
        return problem

    def _reject(self, place: tuple[str, int], column: str, value: Any, code: str, reason: str) -> None:
        shown = "" if value is None else str(value)[:_LONGEST_VALUE]
        self.rejects.append(dict(zip(REJECT_COLUMNS, (*place, column, shown, code, reason), strict=True)))

    def finish(self, paths: Sequence[Path], missing: Sequence[str]) -> TextSamples:
        """Give every image its key."""
        references = pa.array(list(self.images), type=pa.string())
        names, keys, problems = name_samples(self.schema.prefix, references)
        images = list(self.images.values())
        for at, problem in problems.items():
            self._reject(
                (images[at].file, images[at].row), "image", references[at].as_py(), problem.code, problem.reason
            )
        good = [i for i in range(len(images)) if i not in problems]
        frame = pd.DataFrame(
            {
                "row": pd.Series([images[i].row for i in good], dtype="int64"),
                "file": [images[i].file for i in good],
                "image": [names[i].as_py() for i in good],
                "key": [keys[i].as_py() for i in good],
                "labels": range(len(good)),
                "split": [images[i].split for i in good],
                "group": "",
            }
        )
        shown = ", ".join(p.name for p in paths[:3]) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
        counts = Counter(len(images[i].texts) for i in good)
        several = sum(n for size, n in counts.items() if size > 1)
        notes = (f"texts from {shown}", *missing, *([f"images with several texts: {several:,}"] if several else []))
        rejects = pd.DataFrame(self.rejects, columns=list(REJECT_COLUMNS)).astype({"row": "int64"})
        samples = SampleTable(frame, (), rejects, self.rows, notes)
        return TextSamples(samples, [tuple(images[i].texts) for i in good])


def _shown(*templates: Template) -> str:
    return ", ".join(dict.fromkeys(columns[0] for template in templates for columns in template.columns))


class _Joined:
    """A file beside the table (or the images below the folder), its records found by what they share with it."""

    def __init__(self, join: Join, folder: _Folder, table: TextTable) -> None:
        self._by = join.by
        self._records: dict[tuple[str, ...], list[Record]] = {}
        self.columns: set[str] = set()
        for record in _of_images(join.images, folder) if join.images else _of_file(join, folder, table):
            self.columns = self.columns or set(record)
            self._records.setdefault(self._key(record), []).append(record)

    def _key(self, record: Record) -> tuple[str, ...]:
        return tuple(str(record.get(name, "")).strip() for name in self._by)

    def beside(self, record: Record) -> Iterable[Record]:
        """Return the record with the columns of each that it finds; alone if it finds none."""
        found = self._records.get(self._key(record))
        return [more | record for more in found] if found else [record]


def _of_images(pattern: str, folder: _Folder) -> Iterator[Record]:
    expression = re.compile(pattern)
    for path, _ in folder.names:
        if match := expression.search(path):
            yield match.groupdict() | {"image": path}


def _of_file(join: Join, folder: _Folder, table: TextTable) -> Iterator[Record]:
    plain = table.model_copy(update={"header": None, "delimiter": None, "keyed": False})
    for path in _one_or_glob(folder, join.match or ""):
        for _, record in read_records(path, TextFile(match=path.name), plain):
            if isinstance(record, BadRecord):
                continue
            if absent := [name for name in join.by if name not in record]:
                raise TableError(f"{path}: no column {absent[0]!r}, which joins it.{did_you_mean(absent[0], record)}")
            yield record
