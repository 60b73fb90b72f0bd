"""Label table → samples: which images a dataset has, what its labels say of each, and what cannot be used and why.

A cell is parsed once for each distinct value, not for each row. Nothing is dropped silently: a row is a sample or stands
among the rejects with its file, line and reason.
"""

import contextlib
import gc
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from captioner.errors import TableError, did_you_mean
from captioner.labels import Labels, Reader, Refusal, Statement
from captioner.layouts import (
    Choice,
    FileTable,
    Source,
    View,
    choose,
    class_images,
    position_of,
    views_of,
)
from captioner.merging import merge_statements
from captioner.references import Problem, all_differ, name_samples
from captioner.schema import FoldersTable, LabelSchema, Merge, fold_label
from captioner.storage import Place

__all__ = ["REJECT_COLUMNS", "Labels", "SampleTable", "read_samples"]

REJECT_COLUMNS = ("file", "row", "column", "value", "code", "reason")


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


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Hold the search for cyclic garbage back while very many objects are made; it would look at all of them, often."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@uncollected()
def read_samples(schema: LabelSchema, data: Place, *, table: Place | None = None) -> SampleTable:
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
    source = choose(schema, place)
    if isinstance(source.layout, FoldersTable):
        builder.add_folders(source.layout, place)
    else:
        for item in source.files:
            builder.add_file(source.layout, item)
    return builder.finish(source)


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
        self._said: list[Statement] = []
        self._without_attribute: dict[str, list[Source]] = {}

    # one outcome for each distinct content of the label cells

    def _judge(self, reader: Reader, said: Statement, column: str, value: str) -> int:
        """Return the position in :attr:`outcomes` of what some label cells say."""
        self.outcomes.append(reader.judge(said, column, value))
        self._said.append(said)
        return len(self.outcomes) - 1

    def _outcomes(self, reader: Reader, view: View, columns: Sequence[pa.DictionaryArray]) -> npt.NDArray[np.int64]:
        """Return for each row the position in :attr:`outcomes` of what its label cells say."""
        names = view.label_columns
        cells = [c.dictionary.to_pylist() for c in columns]
        said = [[view.read(reader, cell, name) for cell in values] for name, values in zip(names, cells, strict=True)]
        codes = [c.indices.to_numpy(zero_copy_only=False) for c in columns]
        which: npt.NDArray[np.int64]
        if len(columns) == 1:
            which, kinds = codes[0].astype(np.int64), [np.arange(len(cells[0]))]
        else:
            which, first = distinct_rows(codes, [len(values) for values in cells])
            kinds = [code[first] for code in codes]
        rows = zip(*(np.array(s, dtype=object)[k] for s, k in zip(said, kinds, strict=True)), strict=True)
        start = len(self.outcomes)
        for i, row in enumerate(rows):
            position = self._judge(reader, reader.row(row, view.all_negative), names[0], cells[0][kinds[0][i]])
            outcome = self.outcomes[position]
            if isinstance(outcome, Refusal) and outcome is not self._said[position].problem and len(names) > 1:
                shown = [(n, values[k[i]]) for n, values, k in zip(names, cells, kinds, strict=True)]
                shown = [(n, v) for n, v in shown if v.strip() not in ("", "0", "0.0")]
                column, value = ", ".join(n for n, _ in shown), ", ".join(f"{n}={v}" for n, v in shown)
                self.outcomes[position] = replace(outcome, column=column, value=value)
        return which + start

    def add_file(self, layout: FileTable, source: Source) -> None:
        views = views_of(self.schema, layout, source)
        extra = self._extra_columns(layout, source)
        beside = [*layout.where, *([layout.merge.reader] if layout.merge and layout.merge.reader else [])]
        positions = {c: position_of(source.columns, c) for c in (*_needed(views, extra), *beside)}
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
        rows = content.rows
        for column, wanted in layout.where.items():
            use = self._chosen(source, rows, column, values[column], wanted)
            rows = rows[use]
            values = {c: array.filter(pa.array(use)) for c, array in values.items()}
        more: dict[str, pa.Array | str] = {"split": (source.entry.split if source.entry else None) or "", "group": ""}
        for name, (column, mapping) in extra.items():
            if column in values:
                cells = values[column]
                more[name] = _groups(cells, layout) if name == "group" else _mapped(_encoded(cells), mapping)
            else:
                more[name] = ""
        if layout.merge:
            reader_column = layout.merge.reader
            more["reader"] = _mapped(_encoded(values[reader_column]), {}) if reader_column in values else ""
        folder = source.entry.folder if source.entry else None
        reader = Reader(self.schema, source.entry.labels if source.entry else {})
        for view in views:
            outcomes = self._outcomes(reader, view, [_encoded(values[c]) for c in view.label_columns])
            image = view.reference([values[c] for c in view.image_columns])
            if layout.image_pattern:
                image = _referred(image, layout.image_pattern)
            if folder:
                image = _below(folder, image)
            self.parts.append(_Part(source.name, rows, image, outcomes, more))

    def _chosen(
        self, source: Source, rows: npt.NDArray[np.int64], column: str, cells: pa.Array, wanted: Sequence[str]
    ) -> npt.NDArray[np.bool_]:
        """Return which rows hold one of some values in a column; the others are rejects."""
        cells = _encoded(cells)
        good = np.array([v.strip() in wanted for v in cells.dictionary.to_pylist()], dtype=bool)
        use = good[cells.indices.to_numpy(zero_copy_only=False)] if len(cells) else np.zeros(0, dtype=bool)
        if not use.all():
            left = cells.cast(pa.string()).filter(pa.array(~use)).to_pandas().to_numpy()
            reason = f"only rows in which {column!r} is {' or '.join(map(repr, wanted))} are used"
            self._reject(file=source.name, row=rows[~use], column=column, value=left, code="not_chosen", reason=reason)
        return use

    def _extra_columns(self, layout: FileTable, source: Source) -> dict[str, tuple[str, dict[str, str]]]:
        """Return output column → column of the file and what its values mean."""
        found: dict[str, tuple[str, dict[str, str]]] = {}
        if layout.split:
            found["split"] = (layout.split, {})
        if layout.group:
            found["group"] = (layout.group, {})
        for name, attribute in self.schema.attributes.items():
            spellings = (attribute.column, *attribute.aliases)
            column = next((c for c in spellings if position_of(source.columns, c) is not None), None)
            if column is None:
                self._without_attribute.setdefault(name, []).append(source)
            found[name] = (column or attribute.column, dict(attribute.values))
        return found

    def add_folders(self, layout: FoldersTable, root: Place) -> None:
        reader = Reader(self.schema)
        images: list[str] = []
        outcomes: list[int] = []
        splits: list[str] = []
        outcome_of: dict[str, int] = {}
        for reference, label, split in class_images(self.schema, layout, root, everything=True):
            if label not in outcome_of:
                outcome_of[label] = self._judge(reader, reader.joined(label, None, "folder"), "folder", label)
            images.append(reference)
            splits.append(split)
            outcomes.append(outcome_of[label])
        self.rows = len(images)
        rows = np.zeros(len(images), dtype=np.int64)
        more: dict[str, pa.Array | str] = {
            "split": _encoded(pa.array(splits, type=pa.string())) if any(splits) else "",
            "group": "",
            **dict.fromkeys(self.schema.attributes, ""),
        }
        if layout.merge:
            more["reader"] = ""
        self.parts.append(
            _Part(root.name, rows, pa.array(images, type=pa.string()), np.array(outcomes, np.int64), more)
        )

    # everything together

    def finish(self, source: Choice) -> SampleTable:
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
        if source.layout.merge:
            frame, keep = self._merged(frame[keep], source.layout.merge)
        self._refuse_labels(frame, keep)
        combinations, position = self._combinations(frame["labels"].to_numpy()[keep])
        frame["labels"] = position[frame["labels"].to_numpy()]
        self._refuse_repeats(frame, keep)
        self._note_uncertain(combinations, frame["labels"].to_numpy()[keep])
        if not keep.all():
            frame = frame[keep].reset_index(drop=True)
        rejects = pd.concat(self.rejects, ignore_index=True) if self.rejects else _empty_rejects()
        return SampleTable(frame, combinations, rejects, self.rows, tuple(self.notes))

    def _frame(self) -> tuple[pd.DataFrame, dict[int, Problem]]:
        """Return all rows, ``labels`` being positions in :attr:`outcomes`, and what is wrong with references."""
        images, keys, problems = name_samples(self.schema.id, pa.concat_arrays([p.image for p in self.parts]))
        data: dict[str, object] = {
            "row": np.concatenate([p.rows for p in self.parts]),
            "file": _joined([_constant(p.file, len(p.rows)) for p in self.parts]),
            "image": images.to_pandas(),
            "key": keys.to_pandas(),
            "labels": np.concatenate([p.outcomes for p in self.parts]),
        }
        readers = ("reader",) if "reader" in self.parts[0].extra else ()
        for name in ("split", "group", *self.schema.attributes, *readers):
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

    def _merged(self, frame: pd.DataFrame, how: Merge) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
        """Return the first row of each image, with labels that its rows give together."""
        same = _alike(frame["image"], how.copies) if how.copies else frame["key"]
        image, _ = pd.factorize(same)
        readers: list[dict[str, set[int]]] = [{} for _ in range(image.max(initial=-1) + 1)]
        for position, reader, outcome in zip(image, frame["reader"].tolist(), frame["labels"].tolist(), strict=True):
            readers[position].setdefault(reader, set()).add(outcome)
        judge = Reader(self.schema)

        def shown(said: Statement) -> str:
            return " + ".join((*sorted(judge.codes_of(said.positive)), *said.dropped)) or "nothing"

        outcome_of: dict[tuple[tuple[int, ...], ...], int] = {}
        labels = np.empty(len(readers), dtype=np.int64)
        for image_number, said in enumerate(readers):
            rows = tuple(sorted(tuple(sorted(outcomes)) for outcomes in said.values()))
            if rows not in outcome_of:
                together = merge_statements(self.schema, how, [[self._said[i] for i in one] for one in rows])
                value = "; ".join(dict.fromkeys(shown(self._said[i]) for one in rows for i in one))
                outcome_of[rows] = self._judge(judge, together, "several rows", value)
            labels[image_number] = outcome_of[rows]
        first = frame[~same.duplicated()].drop(columns="reader").reset_index(drop=True)
        first["labels"] = labels
        if len(first) < len(frame):
            agree = {"any": "any of them", "majority": "most of them", "all": "all of them"}[how.agree]
            whose = f"; of several readers, {agree} must say a label" if how.reader else ""
            self.notes.append(f"{len(frame)} rows are {len(first)} images{whose}")
        return first, np.ones(len(first), dtype=bool)

    def _refuse_labels(self, frame: pd.DataFrame, keep: npt.NDArray[np.bool_]) -> None:
        refused = np.array([isinstance(o, Refusal) for o in self.outcomes], dtype=bool)
        bad = refused[frame["labels"].to_numpy()] & keep
        if not bad.any():
            return
        which, row = np.unique(frame["labels"].to_numpy()[bad], return_inverse=True)
        columns = {
            name: np.array([getattr(self.outcomes[i], name) for i in which], dtype=object)[row]
            for name in ("column", "value", "code", "reason")
        }
        self._reject_rows(frame[bad], **columns)
        keep &= ~bad

    def _refuse_repeats(self, frame: pd.DataFrame, keep: npt.NDArray[np.bool_]) -> None:
        """Keep one row an image; rows that say different things of one image are all refused."""
        if all_differ(pa.array(frame["key"])):
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
        letter = {code: chr(i) for i, code in enumerate(self.schema.codes)}
        outcomes = np.flatnonzero(np.bincount(used, minlength=len(self.outcomes)))
        labels = [o for i in outcomes.tolist() if isinstance(o := self.outcomes[i], Labels)]
        said = {codes for o in labels for codes in (o.positive, o.negative, o.uncertain)}
        rank = {codes: n for n, codes in enumerate(sorted(said, key=lambda s: "".join([letter[code] for code in s])))}
        ranks = np.array([[rank[codes] for codes in (o.positive, o.negative, o.uncertain)] for o in labels])
        place, first = distinct_rows(list(ranks.reshape(-1, 3).T), [len(rank)] * 3, in_order=True)
        position = np.full(len(self.outcomes), -1, dtype=np.int64)
        position[outcomes] = place
        return tuple(labels[i] for i in first), position

    def _note_dropped(self, counts: npt.NDArray[np.int64]) -> None:
        dropped: Counter[str] = Counter()
        for said, count in zip(self._said, counts, strict=True):
            for label in set(said.dropped):
                dropped[label] += int(count)
        rules = {fold_label(k): why for k, why in self.schema.labels.drop.items()}
        for label, count in dropped.most_common():
            self.notes.append(f"label {label!r} dropped from {count} rows: {rules[fold_label(label)]}")

    def _note_uncertain(self, combinations: Sequence[Labels], labels: npt.NDArray[np.int64]) -> None:
        is_open = np.array([bool(c.uncertain) for c in combinations], dtype=bool)
        if is_open.any():
            self.notes.append(f"samples with an uncertain label, which is left unsaid: {int(is_open[labels].sum())}")

    def _reject_rows(self, rows: pd.DataFrame, **columns: object) -> None:
        plain = {k: v.to_numpy() if isinstance(v, pd.Series) else v for k, v in columns.items()}
        self._reject(file=rows["file"].to_numpy(), row=rows["row"].to_numpy(), **plain)

    def _reject(self, **columns: object) -> None:
        frame = pd.DataFrame({name: columns[name] for name in REJECT_COLUMNS})
        if len(frame):
            self.rejects.append(frame)


