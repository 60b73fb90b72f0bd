"""What can be audited: a run, an output folder, shards, tables, Hugging Face datasets on disk → rows."""

import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from captioner.audit.literals import SUFFIX as LITERALS
from captioner.audit.literals import read_literals
from captioner.audit.rows import Bad, Columns, Lookup, Row
from captioner.audit.tables import SUFFIXES, TableReader, class_names, read_labels, tolerant
from captioner.audit.tars import SetInfo, read_caption_shards, read_tars
from captioner.errors import UsageError
from captioner.schema import LabelSchema
from captioner.shards.members import RECORD
from captioner.storage import Place, Remote, matching, seekable

_HERE = "tables are read from this machine: copy it first"


@dataclass(frozen=True, slots=True)
class Target:
    """Something to audit.

    Attributes:
        path: as it was given.
        kind: what it turned out to be, in words.
        rows: read while they are asked for, once.
        facts: what a run says of itself: prompt, engine, requests, tokens.
    """

    path: str
    kind: str
    rows: Iterator[Row | Bad]
    facts: tuple[Mapping[str, Any], ...] = field(default=())


def open_target(
    path: Place,
    schema: LabelSchema,
    *,
    columns: Columns | None = None,
    labels: Path | None = None,
    images: Path | None = None,
) -> Target:
    """Find out what a path is.

    Args:
        path: a run's folder, an output folder, a folder of shards or tables, a Hugging Face dataset on disk, or a file;
            of runs, output folders and shards also the URL.
        schema: what the labels mean.
        columns: which column holds what, for tables.
        labels: a table of labels by key, for shards and tables that hold none.
        images: the folder of image shards, or for tables the folder that image paths start from.

    Raises:
        UsageError: there is nothing there that could be audited.
    """
    columns = columns or Columns()
    found = _open(path, schema, columns, read_labels(labels, columns) if labels else None, images)
    if not columns.where:
        return found
    if found.kind not in {"table", "tables", "Hugging Face dataset", "Python dictionaries"}:
        raise UsageError(f"{path}: a {found.kind} has no columns to choose rows by")
    chosen = " and ".join(f"{column} = {value}" for column, value in columns.where)
    return replace(found, kind=f"{found.kind}, rows with {chosen}")


def _open(path: Place, schema: LabelSchema, columns: Columns, lookup: Lookup | None, images: Path | None) -> Target:
    if path.is_file():
        return _file(path, schema, columns, lookup, images)
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder")
    if _is_run(path):
        return _runs(path, [path], images)
    if runs := [p for p in matching(path, "runs/*") if _is_run(p)]:
        return _runs(path, runs, images)
    if tars := matching(path, "*.tar") or matching(path, "*.tar.gz"):
        if (path / RECORD).is_file():
            beside = images or _images_beside(path)
            rows = read_caption_shards(tars, images=beside, lookup=lookup)
            return Target(str(path), "caption shards", rows)
        return Target(str(path), "shards", read_tars(tars, lookup))
    if runs := [p for p in (path, *matching(path, "runs/*")) if _of_texts(p) or (p / "ledger.sqlite").is_file()]:
        found = _texts(path, runs, schema, labelled=lookup is not None)
        return _open(found, schema, columns, lookup, images)
    if isinstance(path, Remote):
        raise UsageError(f"{path}: nothing to audit: neither a run, an output folder nor shards (*.tar); {_HERE}")
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return Target(str(path), "Hugging Face dataset", _hugging_face(path, schema, columns, lookup, images))
    if tables := _tables(path) or _tables(path / "data"):
        read = (
            TableReader(t, schema, columns, images or path, groups=_split_of(t, len(tables)), lookup=lookup)
            for t in tables
        )
        rows = itertools.chain.from_iterable(tolerant(r) if len(tables) > 1 else r.rows() for r in read)
        return Target(str(path), "tables", rows)
    raise UsageError(
        f"{path}: nothing to audit: neither a run, an output folder, shards (*.tar), a Hugging Face dataset nor tables "
        f"({', '.join(SUFFIXES)})"
    )


def _texts(path: Place, runs: Sequence[Place], schema: LabelSchema, *, labelled: bool) -> Place:
    """Return the captions of a run on a dataset's own texts, which need a table of labels beside them.

    Raises:
        UsageError: there is no such table; there are several such runs, or only runs that are not finished.
    """
    texts = [run for run in runs if _of_texts(run)]
    if not texts:
        raise UsageError(f"{runs[0]}: this run is not finished: start the same `captioner run …` again to finish it")
    if not labelled or len(texts) > 1:
        raise UsageError(
            f"{path}: the dataset's own texts come without labels. Name a run and give a table of them (columns 'key' and "
            f"'labels'): captioner audit {texts[0]} --schema {schema.id} --labels TABLE"
        )
    captions = texts[0] / "captions"
    return captions if captions.is_dir() else texts[0] / "captions.parquet"


def _of_texts(run: Place) -> bool:
    return (run / "captions" / RECORD).is_file() or (run / "captions.parquet").is_file()


