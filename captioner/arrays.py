"""Datasets that come as arrays (MedMNIST's ``.npz``): each image written once as a PNG, beside a label table.

An archive holds ``SPLIT_images`` and ``SPLIT_labels`` for each split. Images are ``uint8``, of shape (count, height, width)
or (count, height, width, 3), or volumes of shape (count, depth, height, width), which are written as ``.npy``; labels are whole numbers, of shape (count,) or (count, 1), or 0 and 1 of shape (count,
classes). The source of these facts is ``medmnist`` 3.0.2, ``info.py`` and ``dataset.py``.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from captioner import atomic
from captioner.errors import UsageError

TABLE = "labels.csv"
"""Written last: a folder without it was left half done."""

_IMAGES = "_images.npy"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was written.

    Attributes:
        table: path of the label table: ``image``, ``split``, and ``label`` or (where an image may have several labels) a
            column of 0 and 1 for each class, named by its number.
        images: how many images, by split.
    """

    table: Path
    images: dict[str, int]


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Write the images of an archive to ``folder/SPLIT/NUMBER.png`` (volumes: ``.npy``), labels to ``folder/labels.csv``.

    Images are read one at a time, so that an archive may be larger than memory.

    Args:
        archive: the ``.npz`` file, of any size of image.
        folder: must be new or empty.

    Raises:
        UsageError: the archive is none, lacks an array, or holds something other than pictures; the folder is in use.
        StorageError: the disk is full or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there and not empty. Choose another folder with --out")
    with _opened(archive) as source:
        names = {i.filename for i in source.infolist()}
        splits = sorted((n.removesuffix(_IMAGES) for n in names if n.endswith(_IMAGES)), key=_position)
        if not splits:
            found = ", ".join(sorted(n.removesuffix(".npy") for n in names)) or "nothing"
            raise UsageError(
                f"{archive}: no array is called SPLIT_images, such as train_images; the archive has {found}"
            )
        labels = {split: _labels(source, archive, split) for split in splits}
        widths = {array.shape[1] for array in labels.values()}
        if len(widths) > 1:
            raise UsageError(f"{archive}: the splits have labels of different widths: {sorted(widths)}")
        volumes = {_holds_volumes(source, archive, split, len(labels[split])) for split in splits}
        if len(volumes) > 1:
            raise UsageError(f"{archive}: some splits hold pictures, others volumes")
        ending, content = (".npy", _npy) if volumes.pop() else (".png", _png)
        for split in splits:
            with atomic.storage(folder):
                (folder / split).mkdir(parents=True)
            for number, picture in enumerate(_pictures(source, archive, split)):
                path = folder / split / f"{number:06d}{ending}"
                with atomic.storage(path):
                    path.write_bytes(content(picture))
        table = folder / TABLE
        atomic.write(table, _table(labels, ending).encode())
    return Unpacked(table, {split: len(array) for split, array in labels.items()})


def _position(split: str) -> tuple[int, str]:
    return (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as source:
            yield source
    except FileNotFoundError:
        raise UsageError(f"{archive}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise UsageError(f"{archive}: not an .npz archive, or damaged: {e}. Download it again") from None


def _header(file: IO[bytes], archive: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read the head of an array; what follows are its elements, row by row."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except ValueError as e:
        raise UsageError(f"{archive}: {name} is no array: {e}") from None
    if dtype.hasobject or by_column:
        raise UsageError(f"{archive}: {name} is no plain array of numbers, row by row")
    return shape, dtype


def _labels(source: zipfile.ZipFile, archive: Path, split: str) -> npt.NDArray[np.int64]:
    """Return labels of shape (count, 1), or of shape (count, classes)."""
    name = f"{split}_labels"
    try:
        file = source.open(f"{name}.npy")
    except KeyError:
        raise UsageError(f"{archive}: there are {split}_images, but no {name}") from None
    with file:
        shape, dtype = _header(file, archive, name)
        body = file.read()
    if len(shape) not in (1, 2) or dtype.kind not in "iub" or len(body) != math.prod(shape) * dtype.itemsize:
        raise UsageError(
            f"{archive}: {name} must be whole numbers of shape (count, 1) or (count, classes), not {shape}"
        )
    values = np.frombuffer(body, dtype).astype(np.int64)
    array = values.reshape(shape[0], math.prod(shape[1:]))
    if array.shape[1] > 1 and not np.isin(array, (0, 1)).all():
        raise UsageError(f"{archive}: {name} has several labels an image, which must be 0 or 1")
    return array


def _holds_volumes(source: zipfile.ZipFile, archive: Path, split: str, count: int) -> bool:
    """Say whether the images of a split are volumes.

    Raises:
        UsageError: they are neither volumes nor pictures.
    """
    name = f"{split}_images"
    with source.open(f"{name}.npy") as file:
        shape, dtype = _header(file, archive, name)
    if len(shape) not in (3, 4) or dtype != np.uint8 or 0 in shape[1:]:
        raise UsageError(
            f"{archive}: {name} must be uint8 of shape (count, height, width), (…, 3) or (count, depth, height, width), "
            f"but holds {dtype} of shape {shape}"
        )
    if shape[0] != count:
        raise UsageError(f"{archive}: {name} has {shape[0]} images, but {split}_labels {count} labels")
    return len(shape) == 4 and shape[3] != 3


def _pictures(source: zipfile.ZipFile, archive: Path, split: str) -> Iterator[npt.NDArray[np.uint8]]:
    name = f"{split}_images"
    with source.open(f"{name}.npy") as file:
        shape, _ = _header(file, archive, name)
        for _ in range(shape[0]):
            body = file.read(math.prod(shape[1:]))
            if len(body) != math.prod(shape[1:]):
                raise UsageError(f"{archive}: {name} ends too early. Download the archive again")
            yield np.frombuffer(body, np.uint8).reshape(shape[1:])


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _npy(volume: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, volume, allow_pickle=False)
    return buffer.getvalue()


def _table(labels: dict[str, npt.NDArray[np.int64]], ending: str) -> str:
    width = next(iter(labels.values())).shape[1]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "split", *(["label"] if width == 1 else range(width))])
    for split, array in labels.items():
        for number, row in enumerate(array.tolist()):
            writer.writerow([f"{split}/{number:06d}{ending}", split, *row])
    return text.getvalue()
