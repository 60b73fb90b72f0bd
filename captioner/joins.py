"""A label table and another file that says more of its rows, read as one: labels of a study, and the study's images."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from captioner.errors import TableError, did_you_mean
from captioner.sheets import Columns, Sheet
from captioner.storage import Place


class ImageList:
    """The images below a folder, as a sheet: what their paths hold is columns.

    Args:
        path: the folder.
        images: paths of images, relative to it.
        pattern: regular expression; its named groups are columns, ``image`` is the path. Other images are left out.
    """

    def __init__(self, path: Place, images: Iterable[str], pattern: str) -> None:
        self.path = path
        expression = re.compile(pattern)
        found = [(m, image) for image in images if (m := expression.search(image))]
        self.names = (*expression.groupindex, "image")
        groups = [[m[name] or "" for m, _ in found] for name in expression.groupindex]
        self._columns = [pa.array(c, pa.string()) for c in (*groups, [image for _, image in found])]

    def read(self, columns: Sequence[int], *, plain: Sequence[int] = ()) -> Columns:
        """Return the columns at some positions; see :meth:`captioner.sheets.Sheet.read`."""
        cells = {c: self._columns[c] if c in plain else self._columns[c].dictionary_encode() for c in columns}
        return Columns(np.arange(len(self._columns[-1]), dtype=np.int64), cells, [])


class JoinedSheet:
    """A sheet with the columns of another one behind its own.

    Each row stands beside the rows of the other sheet that have the same values in some columns: beside none, its cells
    there are empty; beside several, it is several rows, all with its line number.

    Args:
        left: the table, or what is joined already.
        right: what says more of it.
        by: columns that both have.

    Raises:
        TableError: one of them has no such column.

    Attributes:
        path: of the table.
        names: column names; one that both have stands for the table's own.
    """

    path: Place
    names: tuple[str, ...]

    def __init__(self, left: "Sheet | JoinedSheet", right: "Sheet | ImageList", by: Sequence[str]) -> None:
        self._left, self._right = left, right
        self._left_keys = [_position(left.path, left.names, name) for name in by]
        self._right_keys = [_position(right.path, right.names, name) for name in by]
        taken = set(left.names)
        self._more = [i for i, name in enumerate(right.names) if name not in taken]
        self.path = left.path
        self.names = (*left.names, *(right.names[i] for i in self._more))

    def read(self, columns: Sequence[int], *, plain: Sequence[int] = ()) -> Columns:
        """Return the columns at some positions; see :meth:`captioner.sheets.Sheet.read`."""
        own = len(self._left.names)
        ours = [c for c in columns if c < own]
        theirs = {c: self._more[c - own] for c in columns if c >= own}
        left = self._left.read([*ours, *self._left_keys], plain=[c for c in plain if c < own])
        right = self._right.read([*theirs.values(), *self._right_keys])
        at_left, at_right = _matches(
            [left.cells[k] for k in self._left_keys], [right.cells[k] for k in self._right_keys]
        )
        cells = {c: left.cells[c].take(pa.array(at_left)) for c in ours}
        missing = at_right < 0
        for column, position in theirs.items():
            taken = right.cells[position].take(pa.array(at_right, mask=missing))
            text = pc.fill_null(taken.cast(pa.string()), "") if missing.any() else taken
            if column in plain:
                cells[column] = text.cast(pa.string())
            else:
                cells[column] = text if isinstance(text, pa.DictionaryArray) else text.dictionary_encode()
        return Columns(left.rows[at_left], cells, left.overlong)


def _position(path: Place, names: Sequence[str], name: str) -> int:
    if name not in names:
        raise TableError(f"{path}: row 1: column {name!r} is missing.{did_you_mean(name, names)} It joins this file")
    return names.index(name)


def _matches(
    left: Sequence[pa.Array], right: Sequence[pa.Array]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each joined row its position on the left and on the right, there -1 where it has no match."""

    def frame(keys: Sequence[pa.Array], position: str) -> pd.DataFrame:
        columns: dict[str, object] = {
            f"k{i}": pc.utf8_trim_whitespace(k.cast(pa.string())).to_pandas() for i, k in enumerate(keys)
        }
        return pd.DataFrame(columns | {position: np.arange(len(keys[0]))})

    keys = [f"k{i}" for i in range(len(left))]
    joined = frame(left, "left").merge(frame(right, "right"), how="left", on=keys, sort=False)
    return joined["left"].to_numpy(np.int64), joined["right"].fillna(-1).to_numpy(np.int64)
