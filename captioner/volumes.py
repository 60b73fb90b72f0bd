"""Volumes: folders of slices (M3D-Cap) and NIfTI files (CT-RATE), each as one array in a ``.npy`` file.

M3D-Cap keeps a series as ``ct_case/000012/Axial_bone_window/17.png``; the report is of the folder above. A volume is called
as its series, so that plane and phase are in its name and in the sample's key. Source: the layout of M3D-Cap (Bai et al.
2024, arXiv 2404.00578) and of CT-RATE (Hamamci et al. 2024, arXiv 2403.17834).
"""

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from captioner import atomic
from captioner.errors import UsageError
from captioner.images import ImageIndex
from captioner.references import Problem

_SLICES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
_NIFTI = (".nii.gz", ".nii")
_NUMBER = re.compile(r"(\d+)(?=\D*\Z)")

Volume = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stacked:
    """What was written.

    Attributes:
        volumes: how many volumes there are now.
        written: how many of them were written by this call; the others were there.
        problems: folder or file → why there is no volume of it.
    """

    volumes: int
    written: int
    problems: dict[str, Problem]


def stack(
    data: Path, folder: Path, *, window: tuple[float, float] | None = None, size: tuple[int, int, int] | None = None
) -> Stacked:
    """Write a volume for each folder of slices, and for each NIfTI file, to the same place below another folder.

    Slices are ordered by the number at the end of their names. A volume has the shape (depth, height, width) and, made of
    slices, their type (``uint8`` or ``uint16``; colours become grey). One that is there already is not made again.

    Args:
        data: the dataset's folder.
        folder: where the volumes go: ``SERIES.npy``, ``NAME.npy``.
        window: values that become 0 and 255 of ``uint8`` (Hounsfield units, for CT in NIfTI files); None keeps values.
        size: scale every volume to this depth, height and width (linearly), as ``float32`` from 0 to 1 of the shape
            (1, depth, height, width): what M3D's own preparation makes with 32, 256, 256.

    Raises:
        UsageError: there is no such folder, it holds no volume, or a NIfTI file needs a package that is not installed.
        StorageError: the disk is full or cannot be written.
    """
    index = ImageIndex(data)
    problems: dict[str, Problem] = {}
    written = volumes = 0
    for name, files in _series(index):
        target = folder / f"{name}.npy"
        if target.is_file():
            volumes += 1
            continue
        volume = _of_nifti(index, files[0]) if files[0].endswith(_NIFTI) else _of_slices(index, files)
        if isinstance(volume, Problem):
            problems[name] = volume
            continue
        if window is not None:
            low, high = window
            scaled = (np.clip(volume.astype(np.float32), low, high) - low) * (255 / (high - low))
            volume = np.rint(scaled).astype(np.uint8)
        if size is not None:
            volume = _scaled(volume, size)
        with atomic.storage(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, volume, allow_pickle=False)
        atomic.write(target, buffer.getvalue())
        written += 1
        volumes += 1
    if not volumes and not problems:
        raise UsageError(f"{data}: neither a folder of slices ({', '.join(_SLICES)}) nor a NIfTI file is below it")
    return Stacked(volumes, written, problems)


def _series(index: ImageIndex) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each volume and its files, sorted."""
    folders: dict[str, list[str]] = {}
    for path in sorted(index.files):
        lower = path.lower()
        if ending := next((e for e in _NIFTI if lower.endswith(e)), None):
            yield path[: -len(ending)], [path]
        elif lower.endswith(_SLICES) and "/" in path:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    for name, files in folders.items():
        if len(files) > 1:
            yield name, files


def _of_slices(index: ImageIndex, files: Sequence[str]) -> Volume | Problem:
    numbers = {path: _NUMBER.search(path.rpartition("/")[2].rpartition(".")[0]) for path in files}
    if unnumbered := [path for path, found in numbers.items() if found is None]:
        return Problem(
            "not_a_series", f"{unnumbered[0].rpartition('/')[2]} has no number; slices are ordered by their numbers"
        )
    ordered = sorted((int(found[1]), path) for path, found in numbers.items() if found)
    places = [number for number, _ in ordered]
    steps = {b - a for a, b in itertools.pairwise(places)}
    if 0 in steps:
        return Problem("not_a_series", "two slices have the same number")
    if len(steps) > 1:
        step = min(steps)
        gone = next(a + step for a, b in itertools.pairwise(places) if b - a != step)
        return Problem("missing_slice", f"slice {gone} is missing between {places[0]} and {places[-1]}")
    slices: list[Volume] = []
    for _, path in ordered:
        found = index.find(path)
        if isinstance(found, Problem):
            return found
        try:
            with Pillow.open(found) as image:
                picture = np.asarray(image if image.mode.startswith("I") else image.convert("L"))
        except (OSError, ValueError, Pillow.DecompressionBombError) as e:
            return Problem("corrupt_image", f"{path.rpartition('/')[2]} cannot be decoded: {e}")
        if slices and picture.shape != slices[0].shape:
            return Problem(
                "not_a_series",
                f"{path.rpartition('/')[2]} is {picture.shape[1]} x {picture.shape[0]} pixels, "
                f"the slices before it {slices[0].shape[1]} x {slices[0].shape[0]}",
            )
        slices.append(picture.astype(np.uint16) if picture.dtype == np.int32 else picture)
    return np.stack(slices)


def _of_nifti(index: ImageIndex, path: str) -> Volume | Problem:
    try:
        import nibabel
    except ImportError:
        raise UsageError(f"{path}: NIfTI files need nibabel: pip install 'captioner[nifti]'") from None
    found = index.find(path)
    if isinstance(found, Problem):
        return found
    try:
        image = nibabel.as_closest_canonical(nibabel.load(found))  # type: ignore[no-untyped-call]
        array = np.asanyarray(image.dataobj)
    except Exception as e:  # noqa: BLE001, readers raise nearly anything on damaged input
        return Problem("corrupt_image", f"it cannot be read: {e}")
    if array.ndim != 3:
        return Problem("unsupported_type", f"{array.ndim} dimensions; a volume has three")
    # Axes run to the right, to the front and up; slices are seen from below, front on top: depth up, rows back, columns left.
    volume = array.transpose(2, 1, 0)[:, ::-1, ::-1]
    whole = np.issubdtype(volume.dtype, np.integer) or bool((volume == np.rint(volume)).all())
    return np.ascontiguousarray(volume.astype(np.int16 if whole else np.float32))


def _scaled(volume: Volume, size: tuple[int, int, int]) -> Volume:
    scaled = volume.astype(np.float32)
    for axis, length in enumerate(size):
        scaled = _along(scaled, axis, length)
    scaled -= scaled.min()
    return (scaled / max(float(scaled.max()), 1e-8))[np.newaxis]


def _along(volume: Volume, axis: int, length: int) -> Volume:
    """Scale along one axis, linearly, pixels being areas as in every image library."""
    old = volume.shape[axis]
    at = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, old - 1)
    shape = [1] * volume.ndim
    shape[axis] = length
    part = (at - low).astype(np.float32).reshape(shape)
    return np.asarray(volume.take(low, axis) * (1 - part) + volume.take(high, axis) * part)
