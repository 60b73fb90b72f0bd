"""What shards cost, paired in one run: writing images, writing captions, reading both joined, memory.

Every round runs each way once, in an order drawn anew; ratios of medians are printed, since seconds say more of the
machine than of the code. Images are random noise in JPEG of about 76 KB, ten captions each. "CPU" is user and system
time of a process of its own for each measurement, without what importing costs.

Conditions are the same for all: one process, the files in their order, all of them in the system's cache, nothing left
to be written by the one before. What differs is said in the name: who hashes, and who brings what is written to disk.
GNU tar and ShardWriter do neither by themselves. build_images does both; with the hashes left out, and with the syncs
left out too, it is also measured. With ``--folder /dev/shm`` no disk has a part in it.

    python -m benchmarks.shards [--images 4000] [--rounds 3]
    python -m benchmarks.shards --memory [--many 1000000]
"""

import argparse
import gc
import hashlib
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from captioner.shards import ImageItem, build_captions, build_images, image_shard, join_captions, tar

PER_SHARD = 1000


def make_images(folder: Path, count: int) -> None:
    """Write ``count`` different JPEGs: a few noisy pictures, each with a number behind its end."""
    draw = np.random.default_rng(0)
    pictures = []
    for _ in range(20):
        smooth = Image.fromarray(draw.integers(60, 200, (32, 32), dtype=np.uint8)).resize((512, 512))
        noisy = np.clip(np.asarray(smooth) + draw.normal(0, 13, (512, 512)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=80)
        pictures.append(buffer.getvalue())
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:07d}.jpg").write_bytes(pictures[i % len(pictures)] + f"{i}".encode())


def items(folder: Path, count: int, files: int | None = None) -> Iterator[ImageItem]:
    """Yield ``count`` items; where there are fewer files, they are used again."""
    for i in range(count):
        name = f"{i % (files or count):07d}.jpg"
        yield ImageItem(f"bench-{i:07d}", folder / name, f"{i}/{name}")


def record(key: str) -> dict[str, Any]:
    """One of 836 support sets, as many as a large chest X-ray table has."""
    kind = int(key[-7:]) % 836
    captions = [f"Frontal chest radiograph number {kind} with an effusion and no {n} of note." for n in range(10)]
    return {"captions": captions, "labels": ["Effusion"], "triplet": f"t{kind:016x}", "run": "bench"}


RECORDS = [record(f"{i:07d}") for i in range(836)]


def prepared(key: str) -> dict[str, Any]:
    """Images that share their labels share a record, as in a run."""
    return RECORDS[int(key[-7:]) % 836]


class NoHash:
    """Takes the place of a hash that costs nothing."""

    def __init__(self, data: object = b"") -> None:
        pass

    def update(self, data: object) -> None:
        pass

    def hexdigest(self) -> str:
        return "0" * 64


def build_unhashed(data: Path, out: Path, count: int, *, sync: bool) -> None:
    """Build as ever, but hash nothing; for a process that ends with it."""
    vars(image_shard)["hashlib"] = SimpleNamespace(sha256=NoHash)
    if not sync:
        vars(os)["fsync"] = lambda _: None
    build_images(items(data, count), out, dataset="bench", decode_check=False)


def read_and_hashed(data: Path, count: int) -> None:
    """Read each image and hash it twice, in two threads, and write nothing: what build_images cannot go below."""
    archive = hashlib.sha256()

    def as_images(images: list[bytes]) -> None:
        for image in images:
            hashlib.sha256(image).hexdigest()

    def as_archive(images: list[bytes]) -> None:
        for image in images:
            archive.update(image)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        before: tuple[Future[None], ...] = ()
        for start in range(0, count, 25):
            images = [(data / f"{i:07d}.jpg").read_bytes() for i in range(start, min(start + 25, count))]
            for future in before:
                future.result()
            before = one.submit(as_images, images), other.submit(as_archive, images)


def shard_writer(data: Path, out: Path, count: int) -> None:
    out.mkdir()
    with webdataset.ShardWriter(f"{out}/%06d.tar", maxcount=PER_SHARD, verbose=0) as writer:
        for item in items(data, count):
            writer.write({"__key__": item.key, "jpg": item.path.read_bytes()})


