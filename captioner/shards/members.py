"""Reading caption shards: what a training process needs, and no more."""

import json
from collections.abc import Iterator
from typing import Any

from captioner.errors import ShardError
from captioner.shards import tar
from captioner.storage import Place

RECORD = "run.json"
"""What a folder of caption shards says of itself."""

SUFFIX = ".captions.json"
"""What follows the key in the name of a caption shard's member."""


def load_captions(shard: Place) -> dict[str, dict[str, Any]]:
    """Return the records of one caption shard by key.

    Raises:
        ShardError: the shard is missing or damaged.
    """
    return {key: json.loads(content) for key, content in read_members(shard).items()}


def read_members(shard: Place) -> dict[str, bytes]:
    """Return the undecoded records of one caption shard by key.

    Raises:
        ShardError: the shard is missing or damaged.
    """
    try:
        content = shard.read_bytes()
    except OSError as error:
        raise ShardError(f"no caption shard {shard}: {error.strerror}.") from error
    return dict(_members(content, str(shard)))


def _members(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    for member in tar.scan(content, name):
        if not member.name.endswith(SUFFIX):
            raise ShardError(f"{name} is no caption shard: it holds {member.name}.")
        yield member.name.removesuffix(SUFFIX), content[member.offset : member.offset + member.size]
