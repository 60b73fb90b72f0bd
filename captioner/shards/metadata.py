"""What others want to know of a data set before they read it: an index for wids, and a dataset card with real figures."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from captioner import atomic
from captioner.shards.manifest import Manifest, read_manifest
from captioner.shards.rows import Rows, record_of

_SHOWN = 30


def export_wids(images: Path, target: Path) -> None:
    """Write the index with which ``wids`` reads image shards by position; its URLs are relative to its own folder.

    Args:
        images: the folder of image shards.
        target: the index file, ``something.json``.

    Raises:
        ShardError: there are no finished image shards.
        StorageError: the disk is full or cannot be written.
    """
    manifest = read_manifest(images)
    base = Path(os.path.relpath(images, target.parent))
    shards = [
        {"url": (base / shard.name).as_posix(), "nsamples": shard.samples, "filesize": shard.bytes}
        for shard in manifest.shards
    ]
    content = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": manifest.dataset, "shardlist": shards}
    atomic.write(target, json.dumps(content, indent=1).encode() + b"\n")


@dataclass(slots=True)
class _Figures:
    """Counts over the rows of a run."""

    captions: int = 0
    distinct: set[int] = field(default_factory=set)
    words: int = 0
    per_image: Counter[int] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    triplets: set[str] = field(default_factory=set)


def export_card(images: Path, captions: Path, target: Path, *, title: str | None = None) -> None:
    """Write a dataset card: Markdown with what the shards hold, counted, and how to read them.

    Args:
        images: the folder of image shards; no image is opened.
        captions: the folder of a run's caption shards.
        target: the file, usually ``README.md``; replaced if it exists.
        title: the data set's name; by default its id.

    Raises:
        ShardError: shards are missing or damaged, or the captions are of other images.
        StorageError: the disk is full or cannot be written.
    """
    manifest = read_manifest(images)
    record = record_of(manifest, captions)
    rows = Rows(images, captions, "skip")
    figures = _Figures()
    for row in rows:
        _count(figures, row.record)
    size = sum(shard.bytes for shard in (*manifest.shards, *record.shards))
    parts = [
        _front_matter(manifest, title),
        f"# {title or manifest.dataset}",
        (
            f"{_many(manifest.samples, 'image')} in {_many(len(manifest.shards), 'WebDataset shard')}, "
            f"{_many(figures.captions, 'caption')}, {_size(size)}."
        ),
        _images(manifest),
        _captions(record.run, rows, figures),
        *([_labels(figures)] if figures.labels else []),
        _reading(manifest, record.run),
    ]
    atomic.write(target, "\n\n".join(parts).encode() + b"\n")


def _count(figures: _Figures, record: bytes) -> None:
    content = json.loads(record)
    captions = content["captions"]
    figures.captions += len(captions)
    figures.per_image[len(captions)] += 1
    figures.words += sum(len(caption.split()) for caption in captions)
    figures.distinct.update(map(hash, captions))
    figures.labels.update(content.get("labels", ()))
    if "triplet" in content:
        figures.triplets.add(content["triplet"])


def _front_matter(manifest: Manifest, title: str | None) -> str:
    sizes = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    bounds = (10**3, 10**4, 10**5, 10**6, 10**7)
    size = sizes[sum(manifest.samples >= bound for bound in bounds)]
    name = json.dumps(title or manifest.dataset, ensure_ascii=False)
    lines = ("---", f"pretty_name: {name}", "task_categories: [image-to-text, zero-shot-image-classification]")
    return "\n".join((*lines, f"size_categories: [{size}]", "tags: [medical, webdataset]", "---"))


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _images(manifest: Manifest) -> str:
    kinds: Counter[tuple[str, str]] = Counter()
    widths: Counter[int] = Counter()
    heights: Counter[int] = Counter()
    changed = 0
    for kind, mode, width, height, converted in manifest.rows("type", "mode", "width", "height", "converted"):
        kinds[kind, mode] += 1
        widths[width] += 1
        heights[height] += 1
        changed += converted
    lines = ["## Images", "", "| type | pixels | images |", "|---|---|---|"]
    lines += [f"| {kind} | {mode} | {number:,} |" for (kind, mode), number in sorted(kinds.items())]
    if widths:
        lines += ["", f"Widths {_spread(widths)}, heights {_spread(heights)} pixels (smallest, median, largest)."]
    how = f"{changed:,} were converted ({json.dumps(manifest.conversion)})." if changed else "None was changed."
    return "\n".join(
        [*lines, "", how, f"Image set `{manifest.hash}`; `sha256sum --check SHA256SUMS` checks every file."]
    )


def _spread(counts: Counter[int]) -> str:
    half, seen = counts.total() / 2, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= half:
            return f"{min(counts):,}, {value:,}, {max(counts):,}"
    raise AssertionError("a median lies between the smallest and the largest value")


def _captions(run: str, rows: Rows, figures: _Figures) -> str:
    written = ". They are the dataset's own texts, and not checked against labels."
    if figures.labels or not figures.captions:
        written = (
            f", written for {len(figures.triplets):,} distinct pieces of label information. They were made from labels, "
            "not from looking at the images, and checked against the labels."
        )
    lines = [
        "## Captions",
        "",
        (
            f"Run `{run}`: {rows.found:,} images have captions, {rows.missed:,} have none. {figures.captions:,} captions, "
            f"{len(figures.distinct):,} of them distinct, {figures.words / max(1, figures.captions):.1f} words each on "
            f"average{written}"
        ),
        "",
        "| captions of an image | images |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {n} | {images:,} |" for n, images in sorted(figures.per_image.items()))])


def _labels(figures: _Figures) -> str:
    lines = ["## Labels", "", "| label | images |", "|---|---|"]
    lines += [f"| {label} | {number:,} |" for label, number in figures.labels.most_common(_SHOWN)]
    left = len(figures.labels) - _SHOWN
    return "\n".join([*lines, *([f"| {left:,} more | |"] if left > 0 else [])])


def _reading(manifest: Manifest, run: str) -> str:
    last = max(0, len(manifest.shards) - 1)
    names = f"images/{manifest.dataset}-{{000000..{last:06d}}}.tar"
    return "\n".join(
        (
            "## Reading",
            "",
            "```python",
            "import webdataset",
            "from captioner.shards import join_captions",
            "",
            f'dataset = webdataset.WebDataset("{names}", shardshuffle=100)',
            f'dataset = dataset.compose(join_captions("runs/{run}/captions")).decode("pil")',
            "```",
        )
    )
