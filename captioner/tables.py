"""Label table → samples: which images a dataset has, what its labels say of each, and what cannot be used and why.

A cell is parsed once for each distinct value, not for each row. Nothing is dropped silently: a row is a sample or stands
among the rejects with its file, line and reason.
"""

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from captioner.errors import SchemaError, TableError, did_you_mean
from captioner.labels import Labels, Reader, Refusal, Statement
from captioner.references import EXTENSIONS, KEY_LENGTH, Problem, normalise, refusal, sample_key
from captioner.schema import (
    CodesTable,
    FoldersTable,
    LabelSchema,
    LiteralsTable,
    NamesTable,
    OneHotTable,
    Table,
    TableFile,
    ViewsTable,
    fold_label,
)
from captioner.sheets import SUFFIXES, Sheet

__all__ = ["REJECT_COLUMNS", "Labels", "SampleTable", "read_samples"]

REJECT_COLUMNS = ("file", "row", "column", "value", "code", "reason")

FileTable = NamesTable | LiteralsTable | OneHotTable | CodesTable | ViewsTable
Cells = tuple[str, ...]
_Read = Callable[[Reader, Cells], Statement]


@dataclass(slots=True)
class SampleTable:
    """The samples of a dataset.

    Attributes:
        frame: one row a usable sample. ``row``: line number in the file, as an editor or a spreadsheet shows it (the
            header is 1; 0 where the folders are the table). ``file``. ``image``: the reference as in the table, in the
            form of :func:`captioner.references.normalise`, after the folder of its file. ``key``. ``labels``: position
            in :attr:`combinations`. ``split`` and ``group``: empty where the table has none. Then a column for each
            attribute of the schema, named by its id, values mapped.
        combinations: the distinct labels, in the order of the schema's classes.
        rejects: rows that are no sample: ``file``, ``row``, ``column``, ``value``, ``code``, ``reason``.
        rows: how many rows were read; a row of a ``views`` table may hold several samples.
        notes: what a person should know: the layout, files, label strings that were dropped.
    """

    frame: pd.DataFrame
    combinations: tuple[Labels, ...]
    rejects: pd.DataFrame
    rows: int
    notes: tuple[str, ...]


def read_samples(schema: LabelSchema, data: Path, *, table: Path | None = None) -> SampleTable:
    """Read a dataset's label table.

    The first layout of the schema whose files are there and have every column that it needs is used.

    Args:
        schema: the dataset's schema.
        data: the folder to look in, subfolders included, or the table file itself.
        table: a table file, or a folder to look in, in place of ``data``.

    Raises:
        TableError: no layout of the schema fits what is there, or a file cannot be read; says what to do.
    """
    place = table or data
    if not place.exists():
        raise TableError(f"{place}: no such file or folder")
    builder = _Builder(schema)
    source = _choose(schema, place)
    if isinstance(source.layout, FoldersTable):
        builder.add_folders(source.layout, place)
    else:
        for item in source.files:
            builder.add_file(source.layout, item)
    return builder.finish(source)


# ---- which layout, which files


@dataclass(slots=True)
class _Source:
    """A file of a layout."""

    sheet: Sheet
    entry: TableFile | None
    columns: dict[str, int]
    missing: list[str]
    name: str


