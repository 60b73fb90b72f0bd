"""Whether shards are what their manifest says: to the last bit, with nothing missing and nothing added."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from captioner import atomic
from captioner.errors import ShardError
from captioner.shards import captions, journal, manifest, members, tar
from captioner.shards.manifest import Image, Shard, file_hash
from captioner.storage import Place, mapped


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a folder of shards.

    Attributes:
        file: the name of the file it is about.
        code: ``unfinished``, ``missing``, ``foreign``, ``truncated``, ``damaged`` or ``other_images``.
        reason: one sentence for a person.
    """

    file: str
    code: str
    reason: str


_PUSHED_IN_PART = Problem(
    manifest.PUSHING, "unfinished", "a push is at work or was interrupted; push again to finish it"
)


def verify(folder: Place, *, images: Place | None = None) -> list[Problem]:
    """Check a folder of image shards or caption shards, every byte of it.

    Readers pass in silence over much of what this finds: an archive cut off between two samples, a flipped bit in a
    header (the rest of the shard is lost) or in an image.

    Args:
        folder: what to check.
        images: for caption shards, the image shards that they should belong to.

    Returns:
        The problems, in order of file names; empty if all is well.

    Raises:
        ShardError: the folder holds neither image shards nor caption shards of ours.
    """
    if (folder / members.RECORD).is_file():
        found = list(_verify_captions(folder, images))
    elif (folder / manifest.NAME).is_file() or (folder / journal.NAME).is_file():
        found = list(_verify_images(folder))
    elif (folder / manifest.PUSHING).is_file():
        found = [_PUSHED_IN_PART]
    else:
        raise ShardError(f"{folder} holds no shards of captioner's: neither {manifest.NAME} nor {members.RECORD}.")
    return sorted(found, key=lambda problem: (problem.file, problem.reason))


def _verify_images(folder: Place) -> Iterator[Problem]:
    if (folder / journal.NAME).is_file():
        yield Problem(journal.NAME, "unfinished", "a build is at work or was interrupted; build again to finish it")
    try:
        found = manifest.read_manifest(folder)
        rows = list(_damaged_shards(folder, found))
    except ShardError as error:
        yield Problem(manifest.NAME, "damaged", str(error))
        return
    yield from rows
    sizes = {shard.name: shard.samples for shard in found.shards}
    try:
        right = json.loads((folder / manifest.SIZES).read_bytes()) == sizes
    except (OSError, ValueError):
        right = False
    if not right:
        yield Problem(manifest.SIZES, "damaged", "missing, or it does not say what the manifest says")
    yield from _verify_folder(folder, found.shards, (manifest.NAME, manifest.SIZES))


def _verify_captions(folder: Place, images: Place | None) -> Iterator[Problem]:
    try:
        record = captions.read_record(folder)
    except ShardError as error:
        yield Problem(members.RECORD, "damaged", str(error))
        return
    assert record is not None
    if len(record.shards) != len(record.image_shards):
        yield Problem(members.RECORD, "unfinished", "the captions of some shards are not written; write them again")
    for shard in record.shards:
        yield from _verify_shard(folder, shard, None)
    yield from _verify_folder(folder, record.shards, (members.RECORD,))
    if images is not None:
        yield from _verify_pairs(folder, record, images)


def _verify_pairs(folder: Place, record: captions.CaptionRecord, images: Place) -> Iterator[Problem]:
    """Check that caption shards belong to image shards, key by key."""
    found = manifest.read_manifest(images)
    if record.images != found.hash:
        yield Problem(
            members.RECORD, "other_images", f"written for image set {record.images}, {images} is {found.hash}"
        )
        return
    for shard, keys in found.keys_by_shard():
        try:
            found_keys = list(members.read_members(folder / shard.name))
        except ShardError:
            continue  # reported by its bytes
        order = iter(keys)
        if wrong := next((key for key in found_keys if key not in order), None):
            yield Problem(shard.name, "damaged", f"{wrong} is not in the image shard, or in another order")


def _damaged_shards(folder: Place, found: manifest.Manifest) -> Iterator[Problem]:
    images = found.images()
    for shard in found.shards:
        rows = list(islice(images, shard.samples))
        if wrong := next((row for row in rows if row.shard != shard.name), None):
            yield Problem(manifest.NAME, "damaged", f"the row of {wrong.key} says {wrong.shard}, not {shard.name}")
        yield from _verify_shard(folder, shard, rows)


def _verify_shard(folder: Place, shard: Shard, rows: list[Image] | None) -> Iterator[Problem]:
    path = folder / shard.name
    try:
        size = path.stat().st_size
        if size == shard.bytes and file_hash(path) == shard.sha256:
            return
    except FileNotFoundError:
        yield Problem(shard.name, "missing", f"the shard with {shard.samples} samples does not exist")
        return
    except OSError as error:
        yield Problem(shard.name, "damaged", f"the shard cannot be read: {error.strerror}")
        return
    code = "truncated" if size < shard.bytes else "damaged"
    yield Problem(shard.name, code, _what_is_wrong(path, shard, size, rows))


def _what_is_wrong(path: Place, shard: Shard, size: int, rows: Iterable[Image] | None) -> str:
    """Say where a shard differs from its manifest, as closely as can be told."""
    sizes = f"{size} bytes instead of {shard.bytes}; " if size != shard.bytes else ""
    if not size:
        return sizes + "it is empty"
    with closing(mapped(path)) as content:
        try:
            archived = tar.scan(content, path.name)
            for row in rows or ():
                member = next(archived, None)
                if member is None or member.name != row.member or member.size != row.bytes:
                    return f"{sizes}the first sample that is not as it was written is {row.key}"
                payload = content[member.offset : member.offset + member.size]
                if hashlib.sha256(payload).hexdigest() != row.sha256:
                    return f"{sizes}the bytes of {row.key} are not those that were written"
            for _ in archived:
                pass
        except ShardError as error:
            return sizes + str(error)
    return sizes + "its bytes are not those that were written"


def _verify_folder(folder: Place, shards: Iterable[Shard], others: tuple[str, ...]) -> Iterator[Problem]:
    """Check the list of checksums, and that no file is there that does not belong."""
    expected = {shard.name: shard.sha256 for shard in shards}
    for name in others:
        if (folder / name).is_file():
            expected[name] = file_hash(folder / name)
    try:
        listed = manifest.read_sums(folder)
    except ShardError as error:
        yield Problem(manifest.SUMS, "damaged", str(error))
    else:
        for name in sorted(expected.keys() | listed.keys()):
            if expected.get(name) != listed.get(name):
                yield Problem(name, "damaged", f"its content is not what {manifest.SUMS} says")
    pushing = (folder / manifest.PUSHING).is_file()
    if pushing:
        yield _PUSHED_IN_PART
    for path in folder.iterdir():
        if path.name.endswith(atomic.TEMPORARY):
            yield Problem(path.name, "unfinished", "left by an interrupted build; build again to clear it up")
        elif path.suffix == ".tar" and path.name not in expected and not pushing:
            yield Problem(path.name, "foreign", "it is not part of this set; a loader with a wildcard would read it")