def _empty_rejects() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="int64" if name == "row" else "str") for name in REJECT_COLUMNS})


# ---- columns


def _needed(views: Sequence[View], extra: dict[str, tuple[str, dict[str, str]]]) -> list[str]:
    columns = [c for v in views for c in (*v.image_columns, *v.label_columns)]
    return list(dict.fromkeys([*columns, *(column for column, _ in extra.values())]))


def _joined(columns: Sequence["pd.Categorical[str]"]) -> "pd.Categorical[str]":
    columns = [c for c in columns if len(c)] or columns[:1]  # one without rows has no type
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


def _groups(cells: pa.Array, layout: FileTable) -> pa.Array:
    """Return the groups of a column, without what the layout's pattern leaves out of them."""
    text = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return text if layout.group_pattern is None else _found(text, layout.group_pattern)


def _alike(images: "pd.Series[str]", pattern: str) -> "pd.Series[str]":
    """Return what is the same in the references of an image's copies."""
    found = images.str.extract(f"(?P<found>{pattern})", expand=True)["found"]
    return found.where(found.notna(), images)


def _referred(images: pa.Array, pattern: str) -> pa.Array:
    """Return what a regular expression finds in each reference, or its groups; where it finds nothing, the reference."""
    groups = re.compile(pattern).groups
    if groups:
        joined = "".join(rf"\{number}" for number in range(1, groups + 1))
        return pc.replace_substring_regex(images, pattern=f"^.*?{pattern}.*$", replacement=joined)
    found = _found(images, pattern)
    return pc.if_else(pc.equal(found, ""), images, found)


