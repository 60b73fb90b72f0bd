"""Small pictures of the images that examples belong to, from image shards, other tars or files."""

import base64
import contextlib
import io
import mmap
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from captioner.audit.counts import Example
from captioner.audit.tars import PICTURES
from captioner.errors import ShardError
from captioner.shards import tar

SIDE = 160
"""Pixels of the longer side."""

BUDGET = 8_000_000
"""Characters that all pictures of a page may take together."""

_LARGEST = 64_000_000


def thumbnails(examples: Iterable[Example]) -> dict[str, str]:
    """Return data URIs by the examples' ids; none where an image is missing, unreadable, or the page would grow too big."""
    places: dict[str, dict[str, list[str]]] = {}
    for example in examples:
        if example.image is not None:
            path, key = example.image
            places.setdefault(path, {}).setdefault(key, []).append(example.id)
    found: dict[str, str] = {}
    spent = 0
    for path, keys in places.items():
        for key, content in _pictures(Path(path), keys):
            uri = _small(content)
            if uri is None:
                continue
            for example_id in keys[key]:
                spent += len(uri)
                if spent > BUDGET:
                    return found
                found[example_id] = uri
    return found


def _pictures(path: Path, keys: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of the images that are asked for; damage ends it, since a picture is only a help."""
    with contextlib.suppress(OSError, ValueError, tarfile.TarError, EOFError):
        if "" in keys:
            if path.is_file() and path.stat().st_size <= _LARGEST:
                yield "", path.read_bytes()
            return
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as archive:
                for member in tar.scan(archive, path.name):
                    key = member.name.partition(".")[0]
                    if key in keys and member.size <= _LARGEST and _is_picture(member.name):
                        yield key, archive[member.offset : member.offset + member.size]
        except ShardError:
            yield from _foreign(path, keys)


def _foreign(path: Path, keys: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.rsplit("/", 1)[-1]
            key = name.partition(".")[0]
            if key in keys and member.isfile() and member.size <= _LARGEST and _is_picture(name):
                file = archive.extractfile(member)
                if file is not None:
                    yield key, file.read()


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].lower() in PICTURES


def _small(content: bytes) -> str | None:
    """Return a small JPEG as a data URI, or None if this is no picture that could be shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
                if image.mode.startswith("I;16") or image.mode in ("I", "F"):
                    picture = _stretched(image)
                else:
                    picture = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
                picture.thumbnail((SIDE, SIDE))
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=72, optimize=True)
    except Exception:  # noqa: BLE001 - whatever a damaged file makes a decoder raise
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _stretched(image: Image.Image) -> Image.Image:
    """Return eight bits of an image with more, its own darkest and brightest values at the ends."""
    deep = image.convert("F")
    low, high = deep.getextrema()
    assert isinstance(low, float | int)
    assert isinstance(high, float | int)
    scale = 255 / (high - low) if high > low else 0
    return deep.point(lambda v: v * scale - low * scale).convert("L")