@dataclass(slots=True)
class _Choice:
    layout: Table
    files: list[_Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _choose(schema: LabelSchema, place: Path) -> _Choice:
    """Return the first layout that fits.

    Raises:
        TableError: none does; names the nearest and what it lacks.
    """
    found = [place] if place.is_file() else _table_files(place)
    candidates: list[tuple[FileTable, list[_Source]]] = []
    for layout in schema.tables:
        if isinstance(layout, FoldersTable):
            if place.is_dir() and next(_class_images(schema, layout, place), None):
                return _Choice(layout, notes=_unused(candidates))
            continue
        files = _open(schema, layout, found, place)
        good = [f for f in files if not f.missing]
        # A file that the schema names must fit; without names, whatever fits is taken.
        if good and (len(good) == len(files) or not layout.files):
            return _Choice(layout, good, [*_unused(candidates), *_unused([(layout, files)])])
        if files:
            candidates.append((layout, files))
    if candidates:
        layout, files = min(candidates, key=lambda c: min(len(f.missing) for f in c[1] if f.missing))
        worst = min((f for f in files if f.missing), key=lambda f: len(f.missing))
        raise TableError(_missing_columns(schema, layout, worst))
    raise TableError(_nothing_found(schema, place, found))


def _unused(candidates: Iterable[tuple[FileTable, list[_Source]]]) -> list[str]:
    return [
        f"{f.name} is not used: it has no column {f.missing[0]!r}, which layout '{layout.layout}' needs"
        for layout, files in candidates
        for f in files
        if f.missing
    ]


def _table_files(folder: Path) -> list[Path]:
    """Return all files but images; what a schema calls its table is up to the schema."""
    return [folder / path for path, name in _walk(folder) if name.rpartition(".")[2].lower() not in EXTENSIONS]


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield relative path (``/`` between parts) and name of every visible file, sorted; links to folders are left."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        prefix = Path(base).relative_to(folder).as_posix()
        for name in sorted(names):
            if not name.startswith("."):
                yield (name if prefix == "." else f"{prefix}/{name}"), name


def _open(schema: LabelSchema, layout: FileTable, found: Sequence[Path], place: Path) -> list[_Source]:
    """Return the files of a layout; for one file that is named explicitly, whatever it is called."""
    if place.is_file():
        entry = next((e for e in layout.files if _matches(e, place)), None)
        return [_source(schema, layout, place, entry, place)]
    if not layout.files:
        return [
            s for path in found if path.name.lower().endswith(SUFFIXES) and (s := _try(schema, layout, path, place))
        ]
    chosen: dict[Path, TableFile] = {}
    for entry in layout.files:
        for path in found:
            if _matches(entry, path):
                chosen.setdefault(path, entry)
    _refuse_copies(chosen)
    return [_source(schema, layout, path, entry, place) for path, entry in chosen.items()]


def _try(schema: LabelSchema, layout: FileTable, path: Path, place: Path) -> _Source | None:
    """Return a file that nobody has named, if it can be read at all."""
    try:
        return _source(schema, layout, path, None, place)
    except TableError:
        return None


def _matches(entry: TableFile, path: Path) -> bool:
    return fnmatch.fnmatch(path.name.lower(), entry.match.lower())


def _refuse_copies(paths: Iterable[Path]) -> None:
    names = Counter(p.name for p in paths)
    for name, count in names.items():
        if count > 1:
            places = ", ".join(str(p) for p in paths if p.name == name)
            raise TableError(f"label table {name!r} is there {count} times: {places}. Say which one to read")


def _source(schema: LabelSchema, layout: FileTable, path: Path, entry: TableFile | None, place: Path) -> _Source:
    sheet = Sheet(path, encoding=layout.encoding, delimiter=layout.delimiter, header=layout.header, sheet=layout.sheet)
    columns = _positions(sheet)
    needed = [*layout.columns_needed, *_image_columns(schema, layout)]
    if isinstance(layout, OneHotTable) and not layout.columns:
        codes = [c for c in columns if schema.find(c)]
        needed += [] if codes else [schema.codes[0]]
    needed += [c for c in (layout.split, layout.group) if c]
    missing = [c for c in dict.fromkeys(needed) if _position(columns, c) is None]
    name = path.name if place.is_file() else path.relative_to(place).as_posix()
    return _Source(sheet, entry, columns, missing, name)


def _positions(sheet: Sheet) -> dict[str, int]:
    """Return column name → position. A name that stands twice is left out: which one is meant, nobody knows."""
    count = Counter(sheet.names)
    return {name: i for i, name in enumerate(sheet.names) if name and count[name] == 1}


def _position(columns: dict[str, int], name: str) -> int | None:
    """Find a column by its name; case and runs of spaces count only where two names differ by nothing else."""
    exact = columns.get(name.strip())
    if exact is not None:
        return exact
    alike = [i for other, i in columns.items() if fold_label(other) == fold_label(name)]
    return alike[0] if len(alike) == 1 else None


_FIELD = re.compile(r"\{([^{}]+)\}")


def _image_columns(schema: LabelSchema, layout: FileTable) -> list[str]:
    if isinstance(layout, ViewsTable):
        return list(layout.views)
    if layout.image is None:
        raise SchemaError(f"schema {schema.id!r}: layout '{layout.layout}' does not say which column names the image")
    return _FIELD.findall(layout.image) or [layout.image]


def _missing_columns(schema: LabelSchema, layout: FileTable, source: _Source) -> str:
    names = [n for n in source.sheet.names if n]
    twice = sorted(n for n, c in Counter(names).items() if c > 1 and n in source.missing)
    if twice:
        return f"{source.sheet.path}: row 1: column {twice[0]!r} stands twice; rename one of them"
    parts = [f"column {c!r} is missing.{did_you_mean(c, names)}" for c in source.missing[:3]]
    more = f" {len(source.missing) - 3} more are missing." if len(source.missing) > 3 else ""
    shown = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    return (
        f"{source.sheet.path}: row 1: {' '.join(parts)}{more} Layout '{layout.layout}' of schema {schema.id!r} needs it. "
        f"The file has: {shown}"
    )


def _nothing_found(schema: LabelSchema, place: Path, found: Sequence[Path]) -> str:
    wanted = [e.match for t in schema.tables if not isinstance(t, FoldersTable) for e in t.files]
    looked = []
    if wanted:
        looked.append("a file named " + " or ".join(dict.fromkeys(wanted)))
    if any(isinstance(t, FoldersTable) for t in schema.tables):
        looked.append("images in folders named after classes, such as " + ", ".join(schema.codes[:3]))
    tables = [p for p in found if p.name.lower().endswith(SUFFIXES)]
    there = ", ".join(p.relative_to(place).as_posix() for p in tables[:10]) if place.is_dir() else place.name
    return (
        f"{place}: no label table of schema {schema.id!r}. Looked for {'; '.join(looked) or 'a table file'}. "
        f"Table files there: {there or 'none'}"
    )


# ---- files → samples


@dataclass(slots=True)
class _Part:
    """Samples of one file (or of one view of it), before keys."""

    file: str
    rows: npt.NDArray[np.int64]
    image: pa.Array
    outcomes: npt.NDArray[np.int64]
    extra: dict[str, pa.Array | str]


class _Builder:
    """Collects rows and turns them into a :class:`SampleTable`."""

    def __init__(self, schema: LabelSchema) -> None:
        self.schema = schema
        self.parts: list[_Part] = []
        self.rejects: list[pd.DataFrame] = []
        self.rows = 0
        self.notes: list[str] = []
        self.outcomes: list[Labels | Refusal] = []
        self._dropped: list[list[str]] = []
        self._without_attribute: dict[str, list[_Source]] = {}

    # one outcome for each distinct content of the label cells

    def outcome(self, reader: Reader, columns: Cells, cells: Cells, read: _Read) -> int:
        """Return the position in :attr:`outcomes` of what some label cells say."""
        said = read(reader, cells)
        if len(columns) == 1:
            column, value = columns[0], cells[0]
        else:
            shown = [(c, v) for c, v in zip(columns, cells, strict=True) if v.strip() not in ("", "0", "0.0")]
            column, value = ", ".join(c for c, _ in shown), ", ".join(f"{c}={v}" for c, v in shown)
        self.outcomes.append(reader.judge(said, column, value))
        self._dropped.append(said.dropped)
        return len(self.outcomes) - 1

    def add_file(self, layout: FileTable, source: _Source) -> None:
        views = _views(self.schema, layout, source)
        extra = self._extra_columns(layout, source)
        positions = {c: _position(source.columns, c) for c in _needed(views, extra)}
        at = {c: p for c, p in positions.items() if p is not None}
        plain = [at[c] for c in (*(c for v in views for c in v.image_columns), layout.group) if c]
        content = source.sheet.read(list(at.values()), plain=plain)
        values = {c: content.cells[p] for c, p in at.items()}
        count = len(content.rows)
        self.rows += count + len(content.overlong)
        if content.overlong:
            width = len(source.sheet.names)
            self._reject(
                file=source.name,
                row=[line for line, _ in content.overlong],
                column="",
                value=[cells for _, cells in content.overlong],
                code="extra_cells",
                reason=f"the row has more cells than the header's {width}; is a cell with a separator in it unquoted?",
            )
        if not count and not content.overlong:
            raise TableError(f"{source.sheet.path}: the file has a header and no rows")
        more: dict[str, pa.Array | str] = {"split": (source.entry.split if source.entry else None) or "", "group": ""}
        for name, (column, mapping) in extra.items():
            if column in values:
                cells = values[column]
                more[name] = pc.utf8_trim_whitespace(cells) if name == "group" else _mapped(_encoded(cells), mapping)
            else:
                more[name] = ""
        folder = source.entry.folder if source.entry else None
        reader = Reader(self.schema, source.entry.labels if source.entry else {})
        for view in views:
            inverse, distinct = _distinct([_encoded(values[c]) for c in view.label_columns])
            read = [self.outcome(reader, view.label_columns, cells, view.read) for cells in distinct]
            outcomes = np.array(read, dtype=np.int64)
            image = view.reference([values[c] for c in view.image_columns])
            if folder:
                image = _below(folder, image)
            self.parts.append(_Part(source.name, content.rows, image, outcomes[inverse], more))

    def _extra_columns(self, layout: FileTable, source: _Source) -> dict[str, tuple[str, dict[str, str]]]:
        """Return output column → column of the file and what its values mean."""
        found: dict[str, tuple[str, dict[str, str]]] = {}
        if layout.split:
            found["split"] = (layout.split, {})
        if layout.group:
            found["group"] = (layout.group, {})
        for name, attribute in self.schema.attributes.items():
            spellings = (attribute.column, *attribute.aliases)
            column = next((c for c in spellings if _position(source.columns, c) is not None), None)
            if column is None:
                self._without_attribute.setdefault(name, []).append(source)
            found[name] = (column or attribute.column, dict(attribute.values))
        return found

    def add_folders(self, layout: FoldersTable, root: Path) -> None:
        reader = Reader(self.schema)
        read = partial(_read_joined, None, "folder")
        images: list[str] = []
        outcomes: list[int] = []
        outcome_of: dict[str, int] = {}
        for reference, label in _class_images(self.schema, layout, root, everything=True):
            if label not in outcome_of:
                outcome_of[label] = self.outcome(reader, ("folder",), (label,), read)
            images.append(reference)
            outcomes.append(outcome_of[label])
        self.rows = len(images)
        rows = np.zeros(len(images), dtype=np.int64)
        more: dict[str, pa.Array | str] = {"split": "", "group": "", **dict.fromkeys(self.schema.attributes, "")}
        self.parts.append(
            _Part(root.name, rows, pa.array(images, type=pa.string()), np.array(outcomes, np.int64), more)
        )

    # everything together

    def finish(self, source: _Choice) -> SampleTable:
        files = ", ".join(f.name for f in source.files[:5]) + (" …" if len(source.files) > 5 else "")
        count = (
            f"{len(source.files)} file{'s' * (len(source.files) != 1)}: {files}" if source.files else "no table file"
        )
        self.notes.insert(0, f"layout '{source.layout.layout}', {count}")
        self.notes += source.notes
        for name, without in self._without_attribute.items():
            column = self.schema.attributes[name].column
            where = without[0].name + (f" and {len(without) - 1} more files" if len(without) > 1 else "")
            near = did_you_mean(column, without[0].columns)
            self.notes.append(f"{where}: no column {column!r}, so attribute {name!r} is unknown.{near}")
        frame, problems = self._frame()
        self._note_dropped(np.bincount(frame["labels"].to_numpy(), minlength=len(self.outcomes)))
        keep = np.ones(len(frame), dtype=bool)
        self._refuse_references(frame, keep, problems)
        self._refuse_labels(frame, keep)
        combinations, position = self._combinations(frame["labels"].to_numpy()[keep])
        frame["labels"] = position[frame["labels"].to_numpy()]
        self._refuse_repeats(frame, keep)
        if not keep.all():
            frame = frame[keep].reset_index(drop=True)
        rejects = pd.concat(self.rejects, ignore_index=True) if self.rejects else _empty_rejects()
        return SampleTable(frame, combinations, rejects, self.rows, tuple(self.notes))

    def _frame(self) -> tuple[pd.DataFrame, dict[int, Problem]]:
        """Return all rows, ``labels`` being positions in :attr:`outcomes`, and what is wrong with references."""
        images, keys, problems = _named(self.schema.id, pa.concat_arrays([p.image for p in self.parts]))
        data: dict[str, object] = {
            "row": np.concatenate([p.rows for p in self.parts]),
            "file": _joined([_constant(p.file, len(p.rows)) for p in self.parts]),
            "image": images.to_pandas(),
            "key": keys.to_pandas(),
            "labels": np.concatenate([p.outcomes for p in self.parts]),
        }
        for name in ("split", "group", *self.schema.attributes):
            columns = ((p.extra[name], len(p.rows)) for p in self.parts)
            if name == "group":  # nearly as many values as rows: plain text
                data[name] = pa.concat_arrays(
                    [pa.repeat(c, n) if isinstance(c, str) else c for c, n in columns]
                ).to_pandas()
            else:
                data[name] = _joined([_constant(c, n) if isinstance(c, str) else c.to_pandas() for c, n in columns])
        return pd.DataFrame(data, copy=False), problems

    def _refuse_references(
        self, frame: pd.DataFrame, keep: npt.NDArray[np.bool_], problems: dict[int, Problem]
    ) -> None:
        if problems:
            rows = list(problems)
            values = [repr(v) for v in frame["image"].iloc[rows]]
            codes, reasons = [p.code for p in problems.values()], [p.reason for p in problems.values()]
            self._reject_rows(frame.iloc[rows], column="image", value=values, code=codes, reason=reasons)
            keep[rows] = False

    def _refuse_labels(self, frame: pd.DataFrame, keep: npt.NDArray[np.bool_]) -> None:
        refusals = [o if isinstance(o, Refusal) else None for o in self.outcomes]
        refused = np.array([r is not None for r in refusals], dtype=bool)
        bad = refused[frame["labels"].to_numpy()] & keep
        if not bad.any():
            return
        which = frame["labels"].to_numpy()[bad]
        columns = {
            name: np.array([getattr(r, name) if r else "" for r in refusals], dtype=object)[which]
            for name in ("column", "value", "code", "reason")
        }
        self._reject_rows(frame[bad], **columns)
        keep &= ~bad

    def _refuse_repeats(self, frame: pd.DataFrame, keep: npt.NDArray[np.bool_]) -> None:
        """Keep one row an image; rows that say different things of one image are all refused."""
        if _all_differ(pa.array(frame["key"])):
            return
        kept = frame[keep] if not keep.all() else frame
        repeated = kept[kept["key"].duplicated(keep=False)]
        if not len(repeated):
            return
        by_key = repeated.groupby("key", sort=False)
        differ = by_key["labels"].transform("nunique") > 1
        conflicting = repeated[differ]
        again = repeated[~differ & repeated["key"].duplicated()]
        first = repeated.drop_duplicates("key").set_index("key").loc[again["key"]]
        reason = "the image is in several rows, with different labels"
        self._reject_rows(conflicting, column="image", value=conflicting["image"], code="duplicate_key", reason=reason)
        reasons = [f"the image is already in {f}, row {r}" for f, r in zip(first["file"], first["row"], strict=True)]
        self._reject_rows(again, column="image", value=again["image"], code="duplicate_row", reason=reasons)
        keep[[*conflicting.index, *again.index]] = False

    def _combinations(self, used: npt.NDArray[np.int64]) -> tuple[tuple[Labels, ...], npt.NDArray[np.int64]]:
        """Return the distinct labels of some outcomes in the schema's order, and for each outcome its position there."""
        order = {code: i for i, code in enumerate(self.schema.codes)}

        def rank(labels: Labels) -> tuple[list[int], ...]:
            return tuple([order[c] for c in codes] for codes in (labels.positive, labels.negative, labels.uncertain))

        found = (self.outcomes[i] for i in np.flatnonzero(np.bincount(used, minlength=len(self.outcomes))))
        distinct = sorted({o for o in found if isinstance(o, Labels)}, key=rank)
        at: dict[Labels | Refusal, int] = {labels: i for i, labels in enumerate(distinct)}
        return tuple(distinct), np.array([at.get(o, -1) for o in self.outcomes], dtype=np.int64)

    def _note_dropped(self, counts: npt.NDArray[np.int64]) -> None:
        dropped: Counter[str] = Counter()
        for labels, count in zip(self._dropped, counts, strict=True):
            for label in set(labels):
                dropped[label] += int(count)
        rules = {fold_label(k): why for k, why in self.schema.labels.drop.items()}
        for label, count in dropped.most_common():
            self.notes.append(f"label {label!r} dropped from {count} rows: {rules[fold_label(label)]}")

    def _reject_rows(self, rows: pd.DataFrame, **columns: object) -> None:
        plain = {k: v.to_numpy() if isinstance(v, pd.Series) else v for k, v in columns.items()}
        self._reject(file=rows["file"].to_numpy(), row=rows["row"].to_numpy(), **plain)

    def _reject(self, **columns: object) -> None:
        frame = pd.DataFrame({name: columns[name] for name in REJECT_COLUMNS})
        if len(frame):
            self.rejects.append(frame)


def _empty_rejects() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="int64" if name == "row" else "str") for name in REJECT_COLUMNS})


