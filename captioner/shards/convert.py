"""Images that are stored other than they are, where that was asked for: types, depth, size, orientation.

Nothing is done by default, and an image that needs nothing keeps its bytes. What is converted carries no metadata along:
no EXIF, no DICOM header. JPEGs stay JPEGs (quality 95); everything else becomes PNG, unless one type is asked for.
"""

import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from captioner.shards.dicom import Dicom
from captioner.shards.headers import plain_header
from captioner.shards.windows import Refused, Window, windowed

STORED = {"jpg": "JPEG", "png": "PNG"}
"""The pictures that shards hold, and how Pillow names them."""

VOLUME = "npy"
"""What shards hold beside pictures: an array of three or more dimensions, its bytes unchanged."""

_OTHERS = {"bmp": "BMP", "gif": "GIF", "jp2": "JPEG2000", "pbm": "PPM", "pgm": "PPM", "ppm": "PPM", "tif": "TIFF"}
_FORMATS = STORED | _OTHERS | {"webp": "WEBP"}
_ORIENTATION = 0x0112
_SUBFILE_TYPE = 0x00FE
_NO_PICTURE = 0b101
"""Bits of TIFF's tag NewSubfileType: a page is a smaller copy of another one, or a mask (TIFF 6.0, page 36)."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What may be changed, and how.

    Attributes:
        types: convert images of other types than JPEG and PNG (TIFF, DICOM, WebP, BMP …); each page of a TIFF file and
            each frame of a DICOM file becomes an image.
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


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as it is stored."""

    payload: bytes | memoryview
    width: int
    height: int
    mode: str
    type: str
    converted: bool


Pictures = dict[int, Stored | Refused]
"""What a file holds, by its number there, from 1."""


def accepts(kind: str | None, conversion: Conversion) -> str | None:
    """Say why images of a type are refused, None if they are not."""
    if kind in STORED:
        return None
    if kind == VOLUME:
        return "a volume, which is no picture" if conversion != NOTHING else None
    if kind not in _FORMATS and kind != "dcm":
        return "no image by its content, whatever its name says"
    if conversion.types:
        return None
    return f"an image of type {kind} by its content; shards hold JPEG and PNG. Convert it, or build with --types (types=True)"


def stored(payload: bytes | memoryview, kind: str, conversion: Conversion, *, decode: bool) -> Pictures:
    """Look at a file, and convert it as far as that is asked for and needed.

    Args:
        payload: the file's content.
        kind: what it is; a type that :func:`accepts` accepts.
        conversion: what may be changed.
        decode: decode every pixel even if nothing is to be changed.

    Returns:
        Its one image; or, of a file with several, each page or frame, or why it is refused.

    Raises:
        Refused: it is damaged, or would have to be converted in a way that was not asked for.
    """
    if not decode and conversion == NOTHING and (found := plain_header(payload, kind)):
        return {1: Stored(payload, *found, kind, converted=False)}
    with _refusing(kind):
        if kind == VOLUME:
            return {1: _volume(payload)}
        if kind == "dcm":
            file = Dicom(bytes(payload))
            return _each(
                range(1, file.frames + 1),
                kind,
                lambda n: _finished(file.picture(n, conversion.window), kind, conversion),
            )
        with Pillow.open(io.BytesIO(payload), formats=(_FORMATS[kind],)) as image:
            if kind == "tif":
                return _each(_pages(image), kind, lambda n: _converted(_turned_to(image, n), kind, conversion))
            if decode:
                image.load()
            if kind not in STORED and (number := getattr(image, "n_frames", 1)) > 1:
                raise Refused("unsupported_type", f"{number} images in one file; split it into files")
            if _is_right(image, kind, conversion):
                return {1: Stored(payload, image.width, image.height, image.mode, kind, converted=False)}
            return {1: _converted(image, kind, conversion)}


def _volume(payload: bytes | memoryview) -> Stored:
    """Look at the header of an array; its last two dimensions are height and width."""
    file = io.BytesIO(payload)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or len(shape) < 3:
        raise Refused(
            "unsupported_type", f"an array of {dtype} with {len(shape)} dimensions; a volume has numbers in three"
        )
    if len(payload) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise Refused("corrupt_image", "the array is cut off, or followed by something else")
    return Stored(payload, shape[-1], shape[-2], f"{dtype}[{math.prod(shape[:-2])}]", VOLUME, converted=False)


@contextmanager
def _refusing(kind: str) -> Iterator[None]:
    """Turn what decoders raise into a reason."""
    try:
        yield
    except Refused:
        raise
    except Pillow.DecompressionBombError as error:
        raise Refused("unsupported_type", f"more pixels than are safe to decode: {error}") from error
    except UnidentifiedImageError as error:  # its message holds an address in memory
        raise Refused("corrupt_image", f"it begins like {kind} but has no header that can be read") from error
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise Refused("corrupt_image", f"it cannot be decoded: {error}") from error


def _each(numbers: Iterable[int], kind: str, convert: Callable[[int], Stored]) -> Pictures:
    """Convert each picture of a file. One that is damaged does not keep the others out."""
    found: Pictures = {}
    for number in numbers:
        try:
            with _refusing(kind):
                found[number] = convert(number)
        except Refused as refused:
            found[number] = refused
    reasons = {(each.code, each.reason) if isinstance(each, Refused) else None for each in found.values()}
    if len(reasons) == 1 and (reason := reasons.pop()):
        raise Refused(*reason)  # it is the file's
    return found


def _pages(image: Pillow.Image) -> list[int]:
    """Return the numbers of a TIFF file's pages that are pictures of their own."""
    number = getattr(image, "n_frames", 1)
    if number == 1:
        return [1]
    every = range(1, number + 1)
    return [n for n in every if not _turned_to(image, n).tag_v2.get(_SUBFILE_TYPE, 0) & _NO_PICTURE] or list(every)


def _turned_to(image: Pillow.Image, page: int) -> Any:
    if page - 1 != image.tell():
        image.info.clear()  # what one page says does not hold for the next
        image.seek(page - 1)
    return image


def _is_right(image: Pillow.Image, kind: str, conversion: Conversion) -> bool:
    turned = conversion.orient and image.getexif().get(_ORIENTATION, 1) != 1
    large = conversion.max_side is not None and max(image.size) > conversion.max_side
    return kind in STORED and not _is_deep(image) and conversion.type in (None, kind) and not turned and not large


def _is_deep(image: Pillow.Image) -> bool:
    return image.mode[0] in "IF"


def _converted(image: Pillow.Image, kind: str, conversion: Conversion) -> Stored:
    return _finished(_shallow(image, conversion), kind, conversion)


def _finished(image: Pillow.Image, kind: str, conversion: Conversion) -> Stored:
    return _encoded(_resized(image, conversion), kind, conversion)


def _shallow(image: Pillow.Image, conversion: Conversion) -> Pillow.Image:
    """Return the image with 8 bits a channel, and turned."""
    if _is_deep(image):
        image = Pillow.fromarray(windowed(np.asarray(image), conversion.window, image.mode))
    return ImageOps.exif_transpose(image) if conversion.orient else image


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
