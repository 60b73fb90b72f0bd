"""Runs side by side, on the triplets that all of them asked for: which prompt, which engine writes what may be used?"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import yaml
from pydantic import ValidationError

from captioner.audit import figures
from captioner.audit.counts import Counts, Settings
from captioner.audit.rows import Row
from captioner.audit.statistics import Rate, bootstrap, mcnemar, wilson
from captioner.audit.targets import facts_of
from captioner.audit.workers import judge_all
from captioner.engines import Engine
from captioner.errors import UsageError
from captioner.judge import CaptionJudge
from captioner.prices import Price
from captioner.schema import LabelSchema
from captioner.store import CheckedCaption, Ledger
from captioner.triplets import Triplet

_OF_SETS = frozenset({"duplicate", "near_duplicate", "surplus"})


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run, on the triplets that all runs asked for.

    Attributes:
        run, prompt, engine: what it is.
        written: captions of the first answers; ``agreement``: the share of them that agrees with the labels as written.
        accepted_at_once: triplets whose first answer gave all captions that were wanted, none put right.
        repaired: captions put right without asking again; ``asked_again``: triplets for which more was asked;
            ``filled``: captions that the built-in writer added; ``given_up``: triplets without a complete set.
        requests, prompt_tokens, completion_tokens: of all rounds.
        cost: of these and of a judge's opinions, each at its own model's prices as the pipeline has them; None without.
        seconds: mean time to an answer; ``asking``: seconds in which at least one request was under way, so that pauses
            between sessions do not count.
        diversity: of the accepted captions, as :func:`captioner.audit.figures.diversity` gives it.
    """

    run: str
    prompt: str
    engine: str
    triplets: int
    written: int
    agreement: Rate
    accepted_at_once: Rate
    repaired: int
    asked_again: int
    filled: int
    given_up: int
    accepted: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float
    asking: float
    diversity: Mapping[str, float]

    @property
    def captions_a_second(self) -> float:
        """Accepted captions for each second of asking; not a number where no time was spent."""
        return self.accepted / self.asking if self.asking else math.nan


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs against each other, triplet by triplet.

    Attributes:
        first, second: their names.
        both, only_first, only_second, neither: triplets accepted at once by which of them.
        p: of McNemar's exact test that neither does so more often.
        gain: how much larger the second's mean share of agreeing first captions is, with its 95 % bootstrap interval.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A triplet on which runs differ: the first captions of each, with the verdict on each caption."""

    triplet: str
    labels: tuple[str, ...]
    shares: tuple[float, ...]
    captions: tuple[tuple[tuple[str, bool, tuple[Mapping[str, Any], ...]], ...], ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        schema, title: of the label schema that they share; ``names`` has the classes' names.
        triplets: that all runs asked for; figures are of these alone.
        left_out: triplets that only some of them asked for.
        runs: in the order in which they were given.
        pairs: each two of them.
        differences: where their first captions differ most.
    """

    schema: str
    title: str
    names: Mapping[str, str]
    triplets: int
    left_out: int
    runs: tuple[RunFigures, ...]
    pairs: tuple[Pair, ...]
    differences: tuple[Difference, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The figures, one row a run."""
        rows = []
        for run in self.runs:
            data = asdict(run) | {
                "agreement": run.agreement.share,
                "agreement_low": run.agreement.low,
                "agreement_high": run.agreement.high,
                "accepted_at_once": run.accepted_at_once.share,
                "captions_a_second": run.captions_a_second,
            }
            rows.append(data | data.pop("diversity"))
        return pd.DataFrame(rows).set_index("run")

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        data: dict[str, Any] = _plain(
            {
                "schema": self.schema,
                "triplets": self.triplets,
                "left_out": self.left_out,
                "runs": [
                    asdict(r) | {"agreement": _rate(r.agreement), "accepted_at_once": _rate(r.accepted_at_once)}
                    for r in self.runs
                ],
                "pairs": [asdict(p) for p in self.pairs],
                "differences": [asdict(d) for d in self.differences],
            }
        )
        return data

    def _repr_html_(self) -> str:
        """Show the figures in a notebook."""
        return str(self.table.T.to_html(border=0, float_format="{:.3f}".format))


def compare(runs: Sequence[Path | str], *, differences: int = 20) -> Comparison:
    """Compare runs of one dataset with different prompts or engines.

    Args:
        runs: folders of at least two runs under one schema.
        differences: triplets to keep on which they differ most.

    Raises:
        UsageError: a folder is no run's, the runs are of different datasets, or have no triplet in common.
    """
    folders = [Path(r) for r in runs]
    for folder in folders:
        _need_run(folder)
    if len(folders) < 2 or len({f.resolve() for f in folders}) < len(folders):
        raise UsageError("compare needs at least two different runs: captioner compare OUT/runs/A OUT/runs/B")
    loaded = [_Run(folder, facts_of(folder)) for folder in folders]
    first = loaded[0]
    for other in loaded[1:]:
        if other.schema.id != first.schema.id:
            raise UsageError(
                f"{other.folder} is of dataset {other.schema.id!r}, {first.folder} of {first.schema.id!r}: "
                "only runs of one dataset have triplets in common"
            )
    with ExitStack() as stack:
        ledgers = [stack.enter_context(Ledger(r.folder / "ledger.sqlite", read_only=True)) for r in loaded]
        asked = [{t.id: (t, status) for t, status, _ in ledger.states() if status != "open"} for ledger in ledgers]
        common = [t for t in asked[0] if all(t in a for a in asked)]
        if not common:
            raise UsageError("the runs have no finished triplet in common: nothing can be compared")
        for run, ledger, states in zip(loaded, ledgers, asked, strict=True):
            for key in common:
                run.add(ledger, *states[key])
            run.asking = together(spent for key, spent in ledger.times().items() if key in run.keys)
    return Comparison(
        schema=first.schema.id,
        title=first.schema.title,
        names={c.code: c.name for c in first.schema.classes},
        triplets=len(common),
        left_out=len(set().union(*asked)) - len(common),
        runs=tuple(r.figures() for r in loaded),
        pairs=tuple(_pair(a, b) for a, b in combinations(loaded, 2)),
        differences=_differences(loaded, differences),
    )


def _need_run(folder: Path) -> None:
    """Say what a folder is that is not the run of a model.

    Raises:
        UsageError: it is none.
    """
    if (folder / "pipeline.yaml").is_file() and (folder / "ledger.sqlite").is_file():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if (folder / "ledger.sqlite").is_file():
        raise UsageError(
            f"{folder}: this run has asked nothing yet: start the same `captioner run …` again to finish it, or leave it out"
        )
    if (folder / "pipeline.yaml").is_file():
        raise UsageError(f"{folder}: a run on a dataset's own texts asked nobody for captions: leave it out")
    raise UsageError(f"{folder}: no run in this folder. Give an output folder (it holds runs/), or OUT/runs/RUN.")


@dataclass(frozen=True, slots=True)
class _First:
    """A triplet's first answer."""

    triplet: Triplet
    captions: tuple[CheckedCaption, ...]
    agreeing: int
    at_once: bool

    @property
    def share(self) -> float:
        return self.agreeing / len(self.captions) if self.captions else 0.0


class _Run:
    """A run while its ledger is read."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
        try:
            self.schema = LabelSchema.model_validate(spec["resolved_schema"])
            self.wanted = int(spec["captions"])
            self.price, self.judge_price = _price(spec), Price()
            self.judge: CaptionJudge | None = None
            if spec.get("judge"):
                self.judge_price = _price(spec["judge"])
                model = {name: spec["judge"]["engine"][name] for name in ("name", "model")}
                # It is asked nothing: its questions are known by their keys.
                self.judge = CaptionJudge(self.schema, cast("Engine", SimpleNamespace(**model)))
        except (KeyError, TypeError, ValueError, ValidationError) as e:
            raise UsageError(f"{folder / 'pipeline.yaml'}: not as a run leaves it: {e}") from None
        self.first: list[_First] = []
        self.final: list[Row] = []
        self.keys: set[str] = set()
        self.opinions: set[str] = set()
        self.tokens = [0, 0]
        self.cost = 0.0
        self.seconds = self.asking = 0.0
        self.requests = self.repaired = self.asked_again = self.filled = self.given_up = 0

    @property
    def name(self) -> str:
        return str(self.facts["run"])

    def add(self, ledger: Ledger, triplet: Triplet, status: str) -> None:
        attempts = ledger.attempts(triplet.id)
        for attempt in attempts:
            if attempt.key is None or attempt.key in self.keys:
                continue
            self.keys.add(attempt.key)
            if (answer := ledger.answer(attempt.key)) is not None:
                self.requests += 1
                self.tokens[0] += answer.prompt_tokens
                self.tokens[1] += answer.completion_tokens
                self.seconds += answer.seconds
                self.cost += self.price.of(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
        self._add_opinions(ledger, triplet, [c for a in attempts for c in a.captions])
        asked = [a for a in attempts if a.kind != "fill"]
        captions = asked[0].captions if asked else ()
        agreeing = sum(agrees_as_written(c) for c in captions)
        at_once = sum(c.accepted and c.original is None for c in captions) >= self.wanted
        self.first.append(_First(triplet, captions, agreeing, at_once))
        accepted = [c for a in attempts for c in a.captions if c.accepted]
        self.repaired += sum(c.source == "code" for c in accepted)
        self.asked_again += len(asked) > 1
        self.filled += sum(c.accepted for a in attempts if a.kind == "fill" for c in a.captions)
        self.given_up += status not in {"complete", "filled"}
        if accepted:
            place = str(self.folder), triplet.id
            texts = tuple(c.caption for c in accepted)
            self.final.append(
                Row(*place, list(triplet.findings), texts, negatives=triplet.negatives, attributes=triplet.attributes)
            )

    def _add_opinions(self, ledger: Ledger, triplet: Triplet, captions: Iterable[CheckedCaption]) -> None:
        if self.judge is None:
            return
        for caption in captions:
            before = tuple(i for i in caption.issues if i["code"] != "judged")
            if len(before) == len(caption.issues):
                continue
            key = self.judge.request(triplet, caption._replace(issues=before)).key
            if key not in self.opinions and (answer := ledger.answer(key)) is not None:
                self.opinions.add(key)
                self.cost += self.judge_price.of(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)

    def figures(self) -> RunFigures:
        counts = Counts(Settings(examples=0))
        for part in judge_all(iter(self.final), self.schema, counts.settings, processes=1):
            counts.merge(part)
        written = sum(len(f.captions) for f in self.first)
        return RunFigures(
            run=self.name,
            prompt=self.facts["prompt"],
            engine=self.facts["engine"],
            triplets=len(self.first),
            written=written,
            agreement=wilson(sum(f.agreeing for f in self.first), written),
            accepted_at_once=wilson(sum(f.at_once for f in self.first), len(self.first)),
            repaired=self.repaired,
            asked_again=self.asked_again,
            filled=self.filled,
            given_up=self.given_up,
            accepted=counts.captions,
            requests=self.requests,
            prompt_tokens=self.tokens[0],
            completion_tokens=self.tokens[1],
            cost=self.cost if any((p.input or p.output) for p in (self.price, self.judge_price)) else None,
            seconds=self.seconds / len(self.keys) if self.keys else math.nan,
            asking=self.asking,
            diversity=figures.diversity(counts),
        )


def _price(spec: Mapping[str, Any]) -> Price:
    price = spec.get("price") or {}
    cached = price.get("cached_input")
    return Price(
        float(price.get("input") or 0), float(price.get("output") or 0), None if cached is None else float(cached)
    )


def together(spans: Iterable[tuple[float, float]]) -> float:
    """Return how long at least one of the spans was under way."""
    total, end = 0.0, -math.inf
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def agrees_as_written(caption: CheckedCaption) -> bool:
    """Say whether an engine's caption agreed with its labels before anything was put right; being a duplicate is no matter."""
    errors = {i["code"] for i in caption.issues if i["level"] == "error"}
    return caption.original is None and errors <= _OF_SETS


def _pair(first: _Run, second: _Run) -> Pair:
    both = [(a.at_once, b.at_once) for a, b in zip(first.first, second.first, strict=True)]
    gains = [b.share - a.share for a, b in zip(first.first, second.first, strict=True)]

    def mean(strata: Sequence[Sequence[object]]) -> float:
        (values,) = strata
        return sum(values) / len(values)  # type: ignore[arg-type]

    low, high = bootstrap([gains], mean)
    one, two = both.count((True, False)), both.count((False, True))
    return Pair(
        first=first.name,
        second=second.name,
        both=both.count((True, True)),
        only_first=one,
        only_second=two,
        neither=both.count((False, False)),
        p=mcnemar(one, two),
        gain=sum(gains) / len(gains),
        low=low,
        high=high,
    )


def _differences(runs: Sequence[_Run], limit: int) -> tuple[Difference, ...]:
    def found() -> Iterator[Difference]:
        for firsts in zip(*(r.first for r in runs), strict=True):
            shares = tuple(f.share for f in firsts)
            if max(shares) > min(shares):
                captions = tuple(
                    tuple((c.original or c.caption, agrees_as_written(c), c.issues) for c in f.captions) for f in firsts
                )
                yield Difference(firsts[0].triplet.id, firsts[0].triplet.findings, shares, captions)

    return tuple(sorted(found(), key=lambda d: (min(d.shares) - max(d.shares), d.triplet))[:limit])


def _rate(rate: Rate) -> dict[str, Any]:
    return asdict(rate) | {"share": rate.share}


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are none become null."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
