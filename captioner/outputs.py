"""The files that a run leaves: support sets, rejects, captions, and the pipeline as it was resolved."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from captioner import atomic
from captioner.store import FINISHED, Attempt, Ledger
from captioner.tables import SampleTable, uncollected
from captioner.triplets import Triplet

_PART = 5_000

_CAPTION = pa.struct(
    [("caption", pa.string()), ("source", pa.string()), ("round", pa.int32()), ("original", pa.string())]
)
SUPPORT_SETS = pa.schema(
    [
        ("triplet", pa.string()),
        ("modality", pa.string()),
        ("anatomy", pa.string()),
        ("findings", pa.list_(pa.string())),
        ("negatives", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("status", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("provenance", pa.list_(_CAPTION)),
    ]
)
REJECTED = pa.schema(
    [
        ("triplet", pa.string()),
        ("findings", pa.list_(pa.string())),
        ("round", pa.int32()),
        ("kind", pa.string()),
        ("caption", pa.string()),
        ("codes", pa.list_(pa.string())),
        ("issues", pa.string()),
    ]
)
CAPTIONS = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.string()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("triplet", pa.string()),
        ("captions", pa.list_(pa.string())),
    ]
)


@uncollected()
def write_sets(
    folder: Path, ledger: Ledger, triplets: Sequence[Triplet], progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write ``support_sets.parquet`` (finished sets) and ``rejected.parquet`` (refused captions, faulty answers).

    Args:
        folder: the run's folder.
        ledger: the run's; it is read once, and little of it is held at a time.
        triplets: the order of the rows; triplets of the ledger that are not among them come last.
        progress: called now and then with the number of triplets handled.
    """
    with (
        _writing(folder / "support_sets.parquet", SUPPORT_SETS) as sets,
        _writing(folder / "rejected.parquet", REJECTED) as rejected,
    ):
        for done, (triplet, status, attempts) in enumerate(ledger.histories(t.id for t in triplets), 1):
            if status in FINISHED:
                sets.add(_support_set(triplet, status, attempts))
            for row in _rejected(triplet, attempts):
                rejected.add(row)
            if done % _PART == 0:
                progress(done)


def _support_set(triplet: Triplet, status: str, attempts: Sequence[Attempt]) -> dict[str, Any]:
    provenance = [
        {"caption": c.caption, "source": c.source, "round": attempt.round, "original": c.original}
        for attempt in attempts
        for c in attempt.captions
        if c.accepted
    ]
    return {
        "triplet": triplet.id,
        "modality": triplet.modality,
        "anatomy": triplet.anatomy,
        "findings": list(triplet.findings),
        "negatives": list(triplet.negatives),
        "attributes": list(triplet.attributes),
        "status": status,
        "captions": [p["caption"] for p in provenance],
        "provenance": provenance,
    }


def _rejected(triplet: Triplet, attempts: Sequence[Attempt]) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        base = {
            "triplet": triplet.id,
            "findings": list(triplet.findings),
            "round": attempt.round,
            "kind": attempt.kind,
        }
        for problem in attempt.problems:
            yield base | {"caption": None, "codes": ["bad_answer"], "issues": problem}
        for c in attempt.captions:
            if not c.accepted:
                codes = list(dict.fromkeys(i["code"] for i in c.issues if i["level"] == "error"))
                issues = json.dumps(c.issues, ensure_ascii=False)
                yield base | {"caption": c.caption, "codes": codes, "issues": issues}


def caption_table(
    samples: SampleTable, triplet_of: Iterable[Triplet], captions: Callable[[Triplet], Sequence[str] | None]
) -> Iterator[dict[str, Any]]:
    """Yield one row for each sample that has captions.

    Args:
        samples: the samples.
        triplet_of: each sample's.
        captions: gives a triplet's.
    """
    frame = samples.frame
    for key, image, split, triplet in zip(frame["key"], frame["image"], frame["split"], triplet_of, strict=True):
        found = captions(triplet)
        if found is not None:
            yield {
                "key": key,
                "image": image,
                "split": None if pd.isna(split) else split,
                "labels": triplet.findings,
                "triplet": triplet.id,
                "captions": found,
            }


def write_rejected_rows(path: Path, rejects: pd.DataFrame) -> None:
    """Write the rows that were left out, with the reason for each, as a CSV that people read."""
    ordered = rejects.sort_values(["file", "row"], kind="stable")
    atomic.write(path, ordered.to_csv(index=False).encode())


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write a Parquet file whole or not at all, in pieces of bounded size."""
    with _writing(path, schema) as table:
        for row in rows:
            table.add(row)


class _Table:
    """A Parquet file that is being written."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _PART:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
            self._rows = []


@contextlib.contextmanager
def _writing(path: Path, schema: pa.Schema) -> Iterator[_Table]:
    with atomic.parquet(path, schema) as writer:
        table = _Table(writer)
        yield table
        table.flush()
