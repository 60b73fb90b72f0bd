"""Captions as one file: Parquet, CSV, LLaVA's JSON.

An export is a copy: it can be deleted and made again. The file appears under its name when it is whole; the same shards
give the same bytes.
"""

import csv
import json
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from captioner import atomic
from captioner.shards.forms import captions_of
from captioner.shards.rows import ExportReport, Rows

_ROW_GROUP = 16_384
_TABLE = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("triplet", pa.string()),
        pa.field("run", pa.string()),
    ]
)


def export_parquet(images: Path, captions: Path, target: Path) -> ExportReport:
    """Write one Parquet file with key, source, labels, captions, triplet and run of each image that has captions.

    Args:
        images: the folder of image shards; no image is opened.
        captions: the folder of a run's caption shards.
        target: the file; replaced if it exists.

    Raises:
        ShardError: shards are missing or damaged, or the captions are of other images.
        StorageError: the disk is full or cannot be written.
    """
    rows = Rows(images, captions, "skip")
    with atomic.parquet(target, _TABLE) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            records = [{"key": row.key, "source": row.source, **json.loads(row.record)} for row in group]
            writer.write_table(pa.Table.from_pylist(records, _TABLE), row_group_size=_ROW_GROUP)
    return rows.report(target)


def export_csv(images: Path, captions: Path, target: Path, *, separator: str = "|") -> ExportReport:
    """Write a CSV file with a line for each caption: key, labels, caption. ``captioner check`` reads it.

    Args:
        images: the folder of image shards; no image is opened.
        captions: the folder of a run's caption shards.
        target: the file; replaced if it exists.
        separator: what joins the labels of an image.

    Raises:
        ShardError, StorageError: as for :func:`export_parquet`.
    """
    rows = Rows(images, captions, "skip")
    with atomic.replacing(target) as file:
        writer = csv.writer(_Text(file))
        writer.writerow(["key", "labels", "caption"])
        for row in rows:
            record = json.loads(row.record)
            labels = separator.join(record.get("labels", ()))
            writer.writerows([row.key, labels, caption] for caption in record["captions"])
    return rows.report(target)


def export_llava(images: Path, captions: Path, target: Path, *, question: str = "Describe this image.") -> ExportReport:
    """Write LLaVA's training file: a JSON list with a conversation for each caption.

    ``image`` is the path of the image below the data root, from which LLaVA reads it; ids are ``KEY-0``, ``KEY-1`` …

    Args:
        images: the folder of image shards; no image is opened.
        captions: the folder of a run's caption shards.
        target: the file; replaced if it exists.
        question: what the person in each conversation says.

    Raises:
        ShardError, StorageError: as for :func:`export_parquet`.
    """
    rows = Rows(images, captions, "skip")
    with atomic.replacing(target) as file:
        before = b"[\n"
        for row in rows:
            for i, caption in enumerate(captions_of(row.record)):
                entry = {
                    "id": f"{row.key}-{i}",
                    "image": row.source,
                    "conversations": [
                        {"from": "human", "value": f"<image>\n{question}"},
                        {"from": "gpt", "value": caption},
                    ],
                }
                file.write(before + json.dumps(entry, ensure_ascii=False).encode())
                before = b",\n"
        file.write(b"\n]\n" if before == b",\n" else b"[]\n")
    return rows.report(target)


class _Text:
    """Takes text where a file takes bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
