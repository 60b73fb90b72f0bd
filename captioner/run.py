"""A run from end to end: the stages of a pipeline, in order.

A run is keyed by content: the same schema, prompt, engine, model and settings resume the same run; anything else is a new
one, in a folder of its own beside the same image shards.
"""

import asyncio
import contextlib
import functools
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import yaml

from captioner import agreement, atomic, engines, estimates, outputs
from captioner.distinct import distinct
from captioner.engines import Engine, Sampling
from captioner.engines.secrets import without_secrets
from captioner.errors import PipelineError, SchemaError, did_you_mean
from captioner.folder import claim, lock
from captioner.generate import Generator, Limits, LoopSettings
from captioner.images import locate
from captioner.judge import INSTRUCTIONS, CaptionJudge
from captioner.pipeline import PipelineSpec, PriceSettings, ShardSettings
from captioner.prices import Price, given_price
from captioner.prompts import Prompt, load_prompt
from captioner.schema import LabelSchema, hash_of, load_schema
from captioner.shards import CaptionReport, ImageItem, ImageReport, build_captions, build_images, manifest
from captioner.storage import Place, Remote, listed_once
from captioner.store import Ledger, Totals
from captioner.tables import SampleTable, read_samples
from captioner.triplets import Triplet

_REMEMBERED = 10_000


class Reporter(Protocol):
    """Whoever tells a person how a run is going."""

    def note(self, text: str) -> None:
        """Say something once."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins, with so many steps."""

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """So many steps of the stage are done."""


