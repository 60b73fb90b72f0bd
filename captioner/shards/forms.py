"""What a record of captions looks like in the shards of others.

A form turns a record (``{"captions": [...], "labels": [...], …}`` as JSON) into one more member of the sample.
"""

import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from captioner.errors import UsageError

Form = Callable[[str, bytes], tuple[str, bytes]]
"""From a key and its record to the extension and the content of a member."""

_TAG = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", re.ASCII)


def form(name: str) -> Form:
    """Return a form by its name.

    ``txt``: one caption, drawn at each call, as open_clip and most loaders expect it. ``one``: a text as well, but
    always the same caption for a key. ``json``: the whole record.
    ``flat``: the captions as ``caption_0``, ``caption_1`` … of a JSON object, which open_clip's ``--json-text-key`` can
    draw from. ``joined:TAG``: all captions in one text with ``_TAG_`` behind each, which UniMed's loader splits again.

    Raises:
        UsageError: there is no such form.
    """
    kind, _, tag = name.partition(":")
    if kind == "joined" and _TAG.fullmatch(tag):
        return lambda _, record: ("txt", joined(captions_of(record), tag).encode())
    if name in _FORMS:
        return _FORMS[name]
    raise UsageError(f"no form {name!r}. There are: {', '.join(_FORMS)}, joined:TAG (such as joined:chestxray8).")


def joined(captions: Sequence[str], tag: str, *, strip: bool = True) -> str:
    """Return captions as UniMed stores them: full stops stripped from both ends, then one, then the tag.

    Its loader splits the text at the tag and draws one of the first ten pieces. With fewer than ten captions one of
    those pieces is the empty string behind the last tag; more than ten are never drawn.

    Args:
        captions: the captions.
        tag: the mark, without the underscores around it.
        strip: whether full stops at the ends go first; for RadImageNet they stay.

    Raises:
        UsageError: a caption contains the tag, and would be split in two.
    """
    mark = f"_{tag}_"
    if broken := next((caption for caption in captions if mark in caption), None):
        raise UsageError(f"the tag {mark!r} occurs in a caption and would split it: {broken!r}. Choose another tag.")
    return "".join((caption.strip(".") if strip else caption) + "." + mark for caption in captions)


def captions_of(record: bytes) -> list[str]:
    """Return the captions of an undecoded record."""
    captions: list[str] = json.loads(record)["captions"]
    return captions


def _drawn(_: str, record: bytes) -> tuple[str, bytes]:
    return "txt", random.choice(captions_of(record)).encode()  # noqa: S311 - training, not secrets


def _one(key: str, record: bytes) -> tuple[str, bytes]:
    captions = captions_of(record)
    return "txt", captions[zlib.crc32(key.encode()) % len(captions)].encode()


def _flat(_: str, record: bytes) -> tuple[str, bytes]:
    content: dict[str, Any] = json.loads(record)
    numbered = {f"caption_{i}": caption for i, caption in enumerate(content.pop("captions"))}
    return "json", json.dumps(content | numbered, ensure_ascii=False, separators=(",", ":")).encode()


_FORMS: dict[str, Form] = {"txt": _drawn, "one": _one, "json": lambda _, record: ("json", record), "flat": _flat}
