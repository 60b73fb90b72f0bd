"""The files that a run leaves: support sets, rejects, captions, and the pipeline as it was resolved."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from captioner import atomic
from captioner.schema import LabelSchema
from captioner.store import Ledger
from captioner.tables import SampleTable

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


def support_sets(schema: LabelSchema, ledger: Ledger) -> list[dict[str, Any]]:
    """Return the finished support sets in an order that does not depend on who answered first."""
    order = {code: i for i, code in enumerate(schema.codes)}
    sets = []
    for triplet, status, _ in ledger.states():
        if status not in {"complete", "filled"}:
            continue
        provenance = [
            {"caption": c.caption, "source": c.source, "round": attempt.round, "original": c.original}
            for attempt in ledger.attempts(triplet.id)
            for c in attempt.captions
            if c.accepted
        ]
        sets.append(
            {
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
        )
    return sorted(sets, key=lambda s: ([order[c] for c in s["findings"]], s["triplet"]))


def rejected(ledger: Ledger) -> list[dict[str, Any]]:
    """Return every caption that was refused, and every answer that had a fault as a whole."""
    rows = []
    for triplet, _, _ in ledger.states():
        for attempt in ledger.attempts(triplet.id):
            base = {
                "triplet": triplet.id,
                "findings": list(triplet.findings),
                "round": attempt.round,
                "kind": attempt.kind,
            }
            rows += [base | {"caption": None, "codes": ["bad_answer"], "issues": p} for p in attempt.problems]
            rows += [
                base
                | {
                    "caption": c.caption,
                    "codes": list(dict.fromkeys(i["code"] for i in c.issues if i["level"] == "error")),
                    "issues": json.dumps(c.issues, ensure_ascii=False),
                }
                for c in attempt.captions
                if not c.accepted
            ]
    return sorted(rows, key=lambda r: (r["triplet"], r["round"]))


def caption_table(samples: SampleTable, set_of: Sequence[Mapping[str, Any] | None]) -> Iterator[dict[str, Any]]:
    """Yield one row for each sample that has a support set.

    Args:
        samples: the samples.
        set_of: each sample's support set, or None.
    """
    frame = samples.frame
    for key, image, split, found in zip(frame["key"], frame["image"], frame["split"], set_of, strict=True):
        if found is not None:
            yield {
                "key": key,
                "image": image,
                "split": None if pd.isna(split) else split,
                "labels": found["findings"],
                "triplet": found["triplet"],
                "captions": found["captions"],
            }


def write_rejected_rows(path: Path, rejects: pd.DataFrame) -> None:
    """Write the rows that were left out, with the reason for each, as a CSV that people read."""
    ordered = rejects.sort_values(["file", "row"], kind="stable")
    atomic.write(path, ordered.to_csv(index=False).encode())


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write a Parquet file whole or not at all, in pieces of bounded size."""
    with atomic.replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for part in _batched(rows, 10_000):
            writer.write_table(pa.Table.from_pylist(list(part), schema=schema))


def _batched(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(rows)
    while part := list(itertools.islice(rows, size)):
        yield part