def shard_writer_pairs(data: Path, out: Path, count: int) -> None:
    """Images with their captions beside them, as one writes them with it."""
    out.mkdir()
    with webdataset.ShardWriter(f"{out}/%06d.tar", maxcount=PER_SHARD, verbose=0) as writer:
        for item in items(data, count):
            writer.write({"__key__": item.key, "jpg": item.path.read_bytes(), "captions.json": prepared(item.key)})


def to_disk(work: Callable[[], object], out: Path) -> None:
    """Bring to disk what is written."""
    work()
    for path in out.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def shard_writer_captions(out: Path, count: int) -> None:
    out.mkdir()
    with webdataset.ShardWriter(f"{out}/%06d.tar", maxcount=PER_SHARD, verbose=0) as writer:
        for i in range(count):
            key = f"bench-{i:07d}"
            writer.write({"__key__": key, "captions.json": prepared(key)})


def shards_of(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def read(source: Any) -> None:
    for sample in source:
        assert sample["jpg"]
        json.loads(sample["captions.json"])


def dataset(folder: Path) -> Any:
    return webdataset.WebDataset(shards_of(folder), shardshuffle=False)


def merge(images: Path, captions: Path, out: Path) -> None:
    """Write what a rewrite would: tars that hold images and captions."""
    out.mkdir()
    for path in images.glob("*.tar"):
        with (out / path.name).open("wb") as file:
            writer = tar.Writer(file)
            pair = path.read_bytes(), (captions / path.name).read_bytes()
            for image, text in zip(tar.scan(pair[0]), tar.scan(pair[1]), strict=True):
                for member, archive in ((image, pair[0]), (text, pair[1])):
                    writer.add(member.name, archive[member.offset : member.offset + member.size])
            writer.finish()


def settle(data: Path) -> None:
    """Begin each measurement alike: nothing left to be written by the one before, all images in memory."""
    os.sync()
    time.sleep(0.5)  # the file system and the machine take back what was deleted, on their own time
    for path in data.iterdir():
        path.read_bytes()


def timed(work: Callable[[], object]) -> tuple[float, float, int]:
    """Run in a child process; return wall and CPU seconds, and how much its peak memory grew, in KB."""
    gc.collect()
    gc.freeze()  # else the child's collector touches, and so copies, all that was imported
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin, cpu = time.perf_counter(), cpu_seconds()
        work()
        end = time.perf_counter() - begin, cpu_seconds() - cpu
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(send, json.dumps([*end, after - before]).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    wall, cpu, memory = json.loads(content)
    return wall, cpu, memory


def cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decode", type=int, default=500, help="images for the full decode check")
    parser.add_argument("--memory", action="store_true", help="measure the peak of memory alone, with tiny images")
    parser.add_argument("--many", type=int, default=1_000_000, help="images for the peak of memory")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ResourceWarning)
    root = Path(tempfile.mkdtemp(prefix="shards-", dir=options.folder))
    try:
        if options.memory:
            memory(root, options.many)
        else:
            measure(root, options.images, options.rounds, min(options.decode, options.images))
    finally:
        shutil.rmtree(root)


def memory(root: Path, many: int) -> None:
    """Print the peak of memory above the start, for more and more images of a few bytes."""
    files = 100
    (root / "data").mkdir()
    for i in range(files):
        Image.new("L", (1 + i, 1), i).save(root / "data" / f"{i:07d}.jpg", "PNG")
    print(f"{'images':>10} {'images, MB':>11} {'again, MB':>10} {'captions, MB':>13} {'µs/image':>9}")
    for number in (1_000, many // 100, many // 10, many):
        out = root / str(number)

        def images(number: int = number, out: Path = out) -> object:
            return build_images(items(root / "data", number, files), out / "images", dataset="bench")

        def captions(out: Path = out) -> object:
            return build_captions(out / "images", out / "captions", captions=prepared, run="bench")

        first, again, written = timed(images), timed(images), timed(captions)
        peaks = " ".join(f"{grown / 1024:{w}.1f}" for grown, w in ((first[2], 11), (again[2], 10), (written[2], 13)))
        print(f"{number:10,} {peaks} {first[0] / number * 1e6:9.1f}", flush=True)
        shutil.rmtree(out)


def measure(root: Path, count: int, rounds: int, decoded: int) -> None:
    data, work = root / "data", root / "work"
    make_images(data, count)
    build_images(items(data, count), root / "images", dataset="bench", decode_check=False)
    build_captions(root / "images", root / "captions", captions=prepared, run="bench")
    merge(root / "images", root / "captions", root / "merged")

    def images(number: int, *, decode: bool) -> Callable[[], object]:
        return lambda: build_images(items(data, number), work, dataset="bench", decode_check=decode)

    def captions() -> object:
        return build_captions(root / "images", work, captions=prepared, run="bench")

    def again() -> object:
        return build_images(items(data, count), root / "images", dataset="bench")

    def tar_cf() -> None:
        work.mkdir()
        subprocess.run(["tar", "cf", work / "data.tar", "-C", root, "data"], check=True)

    def pairs() -> None:
        shard_writer_pairs(data, work, count)

    def writer() -> None:
        shard_writer(data, work, count)

    ways: dict[str, Callable[[], object]] = {
        "tar cf": tar_cf,
        "tar cf, to disk": lambda: to_disk(tar_cf, work),
        "build_images, no hashes, no sync": lambda: build_unhashed(data, work, count, sync=False),
        "build_images, no hashes": lambda: build_unhashed(data, work, count, sync=True),
        "build_images": images(count, decode=False),
        "reading, both SHA-256, no writing": lambda: read_and_hashed(data, count),
        "ShardWriter": writer,
        "ShardWriter, to disk": lambda: to_disk(writer, work),
        "ShardWriter, images and captions": pairs,
        "build_captions": captions,
        "ShardWriter, captions": lambda: shard_writer_captions(work, count),
        "build_images again": again,
        "read images": lambda: [None for _ in dataset(root / "images")],
        "read images and captions joined": lambda: read(
            dataset(root / "images").compose(join_captions(root / "captions"))
        ),
        "read one tar with both": lambda: read(dataset(root / "merged")),
        "decode check, 1 image": images(decoded, decode=True),
    }
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        order = list(ways)
        random.Random(number).shuffle(order)  # what one leaves behind is not always another's
        for name in order:
            settle(data)
            result = timed(ways[name])
            shutil.rmtree(work, ignore_errors=True)
            if number:  # the first round warms caches
                found[name].append(result)
    wall = {name: statistics.median(r[0] for r in results) for name, results in found.items()}
    cpu = {name: statistics.median(r[1] for r in results) for name, results in found.items()}
    size = sum(path.stat().st_size for path in data.iterdir())
    print(f"{count} images of {size // count:,} bytes, {rounds} rounds, medians")
    print(f"{'':34} {'wall s':>8} {'CPU s':>8} {'µs/image':>9}")
    for name in ways:
        number = decoded if name.startswith("decode") else count
        print(f"{name:34} {wall[name]:8.3f} {cpu[name]:8.3f} {wall[name] / number * 1e6:9.1f}")
    print()
    ours, unhashed = "build_images", "build_images, no hashes"
    for one, others, by in (
        (unhashed, ["tar cf, to disk"], 0),
        (unhashed, ["tar cf"], 0),
        (ours, ["tar cf, to disk"], 0),
        (ours, ["tar cf"], 0),
        (ours, ["tar cf"], 1),
        ("ShardWriter", ["build_images, no hashes, no sync"], 0),
        ("ShardWriter", [unhashed], 0),
        ("ShardWriter, to disk", [unhashed], 0),
        ("ShardWriter", [ours], 0),
        ("ShardWriter, to disk", [ours], 0),
        ("ShardWriter, images and captions", [ours, "build_captions"], 0),
        ("reading, both SHA-256, no writing", [ours], 0),
        ("build_captions", [ours], 0),
        ("ShardWriter, captions", ["build_captions"], 0),
        ("build_images again", [ours], 0),
        ("read images and captions joined", ["read one tar with both"], 1),
        ("read images and captions joined", ["read images"], 1),
    ):
        above, *below = ([result[by] for result in found[name]] for name in (one, *others))
        sums = [sum(parts) for parts in zip(*below, strict=True)]
        ratios = [a / b for a, b in zip(above, sums, strict=True)]
        text = f"{one} / {' + '.join(others)}{', CPU' if by else ''}"
        middle = statistics.median(above) / statistics.median(sums)
        print(f"{text:66} {middle:6.2f}  ({min(ratios):.2f} … {max(ratios):.2f})")
    print()
    digest = hashlib.sha256(b"".join(Path(p).read_bytes() for p in shards_of(root / "captions"))).hexdigest()
    print(f"caption shards: {digest[:16]}; Python {sys.version.split()[0]}, webdataset {webdataset.__version__}")


if __name__ == "__main__":
    main()
