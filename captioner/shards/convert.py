"""Images that are stored other than they are, where that was asked for: types, depth, size, orientation.

Nothing is done by default, and an image that needs nothing keeps its bytes. What is converted carries no metadata along:
no EXIF, no DICOM header. JPEGs stay JPEGs (quality 95); everything else becomes PNG, unless one type is asked for.
"""

import importlib
import io
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from captioner.shards.headers import plain_header

Window = tuple[float, float] | Literal["file", "range"]

STORED = {"jpg": "JPEG", "png": "PNG"}
"""What shards hold, and how Pillow names it."""

_OTHERS = {"bmp": "BMP", "gif": "GIF", "jp2": "JPEG2000", "pbm": "PPM", "pgm": "PPM", "ppm": "PPM", "tif": "TIFF"}
_FORMATS = STORED | _OTHERS | {"webp": "WEBP"}
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Conversion:
    """What may be changed, and how.

    Attributes:
        types: convert images of other types than JPEG and PNG (TIFF, DICOM, WebP, BMP …).
        window: how pixels of more than 8 bits become 8: the values that become black and white; ``file`` for the window
            that a DICOM file names; ``range`` for each image's own smallest and largest value. Values of DICOM files are
            those after its rescaling (Hounsfield units for CT). None refuses such images.
        max_side: longest side in pixels; larger images are scaled down.
        orient: turn images as their EXIF orientation says, which training loaders do not do.
        type: store every image as this type: some loaders want one type only.
    """

    types: bool = False
    window: Window | None = None
    max_side: int | None = None
    orient: bool = False
    type: Literal["jpg", "png"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.window, tuple) and not self.window[0] < self.window[1]:
            raise ValueError(f"a window goes from a smaller to a larger value, not {self.window}")
        if self.max_side is not None and self.max_side < 1:
            raise ValueError(f"max_side is at least 1, not {self.max_side}")


NOTHING = Conversion()


def changes(conversion: Conversion) -> dict[str, Any]:
    """Return what a conversion sets, as JSON has it; nothing if it is :data:`NOTHING`."""
    found = {field.name: getattr(conversion, field.name) for field in fields(conversion)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value != getattr(NOTHING, name)
    }


class Refused(Exception):  # noqa: N818 - not an error: it carries a problem to the one place that reports it
    """An image that cannot go into a shard."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as it is stored."""

    payload: bytes
    width: int
    height: int
    mode: str
    type: str
    converted: bool


def accepts(kind: str | None, conversion: Conversion) -> str | None:
    """Say why images of a type are refused, None if they are not."""
    if kind in STORED:
        return None
    if kind not in _FORMATS and kind != "dcm":
        return "no image by its content, whatever its name says"
    if conversion.types:
        return None
    return f"an image of type {kind} by its content; shards hold JPEG and PNG. Convert it, or build with --types (types=True)"


def stored(payload: bytes, kind: str, conversion: Conversion, *, decode: bool) -> Stored:
    """Look at an image, and convert it as far as that is asked for and needed.

    Args:
        payload: the file's content.
        kind: what it is; a type that :func:`accepts` accepts.
        conversion: what may be changed.
        decode: decode every pixel even if nothing is to be changed.

    Raises:
        Refused: it is damaged, or would have to be converted in a way that was not asked for.
    """
    if not decode and conversion == NOTHING and (found := plain_header(payload, kind)):
        return Stored(payload, *found, kind, converted=False)
    try:
        if kind == "dcm":
            return _encoded(_resized(_dicom(payload, conversion), conversion), kind, conversion)
        with Pillow.open(io.BytesIO(payload), formats=(_FORMATS[kind],)) as image:
            if decode:
                image.load()
            if kind not in STORED:
                _check_frames(getattr(image, "n_frames", 1))
            if _is_right(image, kind, conversion):
                return Stored(payload, image.width, image.height, image.mode, kind, converted=False)
            return _encoded(_resized(_shallow(image, conversion), conversion), kind, conversion)
    except Refused:
        raise
    except Pillow.DecompressionBombError as error:
        raise Refused("unsupported_type", f"more pixels than are safe to decode: {error}") from error
    except UnidentifiedImageError as error:  # its message holds an address in memory
        raise Refused("corrupt_image", f"it begins like {kind} but has no header that can be read") from error
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise Refused("corrupt_image", f"it cannot be decoded: {error}") from error


def _check_frames(number: int) -> None:
    if number > 1:
        raise Refused("unsupported_type", f"{number} images in one file; split it into files")


def _is_right(image: Pillow.Image, kind: str, conversion: Conversion) -> bool:
    turned = conversion.orient and image.getexif().get(_ORIENTATION, 1) != 1
    large = conversion.max_side is not None and max(image.size) > conversion.max_side
    return kind in STORED and not _is_deep(image) and conversion.type in (None, kind) and not turned and not large


