"""Which layout of a schema fits what is there, and how its rows are read: images and labels of one row."""

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from captioner.errors import SchemaError, TableError, did_you_mean
from captioner.joins import ImageList, JoinedSheet
from captioner.labels import Reader, Statement
from captioner.references import EXTENSIONS
from captioner.schema import (
    CodesTable,
    FoldersTable,
    Join,
    LabelSchema,
    LiteralsTable,
    MarksTable,
    NamesTable,
    OneHotTable,
    Table,
    TableFile,
    ViewsTable,
    fold_label,
)
from captioner.sheets import SUFFIXES, Sheet
from captioner.storage import Place, Remote, relative

FileTable = NamesTable | LiteralsTable | OneHotTable | CodesTable | MarksTable | ViewsTable
Cells = tuple[str, ...]
ReadCell = Callable[[Reader, str, str], Statement]
"""What a cell of a column says."""


@dataclass(slots=True)
class Source:
    """A file of a layout."""

    sheet: Sheet | JoinedSheet
    entry: TableFile | None
    columns: dict[str, int]
    missing: list[str]
    name: str


@dataclass(slots=True)
class Choice:
    """A layout, its files, and what a person should know of the choice."""

    layout: Table
    files: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(schema: LabelSchema, place: Place) -> Choice:
    """Return the first layout that fits.

    Raises:
        TableError: none does; names the nearest and what it lacks.
    """
    found = [place] if place.is_file() else _table_files(place)
    candidates: list[tuple[FileTable, list[Source]]] = []
    for layout in schema.tables:
        if isinstance(layout, FoldersTable):
            if place.is_dir() and next(class_images(schema, layout, place), None):
                return Choice(layout, notes=_unused(candidates))
            continue
        files = _open(schema, layout, found, place)
        good = [f for f in files if not f.missing]
        # A file that the schema names must fit; without names, whatever fits is taken.
        if good and (len(good) == len(files) or not layout.files):
            return Choice(layout, good, [*_unused(candidates), *_unused([(layout, files)])])
        if files:
            candidates.append((layout, files))
    if candidates:
        layout, files = min(candidates, key=lambda c: min(len(f.missing) for f in c[1] if f.missing))
        worst = min((f for f in files if f.missing), key=lambda f: len(f.missing))
        raise TableError(_missing_columns(schema, layout, worst))
    raise TableError(_nothing_found(schema, place, found))


def _unused(candidates: Iterable[tuple[FileTable, list[Source]]]) -> list[str]:
    return [
        f"{f.name} is not used: it has no column {f.missing[0]!r}, which layout '{layout.layout}' needs"
        for layout, files in candidates
        for f in files
        if f.missing
    ]


def _table_files(folder: Place) -> list[Place]:
    """Return all files but images; what a schema calls its table is up to the schema."""
    return [folder / path for path, name in walk(folder) if not _is_image(name)]


def walk(folder: Place) -> Iterator[tuple[str, str]]:
    """Yield relative path (``/`` between parts) and name of every visible file, sorted; links to folders are left."""

    def refuse(error: OSError) -> None:
        raise TableError(f"{error.filename}: the folder cannot be read: {error.strerror}")

    if isinstance(folder, Remote):
        yield from _objects(folder)
        return
    for base, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        prefix = Path(base).relative_to(folder).as_posix()
        for name in sorted(names):
            if not name.startswith("."):
                yield (name if prefix == "." else f"{prefix}/{name}"), name


def _objects(folder: Remote) -> Iterator[tuple[str, str]]:
    """Do the same for what lies in object storage, in the same order: a folder's own files, then its folders."""
    visible = (
        (*((1, name) for name in folders), (0, name))
        for *folders, name in (path.split("/") for path in folder.files())
        if not any(part.startswith(".") for part in (*folders, name)) and "__MACOSX" not in folders
    )
    for parts in sorted(visible):
        yield "/".join(name for _, name in parts), parts[-1][1]


def _open(schema: LabelSchema, layout: FileTable, found: Sequence[Place], place: Place) -> list[Source]:
    """Return the files of a layout; for one file that is named explicitly, whatever it is called."""
    if place.is_file():
        entry = next((e for e in layout.files if _matches(e, place)), None)
        siblings = [p for p in place.parent.iterdir() if p.is_file()] if layout.join else []
        return [_source(schema, layout, place, entry, place, found=siblings)]
    if not layout.files:
        return [
            s
            for path in found
            if path.name.lower().endswith(SUFFIXES) and (s := _try(schema, layout, path, place, found))
        ]
    chosen: dict[Place, TableFile] = {}
    for entry in layout.files:
        for path in found:
            if _matches(entry, path):
                chosen.setdefault(path, entry)
    for entry in layout.files:
        _refuse_copies([path for path, chosen_by in chosen.items() if chosen_by is entry])
    return [_source(schema, layout, path, entry, place, found=found) for path, entry in chosen.items()]


