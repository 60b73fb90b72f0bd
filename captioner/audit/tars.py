"""Rows of labels and captions from shards: our own caption shards, and anybody's tars of images and texts."""

import contextlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from captioner.audit.rows import Bad, Lookup, Row, texts_of
from captioner.errors import ShardError
from captioner.shards import tar
from captioner.shards.members import SUFFIX
from captioner.storage import Place, mapped

PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"})
_PENDING = 100_000
_TEXT_LIMIT = 1 << 20
_JOINED = re.compile(r"(?:(?<=\.)_|_)(?P<tag>[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*)_\s*\Z", re.ASCII)

LABELS_NEEDED = (
    "the shard holds captions but no labels. Give a CSV, JSONL or Parquet with columns 'key' (and 'shard', where keys start "
    "again in each shard) and 'labels' with --labels"
)


@dataclass(frozen=True, slots=True)
class SetInfo:
    """What a run's own files say of a support set beside its captions."""

    sources: Mapping[str, str]
    negatives: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]


def read_caption_shards(
    shards: Iterable[Place],
    *,
    images: Path | None = None,
    sets: Mapping[str, SetInfo] | None = None,
    groups: tuple[tuple[str, str], ...] = (),
    lookup: Lookup | None = None,
) -> Iterator[Row | Bad]:
    """Yield each distinct record of our own caption shards once, with the number of images that share it.

    Args:
        shards: the tars, in order.
        images: the folder of the image shards of the same names.
        sets: what is known of a triplet's support set.
        groups: dimensions that hold for all rows.
        lookup: labels of a sample, where the records have none: a dataset's own texts, above all.
    """
    pending: dict[bytes, list[Any]] = {}
    for shard in shards:
        try:
            with contextlib.closing(mapped(shard)) as archive:
                for member in tar.scan(archive, shard.name):
                    content = archive[member.offset : member.offset + member.size]
                    labels = lookup.find(Path(shard.name).stem, member.name.removesuffix(SUFFIX)) if lookup else None
                    # Images may share a report and differ in their labels.
                    digest = blake2b(content + repr(labels).encode(), digest_size=16).digest()
                    if (known := pending.get(digest)) is not None:
                        known[2] += 1
                        continue
                    pending[digest] = [shard, member.name, 1, content, labels]
                    if len(pending) >= _PENDING:
                        yield from _records(pending.values(), images, sets or {}, groups, lookup)
                        pending.clear()
        except (ShardError, OSError, ValueError) as error:
            yield Bad(str(shard), "", "broken_file", str(error) or "empty")
    yield from _records(pending.values(), images, sets or {}, groups, lookup)


def _records(
    pending: Iterable[list[Any]],
    images: Path | None,
    sets: Mapping[str, SetInfo],
    groups: tuple[tuple[str, str], ...],
    lookup: Lookup | None,
) -> Iterator[Row | Bad]:
    for shard, name, count, content, found in pending:
        key = name.removesuffix(SUFFIX)
        record = _json(content)
        if record is None:
            yield Bad(str(shard), name, "bad_row", "not a record of captions")
            continue
        labels = record.get("labels") or found
        if not labels:
            yield Bad(str(shard), key, "no_label", lookup.lacks(key) if lookup else LABELS_NEEDED)
            continue
        captions = texts_of(record.get("captions"))
        info = sets.get(str(record.get("triplet")))
        own = (("run", str(record["run"])),) if record.get("run") else ()
        yield Row(
            str(shard),
            key,
            labels,
            captions,
            images=count,
            key=key,
            groups=groups or own,
            sources=tuple(info.sources.get(c, "") for c in captions) if info else (),
            negatives=info.negatives if info else (),
            attributes=info.attributes if info else (),
            image=(str(images / shard.name), key) if images else None,
        )


def _json(content: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(content)
        if isinstance(record, dict):
            return record
    return None


def read_tars(shards: Iterable[Place], lookup: Lookup | None = None) -> Iterator[Row | Bad]:
    """Yield the samples of anybody's WebDataset tars: captions from texts or JSON, labels from JSON or a lookup.

    A text may hold several captions joined by a tag, as UniMed's do: ``First one._chest_xray8_Second one._chest_xray8_``.

    Args:
        shards: the tars, in order.
        lookup: labels of a sample, where the tars themselves have none.
    """
    for shard in shards:
        try:
            if whole := _cut_off(shard):
                yield Bad(str(shard), "", "broken_file", whole)
            with shard.open("rb") as file, tarfile.open(fileobj=file) as archive:
                yield from _samples(shard, archive, lookup)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            yield Bad(str(shard), "", "broken_file", f"damaged or no tar: {error}")


def _cut_off(shard: Place) -> str | None:
    """Return what is wrong with the end of a plain tar: readers take one that was cut off between members for whole."""
    size = shard.stat().st_size
    with shard.open("rb") as file:
        if not file.read(262).endswith(b"ustar"):
            return None  # compressed, or no tar: opening it will tell
        file.seek(max(0, size - 2 * tar.BLOCK))
        return None if size % tar.BLOCK == 0 and not any(file.read()) else "cut off: the end of the archive is missing"


def _samples(shard: Place, archive: tarfile.TarFile, lookup: Lookup | None) -> Iterator[Row | Bad]:
    key, parts = "", dict[str, bytes]()
    for member in archive:
        if not member.isfile():
            continue
        name, _, extension = member.name.rsplit("/", 1)[-1].partition(".")
        if name != key:
            if parts:
                yield _sample(shard, key, parts, lookup)
            key, parts = name, {}
        extension = extension.lower()
        if extension in PICTURES:
            parts[extension] = b""
        elif extension in {"txt", "json", "captions.json", "cls", "labels", "caption"} and member.size <= _TEXT_LIMIT:
            file = archive.extractfile(member)
            parts[extension] = file.read() if file else b""
    if parts:
        yield _sample(shard, key, parts, lookup)


def _sample(shard: Place, key: str, parts: Mapping[str, bytes], lookup: Lookup | None) -> Row | Bad:
    record = _json(parts.get("captions.json") or parts.get("json") or b"{}") or {}
    captions = texts_of(record.get("captions") or record.get("caption") or record.get("text"))
    if not captions:
        captions = tuple(str(v) for k, v in record.items() if re.fullmatch(r"caption_\d+", k))
    text = parts.get("txt") or parts.get("caption")
    if not captions and text is not None:
        captions = split_joined(text.decode("utf-8", "surrogateescape"))
    labels = record.get("labels", record.get("label"))
    if labels is None and (content := parts.get("cls") or parts.get("labels")) is not None:
        labels = content.decode("utf-8", "replace").strip()
    if labels is None and lookup is not None:
        labels = lookup.find(shard.stem, key)
    if labels is None:
        return Bad(str(shard), key, "no_label", lookup.lacks(key) if lookup else LABELS_NEEDED)
    picture = any(e in PICTURES for e in parts)
    return Row(str(shard), key, labels, captions, key=key, image=(str(shard), key) if picture else None)


def split_joined(text: str) -> tuple[str, ...]:
    """Return the captions of a text: several, if a tag stands behind each, else the text itself."""
    found = _JOINED.search(text)
    if found is None:
        return (text,)
    words = found["tag"].split("_")
    # The last caption may end in letters that run into the tag ("… lung_chest_xray8_"): the tag is the longest ending
    # that stands in the text again, or, of a single caption, all of it.
    tags = ["_" + "_".join(words[i:]) + "_" for i in range(len(words))]
    tag = next((t for t in tags if text.count(t) > 1), tags[0])
    return tuple(c for part in text.split(tag) if (c := part.strip()))
