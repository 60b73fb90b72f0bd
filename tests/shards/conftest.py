"""What the tests of shards share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.shards import ImageItem
from tests.shards.shard_helpers import RAMP, items_in


@pytest.fixture
def make_items(tmp_path: Path) -> Callable[..., list[ImageItem]]:
    return lambda count, start=0: items_in(tmp_path / "data", count, start=start)


@pytest.fixture
def record() -> Callable[[str], dict[str, object]]:
    """A caption record for any key: the same for every third image, as images of a triplet share theirs."""

    def make(key: str) -> dict[str, object]:
        kind = int(key[-6:]) % 3
        return {
            "captions": [f"Größe {kind}, caption {n}." for n in range(10)],
            "labels": [f"label {kind}"],
            "triplet": f"t{kind:016x}",
            "run": "r1",
        }

    return make


@pytest.fixture
def dicom(tmp_path: Path) -> Callable[..., str]:
    """Writes a DICOM file of the ramp, or of other values; returns its name."""
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
    from pydicom.uid import ExplicitVRLittleEndian

    def write(
        values: Any = RAMP, bits: int = 12, *, name: str = "a.dcm", syntax: str | None = None, **more: Any
    ) -> str:
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
        data.PatientName = "Jane^Doe"
        if values.ndim == 3:
            data.NumberOfFrames = len(values)
        data.Rows, data.Columns = values.shape[-2:]
        data.SamplesPerPixel, data.PixelRepresentation = 1, 0
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated = values.dtype.itemsize * 8
        data.BitsStored, data.HighBit = bits, bits - 1
        data.PixelData = np.ascontiguousarray(values).tobytes()
        for keyword, value in more.items():
            setattr(data, keyword, value)
        data.save_as(tmp_path / name, enforce_file_format=True)
        return name

    return write
