"""The image of a row: found below the dataset's folder, and looked at before it goes into a tar. Its bytes stay as they are."""

import io
import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from captioner.references import normalise, refusal
from captioner.shards import tar
from captioner.unimed.texts import Unusable

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "WEBP")


class Pictures:
    """The images of an output.

    Args:
        roots: the folders that a name may start from; the first in which there is such a file counts.
        inside: the folders that no image may lie outside of, wherever links lead.
    """

    def __init__(self, roots: Sequence[Path], inside: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._inside = tuple(Path(os.path.realpath(folder)) for folder in inside)
        self._real = lru_cache(4096)(os.path.realpath)

    def load(self, reference: str) -> bytes:
        """Return the bytes of an image file that training loaders can decode.

        Raises:
            Unusable: there is none, it lies outside, is no image, is damaged, or has more than 8 bits a channel, which
                the training loader would turn white.
        """
        wanted = normalise(reference)
        if refused := refusal(wanted):
            raise Unusable(refused.code, refused.reason)
        for root in self._roots:
            if (payload := self._read(root / wanted)) is not None:
                check(payload)
                return payload
        tried = ", ".join(str(root) for root in self._roots[:3])
        raise Unusable("missing_image", f"no such file below {tried}{' …' if len(self._roots) > 3 else ''}")

    def _read(self, path: Path) -> bytes | None:
        try:
            folder = self._real(path.parent)
            if path.is_symlink():
                folder, name = os.path.split(os.path.realpath(path))
            else:
                name = path.name
            self._check_inside(Path(folder))
            # No link is followed any more, and a named pipe does not block.
            descriptor = os.open(Path(folder, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unusable("unreadable", f"the file cannot be opened: {error.strerror}") from None
        with io.FileIO(descriptor) as file:
            return _whole(file)

    def _check_inside(self, folder: Path) -> None:
        if not any(folder.is_relative_to(root) for root in self._inside):
            raise Unusable(
                "outside_root", "the file, or a folder of its path, is a link to a place outside the dataset"
            )


def _whole(file: io.FileIO) -> bytes:
    try:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unusable("unreadable", "not a regular file")
        if not before.st_size:
            raise Unusable("corrupt_image", "the file is empty")
        if before.st_size > tar.MAX_SIZE:
            raise Unusable("unsupported_type", f"{before.st_size} bytes; a tar member holds at most {tar.MAX_SIZE}")
        payload = file.readall()
        after = os.fstat(file.fileno())
    except OSError as error:
        raise Unusable("unreadable", f"the file cannot be read: {error.strerror}") from None
    if len(payload) != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Unusable("changed_while_read", "the file was written to while it was read; run again when it is whole")
    return payload


def check(payload: bytes) -> None:
    """Decode an image as the training loader does.

    Raises:
        Unusable: it could not, or all of the image would become white.
    """
    try:
        with Pillow.open(io.BytesIO(payload), formats=_FORMATS) as image:
            image.load()
            mode = image.mode
    except UnidentifiedImageError:
        raise Unusable("corrupt_image", "no image by its content, whatever its name says") from None
    except Pillow.DecompressionBombError as error:
        raise Unusable("unsupported_type", f"more pixels than are safe to decode: {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise Unusable("corrupt_image", f"it cannot be decoded: {error}") from error
    if mode[0] in "IF":
        raise Unusable(
            "unsupported_type", f"pixels of more than 8 bits ({mode}), which the training loader turns white"
        )