# ---- layouts


@dataclass(frozen=True, slots=True)
class _View:
    """One image a row: the columns that name it, the columns that label it, and how they are read."""

    image_columns: Cells
    pattern: str | None
    label_columns: Cells
    read: _Read

    def reference(self, columns: Sequence[pa.Array]) -> pa.Array:
        if self.pattern is None:
            return columns[0]
        pieces: list[pa.Array | pa.Scalar] = []
        rest = self.pattern
        for name, column in zip(self.image_columns, columns, strict=True):
            before, _, rest = rest.partition("{" + name + "}")
            pieces += [pa.scalar(before), column]
        joined = pc.binary_join_element_wise(*pieces, pa.scalar(rest), "")
        # An empty cell names no image, whatever the pattern adds to it.
        blank = pc.equal(pc.utf8_trim_whitespace(columns[0]), "")
        for column in columns[1:]:
            blank = pc.or_(blank, pc.equal(pc.utf8_trim_whitespace(column), ""))
        return pc.if_else(blank, "", joined)


def _views(schema: LabelSchema, layout: FileTable, source: _Source) -> list[_View]:
    """Return what one row of a file holds: one image, or several in a ``views`` table."""
    if isinstance(layout, ViewsTable):
        return [
            _View((image,), None, (label,), partial(_read_joined, layout.separator, label))
            for image, label in layout.views.items()
        ]
    image_columns = tuple(_image_columns(schema, layout))
    pattern = layout.image if layout.image and _FIELD.search(layout.image) else None
    labels: Cells
    read: _Read
    if isinstance(layout, NamesTable):
        labels, read = (layout.column,), partial(_read_joined, layout.separator, layout.column)
    elif isinstance(layout, LiteralsTable):
        labels, read = (layout.column,), partial(_read_literals, layout)
    elif isinstance(layout, CodesTable):
        labels, read = tuple(layout.codes), partial(_read_codes, layout)
    else:
        targets = _one_hot_targets(schema, layout, source)
        labels, read = tuple(targets), partial(_read_one_hot, layout, targets)
    return [_View(image_columns, pattern, labels, read)]


