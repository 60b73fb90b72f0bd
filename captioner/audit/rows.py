"""What an audit reads: rows of labels and captions, and rows that cannot be used; and which columns hold what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from captioner.errors import UsageError, did_you_mean

GROUPS = ("split", "run", "prompt", "engine", "source")
"""Dimensions by which figures are given wherever a target knows them."""


class Row(NamedTuple):
    """One image's captions, or those of a set that several images share; a tuple, because millions go between processes.

    Attributes:
        file: where it stands; for messages and annotations.
        place: in the file: ``row 12`` or a key.
        labels: as the file has them.
        captions: at least one.
        images: how many images have them.
        key: of (one of) the images.
        groups: dimension → value, of :data:`GROUPS`.
        sources: of each caption, where that is known (``engine``, ``code``, ``rules``).
        negatives: labels that are known to be absent.
        attributes: what else a caption may state.
        image: where a picture is: a tar and a key in it, or a file and nothing.
    """

    file: str
    place: str
    labels: Any
    captions: tuple[str, ...]
    images: int = 1
    key: str = ""
    groups: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    image: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A row, or a whole file, that cannot be audited.

    Attributes:
        file, place: where it stands.
        code: ``unknown_label``, ``no_label``, ``empty_caption``, ``bad_encoding``, ``bad_row`` or ``broken_file``.
        reason: in words.
    """

    file: str
    place: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}: {self.reason}" if self.place else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Labels by key.

    Attributes:
        table: where they come from.
        column: of the table, which holds the keys.
        labels: key, or ``SHARD/KEY``, → labels as the table has them.
    """

    table: Path
    column: str
    labels: Mapping[str, Any]

    def find(self, shard: str, key: str) -> Any:
        """Return the labels of a sample by its shard's stem and its key; None if there are none."""
        return self.labels.get(f"{shard}/{key}", self.labels.get(key))

    def lacks(self, key: str) -> str:
        """Return what to tell a person of a key that is not there."""
        first = next(iter(self.labels)).rpartition("/")[2]
        return f"no label: {self.table} has no {key!r} in its column {self.column!r} (the first there is {first!r})"


_USUAL = {
    "labels": (
        *("labels", "label", "findings", "finding_labels", "classes", "class", "class_name", "categories", "category"),
        *("label_names", "label_name", "diagnosis", "diagnoses", "target"),
    ),
    "caption": ("caption", "captions", "text", "texts", "report", "sentence", "description", "title", "impression"),
    "split": ("split", "fold", "subset", "partition"),
    "prompt": ("prompt", "prompt_name", "template", "prompt_style"),
    "engine": ("engine", "model", "generator", "llm", "model_name"),
    "source": ("source", "provenance", "origin"),
    "run": ("run", "run_id"),
    "key": ("key", "__key__", "id", "image_id", "filename", "file_name", "image_path", "image", "path", "filepath"),
    "image": ("image_path", "image", "filepath", "file_name", "filename", "path"),
}

_NEEDED = {
    "labels": ("labels", "Name it with --labels-column."),
    "caption": ("captions", "Name it with --caption-column."),
    "key": ("keys", "Call it 'key'."),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; an empty name means: none.

    Attributes:
        labels, caption: needed; guessed among the usual names where they are not given.
        split, prompt, engine, source, run: dimensions of the figures.
        key, image: the sample's name, and its picture's file.
        where: column and value: only rows with these are read.
    """

    labels: str = ""
    caption: str = ""
    split: str = ""
    prompt: str = ""
    engine: str = ""
    source: str = ""
    run: str = ""
    key: str = ""
    image: str = ""
    where: tuple[tuple[str, str], ...] = ()

    def guess(self, names: Iterable[str], where: str, *, need: tuple[str, ...] = ("labels", "caption")) -> "Columns":
        """Return the columns with what was left open found among the names that a file has.

        Raises:
            UsageError: one that is needed is not there; says what there is.
        """
        names = list(names)
        folded = {_fold(n): n for n in reversed(names)}
        found: dict[str, Any] = {}
        for role, usual in _USUAL.items():
            given = getattr(self, role)
            if given and given not in names and role in need:
                raise UsageError(
                    f"{where}: no column {given!r}; it has: {', '.join(names)}.{did_you_mean(given, names)}"
                )
            found[role] = given or next((folded[u] for u in usual if u in folded), "")
            if not found[role] and role in need:
                what, remedy = _NEEDED[role]
                if not decodable(*names):
                    raise UsageError(f"{where}: row 1: not UTF-8 text; is this a table? If so, save it as UTF-8.")
                raise UsageError(f"{where}: no column of {what} among: {', '.join(names) or 'none'}. {remedy}")
        for column, _ in self.where:
            if column not in names:
                raise UsageError(
                    f"{where}: no column {column!r}; it has: {', '.join(names)}.{did_you_mean(column, names)}"
                )
        return replace(self, **found)

    def wants(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row is to be read."""
        return all(str(row.get(column)) == value for column, value in self.where)

    def groups(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """Return the dimensions of a row."""
        return tuple(
            (name, str(value))
            for name in GROUPS
            if (column := getattr(self, name)) and isinstance(value := row.get(column), str | int) and value != ""
        )


def parse_where(text: str) -> tuple[str, str]:
    """Return the column and the value of ``COLUMN=VALUE``.

    Raises:
        UsageError: it is not of this form.
    """
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise UsageError(f"--where {text!r}: write it as COLUMN=VALUE, such as split=test")
    return column, value


def _fold(name: str) -> str:
    return "_".join(str(name).strip().casefold().replace("-", " ").replace("_", " ").split())


def texts_of(value: Any) -> tuple[str, ...]:
    """Return the captions that a cell holds: a text, or a list of texts; blank ones are left as they are."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple("" if v is None else str(v) for v in value)
    return (str(value),)


def harmless(text: str) -> str:
    """Keep a spreadsheet from taking text for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def decodable(*texts: str) -> bool:
    """Say whether texts can be written as UTF-8: readers mark bytes that were not by surrogates, and JSON can hold some."""
    return not any("\ud800" <= c <= "\udfff" for text in texts if not text.isascii() for c in text)
