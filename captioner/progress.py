"""How a run is going, for people: a live display on a terminal, plain log lines elsewhere."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from captioner.store import Totals


class LiveReporter:
    """A progress bar, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=5,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, detail="")
        self._stage = "starting"
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def start(self, stage: str, total: int | None) -> None:
        """Begin a stage on the same bar."""
        self._stage, self._begin = stage, time.monotonic()
        self._progress.reset(self._task, total=total, description=stage, detail="")

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Move the bar."""
        detail = describe(totals, time.monotonic() - self._begin) if totals else ""
        self._progress.update(self._task, completed=done, detail=detail)


class LineReporter:
    """A line when a stage begins, and then one every ``seconds``: for log files."""

    def __init__(self, console: Console, seconds: float = 10.0) -> None:
        self._console, self._seconds = console, seconds
        self._stage, self._total = "starting", None
        self._begin = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False)

    def start(self, stage: str, total: int | None) -> None:
        """Say that a stage begins."""
        self._stage, self._total = stage, total
        self._begin = self._last = time.monotonic()
        self.note(stage + (f" ({total:,})" if total is not None else ""))

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Say how far a stage is, now and then."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return
        self._last = now
        of = f"/{self._total:,}" if self._total is not None else ""
        left = ""
        if self._total and done:
            left = f", {(now - self._begin) / done * (self._total - done):,.0f} s left"
        detail = f" {describe(totals, now - self._begin)}" if totals else ""
        self.note(f"{self._stage}: {done:,}{of}{left}{detail}")

    _total: int | None


class JsonReporter:
    """A JSON object a line, for programs that follow a log: when a stage begins, and then one every ``seconds``."""

    def __init__(self, console: Console, seconds: float = 5.0) -> None:
        self._console, self._seconds = console, seconds
        self._stage = "starting"
        self._begin = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, text: str) -> None:
        """Log a remark."""
        self._log(event="note", text=text)

    def start(self, stage: str, total: int | None) -> None:
        """Log that a stage begins."""
        self._stage = stage
        self._begin = self._last = time.monotonic()
        self._log(event="stage", stage=stage, total=total)

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Log how far a stage is, now and then."""
        now = time.monotonic()
        if now - self._last >= self._seconds:
            self._last = now
            counted = asdict(totals) if totals else {}
            self._log(event="progress", stage=self._stage, done=done, seconds=round(now - self._begin, 1), **counted)

    def _log(self, **fields: object) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **fields}, ensure_ascii=False)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def describe(totals: Totals, seconds: float) -> str:
    """Return counts of a run in one line."""
    tokens = totals.completion_tokens / seconds if seconds > 0 else 0
    repaired = totals.by_source.get("code", 0)
    parts = [f"{totals.accepted:,} accepted", f"{totals.rejected:,} rejected"]
    if repaired:
        parts.append(f"{repaired:,} repaired")
    if totals.completion_tokens:
        parts.append(f"{totals.completion_tokens:,} tokens ({tokens:,.0f}/s)")
    if totals.errors:
        parts.append(f"{totals.errors:,} failed requests")
    return " · ".join(parts)


def counts(values: Mapping[str, int]) -> str:
    """Return ``"12 missing_image, 3 contradiction"``, the largest first."""
    return ", ".join(f"{n:,} {name}" for name, n in sorted(values.items(), key=lambda kv: (-kv[1], kv[0])))
