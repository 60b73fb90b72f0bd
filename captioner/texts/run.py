"""From a dataset's own texts to shards: the images as they are, and their texts as captions beside them."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import Field

from captioner import atomic, outputs
from captioner.errors import PipelineError
from captioner.folder import claim, lock
from captioner.images import locate
from captioner.pipeline import DataSettings, ShardSettings
from captioner.run import IMAGE_CODES, Reporter, Silent, write_images
from captioner.schema import Model, hash_of
from captioner.shards import ImageReport, build_captions
from captioner.storage import Place, Remote
from captioner.texts.samples import TextSamples, read_texts
from captioner.texts.schema import Name, TextSchema

_REMEMBERED = 10_000


class TextPipeline(Model):
    """The settings of a run on a dataset that has texts of its own."""

    texts: str = Field(description="a text schema's id, or the path of its file")
    use: tuple[Name, ...] = Field(
        default=(), description="the kinds of text that become captions; the schema's choice if left out"
    )
    data: DataSettings = DataSettings()
    shards: ShardSettings = ShardSettings()
    out: Path | None = Field(default=None, description="output folder; out/DATASET if left out")
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="the run's folder, instead of its hash"
    )


@dataclass(slots=True)
class TextPlan:
    """Everything that such a run is made of, before anything is written."""

    spec: TextPipeline
    schema: TextSchema
    found: TextSamples
    with_images: bool
    root: Place
    notes: list[str]

    @property
    def use(self) -> tuple[str, ...]:
        """The kinds of text that become captions."""
        return self.spec.use or self.schema.use

    @property
    def hash(self) -> str:
        """Sixteen hex digits over what decides what the captions are."""
        return hash_of([self.schema.hash, self.use])

    @property
    def run(self) -> str:
        """Name of the run's folder."""
        return self.spec.name or f"texts-{'-'.join(self.use)}-{self.hash[:8]}"

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.spec.out or Path("out") / self.schema.prefix


@dataclass(frozen=True, slots=True)
class TextSummary:
    """What a run came to.

    Attributes:
        run: the run's folder name.
        out: the output folder.
        use: the kinds of text that became captions.
        rows: records that were read.
        samples: images with at least one text.
        images: images in shards; None for a run without images.
        captions: texts, over all images.
        rejected_rows: code → records or images that were left out; the run's ``rejected_rows.csv`` lists them.
        notes: what a person should know.
        excluded: images that have a text and are not there, or not usable.
    """

    run: str
    out: str
    use: tuple[str, ...]
    rows: int
    samples: int
    images: int | None
    captions: int
    rejected_rows: Mapping[str, int]
    notes: tuple[str, ...]
    excluded: int

    @property
    def exit_code(self) -> int:
        """0 where every image that has a text is in the shards with it, else 1."""
        return 0 if self.samples and not self.excluded else 1


def prepare(spec: TextPipeline, schema: TextSchema, report: Reporter | None = None) -> TextPlan:
    """Read a dataset's texts and find its images; nothing is written.

    Raises:
        CaptionerError: the texts or the images are not usable.
    """
    report = report or Silent()
    data = spec.data.root or Path("data") / schema.prefix
    if isinstance(data, Remote) or isinstance(spec.data.table, Remote):
        raise PipelineError("data.root: texts are read from a folder of this machine; data.images may be a URL.")
    report.start("reading the texts", None)
    found = read_texts(schema, data, use=spec.use, table=spec.data.table)
    notes = [*found.samples.notes, *schema.notes]
    root: Place = data
    if not isinstance(spec.data.images, str):
        root = spec.data.images
        if not root.is_dir():
            raise PipelineError(f"data.images: {root} is not a folder")
    with_images = spec.data.images != "none"
    if with_images:
        report.start("finding images", len(found.samples.frame))
        located = locate(found.samples, root)
        if len(located.frame) == 0 and len(found.samples.frame) > 0 and spec.data.images == "auto":
            with_images = False
            notes.insert(
                0,
                f"none of the {len(found.samples.frame):,} images is below {root}: the texts alone are written. "
                "Give the images' folder with --set data.images=FOLDER.",
            )
        else:
            found.samples = located
    return TextPlan(spec, schema, found, with_images, root, notes)


def execute(plan: TextPlan, report: Reporter | None = None) -> TextSummary:
    """Write the images into shards and their texts beside them; what is there already is kept.

    Raises:
        OutputError: the output folder is of something else, or in use.
        StorageError: the disk is full.
    """
    report = report or Silent()
    with atomic.storage(plan.out), lock(plan.out):
        claim(plan.out, plan.schema.prefix)
        folder = plan.out / "runs" / plan.run
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / "pipeline.yaml", _resolved(plan).encode())
        samples = plan.found.samples
        images: ImageReport | None = None
        if plan.with_images:
            images, kept = write_images(
                samples, plan.root, plan.out / "images", plan.schema.prefix, shards=plan.spec.shards, report=report
            )
            samples.frame = samples.frame[kept].reset_index(drop=True)
        outputs.write_rejected_rows(folder / "rejected_rows.csv", samples.rejects)
        report.start("writing captions", None)
        _write(plan, samples.frame, folder)
        summary = _summarise(plan, images)
        record = json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n"
        atomic.write(folder / "summary.json", record.encode())
        return summary


def _write(plan: TextPlan, frame: pd.DataFrame, folder: Path) -> None:
    texts = plan.found.texts
    if not plan.with_images:
        rows = (
            {
                "key": key,
                "image": image,
                "split": split or None,
                "labels": [],
                "triplet": hash_of(texts[i]),
                "captions": texts[i],
            }
            for key, image, split, i in zip(frame["key"], frame["image"], frame["split"], frame["labels"], strict=True)
        )
        outputs.write_parquet(folder / "captions.parquet", rows, outputs.CAPTIONS)
        return
    position = dict(zip(frame["key"], frame["labels"], strict=True))

    @functools.lru_cache(_REMEMBERED)
    def record_of(at: int) -> Mapping[str, Any]:
        return {"captions": texts[at], "labels": [], "triplet": hash_of(texts[at]), "run": plan.run}

    def record(key: str) -> Mapping[str, Any] | None:
        at = position.get(key)
        return None if at is None else record_of(at)

    build_captions(plan.out / "images", folder / "captions", captions=record, run=plan.run)


def _summarise(plan: TextPlan, images: ImageReport | None) -> TextSummary:
    samples = plan.found.samples
    codes = {str(k): int(v) for k, v in samples.rejects["code"].value_counts().items()}
    excluded = sum(n for code, n in codes.items() if code in IMAGE_CODES) if plan.with_images else 0
    return TextSummary(
        run=plan.run,
        out=str(plan.out),
        use=plan.use,
        rows=samples.rows,
        samples=len(samples.frame),
        images=images.images if images else None,
        captions=sum(len(plan.found.texts[i]) for i in samples.frame["labels"]),
        rejected_rows=codes,
        notes=tuple(plan.notes),
        excluded=0 if plan.spec.data.missing == "ignore" else excluded,
    )


def _resolved(plan: TextPlan) -> str:
    """Return the run's own pipeline file: every setting, and what the names stood for."""
    record = plan.spec.model_dump(mode="json") | {
        "run": plan.run,
        "use": list(plan.use),
        "hashes": {"run": plan.hash, "texts": plan.schema.hash},
        "resolved_texts": plan.schema.model_dump(mode="json", exclude_defaults=True),
    }
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)