def _read_joined(separator: str | None, column: str, reader: Reader, cells: Cells) -> Statement:
    return reader.joined(cells[0], separator, column)


def _read_literals(layout: LiteralsTable, reader: Reader, cells: Cells) -> Statement:
    return reader.literals(layout, cells[0])


def _read_codes(layout: CodesTable, reader: Reader, cells: Cells) -> Statement:
    return reader.coded(layout, dict(zip(layout.codes, cells, strict=True)))


def _read_one_hot(layout: OneHotTable, targets: dict[str, str | None], reader: Reader, cells: Cells) -> Statement:
    return reader.one_hot(layout, targets, dict(zip(targets, cells, strict=True)))


def _one_hot_targets(schema: LabelSchema, layout: OneHotTable, source: _Source) -> dict[str, str | None]:
    """Return column → class code. A column of 0 and 1 that is no class is kept as None: its rows must not pass."""
    if layout.columns:
        return dict(layout.columns)
    other = {*layout.ignore, *_image_columns(schema, layout), layout.split, layout.group}
    other |= {c for a in schema.attributes.values() for c in (a.column, *a.aliases)}
    folded = {fold_label(c) for c in other if c}
    targets: dict[str, str | None] = {}
    flags = {"", *layout.positive, *layout.negative, *layout.uncertain}
    for column, position in source.columns.items():
        if fold_label(column) in folded:
            continue
        item = schema.find(column)
        if item:
            targets[column] = item.code
        else:
            cells = source.sheet.read([position]).cells[position].dictionary.to_pylist()
            if {c.strip() for c in cells} <= flags and {c.strip() for c in cells} != {""}:
                targets[column] = None
    return targets


