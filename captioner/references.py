"""How a label table refers to an image: references in one form, which of them are refused, and a sample's key."""

import hashlib
import re
from dataclasses import dataclass

EXTENSIONS = frozenset(
    {
        "bmp",
        "dcm",
        "dicom",
        "gif",
        "jp2",
        "jpe",
        "jpeg",
        "jpg",
        "pbm",
        "pgm",
        "png",
        "pnm",
        "ppm",
        "tif",
        "tiff",
        "webp",
    }
)
"""Endings that image files have, lower case; anything else after a dot is part of the name."""

KEY_LENGTH = 80
DIGEST = 8

_EXTENSION = re.compile(rf"\.(?:{'|'.join(sorted(EXTENSIONS))})\Z", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*")
_TIDY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ELSEWHERE = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*:/")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something cannot be used: a code for counting, and a reason for people."""

    code: str
    reason: str


def normalise(reference: str) -> str:
    """Return a reference in the form in which references are compared: ``/`` between parts, no ``./`` and no ``//``.

    A leading ``/`` and ``..`` stay, for :func:`refusal` to see.
    """
    if _TIDY.fullmatch(reference):
        return reference
    text = reference.strip().replace("\\", "/")
    parts = [p for p in text.split("/") if p not in ("", ".")]
    return ("/" if text.startswith("/") else "") + "/".join(parts)


def refusal(reference: str) -> Problem | None:
    """Say why a normalised reference is refused, or return None.

    What could leave the folder of the images is refused here, before any file is looked at.
    """
    if _TIDY.fullmatch(reference):
        return None
    if not reference.strip("/"):
        reason = "no image is named"
    elif _UNPRINTABLE.search(reference):
        reason = "the image reference holds a control character"
    elif _ELSEWHERE.match(reference):
        reason = "the image reference is a drive or an address; it must be a path below the image folder"
    elif reference.startswith("/"):
        reason = "the image reference is an absolute path; it must be a path below the image folder"
    elif ".." in reference.split("/"):
        reason = "the image reference has '..'; it must be a path below the image folder"
    else:
        return None
    return Problem("bad_image_reference", reason)


def without_extension(reference: str) -> str:
    """Return a reference without its ending, if that is one of :data:`EXTENSIONS`."""
    return _EXTENSION.sub("", reference)


def sample_key(dataset: str, reference: str, *, digest: int = 0) -> str:
    """Return a sample's key: ``chestxray14-00000001_000`` for ``00000001_000.png``.

    A key is ASCII, matches ``[A-Za-z0-9_-]{1,80}`` and depends on nothing but the dataset's id and the reference, so it
    never changes when a table grows. ``/`` becomes ``-``. A reference with any other character than letters, digits,
    ``_`` and ``/`` before its extension, or too long a one, is shortened to what is allowed, and hex digits of its
    SHA-256 keep it apart from others; ``-`` is such a character, so ``a/b`` and ``a-b`` have different keys.

    Args:
        dataset: the schema's id.
        reference: as the table has it.
        digest: append that many hex digits where none would be needed.
    """
    name = normalise(reference)
    stem = without_extension(name)
    if not digest and _PLAIN.fullmatch(stem) and len(dataset) + 1 + len(stem) <= KEY_LENGTH:
        return f"{dataset}-{stem.replace('/', '-')}"
    digest = max(digest, DIGEST)
    mark = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:digest]
    room = KEY_LENGTH - len(dataset) - digest - 2
    safe = _OTHER.sub("-", stem).strip("-")[:room].rstrip("-")
    return "-".join(p for p in (dataset, safe, mark) if p)
