"""Targets of every kind, made small."""

import csv
import io
import json
import tarfile

from PIL import Image

GOOD = "Chest X-ray with a pleural effusion."
DENIED = "Chest X-ray without pleural effusion."
NODULE = "Chest X-ray showing a lung nodule."
EXTRA = "Chest X-ray with a pleural effusion and a lung nodule."
HEDGED = "Chest X-ray with a possible pleural effusion."

ROWS = [
    {"labels": ["Effusion"], "caption": GOOD, "split": "train"},
    {"labels": ["Effusion"], "caption": DENIED, "split": "train"},
    {"labels": ["Effusion"], "caption": EXTRA, "split": "test"},
    {"labels": ["Effusion"], "caption": HEDGED, "split": "test"},
    {"labels": ["Nodule"], "caption": NODULE, "split": "test"},
    {"labels": ["Effusion", "Nodule"], "caption": EXTRA, "split": "test"},
]


def jsonl(path, rows=ROWS):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def table(path, rows, header):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def picture(color=120, size=(64, 48), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("L", size, color).save(buffer, kind)
    return buffer.getvalue()


def tar(path, members, **options):
    """A tar as anybody's tools write it, PAX headers and times included."""
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5
            archive.addfile(info, io.BytesIO(content))
    return path
