"""How a label table refers to an image: references in one form, which of them are refused, and a sample's key."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        "npy",
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

_ENDING = rf"\.(?:{'|'.join(sorted(EXTENSIONS))})"
_EXTENSION = re.compile(rf"{_ENDING}\Z", re.IGNORECASE)
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


def name_samples(dataset: str, images: pa.Array) -> tuple[pa.Array, pa.Array, dict[int, Problem]]:
    """Return normalised references, their keys, and the problems of those that are refused (by position).

    Keys are those of :func:`sample_key`, unless two references would share one (``Y92.jpg`` and ``Y92.png``): then the
    first in alphabetical order keeps it, and the other gets a longer mark.
    """
    keys = _plain_keys(dataset, images)
    others = pc.is_null(keys)
    if not pc.any(others).as_py():
        return images, keys, {}
    marked = _marked_keys(dataset, images.filter(others))
    problems: dict[int, Problem] = {}
    if marked is not None:
        keys = pc.replace_with_mask(keys, others, marked)
    else:
        positions = np.flatnonzero(others.to_numpy(zero_copy_only=False))
        raw = images.take(pa.array(positions)).to_pylist()
        references = {r: normalise(r) for r in dict.fromkeys(raw)}
        refused = {r: p for r, n in references.items() if (p := refusal(n))}
        problems = {int(i): refused[r] for i, r in zip(positions, raw, strict=True) if r in refused}
        named = pa.array([r if r in refused else references[r] for r in raw], type=pa.string())
        images = pc.replace_with_mask(images, others, named)
        key_of = {r: "" if r in refused else sample_key(dataset, n) for r, n in references.items()}
        keys = pc.replace_with_mask(keys, others, pa.array([key_of[r] for r in raw], type=pa.string()))
    if not all_differ(keys.filter(pc.not_equal(keys, ""))):
        names = images.to_pylist()
        unique = _unique_keys(dataset, {n for i, n in enumerate(names) if i not in problems})
        keys = pa.array([unique.get(n, "") for n in names], type=pa.string())
    return images, keys, problems


def _plain_keys(dataset: str, images: pa.Array) -> pa.Array:
    """Return the keys of references that have the ending of the first one and plain names; null for the others."""
    none = pa.nulls(len(images), pa.string())
    ending = "." + images[0].as_py().rpartition(".")[2] if len(images) else ""
    if ending[1:].lower() not in EXTENSIONS:
        return none
    stems = pc.utf8_slice_codeunits(images, 0, -len(ending))
    plain = pc.and_(
        pc.and_(pc.ends_with(images, ending), pc.match_substring_regex(stems, f"^(?:{_PLAIN.pattern})$")),
        pc.less_equal(pc.binary_length(stems), KEY_LENGTH - len(dataset) - 1),
    )
    keys = pc.binary_join_element_wise(pa.scalar(dataset), pc.replace_substring(stems, "/", "-"), "-")
    return keys if pc.all(plain).as_py() else pc.if_else(plain, keys, none)


def _marked_keys(dataset: str, names: pa.Array) -> pa.Array | None:
    """Return what :func:`sample_key` gives for references, all at once; None if one of them needs a closer look."""
    if not pc.all(pc.match_substring_regex(names, f"^(?:{_TIDY.pattern})$")).as_py():
        return None
    stems = pc.replace_substring_regex(names, f"(?i){_ENDING}$", "")
    marks = pa.array([hashlib.sha256(n.encode()).hexdigest()[:DIGEST] for n in names.to_pylist()], type=pa.string())
    safe = pc.utf8_trim(pc.replace_substring_regex(stems, _OTHER.pattern, "-"), "-")
    safe = pc.utf8_rtrim(pc.utf8_slice_codeunits(safe, 0, KEY_LENGTH - len(dataset) - DIGEST - 2), "-")
    plain = pc.and_(
        pc.match_substring_regex(stems, f"^(?:{_PLAIN.pattern})$"),
        pc.less_equal(pc.binary_length(stems), KEY_LENGTH - len(dataset) - 1),
    )
    as_is = pc.binary_join_element_wise(pa.scalar(dataset), pc.replace_substring(stems, "/", "-"), "-")
    return pc.if_else(plain, as_is, pc.binary_join_element_wise(pa.scalar(dataset), safe, marks, "-"))


def all_differ(keys: pa.Array) -> bool:
    """Say whether ASCII strings are certainly distinct; False proves nothing. Hashes eight letters at a time."""
    if not len(keys):
        return True
    width = -(-pc.max(pc.binary_length(keys)).as_py() // 8) * 8
    padded = pc.ascii_rpad(keys, width=width, padding=".")
    words = np.frombuffer(padded.buffers()[2], dtype=np.uint64, count=len(keys) * width // 8).reshape(len(keys), -1)
    factors = np.random.default_rng(0).integers(1, 2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.sort(((words ^ (words >> 29)) * factors).sum(axis=1, dtype=np.uint64))
    return bool((hashes[1:] != hashes[:-1]).all())


def _unique_keys(dataset: str, references: Iterable[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for reference in sorted(references):
        key = sample_key(dataset, reference)
        if key in taken:
            key = sample_key(dataset, reference, digest=16)
        taken.add(key)
        keys[reference] = key
    return keys
