"""Captions from dictionaries in a Python file, class description → captions, as in UniMed-CLIP's ``constants.py``.

The file is read as data and never run.
"""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.audit.rows import Bad, Columns, Row
from captioner.errors import UsageError, did_you_mean
from captioner.schema import LabelClass, LabelSchema

SUFFIX = ".py"


@dataclass(frozen=True, slots=True)
class Entry:
    """A dictionary's entry: its line in the file, its key, and its value (None if that is no literal)."""

    line: int
    key: str
    value: Any


def class_of(schema: LabelSchema, description: str) -> LabelClass | None:
    """Return the class that a key names: by code, alias or wording, or as *modality, region, finding*.

    UniMed-CLIP describes the classes of RadImageNet in the latter way ("MRI photo, knee, fracture", "ultrasound image,
    liver, liver"); RadImageNet itself writes "knee-fracture" and, for organs in ultrasound, "US-liver".
    """
    names = [description]
    parts = [p.strip() for p in description.split(",")]
    if len(parts) == 3:
        names += [f"{parts[1]}-{parts[2]}", f"US-{parts[2]}"]
    return next((found for name in names if (found := schema.find(name)) is not None), None)


def dictionaries(path: Path) -> dict[str, list[Entry]]:
    """Return the dictionaries with texts as keys that a Python file assigns at its top level, by name.

    Raises:
        UsageError: the file cannot be read, or is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of somebody else's code
            tree = ast.parse(path.read_bytes())
    except OSError as e:
        raise UsageError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise UsageError(f"{path}: not Python: {e}") from None
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            entries = list(_entries(node.value))
            if isinstance(target, ast.Name) and entries:
                found[target.id] = entries
    return found


def _entries(node: ast.Dict) -> Iterator[Entry]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            try:
                yield Entry(key.lineno, key.value, ast.literal_eval(value))
            except (ValueError, TypeError, RecursionError, MemoryError):
                yield Entry(key.lineno, key.value, None)


def read_literals(path: Path, schema: LabelSchema, columns: Columns) -> Iterator[Row | Bad]:
    """Yield the captions of each dictionary of a file whose keys are classes of the schema, three in four at least.

    The name of the dictionary is the dimension ``source``, and ``--where source=NAME`` takes that one alone.

    Raises:
        UsageError: there is none; says which there are.
    """
    known = dictionaries(path)
    for column, value in columns.where:
        if column != "source":
            raise UsageError(f"{path}: dictionaries of a Python file can be chosen by --where source=NAME alone")
        if value not in known:
            raise UsageError(
                f"{path}: no dictionary {value!r}; there are: {', '.join(known) or 'none'}.{did_you_mean(value, known)}"
            )
    wanted = [v for _, v in columns.where] or [n for n, entries in known.items() if _fits(entries, schema)]
    if not wanted:
        raise UsageError(
            f"{path}: no dictionary in it has classes of schema {schema.id!r} as keys and captions as values; "
            f"there are: {', '.join(known) or 'none'}. Choose one with --where source=NAME"
        )
    for name in wanted:
        for entry in known[name]:
            yield _row(path, name, entry, schema)


def _fits(entries: list[Entry], schema: LabelSchema) -> bool:
    named = sum(class_of(schema, e.key) is not None for e in entries)
    return 4 * named >= 3 * len(entries) and any(_captions(e.value) for e in entries)


def _captions(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    return tuple(items) if isinstance(items, list | tuple) and all(isinstance(i, str) for i in items) else ()


def _row(path: Path, name: str, entry: Entry, schema: LabelSchema) -> Row | Bad:
    place = f"row {entry.line}"
    captions = _captions(entry.value)
    if not captions:
        return Bad(str(path), place, "bad_row", f"{entry.key!r} in {name} is no text and no list of texts")
    found = class_of(schema, entry.key)
    label = entry.key if found is None else found.code
    return Row(str(path), place, [label], captions, key=entry.key, groups=(("source", name),))