def _found(texts: pa.Array, pattern: str) -> pa.Array:
    """Return what a regular expression finds in each text, empty where it finds nothing."""
    return pc.fill_null(pc.struct_field(pc.extract_regex(texts, f"(?P<found>{pattern})"), "found"), "")


def _below(folder: str, images: pa.Array) -> pa.Array:
    """Return references after their folder; what names no image, or a place of its own, stays as it is, to be refused."""
    other = pc.match_substring_regex(pc.utf8_trim_whitespace(images), r"^([/\\]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*:/|$)")
    return pc.if_else(other, images, pc.binary_join_element_wise(pa.scalar(folder.strip("/")), images, "/"))


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()


def distinct_rows(
    columns: Sequence[npt.NDArray[np.integer[Any]]], sizes: Sequence[int], *, in_order: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each row which of the distinct rows it is, and where each of these is first.

    Args:
        columns: numbers, at least one column.
        sizes: for each column a number that is greater than any in it.
        in_order: count the distinct rows in their order, not as they come.
    """
    which, known = columns[0].astype(np.int64), sizes[0]
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        if known * size >= 2**63:
            which, values = pd.factorize(which, sort=in_order)
            known = len(values)
        which, known = which * size + column, known * size
    which, values = pd.factorize(which, sort=in_order)
    first = np.empty(len(values), dtype=np.int64)
    first[which[::-1]] = np.arange(len(which))[::-1]
    return which, first
