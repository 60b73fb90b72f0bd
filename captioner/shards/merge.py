"""One plain tar with images and captions, made while it is read: for loaders that know nothing of caption shards."""

from collections.abc import Iterator
from contextlib import closing

from captioner.errors import ShardError
from captioner.shards import tar
from captioner.shards.forms import Form
from captioner.shards.sources import Captions
from captioner.storage import Place, mapped


class _Blocks:
    """Takes what a tar writer writes, and gives it on in turn."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, data: bytes, /) -> None:
        self._blocks.append(data)

    def taken(self) -> Iterator[bytes]:
        yield from self._blocks
        self._blocks.clear()


def merged(shard: Place, captions: Captions, form: Form) -> Iterator[bytes]:
    """Yield the bytes of a tar that holds each image of a shard and, behind it, its captions in some form.

    Args:
        shard: an image shard.
        captions: where its captions are, and what happens to an image without.
        form: what captions look like.

    Raises:
        ShardError: a shard is missing or damaged, or an image has no captions and that is an error.
    """
    drawn = captions.load(str(shard))
    blocks = _Blocks()
    writer = tar.Writer(blocks)
    try:
        opened = mapped(shard)
    except OSError as error:
        raise ShardError(f"no image shard {shard}: {error.strerror}.") from error
    except ValueError as error:
        raise ShardError(f"the image shard {shard} is empty. Make it or copy it again.") from error
    with closing(opened) as archive:
        for member in tar.scan(archive, str(shard)):
            key = member.name.split(".", 1)[0]
            record = drawn.get(key)
            if record is None and captions.missing == "error":
                raise captions.lacking(key, str(shard))
            if record is not None or captions.missing == "pass":
                writer.add(member.name, archive[member.offset : member.offset + member.size])
            if record is not None:
                extension, content = form(key, record)
                writer.add(f"{key}.{extension}", content)
            yield from blocks.taken()
    writer.finish()
    yield from blocks.taken()