def _needed(views: Sequence[_View], extra: dict[str, tuple[str, dict[str, str]]]) -> list[str]:
    columns = [c for v in views for c in (*v.image_columns, *v.label_columns)]
    return list(dict.fromkeys([*columns, *(column for column, _ in extra.values())]))


def _class_images(
    schema: LabelSchema, layout: FoldersTable, root: Path, *, everything: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield reference and label of the images below a folder; with ``everything``, also those in no class's folder."""
    labels: dict[str, str | None] = {}
    for path, name in _walk(root):
        if name.rpartition(".")[2].lower() not in EXTENSIONS or any(fnmatch.fnmatch(name, e) for e in layout.exclude):
            continue
        folder = path.rpartition("/")[0]
        if folder not in labels:
            labels[folder] = _folder_label(schema, folder)
        label = labels[folder]
        if label is not None or everything:
            yield path, label if label is not None else folder or "(no folder)"


def _folder_label(schema: LabelSchema, folder: str) -> str | None:
    """Return the longest run of folder names that is a class, the one nearest to the image first."""
    rules = {fold_label(k) for k in (*schema.labels.map, *schema.labels.drop, *schema.labels.uncertain)}
    parts = folder.split("/")
    for end in range(len(parts), 0, -1):
        for start in range(end):
            label = "/".join(parts[start:end])
            if schema.find(label) or fold_label(label) in rules:
                return label
    return None


# ---- columns


def _joined(columns: Sequence["pd.Categorical[str]"]) -> "pd.Categorical[str]":
    if len(columns) == 1:
        return columns[0]
    joined: pd.Categorical[str] = pd.api.types.union_categoricals([pd.Categorical(c) for c in columns])
    return joined


def _constant(value: str, count: int) -> "pd.Categorical[str]":
    return pd.Categorical.from_codes(np.zeros(count, dtype=np.int64), categories=pd.Index([value]))


def _mapped(column: pa.DictionaryArray, mapping: dict[str, str]) -> pa.DictionaryArray:
    """Return a column with its values' meanings; outer spaces removed, equal values merged."""
    if not mapping and pc.all(pc.equal(pc.utf8_trim_whitespace(column.dictionary), column.dictionary)).as_py():
        return column
    values = [v.strip() for v in column.dictionary.to_pylist()]
    meanings = [mapping.get(v, v) for v in values]
    distinct = {m: i for i, m in enumerate(dict.fromkeys(meanings))}
    codes = np.array([distinct[m] for m in meanings], dtype=np.int32)
    indices = codes[column.indices.to_numpy(zero_copy_only=False)] if len(codes) else column.indices
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(list(distinct), type=pa.string()))


