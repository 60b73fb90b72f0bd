"""Images and captions as plain tars: for loaders that read one tar a sample, and for UniMed's.

An export is a copy: it can be deleted and made again. Each tar appears under its name when it is whole; ``sizes.json``
(not for UniMed's) and ``SHA256SUMS`` come last. The same shards give the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.errors import OutputError, ShardError, UsageError
from captioner.shards import forms, tar
from captioner.shards.forms import captions_of, joined
from captioner.shards.manifest import SIZES, Shard, read_manifest, write_sizes, write_sums
from captioner.shards.reader import Samples
from captioner.shards.rows import ExportReport, Missing, Row, Rows, record_of

RECORD = "export.json"


def export_tars(images: Path, captions: Path, folder: Path, *, form: str, missing: Missing = "error") -> ExportReport:
    """Write plain tars that hold each image and, behind it, its captions in one form.

    Args:
        images: the folder of image shards.
        captions: the folder of a run's caption shards.
        folder: where the tars go, under the names of the image shards.
        form: ``one``, ``json``, ``flat`` or ``joined:TAG``, as :func:`captioner.shards.forms.form` describes them.
        missing: what happens to an image without captions: ``error`` stops, ``skip`` leaves it out.

    Raises:
        UsageError: there is no such form, or it draws anew at each reading.
        OutputError: the folder holds something else.
        ShardError, StorageError: shards are missing or damaged, or the disk is full.
    """
    if form == "txt":
        raise UsageError("the form 'txt' is drawn anew at each reading, which a copy cannot be. Use 'one' instead.")
    shape = forms.form(form)

    def members(row: Row, image: bytes) -> Iterable[tuple[str, bytes]]:
        extension, content = shape(row.key, row.record)
        return (f"{row.key}.{row.type}", image), (f"{row.key}.{extension}", content)

    export = _Export(images, captions, folder, {"form": form, "missing": missing})
    rows = export.rows(missing)
    return export.write(members, ((name, list(group)) for name, group in groupby(rows, attrgetter("shard"))), rows)


def export_unimed(
    images: Path,
    captions: Path,
    folder: Path,
    *,
    tag: str,
    per_shard: int = 1000,
    missing: Missing = "error",
) -> ExportReport:
    """Write the tars that UniMed's scripts write: ``dataset-000001.tar`` …, samples numbered from ``000000``.

    Each sample is ``NUMBER.jpg`` (whatever the image's type, as there) and ``NUMBER.txt`` with all captions joined by the
    tag. For the same images and captions in the same order the bytes are those of ``chest-xray_8_webdataset.py`` and of
    the scripts of its form.

    Args:
        images: the folder of image shards.
        captions: the folder of a run's caption shards.
        folder: where the tars go.
        missing: what happens to an image without captions: ``error`` stops, ``skip`` leaves it out.
        tag: the dataset's mark, such as ``chestxray8``, without the underscores around it.
        per_shard: samples a tar.

    Raises:
        UsageError, OutputError, ShardError, StorageError: as for :func:`export_tars`.
    """
    forms.form(f"joined:{tag}")  # refuses what is no tag before anything is written
    numbers = count()

    def members(row: Row, image: bytes) -> Iterable[tuple[str, bytes]]:
        number = f"{next(numbers):06d}"
        return (f"{number}.jpg", image), (f"{number}.txt", joined(captions_of(row.record), tag).encode())

    settings = {"form": f"unimed:{tag}", "missing": missing, "per_shard": per_shard}
    export = _Export(images, captions, folder, settings)
    rows = export.rows(missing)
    groups = iter(lambda: list(islice(rows, per_shard)), [])
    # UniMed's loader counts the tars of all folders by the list of the first one, and names repeat from folder to folder.
    return export.write(
        members, ((f"dataset-{i:06d}.tar", group) for i, group in enumerate(groups, 1)), rows, sizes=False
    )


class _Export:
    """A folder of tars that follow from an image set and a run."""

    def __init__(self, images: Path, captions: Path, folder: Path, settings: dict[str, Any]) -> None:
        self.images, self.captions, self.folder = images, captions, folder
        manifest = read_manifest(images)
        record = record_of(manifest, captions)
        hashes = "".join(shard.sha256 for shard in record.shards)
        content = hashlib.sha256(hashes.encode()).hexdigest()[:16]
        self.settings = {"version": 1, **settings, "images": manifest.hash, "run": record.run, "captions": content}

    def rows(self, missing: Missing) -> Rows:
        return Rows(self.images, self.captions, missing)

    def write(
        self,
        members: Callable[[Row, bytes], Iterable[tuple[str, bytes]]],
        groups: Iterable[tuple[str, list[Row]]],
        rows: Rows,
        *,
        sizes: bool = True,
    ) -> ExportReport:
        """Write a tar for each group of rows, and the lists beside them."""
        self._claim()
        shards = []
        with ThreadPoolExecutor(1, "hash") as pool, Samples(self.images) as samples:
            for name, group in groups:
                with atomic.replacing(self.folder / name) as file:
                    target = tar.Hashing(file, pool)
                    writer = tar.Writer(target)
                    for row in group:
                        image = samples[row.position].image
                        if hashlib.sha256(image).hexdigest() != row.sha256:
                            raise ShardError(f"the image {row.key} in {self.images / row.shard} is damaged.")
                        for member, content in members(row, image):
                            writer.add(member, content)
                    writer.finish()
                shards.append(Shard(name, len(group), writer.size, target.sha256()))
        if sizes:
            write_sizes(self.folder, shards)
        write_sums(self.folder, shards, (SIZES, RECORD) if sizes else (RECORD,))
        return ExportReport(rows.found, rows.missed, len(shards), sum(shard.bytes for shard in shards))

    def _claim(self) -> None:
        """Take the folder, if it is empty or holds the same export."""
        path = self.folder / RECORD
        content = json.dumps(self.settings, indent=1).encode() + b"\n"
        with atomic.storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            held = path.read_bytes() if path.is_file() else None
            empty = not any(self.folder.iterdir())
        if held is None and not empty:
            raise OutputError(f"{self.folder} is not empty, and not an export of ours. Choose another folder.")
        if held not in (None, content):
            raise OutputError(f"{self.folder} holds another export, as its {RECORD} says. Choose another folder.")
        if held is None:
            atomic.write(path, content)
