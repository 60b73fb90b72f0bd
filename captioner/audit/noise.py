"""Label noise: two tables of labels for the same images, or several readers of one table, under one schema, row by row.

Two copies of one table, a second reader, labels that were adjudicated later: where they differ, one of them is wrong.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from captioner.audit.statistics import kappa_of
from captioner.errors import UsageError
from captioner.schema import LabelSchema, load_schema
from captioner.tables import SampleTable, read_samples


@dataclass(frozen=True, eq=False)
class TableDiff:
    """Where two label tables differ, or each two readers of one table.

    Attributes:
        images: that both have; ``same`` of them have the same labels. Of several readers: images by pairs of readers.
        only_first, only_second: images that one of them has alone.
        rows: one row a difference: ``image``, row and labels in each, ``lost`` (labels of the first alone), ``gained``; of
            several readers also ``first_reader`` and ``second_reader``.
        classes: by class: images that both, the first alone, the second alone call it; Cohen's kappa, of several readers
            from the counts of all pairs together.
    """

    first: str
    second: str
    images: int
    same: int
    only_first: int
    only_second: int
    rows: pd.DataFrame
    classes: pd.DataFrame

    def headline(self) -> str:
        """Return the finding in one sentence."""
        share = 100 * self.same / self.images if self.images else 0
        if self.second:
            return (
                f"{self.same:,} of {self.images:,} images that both tables have are labelled the same ({share:.1f} %)"
            )
        return f"{self.same:,} of {self.images:,} pairs of readings of one image are the same ({share:.1f} %)"


def diff_tables(
    first: Path | str, second: Path | str, schema: LabelSchema | str, second_schema: LabelSchema | str | None = None
) -> TableDiff:
    """Compare two label tables.

    Images are matched by their references without folder and ending, so that tables of differently packed copies fit. An
    image that stands several times in a table has, in it, the labels of all its rows.

    Args:
        first: a label table, or the folder that it is in.
        second: another.
        schema: what their labels mean.
        second_schema: what the second's labels mean, where it is laid out in another way or has other classes. Compared
            are the findings that both schemas have, by code, alias or name.

    Raises:
        UsageError: no image is in both tables, or no class in both schemas.
        TableError: a table is not as the schema says.
    """
    loaded = load_schema(schema) if isinstance(schema, str) else schema
    other = load_schema(second_schema) if isinstance(second_schema, str) else second_schema
    shared = {} if other is None else _shared(loaded, other)
    one, two = _labels(read_samples(loaded, Path(first))), _labels(read_samples(other or loaded, Path(second)))
    if shared:
        one = {image: (labels & set(shared.values()), row) for image, (labels, row) in one.items()}
        two = {i: (frozenset(shared[c] for c in labels if c in shared), row) for i, (labels, row) in two.items()}
    common = [image for image in one if image in two]
    if not common:
        raise UsageError(
            f"{first} and {second} have no image in common (such as {next(iter(one), 'none')!r} and "
            f"{next(iter(two), 'none')!r}): nothing can be compared"
        )
    rows = _differences(loaded, common, one, two)
    return TableDiff(
        first=str(first),
        second=str(second),
        images=len(common),
        same=len(common) - len(rows),
        only_first=len(one) - len(common),
        only_second=len(two) - len(common),
        rows=pd.DataFrame(rows, columns=_COLUMNS),
        classes=_classes(loaded, [one[i][0] for i in common], [two[i][0] for i in common]),
    )


def _shared(schema: LabelSchema, other: LabelSchema) -> dict[str, str]:
    """Return the findings that two schemas have: code in the second → code in the first."""
    found = {}
    for item in other.classes:
        names = (item.code, *item.aliases, item.name)
        same = next((c for n in names if (c := schema.find(n)) is not None), None)
        if same is not None and item.kind == same.kind == "finding":
            found[item.code] = same.code
    if not found:
        raise UsageError(f"schemas {schema.id!r} and {other.id!r} have no finding in common: nothing can be compared")
    return found


def diff_readers(table: Path | str, schema: LabelSchema | str) -> TableDiff:
    """Compare the readers of one table, each with each on the images that both have read.

    Raises:
        UsageError: the schema names no column of readers that the table has, or no image was read twice.
        TableError: the table is not as the schema says.
    """
    loaded = load_schema(schema) if isinstance(schema, str) else schema
    path = Path(table)
    read = {name: said for name, said in _readers(path, loaded).items() if said}
    rows: list[list[object]] = []
    one: list[frozenset[str]] = []
    two: list[frozenset[str]] = []
    for (first, said), (second, answered) in combinations(sorted(read.items()), 2):
        common = [image for image in said if image in answered]
        rows += [[*row, first, second] for row in _differences(loaded, common, said, answered)]
        one += [said[i][0] for i in common]
        two += [answered[i][0] for i in common]
    if not one:
        raise UsageError(f"{path}: no image was read by two readers: nothing can be compared")
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, "first_reader", "second_reader"])
    return TableDiff(
        first=str(path),
        second="",
        images=len(one),
        same=len(one) - len(rows),
        only_first=0,
        only_second=0,
        rows=frame.sort_values(["image", "first_reader", "second_reader"], ignore_index=True),
        classes=_classes(loaded, one, two),
    )


_COLUMNS = ["image", "first_row", "second_row", "first", "second", "lost", "gained"]
_Labelled = dict[str, tuple[frozenset[str], int]]
"""Image → its labels and its row."""


def _readers(path: Path, schema: LabelSchema) -> dict[str, _Labelled]:
    """Return what each reader says: the table is read once for each, with that reader's rows alone."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as e:
        raise UsageError(f"{path}: cannot be read: {e}") from None
    known = (t.merge.reader for t in schema.tables if t.merge is not None and t.merge.reader)
    column = next((c for c in known if c in frame.columns), None)
    if column is None:
        raise UsageError(
            f"{path}: schema {schema.id!r} names no column of readers that it has (merge: {{reader: COLUMN}}); "
            "to compare two tables, give both"
        )
    found = {}
    for name, rows in frame.groupby(column, sort=True):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / path.name.removesuffix(".gz")
            rows.to_csv(part, index=False)
            said = _labels(read_samples(schema, part))
        places = rows.index.to_numpy() + 2  # a header stands in row 1
        found[str(name)] = {image: (labels, int(places[row - 2])) for image, (labels, row) in said.items()}
    return found


