"""What shards cost, paired in one run: writing images, writing captions, reading both joined, memory.

Every round runs each way once, in turn; ratios of medians are printed, since seconds say more of the machine than of
the code. Images are random noise in JPEG of about 76 KB, ten captions each. "CPU" is user and system time of a process
of its own for each measurement, without what importing costs. GNU tar's archive is brought to disk, as our shards are.
ShardWriter's are not; a second figure says what it takes with that.

    python -m benchmarks.shards [--images 4000] [--rounds 3]
    python -m benchmarks.shards --memory [--many 1000000]
"""

import argparse
import hashlib
import io
import json
import os
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
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from captioner.shards import ImageItem, build_captions, build_images, join_captions, tar

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
    return {**RECORDS[int(key[-7:]) % 836]}


def plain_tars(data: Path, out: Path, count: int) -> None:
    """The tar writer alone: no hashes, no manifest, no decoder."""
    out.mkdir()
    names = [f"{i:07d}.jpg" for i in range(count)]
    for start in range(0, count, PER_SHARD):
        with (out / f"{start}.tar").open("wb", buffering=0) as file:
            writer = tar.Writer(file)
            for name in names[start : start + PER_SHARD]:
                writer.add(name, (data / name).read_bytes())
            writer.finish()
            os.fsync(file.fileno())


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


def shard_writer_durable(data: Path, out: Path, count: int) -> None:
    shard_writer(data, out, count)
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
    for path in data.iterdir():
        path.read_bytes()


def timed(work: Callable[[], object]) -> tuple[float, float, int]:
    """Run in a child process; return wall and CPU seconds, and how much its peak memory grew, in KB."""
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
        subprocess.run(["tar", "cf", root / "work.tar", "-C", root, "data"], check=True)
        with (root / "work.tar").open("rb") as file:
            os.fsync(file.fileno())

    ways: dict[str, Callable[[], object]] = {
        "tar cf": tar_cf,
        "tar writer alone": lambda: plain_tars(data, work, count),
        "build_images, no decode check": images(count, decode=False),
        "reading, both SHA-256, no writing": lambda: read_and_hashed(data, count),
        "webdataset.ShardWriter": lambda: shard_writer(data, work, count),
        "ShardWriter, brought to disk": lambda: shard_writer_durable(data, work, count),
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
        for name, way in ways.items():
            settle(data)
            result = timed(way)
            shutil.rmtree(work, ignore_errors=True)
            (root / "work.tar").unlink(missing_ok=True)
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
    for text, one, other, by in (
        ("tar writer alone / tar cf", "tar writer alone", "tar cf", wall),
        ("tar writer alone / tar cf, CPU", "tar writer alone", "tar cf", cpu),
        ("build_images, hashes / tar cf", "build_images, no decode check", "tar cf", wall),
        ("build_images, hashes / tar cf, CPU", "build_images, no decode check", "tar cf", cpu),
        ("ShardWriter / tar writer alone", "webdataset.ShardWriter", "tar writer alone", wall),
        ("ShardWriter / build_images", "webdataset.ShardWriter", "build_images, no decode check", wall),
        (
            "ShardWriter to disk / build_images",
            "ShardWriter, brought to disk",
            "build_images, no decode check",
            wall,
        ),
        (
            "reading, both SHA-256 / build_images",
            "reading, both SHA-256, no writing",
            "build_images, no decode check",
            wall,
        ),
        ("build_captions / build_images", "build_captions", "build_images, no decode check", wall),
        ("ShardWriter, captions / build_captions", "ShardWriter, captions", "build_captions", wall),
        ("build_images again / first", "build_images again", "build_images, no decode check", wall),
        ("read joined / read one tar, CPU", "read images and captions joined", "read one tar with both", cpu),
        ("read joined / read images only, CPU", "read images and captions joined", "read images", cpu),
    ):
        ratios = [
            a / b for a, b in zip(by_round(found[one], by is cpu), by_round(found[other], by is cpu), strict=True)
        ]
        print(f"{text:40} {by[one] / by[other]:6.2f}  ({min(ratios):.2f} … {max(ratios):.2f})")
    print()
    digest = hashlib.sha256(b"".join(Path(p).read_bytes() for p in shards_of(root / "captions"))).hexdigest()
    print(f"caption shards: {digest[:16]}; Python {sys.version.split()[0]}, webdataset {webdataset.__version__}")


def by_round(results: list[tuple[float, float, int]], cpu: bool) -> list[float]:  # noqa: FBT001
    return [r[1] if cpu else r[0] for r in results]


if __name__ == "__main__":
    main()
