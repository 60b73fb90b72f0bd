"""What every schema of the catalogue must pass, and how its table is looked at."""

import csv
import functools
from collections import Counter
from pathlib import Path

from captioner.agreement import Checker
from captioner.labels import Labels
from captioner.schema import LabelSchema, load_library, load_schema
from captioner.tables import SampleTable
from captioner.triplets import make_triplet
from captioner.writer import write_captions


@functools.cache
def schema_of(name: str) -> LabelSchema:
    return load_schema(name)


@functools.cache
def checker(name: str) -> Checker:
    return Checker(schema_of(name))


@functools.cache
def captions(name: str, code: str) -> tuple[str, ...]:
    schema = schema_of(name)
    return tuple(write_captions(schema, make_triplet(schema, Labels((code,))), 10))


def errors(name: str, labels: str, caption: str) -> list[str]:
    """Return the errors of a caption under labels joined by a semicolon."""
    verdict = checker(name).check(caption, labels.split(";"))
    return [issue.code for issue in verdict.issues if issue.level == "error"]


def implied(schema: LabelSchema, code: str) -> set[str]:
    """Return the codes and concepts that a class stands for."""
    found: set[str] = set()
    todo = [code]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        if name in schema:
            todo += [*schema[name].parents, *filter(None, [schema[name].concept])]
        else:
            todo += load_library().concepts[name].parents
    return found


def disagreeing(name: str) -> list[tuple[str, str]]:
    """Return the captions of the built-in writer that do not agree with their own class."""
    return [
        (code, caption)
        for code in schema_of(name).codes
        for caption in captions(name, code)
        if not checker(name).check(caption, [code]).agrees
    ]


def confused(name: str) -> list[tuple[str, str, str]]:
    """Return the captions of a class that agree under one that it does not imply."""
    schema = schema_of(name)
    found = []
    for item in schema.classes:
        own = implied(schema, item.code)
        for other in schema.classes:
            if other.code in own or other.concept in own:
                continue
            found += [
                (item.code, other.code, caption)
                for caption in captions(name, item.code)[::4]
                if checker(name).check(caption, [other.code]).agrees
            ]
    return found


def class_counts(table: SampleTable) -> dict[str, int]:
    """Count the images of each class."""
    images = table.frame["labels"].value_counts()
    counts: Counter[str] = Counter()
    for position, labels in enumerate(table.combinations):
        counts.update(dict.fromkeys(labels.positive, int(images.get(position, 0))))
    return dict(counts)


def labels_by_image(table: SampleTable) -> dict[str, tuple[str, ...]]:
    rows = zip(table.frame["image"], table.frame["labels"], strict=True)
    return {image: table.combinations[int(position)].positive for image, position in rows}


def write_csv(path: Path, *rows: tuple[str, ...], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n")