def _try(schema: LabelSchema, layout: FileTable, path: Place, place: Place, found: Sequence[Place]) -> Source | None:
    """Return a file that nobody has named, if it can be read at all."""
    try:
        return _source(schema, layout, path, None, place, found=found)
    except TableError:
        return None


def _matches(entry: TableFile | Join, path: Place) -> bool:
    if entry.match is None:
        return False
    if "/" in entry.match:
        return fnmatch.fnmatch("/" + str(path).lower(), "*/" + entry.match.lower())
    return fnmatch.fnmatch(path.name.lower(), entry.match.lower())


def _refuse_copies(paths: Iterable[Place]) -> None:
    names = Counter(p.name for p in paths)
    for name, count in names.items():
        if count > 1:
            places = ", ".join(str(p) for p in paths if p.name == name)
            raise TableError(f"label table {name!r} is there {count} times: {places}. Say which one to read")


def _source(
    schema: LabelSchema,
    layout: FileTable,
    path: Place,
    entry: TableFile | None,
    place: Place,
    *,
    found: Sequence[Place],
) -> Source:
    sheet: Sheet | JoinedSheet = Sheet(
        path,
        encoding=layout.encoding,
        delimiter=layout.delimiter,
        header=layout.header,
        sheet=layout.sheet,
        skip=layout.skip_rows,
    )
    if all(position_of(_positions(sheet, layout), c) is not None for c in layout.columns_needed):
        for join in layout.join:
            sheet = JoinedSheet(sheet, _joined(join, path, place, found), join.by)
    columns = _positions(sheet, layout)
    needed = [*layout.columns_needed, *_image_columns(schema, layout, entry)]
    if isinstance(layout, OneHotTable) and not layout.columns:
        codes = [c for c in columns if schema.find(c)]
        needed += [] if codes else [schema.codes[0]]
    needed += [c for c in (layout.split, layout.group, *layout.where) if c]
    missing = [c for c in dict.fromkeys(needed) if position_of(columns, c) is None]
    name = path.name if place.is_file() else relative(path, place)
    return Source(sheet, entry, columns, missing, name)


def _joined(join: Join, path: Place, place: Place, found: Sequence[Place]) -> Sheet | ImageList:
    """Return what a join puts beside a table: a file, or the images themselves."""
    if join.images is None:
        return Sheet(_joined_file(join, path, found))
    folder = place if place.is_dir() else place.parent
    return ImageList(folder, (p for p, name in walk(folder) if _is_image(name)), join.images)


def _is_image(name: str) -> bool:
    return name.rpartition(".")[2].lower() in EXTENSIONS


def _joined_file(join: Join, path: Place, found: Sequence[Place]) -> Place:
    """Return the file to join to a table: the one in the table's folder, or else the only one there is."""
    matching = [p for p in found if _matches(join, p)]
    near = [p for p in matching if p.parent == path.parent] or matching
    if not near:
        by = ", ".join(map(repr, join.by))
        raise TableError(f"{path}: no file {join.match} beside it, which says more of its rows by {by}; put it there")
    _refuse_copies(near)
    if len(near) > 1:
        names = ", ".join(sorted(p.name for p in near))
        raise TableError(f"{path}: several files match {join.match}: {names}. Leave one of them there")
    return near[0]


def _positions(sheet: Sheet | JoinedSheet, layout: FileTable) -> dict[str, int]:
    """Return column name → position. A name that stands twice is left out: which one is meant, nobody knows."""
    count = Counter(sheet.names)
    columns = {name: i for i, name in enumerate(sheet.names) if name and count[name] == 1}
    for name, others in layout.renamed.items():
        for other in others:
            unnamed = _UNNAMED.fullmatch(other)
            at = int(unnamed[1]) if unnamed else position_of(columns, other)
            if position_of(columns, name) is None and at is not None and at < len(sheet.names):
                columns[name] = at
    return columns


_UNNAMED = re.compile("Unnamed: ([0-9]+)")
"""How pandas calls a column without a name, by its position."""


def position_of(columns: dict[str, int], name: str) -> int | None:
    """Find a column by its name; case and runs of spaces count only where two names differ by nothing else."""
    exact = columns.get(name.strip())
    if exact is not None:
        return exact
    alike = [i for other, i in columns.items() if fold_label(other) == fold_label(name)]
    return alike[0] if len(alike) == 1 else None


_FIELD = re.compile(r"\{([^{}]+)\}")


def _image_columns(schema: LabelSchema, layout: FileTable, entry: TableFile | None) -> list[str]:
    if isinstance(layout, ViewsTable):
        return list(layout.views)
    image = (entry.image if entry else None) or layout.image
    if image is None:
        raise SchemaError(f"schema {schema.id!r}: layout '{layout.layout}' does not say which column names the image")
    return _FIELD.findall(image) or [image]