def _is_deep(image: Pillow.Image) -> bool:
    return image.mode[0] in "IF"


def _shallow(image: Pillow.Image, conversion: Conversion) -> Pillow.Image:
    """Return the image with 8 bits a channel, and turned."""
    if _is_deep(image):
        image = Pillow.fromarray(_windowed(np.asarray(image), conversion.window, image.mode))
    return ImageOps.exif_transpose(image) if conversion.orient else image


def _windowed(values: npt.NDArray[Any], window: Window | None, what: str) -> npt.NDArray[np.uint8]:
    """Map values to 0 … 255."""
    if window is None:
        raise Refused(
            "unsupported_type",
            f"pixels of more than 8 bits ({what}), which training loaders turn white. Convert it to 8 bits with a window "
            "of your choice, or build with --window (window=)",
        )
    if window == "file":
        raise Refused("unsupported_type", "the file names no window. Build with --window range or two values")
    numbers = values.astype(np.float64)
    low, high = (numbers.min(), numbers.max()) if window == "range" else window
    if not np.isfinite([low, high]).all():
        raise Refused("corrupt_image", "it has pixels that are no numbers")
    scaled = (numbers - low) / max(high - low, np.finfo(float).tiny)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _resized(image: Pillow.Image, conversion: Conversion) -> Pillow.Image:
    side = conversion.max_side
    if side is None or max(image.size) <= side:
        return image
    if image.mode in ("1", "P", "PA"):  # colours by number cannot be averaged
        image = image.convert("L" if image.mode == "1" else "RGBA" if image.has_transparency_data else "RGB")
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Pillow.Image, kind: str, conversion: Conversion) -> Stored:
    form = conversion.type or ("jpg" if kind == "jpg" else "png")
    allowed = ("L", "RGB", "CMYK") if form == "jpg" else ("1", "L", "LA", "P", "RGB", "RGBA")
    if image.mode not in allowed:
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    image.info = {k: v for k, v in image.info.items() if k in ("icc_profile", "transparency")}
    buffer = io.BytesIO()
    if form == "jpg":
        image.save(buffer, "JPEG", quality=95, subsampling=0, exif=b"", icc_profile=image.info.get("icc_profile"))
    else:
        image.save(buffer, "PNG", exif=b"")
    return Stored(buffer.getvalue(), image.width, image.height, image.mode, form, converted=True)


def _dicom(payload: bytes, conversion: Conversion) -> Pillow.Image:
    """Return the picture of a DICOM file with 8 bits a channel: rescaled, windowed, black on white turned round."""
    try:
        pydicom = importlib.import_module("pydicom")
        pixels = importlib.import_module("pydicom.pixels")
    except ImportError as error:
        raise Refused("unsupported_type", "a DICOM file: install pydicom (captioner[dicom]) to convert it") from error
    data = pydicom.dcmread(io.BytesIO(payload))
    if str(data.get("BurnedInAnnotation", "")).upper() == "YES":
        raise Refused("unsupported_type", "the file says that a patient's data are written into its pixels")
    _check_frames(int(data.get("NumberOfFrames") or 1))
    values = data.pixel_array
    photometric = data.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, data)
    if values.ndim == 3:
        deep = values.dtype != np.uint8
        return Pillow.fromarray(_windowed(values, conversion.window, "colour") if deep else values)
    grey = _grey(data, pixels, values, conversion.window)
    return Pillow.fromarray(255 - grey if photometric == "MONOCHROME1" else grey)


def _grey(data: Any, pixels: Any, values: npt.NDArray[Any], window: Window | None) -> npt.NDArray[np.uint8]:
    if window is None and values.dtype == np.uint8:
        return values
    values = pixels.apply_modality_lut(values, data)
    if window != "file":
        return _windowed(values, window, f"{data.BitsStored} bits")
    if "VOILUTSequence" in data:
        return _looked_up(data, values)
    if "WindowCenter" not in data or "WindowWidth" not in data:
        return _windowed(values, "file", "")
    center, width = (float(np.atleast_1d(np.asarray(data[name].value))[0]) for name in ("WindowCenter", "WindowWidth"))
    function = data.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":
        return _windowed(1 / (1 + np.exp(-4 * (values - center) / width)), (0, 1), "")
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: half a value less, and a width that counts its ends
        center, width = center - 0.5, max(width - 1, 1e-9)
    return _windowed(values, (center - width / 2, center + width / 2), "")


def _looked_up(data: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Apply a file's first VOI lookup table (pydicom 3.0 wraps around in tables of 8 bits with more than 256 entries)."""
    item = data.VOILUTSequence[0]
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    table = item.LUTData
    if isinstance(table, bytes):
        order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(table, f"{order}u2" if len(table) >= 2 * (entries or 65536) else "u1")
    places = np.clip(np.rint(values) - first, 0, (entries or 65536) - 1).astype(np.int64)
    return _windowed(np.asarray(table)[places], (0, 2**bits - 1), "")
