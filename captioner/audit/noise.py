"""Label noise: two tables of labels for the same images, under one schema, row by row.

Two copies of one table, a second reader, labels that were adjudicated later: where they differ, one of them is wrong.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from captioner.audit.statistics import kappa_of
from captioner.errors import UsageError
from captioner.schema import LabelSchema, load_schema
from captioner.tables import SampleTable, read_samples


@dataclass(frozen=True, eq=False)
class TableDiff:
    """Where two label tables differ.

    Attributes:
        images: that both have; ``same`` of them have the same labels.
        only_first, only_second: images that one of them has alone.
        rows: one row a difference: ``image``, row and labels in each, ``lost`` (labels of the first alone), ``gained``.
        classes: by class: images that both, the first alone, the second alone call it; Cohen's kappa.
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
        return f"{self.same:,} of {self.images:,} images that both tables have are labelled the same ({share:.1f} %)"


def diff_tables(first: Path | str, second: Path | str, schema: LabelSchema | str) -> TableDiff:
    """Compare two label tables.

    Images are matched by their references without folder and ending, so that tables of differently packed copies fit. An
    image that stands several times in a table has, in it, the labels of all its rows.

    Raises:
        UsageError: no image is in both tables.
        TableError: a table is not as the schema says.
    """
    loaded = load_schema(schema) if isinstance(schema, str) else schema
    one, two = (_labels(read_samples(loaded, Path(p))) for p in (first, second))
    common = [image for image in one if image in two]
    if not common:
        raise UsageError(
            f"{first} and {second} have no image in common (such as {next(iter(one), 'none')!r} and "
            f"{next(iter(two), 'none')!r}): nothing can be compared"
        )
    order = {code: i for i, code in enumerate(loaded.codes)}
    rows = []
    for image in common:
        (a, row_a), (b, row_b) = one[image], two[image]
        if a != b:
            cells = ("|".join(sorted(labels, key=order.__getitem__)) for labels in (a, b, a - b, b - a))
            rows.append([image, row_a, row_b, *cells])
    columns = ["image", "first_row", "second_row", "first", "second", "lost", "gained"]
    return TableDiff(
        first=str(first),
        second=str(second),
        images=len(common),
        same=len(common) - len(rows),
        only_first=len(one) - len(common),
        only_second=len(two) - len(common),
        rows=pd.DataFrame(rows, columns=columns),
        classes=_classes(loaded, [one[i][0] for i in common], [two[i][0] for i in common]),
    )


def _labels(table: SampleTable) -> dict[str, tuple[frozenset[str], int]]:
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