def _below(folder: str, images: pa.Array) -> pa.Array:
    """Return references after their folder; what names no image, or a place of its own, stays as it is, to be refused."""
    other = pc.match_substring_regex(pc.utf8_trim_whitespace(images), r"^([/\\]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*:/|$)")
    return pc.if_else(other, images, pc.binary_join_element_wise(pa.scalar(folder.strip("/")), images, "/"))


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()


def _distinct(columns: Sequence[pa.DictionaryArray]) -> tuple[npt.NDArray[np.int64], list[Cells]]:
    """Return for each row which of the distinct rows it is, and the distinct rows."""
    codes = [c.indices.to_numpy(zero_copy_only=False).astype(np.int64) for c in columns]
    values = [c.dictionary.to_pylist() for c in columns]
    if len(columns) == 1:
        return codes[0], [(v,) for v in values[0]]
    inverse, _ = pd.factorize(codes[0])
    for code, value in zip(codes[1:], values[1:], strict=True):
        inverse, _ = pd.factorize(inverse * max(len(value), 1) + code)
    first = pd.Series(inverse).drop_duplicates().index  # factorize numbers values as they come
    rows = [tuple(v[c[i]] for v, c in zip(values, codes, strict=True)) for i in first]
    return inverse.astype(np.int64), rows