def _differences(schema: LabelSchema, images: Iterable[str], one: _Labelled, two: _Labelled) -> list[list[object]]:
    order = {code: i for i, code in enumerate(schema.codes)}
    rows: list[list[object]] = []
    for image in images:
        (a, row_a), (b, row_b) = one[image], two[image]
        if a != b:
            cells = ("|".join(sorted(labels, key=order.__getitem__)) for labels in (a, b, a - b, b - a))
            rows.append([image, row_a, row_b, *cells])
    return rows


def _labels(table: SampleTable) -> _Labelled:
    """Return each image's positive labels and its (first) row."""
    sets = [frozenset(c.positive) for c in table.combinations]
    found: dict[str, tuple[frozenset[str], int]] = {}
    frame = table.frame
    for image, labels, row in zip(frame["image"], frame["labels"], frame["row"], strict=True):
        name = str(image).rsplit("/", 1)[-1]
        name = name.rpartition(".")[0] or name
        before, first = found.get(name, (frozenset(), int(row)))
        found[name] = before | sets[labels], first
    return found


def _classes(schema: LabelSchema, one: list[frozenset[str]], two: list[frozenset[str]]) -> pd.DataFrame:
    both, first, second = Counter[str](), Counter[str](), Counter[str]()
    for a, b in zip(one, two, strict=True):
        both.update(a & b)
        first.update(a - b)
        second.update(b - a)
    rows = []
    for code in schema.codes:
        counts = both[code], first[code], second[code]
        if any(counts):
            value = kappa_of(*counts, len(one) - sum(counts))
            rows.append([code, *counts, 1.0 if math.isnan(value) else value])
    return pd.DataFrame(rows, columns=["class", "both", "only_first", "only_second", "kappa"])
