"""Kill the writing of image and caption shards at random moments, go on, and look at what is there.

A process writes a small set of images (JPEG, PNG, a TIFF of several pages, a damaged file) into shards, then captions beside
them. It is killed (SIGKILL) after a random time and started again on what it left, until the set is whole; then the next set
is begun. After each kill every file under a final name must be whole; at each end all files must have the bytes of a set that
was never interrupted: no sample twice, none missing.

    python -m benchmarks.kills [--kills 100] [--seed 1]
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner.shards import Conversion, ImageItem, build_captions, build_images, read_manifest, tar, verify

COUNT, PAGES, PER_SHARD = 60, 7, 5
FINAL = ("manifest.parquet", "sizes.json", "SHA256SUMS", "run.json")


def make_images(folder: Path) -> list[ImageItem]:
    """Write the images; one has several pages and one is damaged."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    items = []
    for i in range(COUNT):
        name = f"{i:03d}.{'jpg' if i % 2 else 'png'}"
        pictures = [Image.fromarray(draw.integers(0, 255, (40, 40 + i), dtype=np.uint8)) for _ in range(PAGES)]
        if i == 20:
            pictures[0].save(folder / name, "TIFF", save_all=True, append_images=pictures[1:])
        else:
            pictures[0].save(folder / name)
        if i == 33:
            (folder / name).write_bytes((folder / name).read_bytes()[:300])
        items.append(ImageItem(f"kills-{i:03d}", folder / name, name))
    return items


def expected_keys() -> list[str]:
    """The key of every sample, in order."""
    pages = [f"kills-020-f{page:04d}" for page in range(1, PAGES + 1)]
    keys = [pages if i == 20 else [f"kills-{i:03d}"] for i in range(COUNT) if i != 33]
    return [key for group in keys for key in group]


def record(key: str) -> dict[str, Any]:
    return {"captions": [f"Caption {n} of {key}." for n in range(10)], "labels": [key], "triplet": key, "run": "kills"}


def write(items: list[ImageItem], root: Path, stage: int) -> None:
    """Write everything; say on the descriptor ``stage`` how far it is."""
    os.write(stage, b"i")
    build_images(items, root / "images", dataset="kills", per_shard=PER_SHARD, conversion=Conversion(types=True))
    os.write(stage, b"c")
    build_captions(root / "images", root / "captions", captions=record, run="kills")
    os.write(stage, b"e")


def begin(items: list[ImageItem], root: Path) -> tuple[int, int]:
    """Start writing in a process; return its id, and the descriptor on which it says how far it is."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        failed = 1
        try:
            write(items, root, writing)
            failed = 0
        finally:
            os._exit(failed)
    os.close(writing)
    return child, reading


def end(child: int, reading: int) -> tuple[bool, str]:
    """Wait for the process; say whether it was killed, and how far it was."""
    _, status = os.waitpid(child, 0)
    stage = os.read(reading, 16).decode()[-1:]
    os.close(reading)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
        raise SystemExit("the writing itself failed: its message is above")
    return os.WIFSIGNALED(status), stage


def files(root: Path) -> dict[str, bytes]:
    """Every file under its final name, and the journal; temporary ones are left out."""
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in root.glob("*/*") if p.suffix != ".tmp"}


def damaged(found: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """The shards, and the lists of images, under final names that are not whole."""
    # Until the last caption shard is written, their record is a shorter one, and complete as such.
    final = {name for name in found if name.endswith((".tar", *FINAL)) and not name.startswith("captions/run")}
    return sorted(name for name in final if found[name] != whole.get(name))


def keys_of(root: Path, kind: str) -> list[str]:
    """The keys in the shards of a folder, in order."""
    shards = sorted((root / kind).glob("*.tar"))
    return [member.name.partition(".")[0] for path in shards for member in tar.scan(path.read_bytes(), path.name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        return kill(root, options.kills, random.Random(options.seed))
    finally:
        shutil.rmtree(root)


def kill(root: Path, wanted: int, draw: random.Random) -> int:
    items = make_images(root / "data")
    whole_root, work = root / "whole", root / "work"
    whole_root.mkdir()
    began = time.monotonic()
    end(*begin(items, whole_root))
    typical = time.monotonic() - began
    whole = files(whole_root)
    wrong = [
        f"the {kind} of the uninterrupted set are not what they should be"
        for kind in ("images", "captions")
        if keys_of(whole_root, kind) != expected_keys() or verify(whole_root / kind)
    ]
    stages: Counter[str] = Counter()
    kills = sets = leftovers = 0
    while kills < wanted or work.exists():
        work.mkdir(exist_ok=True)
        child, reading = begin(items, work)
        if kills < wanted:
            time.sleep(draw.uniform(0, typical))
            os.kill(child, signal.SIGKILL)
        killed, stage = end(child, reading)
        kills += killed
        found = files(work)
        wrong += [f"kill {kills}: {name} is damaged" for name in damaged(found, whole)]
        if killed:
            stages[stage] += 1
            leftovers += sum(1 for _ in work.glob("*/*.tmp"))
            continue
        if found != whole or list(work.glob("*/*.tmp")):
            wrong.append(f"after {kills} kills: the finished set has other bytes, or files too many")
        if keys_of(work, "images") != expected_keys() or keys_of(work, "captions") != expected_keys():
            wrong.append(f"after {kills} kills: samples twice or missing")
        sets += 1
        shutil.rmtree(work)
    shards = len(read_manifest(whole_root / "images").shards)
    print(f"{len(expected_keys())} samples in {shards} image shards and as many caption shards")
    print(
        f"{kills} kills: {stages['i']} while images were written, {stages['c']} while captions were, "
        f"{stages['']} before and {stages['e']} after; {leftovers} temporary files were left on the way"
    )
    print(f"{sets} sets finished after kills; {len(wrong)} faults")
    for fault in wrong:
        print(f"  {fault}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
