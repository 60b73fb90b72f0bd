"""The pictures of a DICOM file with 8 bits a channel: rescaled, windowed, black on white turned round.

Nothing of the file's header goes along. In enhanced objects each frame may have a window and a rescaling of its own
(PS3.3 C.7.6.16, functional groups); where it has none, those that all frames share hold, then the file's.
"""

import importlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from captioner.shards.windows import Refused, Window, windowed


class Dicom:
    """A DICOM file in memory.

    Attributes:
        frames: how many pictures it holds.

    Raises:
        Refused: pydicom is not installed, or a patient's data are written into the pixels.
        Exception: whatever pydicom raises on damaged files.
    """

    def __init__(self, payload: bytes) -> None:
        try:
            pydicom = importlib.import_module("pydicom")
            self._pixels = importlib.import_module("pydicom.pixels")
        except ImportError as error:
            raise Refused(
                "unsupported_type", "a DICOM file: install pydicom (captioner[dicom]) to convert it"
            ) from error
        self._data = pydicom.dcmread(io.BytesIO(payload))
        if str(self._data.get("BurnedInAnnotation", "")).upper() == "YES":
            raise Refused("unsupported_type", "the file says that a patient's data are written into its pixels")
        self.frames = int(self._data.get("NumberOfFrames") or 1)

    def picture(self, frame: int, window: Window | None) -> Pillow.Image:
        """Return one picture; frames count from 1.

        Raises:
            Refused: it would need a window that was not given.
            Exception: whatever pydicom raises on damaged files.
        """
        values = self._pixels.pixel_array(self._data, index=frame - 1)
        photometric = self._data.PhotometricInterpretation
        if photometric == "PALETTE COLOR":
            values = self._pixels.apply_color_lut(values, self._data)
        if values.ndim == 3:
            return Pillow.fromarray(windowed(values, window, "colour") if values.dtype != np.uint8 else values)
        grey = self._grey(values, frame, window)
        return Pillow.fromarray(255 - grey if photometric == "MONOCHROME1" else grey)

    def _grey(self, values: npt.NDArray[Any], frame: int, window: Window | None) -> npt.NDArray[np.uint8]:
        if window is None and values.dtype == np.uint8:
            return values
        rescaling = self._said_of(frame, "PixelValueTransformationSequence")
        values = self._pixels.apply_modality_lut(values, rescaling)
        if window != "file":
            return windowed(values, window, f"{self._data.BitsStored} bits")
        shown = self._said_of(frame, "FrameVOILUTSequence")
        if "VOILUTSequence" in shown:
            return self._looked_up(values, shown.VOILUTSequence[0])
        if "WindowCenter" not in shown or "WindowWidth" not in shown:
            return windowed(values, "file", "")
        center, width = (
            float(np.atleast_1d(np.asarray(shown[name].value))[0]) for name in ("WindowCenter", "WindowWidth")
        )
        function = shown.get("VOILUTFunction", "LINEAR")
        if function == "SIGMOID":
            return windowed(1 / (1 + np.exp(-4 * (values - center) / width)), (0, 1), "")
        if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: half a value less, and a width that counts its ends
            center, width = center - 0.5, max(width - 1, 1e-9)
        return windowed(values, (center - width / 2, center + width / 2), "")

    def _said_of(self, frame: int, sequence: str) -> Any:
        """Return what is said of a frame: in its own functional group, in the shared one, or in the file as a whole."""
        return next((group[sequence][0] for group in self._groups(frame) if group.get(sequence)), self._data)

    def _groups(self, frame: int) -> Iterator[Any]:
        yield from (self._data.get("PerFrameFunctionalGroupsSequence") or ())[frame - 1 : frame]
        yield from (self._data.get("SharedFunctionalGroupsSequence") or ())[:1]

    def _looked_up(self, values: npt.NDArray[Any], item: Any) -> npt.NDArray[np.uint8]:
        """Apply a VOI lookup table (pydicom 3.0 wraps around in tables of 8 bits with more than 256 entries)."""
        entries, first, bits = (int(number) for number in item.LUTDescriptor)
        table = item.LUTData
        if isinstance(table, bytes):
            order = "<" if self._data.file_meta.TransferSyntaxUID.is_little_endian else ">"
            table = np.frombuffer(table, f"{order}u2" if len(table) >= 2 * (entries or 65536) else "u1")
        places = np.clip(np.rint(values) - first, 0, (entries or 65536) - 1).astype(np.int64)
        return windowed(np.asarray(table)[places], (0, 2**bits - 1), "")