class Silent:
    """Tells nobody."""

    def note(self, text: str) -> None: ...
    def start(self, stage: str, total: int | None) -> None: ...
    def advance(self, done: int, totals: Totals | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        run: the run's folder name.
        out: the output folder.
        rows: rows of the label table.
        samples: rows with a usable label.
        images: images in shards; None for a run without images.
        triplets: state → number of triplets.
        captions: accepted captions.
        rejected: captions that were refused.
        rejected_by_code: agreement code → how often.
        rejected_rows: code → rows of the table that were left out.
        sources: who wrote the accepted captions.
        requests, prompt_tokens, completion_tokens: what was asked, over all sessions of the run.
        cost: of these tokens, by the pipeline's prices.
        failures: why requests got no answer → how often.
        stopped: why no more was asked, though triplets are open.
        notes: what a person should know.
        complete: every triplet has its support set.
        excluded: rows that should have an image and have none that is usable.
    """

    run: str
    out: str
    rows: int
    samples: int
    images: int | None
    triplets: Mapping[str, int]
    captions: int
    rejected: int
    rejected_by_code: Mapping[str, int]
    rejected_rows: Mapping[str, int]
    sources: Mapping[str, int]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    failures: Mapping[str, int]
    stopped: str | None
    notes: tuple[str, ...]
    complete: bool
    excluded: int

    @property
    def exit_code(self) -> int:
        """0 where everything was captioned, else 1."""
        return 0 if self.complete and not self.excluded else 1


@dataclass(slots=True)
class Plan:
    """Everything that a run is made of, before anything is asked or written."""

    spec: PipelineSpec
    schema: LabelSchema
    prompt: Prompt
    engine: Engine
    samples: SampleTable
    triplets: tuple[Triplet, ...]
    index: "np.ndarray[Any, Any]"
    with_images: bool
    judge: CaptionJudge | None = None
    notes: list[str] = field(default_factory=list)
    price: Price = field(default_factory=Price)
    judge_price: Price = field(default_factory=Price)

    @property
    def asked(self) -> tuple[Triplet, ...]:
        """The triplets to ask for: those that a sample has."""
        if self.spec.triplets.all:
            return self.triplets
        return tuple(self.triplets[i] for i in np.unique(self.index))

    @property
    def settings(self) -> LoopSettings:
        """How far the loop goes."""
        spec = self.spec
        drawn = spec.sampling
        sampling = Sampling(drawn.first_temperature, drawn.top_p, drawn.max_tokens, spec.seed, drawn.n)
        return LoopSettings(
            captions=spec.captions,
            repairs=spec.loop.repairs,
            regenerations=spec.loop.regenerations,
            fill=spec.loop.fill == "rules",
            near_duplicate=spec.loop.near_duplicate,
            sampling=sampling,
            temperatures=drawn.schedule,
        )

    @property
    def limits(self) -> Limits:
        """When to stop asking."""
        return Limits(self.spec.limits.requests, self.spec.limits.cost, self.price, self.judge_price)

    @property
    def hash(self) -> str:
        """Sixteen hex digits over everything that decides what the captions are."""
        triplets = self.spec.triplets.model_dump(mode="json", exclude={"all"})
        judge = [self.judge.hash] if self.judge else []
        return hash_of(
            [
                *(self.schema.hash, self.prompt.hash, self.engine.name, self.engine.model),
                *(self._loop, triplets, *judge, *_decisive(self.spec.engine)),
                *(_decisive(self.spec.judge.engine) if self.spec.judge else ()),
            ]
        )

    @property
    def _loop(self) -> dict[str, Any]:
        """How far the loop goes, as it counts for the hash: what is left as it is says nothing."""
        loop = asdict(self.settings) | {"sampling": self.settings.sampling._asdict()}
        if not loop["temperatures"]:
            del loop["temperatures"]
        if loop["sampling"]["n"] == 1:
            del loop["sampling"]["n"]
        return loop

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All that are asked."""
        return (self.engine, self.judge.engine) if self.judge else (self.engine,)

    @property
    def run(self) -> str:
        """Name of the run's folder."""
        model = re.sub(r"[^a-z0-9.]+", "-", self.engine.model.rsplit("/", 1)[-1].lower()).strip("-.")[:40]
        slug = self.engine.name if self.engine.name == "rules" else model
        return self.spec.name or f"{slug}-{self.prompt.name}-{self.hash[:8]}"

    @property
    def image_root(self) -> Place:
        """The folder that image paths are relative to."""
        return image_root(self.spec, self.schema)

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.spec.out or Path("out") / self.schema.id


def data_root(spec: PipelineSpec, schema: LabelSchema) -> Place:
    """Return the folder (or the table's file) that the dataset is read from."""
    return spec.data.root or Path("data") / schema.id


def image_root(spec: PipelineSpec, schema: LabelSchema) -> Place:
    """Return the folder that images are looked for in.

    Raises:
        PipelineError: ``data.images`` names no folder.
    """
    if not isinstance(spec.data.images, str):
        if not spec.data.images.is_dir():
            raise PipelineError(f"data.images: {spec.data.images} is not a folder")
        return spec.data.images
    root = data_root(spec, schema)
    return root if root.is_dir() else root.parent


@listed_once()
def prepare(spec: PipelineSpec, report: Reporter | None = None) -> Plan:
    """Read the schema, the prompt and the label table, and find the images; nothing is asked or written.

    Raises:
        CaptionerError: any of them is not usable.
    """
    report = report or Silent()
    schema = load_schema(spec.label_schema)
    problems = [p for p in agreement.lint(schema) if p.level == "error"]
    if problems:
        more = f" (and {len(problems) - 1} more: captioner schema lint {spec.label_schema})" if problems[1:] else ""
        raise SchemaError(f"{schema.id}: {problems[0]}{more}")
    if spec.loop.unknown_words == "refuse" and spec.judge is None:
        schema = schema.with_levels({"unknown_word": "error"})
    prompt = load_prompt(spec.prompt)
    engine = engines.make(spec.engine, schema)
    judge = _judge(spec, schema)
    for name in spec.triplets.attributes:
        if name not in schema.attributes:
            known = ", ".join(schema.attributes) or "none"
            raise PipelineError(
                f"triplets.attributes: {name!r} is no attribute of schema {schema.id!r} (it has: {known})."
                f"{did_you_mean(name, schema.attributes)}"
            )
    root = data_root(spec, schema)
    report.start("reading the label table", None)
    samples = read_samples(schema, root, table=spec.data.table)
    notes = [*_other_version(schema, len(samples.frame)), *samples.notes]
    with_images = spec.data.images != "none"
    if with_images:
        folder = image_root(spec, schema)
        report.start("finding images", len(samples.frame))
        located = locate(samples, folder)
        if len(located.frame) == 0 and len(samples.frame) > 0 and spec.data.images == "auto":
            with_images = False
            notes.insert(
                0,
                f"none of the {len(samples.frame):,} rows has its image below {folder}: captions alone are written. "
                "Give the images' folder with --set data.images=FOLDER.",
            )
        else:
            samples = located
    attributes: Sequence[str] = spec.triplets.attributes
    if spec.triplets.per == "image" and not attributes:
        attributes = tuple(schema.attributes)
    triplets, index = distinct(schema, samples, negatives=spec.triplets.negatives, attributes=attributes)
    prices = _prices(spec, engine, judge)
    return Plan(spec, schema, prompt, engine, samples, triplets, index, with_images, judge, notes, *prices)


def _prices(spec: PipelineSpec, engine: Engine, judge: CaptionJudge | None) -> tuple[Price, Price]:
    """Return the prices of the model and of the judge's.

    Raises:
        PipelineError: there is a limit on the cost, and a price is not known.
    """

    def price(given: PriceSettings, of: Engine, where: str) -> Price:
        address = getattr(of, "address", None)
        found = given_price(given.model_dump(), of.model, address, batch=of.name == "batch")
        if spec.limits.cost is not None and of.name != "rules" and not found.source:
            raise PipelineError(
                f"limits.cost: no price is known for {of.model}{f' at {address}' if address else ''}. Set {where}.input and "
                f"{where}.output (what a million tokens cost), or put the model into a prices.yaml in the working directory."
            )
        return found

    judges = price(spec.judge.price, judge.engine, "judge.price") if spec.judge and judge else Price()
    return price(spec.price, engine, "price"), judges


def _decisive(engine: Mapping[str, Any]) -> list[Any]:
    """Return what among an engine's settings decides captions; nothing where nothing is set."""
    set_ = {name: engine[name] for name in ("chat_template_kwargs", "extra_body") if engine.get(name)}
    return [set_] if set_ else []


def _other_version(schema: LabelSchema, labelled: int) -> list[str]:
    """Say so where a table has labels for more or far fewer images than the published dataset has."""
    if schema.images is None or _FEWEST * schema.images <= labelled <= _MOST * schema.images:
        return []
    counts = f"the table has labels for {labelled:,} images, the published dataset for about {schema.images:,}"
    return [f"{counts}: is it a part of it, or another version?"]


_FEWEST, _MOST = 0.7, 1.01
"""Shares of the published number of images that are taken for the whole dataset; many keep their test labels back."""


def _judge(spec: PipelineSpec, schema: LabelSchema) -> CaptionJudge | None:
    if spec.judge is None:
        return None
    try:
        engine = engines.make(spec.judge.engine, schema)
    except PipelineError as e:
        raise PipelineError(f"judge.{e}") from None
    if engine.name == "rules":
        raise PipelineError("judge.engine: name a model; the built-in writer cannot judge.")
    of = spec.judge.of
    unknown = [] if isinstance(of, str) else [name for name in of if name not in {*agreement.CODES, *agreement.DETAILS}]
    if unknown:
        known = [*agreement.CODES, *agreement.DETAILS]
        raise PipelineError(
            f"judge.of: {unknown[0]!r} is no code or detail of an issue.{did_you_mean(unknown[0], known)}"
        )
    return CaptionJudge(schema, engine, None if isinstance(of, str) else frozenset(of), everything=of == "all")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do.

    Attributes:
        run: the run's folder name.
        rows, samples: of the label table; samples have a usable label and, with images, an image.
        rejected_rows: code → rows that are left out.
        triplets: distinct ones to ask for.
        done: of these, how many the run has finished already.
        requests: at least so many.
        prompt_tokens, completion_tokens: of these.
        basis: how the tokens were found.
        judged: captions that are shown to the judge, at most.
        judge_tokens: of the judge's prompts and answers, an estimate.
        cost: of all these tokens; repairs come on top.
        price: where the prices come from; empty if none is known.
        disk_bytes: of image and caption shards still to be written, an estimate.
    """

    run: str
    rows: int
    samples: int
    rejected_rows: Mapping[str, int]
    triplets: int
    done: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    basis: str
    judged: int
    judge_tokens: int
    cost: float
    price: str
    disk_bytes: int


def forecast(plan: Plan) -> Forecast:
    """Return what a run would do; reads file sizes and the ledger, if there is one."""
    asked = plan.asked
    path = plan.out / "runs" / plan.run / "ledger.sqlite"
    finished: set[str] = set()
    totals = None
    if path.is_file():
        with Ledger(path, read_only=True) as ledger:
            totals = None if plan.judge else ledger.totals()
            finished = {t.id for t, status, _ in ledger.states() if status not in {"open", "failed"}}
    left = [t for t in asked if t.id not in finished]
    step = max(1, len(left) // 200)  # a sample of the prompts is enough for an estimate
    rendered = [plan.prompt.render(plan.schema, t, plan.spec.captions) for t in left[::step]]
    requests = 0 if plan.engine.name == "rules" else len(left)
    asking = estimates.of_questions(rendered, requests, plan.spec.captions, plan.engine.model, totals)
    judging = estimates.of_judge(len(left) * plan.spec.captions if plan.judge else 0)
    cost = plan.price.of(asking.prompt_tokens, asking.completion_tokens)
    cost += plan.judge_price.of(judging.prompt_tokens, judging.completion_tokens)
    caption_bytes = 160 * plan.spec.captions
    images, captions = 0, len(plan.samples.frame) * 200  # a Parquet table stores each support set once
    if plan.with_images:
        captions = len(plan.samples.frame) * (caption_bytes + 1024)
        if not (plan.out / "images" / "manifest.parquet").is_file():
            root = plan.image_root
            paths = plan.samples.frame["path"]
            sizes = (
                map(root.files().get, paths) if isinstance(root, Remote) else ((root / p).stat().st_size for p in paths)
            )
            images = sum((size or 0) + 1024 for size in sizes)
    return Forecast(
        run=plan.run,
        rows=plan.samples.rows,
        samples=len(plan.samples.frame),
        rejected_rows={str(k): int(v) for k, v in plan.samples.rejects["code"].value_counts().items()},
        triplets=len(asked),
        done=len(asked) - len(left),
        requests=requests,
        prompt_tokens=asking.prompt_tokens,
        completion_tokens=asking.completion_tokens,
        basis=asking.basis,
        judged=judging.requests,
        judge_tokens=judging.prompt_tokens + judging.completion_tokens,
        cost=cost,
        price=plan.price.source or plan.judge_price.source,
        disk_bytes=images + captions + len(asked) * 4 * caption_bytes,
    )


def build_shards(plan: Plan, report: Reporter) -> tuple[ImageReport, int]:
    """Write the image shards of a plan alone; return the report and how many rows with a label have no image.

    Raises:
        OutputError, StorageError: as for :func:`execute`.
    """
    with atomic.storage(plan.out), lock(plan.out):
        claim(plan.out, plan.schema.id)
        images = _images(plan, report)
        outputs.write_rejected_rows(plan.out / "rejected_rows.csv", plan.samples.rejects)
    return images, _excluded(plan)


def _excluded(plan: Plan) -> int:
    return int(plan.samples.rejects["code"].isin(IMAGE_CODES).sum()) if plan.with_images else 0


def execute(plan: Plan, report: Reporter | None = None) -> Summary:
    """Run or resume: images into shards, captions for every triplet, caption shards beside the images.

    Raises:
        OutputError: the output folder is of something else, or in use.
        EngineError: the engine cannot be used.
        StorageError: the disk is full.
    """
    report = report or Silent()
    with atomic.storage(plan.out), lock(plan.out):
        claim(plan.out, plan.schema.id)
        folder = plan.out / "runs" / plan.run
        folder.mkdir(parents=True, exist_ok=True)
        for engine, name in zip(plan.engines, ("batches", "judge_batches"), strict=False):
            if isinstance(engine, engines.KeepsFiles):
                engine.keep_in(folder / name)
        with Ledger(folder / "ledger.sqlite", plan.hash) as ledger:
            return asyncio.run(_stages(plan, ledger, folder, report))


async def _stages(plan: Plan, ledger: Ledger, folder: Path, report: Reporter) -> Summary:
    try:
        generator = Generator(
            plan.schema, plan.prompt, plan.engine, ledger, plan.settings, limits=plan.limits, judge=plan.judge
        )
        # Before the images: a key that does not work shows in a second, not after an hour of copying.
        needed = not generator.finished
        if needed:
            await _check(plan.engines)
        atomic.write(folder / "pipeline.yaml", _resolved(plan).encode())
        images = _images(plan, report) if plan.with_images else None
        outputs.write_rejected_rows(plan.out / "rejected_rows.csv", plan.samples.rejects)
        asked = plan.asked
        ledger.add_triplets(asked)
        if not needed and not generator.finished:
            await _check(plan.engines)
        stopped = await _generate(asked, generator, report)
    finally:
        for engine in plan.engines:
            await engine.close()
    report.start("writing support sets", len(plan.triplets))
    outputs.write_sets(folder, ledger, plan.triplets, report.advance)

    @functools.lru_cache(_REMEMBERED)
    def captions(triplet: Triplet) -> Sequence[str] | None:
        return ledger.finished_captions(triplet.id)

    report.start("writing captions", len(plan.samples.frame))
    write_captions(plan, folder, captions, report.advance)
    summary = _summarise(plan, ledger, images, stopped)
    atomic.write(folder / "summary.json", (json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n").encode())
    return summary


async def _check(asked: Sequence[Engine]) -> None:
    for engine in asked:
        await engine.check()


def _images(plan: Plan, report: Reporter) -> ImageReport:
    """Write the image shards, and leave out of the plan the samples whose image turns out to be unusable."""
    folder = plan.out / "images"
    images, kept = write_images(
        plan.samples, plan.image_root, folder, plan.schema.id, shards=plan.spec.shards, report=report
    )
    plan.samples.frame = plan.samples.frame[kept].reset_index(drop=True)
    plan.index = plan.index[kept]
    return images


def write_images(
    samples: SampleTable, root: Place, folder: Path, dataset: str, *, shards: ShardSettings, report: Reporter
) -> tuple[ImageReport, "np.ndarray[Any, np.dtype[np.bool_]]"]:
    """Write the images of located samples into shards; images that are unusable move to the samples' rejects.

    Returns:
        The report, and for each sample whether its image is in the shards.

    Raises:
        OutputError, ShardError, StorageError: as :func:`captioner.shards.build_images`.
    """
    frame = samples.frame
    if "size" in shards.model_fields_set and (folder / manifest.NAME).is_file():
        made = manifest.read_manifest(folder).per_shard
        if made != shards.size:
            report.note(
                f"shards.size={shards.size}: the image shards that are there stay as they are, made for {made:,} images "
                "each; only images that are new come into shards of this size. For others, choose another --out."
            )
    report.start("writing image shards", len(frame))
    items = (ImageItem(key, root / path, path) for key, path in zip(frame["key"], frame["path"], strict=True))
    images = build_images(
        items,
        folder,
        dataset=dataset,
        root=root,
        per_shard=shards.size,
        conversion=shards.conversion,
        progress=report.advance,
    )
    # A bad image in a file with several does not keep the others out.
    bad = frame["key"].isin([p.key for p in images.problems if p.frame is None]).to_numpy()
    if images.problems:
        rows = {str(r.key): r for r in frame[frame["key"].isin([p.key for p in images.problems])].itertuples()}
        rejects = [
            {"file": r.file, "row": r.row, "column": None, "value": r.image, "code": p.code, "reason": p.reason}
            for p in images.problems
            for r in [rows[p.key]]
        ]
        samples.rejects = pd.concat([samples.rejects, pd.DataFrame(rejects)], ignore_index=True)
    return images, ~bad


async def _generate(asked: Sequence[Triplet], generator: Generator, report: Reporter) -> str | None:
    """Caption every triplet; return why it stopped before all were done, or None."""
    ledger = generator.ledger
    # Of an earlier state of the label table: nobody asks about them now.
    others = sum(ledger.totals().triplets.values()) - len(asked)
    only = frozenset(t.id for t in asked) if others else None
    report.start("captioning", len(asked) + others)

    def changed() -> None:
        totals = ledger.totals()
        report.advance(sum(n for s, n in totals.triplets.items() if s != "open"), totals)

    changed()  # what earlier sessions did is no part of this one's pace
    with _drained_by_ctrl_c(generator, report):
        await generator.run(only, _seldom(changed))
    changed()
    return generator.stopped


@contextlib.contextmanager
def _drained_by_ctrl_c(generator: Generator, report: Reporter) -> Iterator[None]:
    """Let the first Ctrl-C stop asking and wait for what is in flight, and the second stop at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupted = 0

    def interrupt() -> None:
        nonlocal interrupted
        interrupted += 1
        if interrupted == 1:
            generator.stopped = "Ctrl-C"
            report.note("stopping: waiting for the answers that are on their way; Ctrl-C again stops at once")
        elif task is not None:
            task.cancel()

    try:
        loop.add_signal_handler(signal.SIGINT, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):
        # Not the main thread: whoever started it looks after signals.
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt


def _seldom(action: Callable[[], None]) -> Callable[[], None]:
    """Call an action at most five times a second, and for at most a twentieth of the time."""
    due = 0.0

    def call() -> None:
        nonlocal due
        begin = time.monotonic()
        if begin >= due:
            action()
            end = time.monotonic()
            due = end + max(0.2, 20 * (end - begin))

    return call


def write_captions(
    plan: Plan,
    folder: Path,
    captions: Callable[[Triplet], Sequence[str] | None],
    progress: Callable[[int], None] | None = None,
) -> CaptionReport | None:
    """Write caption shards beside the images, or, without images, a table of captions.

    Args:
        plan: what the run is made of.
        folder: the run's folder.
        captions: gives a triplet's support set, None if it is not finished.
        progress: called now and then with the number of images handled.
    """
    if not plan.with_images:
        rows = outputs.caption_table(plan.samples, (plan.triplets[i] for i in plan.index), captions)
        outputs.write_parquet(folder / "captions.parquet", rows, outputs.CAPTIONS)
        return None
    run = plan.run
    triplet_of = dict(zip(plan.samples.frame["key"], plan.index.tolist(), strict=True))

    @functools.lru_cache(_REMEMBERED)
    def record_of(place: int) -> Mapping[str, Any] | None:
        triplet = plan.triplets[place]
        found = captions(triplet)
        if found is None:
            return None
        return {"captions": found, "labels": triplet.findings, "triplet": triplet.id, "run": run}

    def record(key: str) -> Mapping[str, Any] | None:
        place = triplet_of.get(key)
        return None if place is None else record_of(place)

    return build_captions(plan.out / "images", folder / "captions", captions=record, run=run, progress=progress)


def _summarise(plan: Plan, ledger: Ledger, images: ImageReport | None, stopped: str | None) -> Summary:
    totals = ledger.totals()
    codes = plan.samples.rejects["code"].value_counts().to_dict()
    unfinished = sum(totals.triplets.get(s, 0) for s in ("open", "failed", "incomplete"))
    return Summary(
        run=plan.run,
        out=str(plan.out),
        rows=plan.samples.rows,
        samples=len(plan.samples.frame),
        images=images.images if images else None,
        triplets=totals.triplets,
        captions=totals.accepted,
        rejected=totals.rejected,
        rejected_by_code=totals.by_code,
        rejected_rows={str(k): int(v) for k, v in codes.items()},
        sources=totals.by_source,
        requests=totals.requests,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cost=totals.cost,
        failures=totals.by_error,
        stopped=stopped,
        notes=tuple(plan.notes),
        complete=unfinished == 0 and totals.accepted > 0,
        excluded=0 if plan.spec.data.missing == "ignore" else _excluded(plan),
    )


IMAGE_CODES = frozenset(
    {
        *("missing_image", "ambiguous_image", "duplicate_image", "outside_root", "bad_image_reference"),
        *("corrupt_image", "unreadable", "unsupported_type", "changed_while_read", "invalid_key"),
    }
)
"""Reasons for which a row that has a label has no image in the shards."""


def _resolved(plan: Plan) -> str:
    """Return the run's own pipeline file: every setting, what the names stood for, and no secret."""
    settings = plan.spec.model_dump(mode="json", by_alias=True, exclude={"engine", "judge"})
    settings["price"] = _stated(plan.price)
    engine = {"name": plan.engine.name, "model": plan.engine.model} | without_secrets(plan.spec.engine)
    judge: dict[str, Any] = {}
    if plan.judge is not None and plan.spec.judge is not None:
        model = {"name": plan.judge.engine.name, "model": plan.judge.engine.model}
        of = plan.spec.judge.model_dump(mode="json", include={"of"})
        judge = {
            "judge": {
                "engine": model | without_secrets(plan.spec.judge.engine),
                "price": _stated(plan.judge_price),
                **of,
            },
            "judge_text": INSTRUCTIONS,
        }
    record = settings | {
        "engine": engine,
        **judge,
        "run": plan.run,
        "hashes": {"run": plan.hash, "schema": plan.schema.hash, "prompt": plan.prompt.hash},
        "resolved_schema": plan.schema.model_dump(mode="json", exclude_defaults=True),
        "prompt_text": plan.prompt.sources,
    }
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)


def _stated(price: Price) -> dict[str, float | None]:
    return {"input": price.input, "cached_input": price.cached_input, "output": price.output}