def _missing_columns(schema: LabelSchema, layout: FileTable, source: Source) -> str:
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


def _nothing_found(schema: LabelSchema, place: Place, found: Sequence[Place]) -> str:
    wanted = [e.match for t in schema.tables if not isinstance(t, FoldersTable) for e in t.files]
    looked = []
    if wanted:
        looked.append("a file named " + " or ".join(dict.fromkeys(wanted)))
    if any(isinstance(t, FoldersTable) for t in schema.tables):
        looked.append("images in folders named after classes, such as " + ", ".join(schema.codes[:3]))
    tables = [p for p in found if p.name.lower().endswith(SUFFIXES)]
    there = ", ".join(relative(p, place) for p in tables[:10]) if place.is_dir() else place.name
    return (
        f"{place}: no label table of schema {schema.id!r}. Looked for {'; '.join(looked) or 'a table file'}. "
        f"Table files there: {there or 'none'}"
    )


# ---- what a row holds


@dataclass(frozen=True, slots=True)
class View:
    """One image a row: the columns that name it, the columns that label it, and how their cells are read."""

    image_columns: Cells
    pattern: str | None
    label_columns: Cells
    read: ReadCell
    all_negative: str | None = None

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


def views_of(schema: LabelSchema, layout: FileTable, source: Source) -> list[View]:
    """Return what one row of a file holds: one image, or several in a ``views`` table."""
    read: ReadCell
    if isinstance(layout, ViewsTable):
        read = Reader.differential if layout.differential else _joined_by(layout.separator)
        return [View((image,), None, (label,), read) for image, label in layout.views.items()]
    image_columns = tuple(_image_columns(schema, layout, source.entry))
    image = (source.entry.image if source.entry else None) or layout.image
    pattern = image if image and _FIELD.search(image) else None
    columns, all_negative = layout.columns_needed, None
    if isinstance(layout, NamesTable):
        read = _joined_by(layout.separator)
    elif isinstance(layout, LiteralsTable):
        read = Reader.literals
    elif isinstance(layout, CodesTable):
        read = lambda reader, cell, column: reader.coded(cell, layout, column)  # noqa: E731
    elif isinstance(layout, MarksTable):
        read = lambda reader, cell, _: reader.marked(cell, layout)  # noqa: E731
    else:
        targets = _one_hot_targets(schema, layout, source)
        read = lambda reader, cell, column: reader.one_hot(cell, layout, column, targets[column])  # noqa: E731
        # A layout that names its columns has all that there are; otherwise every class must have one.
        complete = layout.columns or {*schema.codes} - {layout.all_negative} <= {*targets.values()}
        columns, all_negative = tuple(targets), layout.all_negative if complete else None
    return [View(image_columns, pattern, columns, read, all_negative)]


def _joined_by(separator: str | None) -> ReadCell:
    return lambda reader, cell, column: reader.joined(cell, separator, column)


def _one_hot_targets(schema: LabelSchema, layout: OneHotTable, source: Source) -> dict[str, str | None]:
    """Return column → class code. A column of 0 and 1 that is no class is kept as None: its rows must not pass."""
    if layout.columns:
        return dict(layout.columns)
    other = {*layout.ignore, *_image_columns(schema, layout, source.entry), layout.split, layout.group, *layout.where}
    other |= {layout.merge.reader} if layout.merge else set()
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


def class_images(
    schema: LabelSchema, layout: FoldersTable, root: Place, *, everything: bool = False
) -> Iterator[tuple[str, str, str]]:
    """Yield reference, label and split of the images below a folder; with ``everything``, also those of no class."""
    pattern = re.compile(layout.pattern) if layout.pattern else None
    labels: dict[str, str | None] = {}
    for path, name in walk(root):
        if not _is_image(name) or any(fnmatch.fnmatch(name, e) or fnmatch.fnmatch(path, e) for e in layout.exclude):
            continue
        found = pattern.search(path) if pattern else None
        where = path.rpartition("/")[0] if pattern is None else found["label"] if found else path
        if where not in labels:
            labels[where] = _folder_label(schema, where) if pattern is None or found else None
        label = labels[where]
        if label is not None or everything:
            split = found.groupdict().get("split") if found else None
            yield _printable(path), label if label is not None else _printable(where) or "(no folder)", split or ""


def _printable(path: str) -> str:
    """Return a path as text; bytes that are no UTF-8 become U+FFFD, and so no file is found under it."""
    return path if path.isascii() else os.fsencode(path).decode(errors="replace")


def _folder_label(schema: LabelSchema, folder: str) -> str | None:
    """Return the longest run of folder names that is a class, the one nearest to the image first."""
    rules = {fold_label(k) for k in schema.labels.strings}
    parts = folder.split("/")
    for end in range(len(parts), 0, -1):
        for start in range(end):
            label = "/".join(parts[start:end])
            if schema.find(label) or fold_label(label) in rules:
                return label
    return None
