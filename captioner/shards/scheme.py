"""A URL scheme that gives unmodified webdataset loaders images and captions as one tar.

``captioner:OUT/images/chestxray14-{000000..000112}.tar?run=RUN`` is the merged tar of an image shard and the captions of
``OUT/runs/RUN/captions``. Parameters:

* ``run``: a run of the same output folder, or the path of a folder of caption shards; ``RUN*3`` gives it a weight where
  several ``run=`` are given, of which one is then drawn for each image.
* ``form``: ``txt`` (the default: one caption, drawn anew whenever the shard is read), ``json``, ``flat``, ``joined:TAG``, ``one``.
* ``missing``: ``error`` (the default), ``skip`` or ``pass``.

A program that cannot be told to call :func:`register` is started through this module::

    python -m captioner.shards.scheme open_clip_train.main --train-data 'captioner:…' …
"""

import os
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Self, get_args
from urllib.parse import parse_qs, unquote

from captioner.errors import UsageError
from captioner.shards.forms import form
from captioner.shards.merge import merged
from captioner.shards.sources import Captions, Missing
from captioner.storage import Place, place, without_secrets

SCHEME = "captioner"

_BLOCK = 1 << 20

_WEIGHT = re.compile(r"(?P<run>.+)\*(?P<weight>\d+(\.\d+)?)")
_PARAMETERS = {"run", "form", "missing"}


def register() -> None:
    """Make webdataset, of whatever version, understand ``captioner:`` URLs in this process and those forked from it.

    It then reads ``s3://`` too, which it cannot by itself.
    """
    from webdataset.gopen import gopen_schemes

    gopen_schemes[SCHEME] = open_url
    gopen_schemes.setdefault("s3", _open_s3)


def _open_s3(url: str, mode: str = "rb", bufsize: int = 0, **options: object) -> BinaryIO:  # noqa: ARG001 - webdataset's form
    if not mode.startswith("r"):
        raise UsageError(f"{without_secrets(url)} can only be read.")
    found = place(url)
    return found.open("rb")


class Stream:
    """A file to read from, over pieces that are made when they are needed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, ``size`` of them unless the end comes before."""
        parts = []
        while size:
            if not self._block:
                self._block = memoryview(next(self._blocks, b""))
                if not self._block:
                    break
            part = self._block[: size if size > 0 else None]
            self._block = self._block[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Give back the shards."""
        self._block = memoryview(b"")
        self._blocks = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_url(url: str, mode: str = "rb", bufsize: int = 0, **options: object) -> Stream:  # noqa: ARG001 - webdataset's form
    """Open a ``captioner:`` URL for reading.

    Raises:
        UsageError: the URL is not as this module says.
        ShardError: (while reading) a shard is missing or damaged.
    """
    path, _, query = url.removeprefix(f"{SCHEME}:").partition("?")
    url = without_secrets(url)
    if not mode.startswith("r"):
        raise UsageError(f"{url} can only be read.")
    given = parse_qs(query, keep_blank_values=True)
    if unknown := given.keys() - _PARAMETERS:
        raise UsageError(f"{url}: no parameter {min(unknown)!r}; there are run, form and missing.")
    missing = given.get("missing", ["error"])[-1]
    if missing not in get_args(Missing):
        raise UsageError(f"{url}: missing is error, skip or pass, not {missing!r}.")
    if not given.get("run"):
        raise UsageError(f"{url} names no run: write ?run=NAME behind it.")
    shard = place(unquote(path))
    captions = Captions(dict(_run(each, shard) for each in given["run"]), missing)  # type: ignore[arg-type]
    return Stream(merged(shard, captions, form(given.get("form", ["txt"])[-1])))


def copy_url(url: str, target: BinaryIO) -> None:
    """Write what a ``captioner:`` URL stands for, for a pipe into a loader that can register nothing.

    Raises:
        UsageError, ShardError: as for :func:`open_url`.
    """
    with open_url(url) as stream:
        try:
            while block := stream.read(_BLOCK):
                target.write(block)
            target.flush()
        except BrokenPipeError:
            # The reader has had enough; what the target still holds must not raise again when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, target.fileno())
            os.close(nowhere)


def _run(text: str, shard: Place) -> tuple[Place, float]:
    weight = 1.0
    if found := _WEIGHT.fullmatch(text):
        text, weight = found["run"], float(found["weight"])
    return place(text) if "/" in text else shard.parent.parent / "runs" / text / "captions", weight


def main(arguments: Sequence[str]) -> None:
    """Register the scheme, then run a module as ``python -m`` does."""
    if not arguments:
        raise SystemExit("usage: python -m captioner.shards.scheme MODULE [ARGUMENT …]")
    register()
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
