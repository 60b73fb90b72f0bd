"""The distinct pieces of label information that samples have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from captioner.errors import UsageError, did_you_mean
from captioner.schema import LabelSchema
from captioner.tables import SampleTable, distinct_rows, uncollected
from captioner.triplets import Shared, Triplet


@uncollected()
def distinct(
    schema: LabelSchema, samples: SampleTable, *, negatives: bool = False, attributes: Sequence[str] = ()
) -> tuple[tuple[Triplet, ...], npt.NDArray[np.int64]]:
    """Return the distinct triplets of samples, and which one each sample has.

    Args:
        schema: the dataset's schema.
        samples: its samples; only label information that one of them has becomes a triplet.
        negatives: tell samples apart by what the table denies, too.
        attributes: ids of attributes to tell samples apart by, too.

    Returns:
        The triplets, sorted by their findings in the schema's order (then modality, anatomy, negatives, attributes), so
        that the order does not depend on that of the rows; and for each row of ``samples.frame`` the position of its
        triplet.

    Raises:
        UsageError: the schema has no attribute of a name that is asked for.
    """
    for name in attributes:
        if name not in schema.attributes:
            known = ", ".join(schema.attributes) or "none"
            raise UsageError(
                f"schema {schema.id!r} has no attribute {name!r}; it has: {known}.{did_you_mean(name, schema.attributes)}"
            )
    # Combinations are in the order that triplets are to have.
    said = [(labels.positive, labels.negative if negatives else ()) for labels in samples.combinations]
    kinds = {labels: i for i, labels in enumerate(dict.fromkeys(said))}
    kind_of = np.array([kinds[labels] for labels in said], dtype=np.int64)
    kind = kind_of[samples.frame["labels"].to_numpy(dtype=np.int64)]
    shared = [Shared.of(schema, *labels) for labels in kinds]
    names = sorted(set(attributes))
    columns = [_ranked(samples.frame[name]) for name in names]
    ranks = [kind, *_in_order_of_pairs(columns)]
    index, first = distinct_rows(ranks, [int(r.max(initial=0)) + 1 for r in ranks], in_order=True)
    values = [[known[i] for i in codes[first]] for codes, known in columns]
    triplets = []
    for i, *row in zip(kind[first], *values, strict=True):
        pairs = tuple([(name, value) for name, value in zip(names, row, strict=True) if value])
        triplets.append(shared[i].triplet(pairs))
    return tuple(triplets), index


def _ranked(column: "pd.Series[Any]") -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return for each row the position of its value among the distinct ones, and these, sorted."""
    codes, known = pd.factorize(column)
    texts = [str(value) for value in known]
    values = sorted(texts)
    place = {value: i for i, value in enumerate(values)}
    return np.array([place[text] for text in texts], dtype=np.int64)[codes], values


def _in_order_of_pairs(columns: Sequence[tuple[npt.NDArray[np.int64], list[str]]]) -> list[npt.NDArray[np.int64]]:
    """Return for each column ranks that sort rows as their pairs of name and value would be, without empty values.

    Names are sorted. In the place of an empty value stands a later name, which is greater, or the end, which is less.
    """
    found = []
    at_end = True
    for codes, values in reversed(columns):
        empty = (codes == 0) & (values[:1] == [""])
        found.append(np.where(empty, np.where(at_end, 0, len(values) + 1), codes + 1))
        at_end = empty & at_end
    return found[::-1]