_SIMPLE = r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*$"


def _named(dataset: str, images: pa.Array) -> tuple[pa.Array, pa.Array, dict[int, Problem]]:
    """Return normalised references, their keys, and the problems of those that are refused (by position)."""
    keys = _simple_keys(dataset, images)
    if keys is not None:
        return images, keys, {}
    raw = images.to_pylist()
    references = {r: normalise(r) for r in dict.fromkeys(raw)}
    refused = {r: p for r, n in references.items() if (p := refusal(n))}
    keys_of = _keys(dataset, sorted({n for r, n in references.items() if r not in refused}))
    problems = {i: refused[r] for i, r in enumerate(raw) if r in refused} if refused else {}
    named = [r if r in refused else references[r] for r in raw]
    keys = pa.array([keys_of.get(references[r], "") for r in raw], type=pa.string())
    return pa.array(named, type=pa.string()), keys, problems


def _simple_keys(dataset: str, images: pa.Array) -> pa.Array | None:
    """Return the keys of references that all have one ending and plain names, or None: then each is looked at."""
    if not len(images):
        return None
    ending = "." + images[0].as_py().rpartition(".")[2]
    room = KEY_LENGTH - len(dataset) - 1 + len(ending)
    if ending[1:].lower() not in EXTENSIONS:
        return None
    if not pc.all(pc.ends_with(images, ending)).as_py() or pc.max(pc.utf8_length(images)).as_py() > room:
        return None
    stems = pc.utf8_slice_codeunits(images, 0, -len(ending))
    if not pc.all(pc.match_substring_regex(stems, _SIMPLE)).as_py():
        return None
    return pc.binary_join_element_wise(pa.scalar(dataset), pc.replace_substring(stems, "/", "-"), "-")


def _all_differ(keys: pa.Array) -> bool:
    """Say whether ASCII strings are certainly distinct; False proves nothing. Hashes eight letters at a time."""
    if not len(keys):
        return True
    width = -(-pc.max(pc.binary_length(keys)).as_py() // 8) * 8
    padded = pc.ascii_rpad(keys, width=width, padding=".")
    words = np.frombuffer(padded.buffers()[2], dtype=np.uint64, count=len(keys) * width // 8).reshape(len(keys), -1)
    factors = np.random.default_rng(0).integers(1, 2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.sort(((words ^ (words >> 29)) * factors).sum(axis=1, dtype=np.uint64))
    return bool((hashes[1:] != hashes[:-1]).all())


def _keys(dataset: str, references: Sequence[str]) -> dict[str, str]:
    """Return a key for each of some sorted references; of several that would share one, the first keeps it."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for reference in references:
        key = sample_key(dataset, reference)
        if key in taken:
            key = sample_key(dataset, reference, digest=16)
        taken.add(key)
        keys[reference] = key
    return keys