def _tables(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []


def _split_of(table: Path, count: int) -> tuple[tuple[str, str], ...]:
    """Return the split that one of several tables is named after: ``train-00000-of-00002.parquet``, ``test.csv``."""
    found = re.match(r"(train|validation|valid|val|dev|test)(?![a-z])", table.name.lower())
    return (("split", found[1]),) if found and count > 1 else ()


def _file(path: Place, schema: LabelSchema, columns: Columns, lookup: Lookup | None, images: Path | None) -> Target:
    if path.name.endswith((".tar", ".tar.gz", ".tgz")):
        if (path.parent / RECORD).is_file():
            beside = images or _images_beside(path.parent)
            found = read_caption_shards([path], images=beside, lookup=lookup)
            return Target(str(path), "caption shard", found)
        return Target(str(path), "shard", read_tars([path], lookup))
    if isinstance(path, Remote):
        raise UsageError(f"{path}: no shard (*.tar); {_HERE}")
    if path.suffix == LITERALS:
        return Target(str(path), "Python dictionaries", read_literals(path, schema, columns))
    rows = TableReader(path, schema, columns, images or path.parent, lookup=lookup).rows()
    return Target(str(path), "table", rows)


def _is_run(path: Place) -> bool:
    return (path / "pipeline.yaml").is_file() and (path / "support_sets.parquet").is_file()


def _images_beside(captions: Place) -> Path | None:
    """Return the image shards that belong to a folder of caption shards: OUT/images for OUT/runs/RUN/captions."""
    if isinstance(captions, Remote):
        return None  # a picture is not worth the fetching
    found = captions.parent.parent.parent / "images"
    return found if found.is_dir() else None


def _runs(path: Place, runs: Sequence[Place], images: Path | None) -> Target:
    rows: list[Iterator[Row | Bad]] = []
    facts = []
    for run in runs:
        fact = facts_of(run)
        groups = tuple((k, fact[k]) for k in ("run", "prompt", "engine"))
        shards = matching(run / "captions", "*.tar")
        facts.append(fact)
        if shards:
            beside = images or _images_beside(run / "captions")
            rows.append(_shards_of_run(run, shards, beside, groups))
        else:
            rows.append(_sets_of_run(run, groups))
    kind = "run" if runs == [path] else f"output folder with {len(runs)} run{'s' * (len(runs) != 1)}"
    return Target(str(path), kind, itertools.chain.from_iterable(rows), tuple(facts))


def facts_of(run: Place) -> dict[str, Any]:
    """Return what a run's own files say of it: ``run``, ``prompt``, ``engine``, ``summary``.

    Raises:
        UsageError: its files are damaged.
    """
    try:
        spec = yaml.safe_load((run / "pipeline.yaml").read_text(encoding="utf-8"))
        engine = spec["engine"]
        summary = run / "summary.json"
        return {
            "run": run.name,
            "schema": str(spec["schema"]),
            "prompt": Path(str(spec["prompt"])).stem,
            "engine": str(engine.get("model") or engine["name"]),
            "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {},
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as e:
        raise UsageError(f"{run}: not a run's folder: pipeline.yaml or summary.json cannot be read: {e}") from None


def _sets(run: Place) -> Iterator[dict[str, Any]]:
    try:
        with seekable(run / "support_sets.parquet") as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"{run / 'support_sets.parquet'}: damaged: {e}") from None


def _info(found: Mapping[str, Any]) -> SetInfo:
    sources = {p["caption"]: sys.intern(p["source"]) for p in found["provenance"]}
    return SetInfo(sources, tuple(found["negatives"]), tuple(found["attributes"]))


def _shards_of_run(
    run: Place, shards: Sequence[Place], images: Path | None, groups: tuple[tuple[str, str], ...]
) -> Iterator[Row | Bad]:
    sets = {found["triplet"]: _info(found) for found in _sets(run)}
    yield from read_caption_shards(shards, images=images, sets=sets, groups=groups)


def _sets_of_run(run: Place, groups: tuple[tuple[str, str], ...]) -> Iterator[Row | Bad]:
    """Yield the support sets of a run that has no image shards."""
    used: Counter[str] = Counter()
    table = run / "captions.parquet"
    if table.is_file():
        with seekable(table) as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(columns=["triplet"]):
                counted = pc.value_counts(batch.column(0))
                used.update({item["values"]: item["counts"] for item in counted.to_pylist()})
    for found in _sets(run):
        info = _info(found)
        yield Row(
            str(run / "support_sets.parquet"),
            found["triplet"],
            found["findings"],
            tuple(found["captions"]),
            images=used.get(found["triplet"], 1),
            groups=groups,
            sources=tuple(info.sources.get(c, "") for c in found["captions"]),
            negatives=info.negatives,
            attributes=info.attributes,
        )


def _hugging_face(
    path: Path, schema: LabelSchema, columns: Columns, lookup: Lookup | None, images: Path | None
) -> Iterator[Row | Bad]:
    """Yield the rows of what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote."""
    folders = [path]
    if (path / "dataset_dict.json").is_file():
        folders = sorted(p for p in path.iterdir() if (p / "dataset_info.json").is_file())
    for folder in folders:
        extra = () if folder == path else (("split", folder.name),)
        names = _class_names(folder / "dataset_info.json")
        for file in _arrow_files(folder):
            yield from TableReader(file, schema, columns, images, names, extra, lookup).rows()


def _arrow_files(folder: Path) -> Iterable[Path]:
    """Return the data files in their own order; others in the folder are caches."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return [folder / Path(f["filename"]).name for f in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return sorted(folder.glob("*.arrow"))


def _class_names(info: Path) -> dict[str, list[str]]:
    """Return, for columns whose cells are positions in a list of class names, those names."""
    try:
        return class_names(json.loads(info.read_text(encoding="utf-8"))["features"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UsageError(f"{info}: cannot be read: {e}") from None
