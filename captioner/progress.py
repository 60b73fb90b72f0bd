"""How a run is going, for people: a live display on a terminal, plain log lines elsewhere."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from captioner.store import Totals

_WINDOW = 300.0
_STEP = 1.0
_CODES = 3


class Pace:
    """How fast a stage goes, by what was done of late, and never by what an earlier session had done.

    Args:
        now: a clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._marks: deque[tuple[float, int]] = deque()
        self._first: Totals | None = None
        self.begin()

    def begin(self) -> None:
        """A stage begins."""
        self._marks.clear()
        self._marks.append((self._now(), 0))
        self._first = None

    def see(self, done: int, totals: Totals | None) -> None:
        """So much is done by now; what is done when the first totals are seen was done before."""
        now = self._now()
        if totals is not None and self._first is None:
            self._first = totals
            self._marks.clear()
        if len(self._marks) < 2 or now - self._marks[-2][0] >= _STEP:
            self._marks.append((now, done))
        else:
            self._marks[-1] = (now, done)
        while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Steps a second, over the last minutes; 0 where nothing is known yet."""
        (begin, before), (end, done) = self._marks[0], self._marks[-1]
        return (done - before) / (end - begin) if end > begin else 0.0

    def left(self, total: int | None) -> float | None:
        """Return the seconds that are left if it goes on like this; None if nobody can know."""
        if total is None or self.rate <= 0:
            return None
        return max(0, total - self._marks[-1][1]) / self.rate

    def tokens(self, totals: Totals) -> int:
        """Return the completion tokens of this session."""
        return totals.completion_tokens - (self._first.completion_tokens if self._first else 0)


class _Reporter:
    """What all reporters know: the stage, its size and its pace."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stage, self._total = "starting", None
        self._pace = Pace(now)
        self._begin = now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins, with so many steps."""
        self._stage, self._total = stage, total
        self._begin = self._now()
        self._pace.begin()

    def _counts(self, totals: Totals) -> str:
        seconds = self._now() - self._begin
        return describe(totals, self._pace.tokens(totals) / seconds if seconds > 0 else 0.0)

    _total: int | None


class LiveReporter(_Reporter):
    """A progress bar, redrawn a few times a second, with the counts of the run below it."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now)
        self._progress = _Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            console=console,
            refresh_per_second=5,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, pace="")

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
        super().start(stage, total)
        self._progress.counts = ""
        self._progress.reset(self._task, total=total, description=stage, pace="")

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Move the bar."""
        self._pace.see(done, totals)
        if totals is not None:
            self._progress.counts = self._counts(totals)
        self._progress.update(self._task, completed=done, pace=_speed(self._pace, self._total))


class _Bar(Progress):
    """A bar with a line of counts below it."""

    counts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, and the counts where there are any."""
        yield self.make_tasks_table(self.tasks)
        if self.counts:
            yield Text(f"  {self.counts}", style="dim")


class LineReporter(_Reporter):
    """A line when a stage begins, and then one every ``seconds``: for log files."""

    def __init__(self, console: Console, seconds: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now)
        self._console, self._seconds = console, seconds
        self._last = self._begin

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False)

    def start(self, stage: str, total: int | None) -> None:
        """Say that a stage begins."""
        super().start(stage, total)
        self._last = self._begin
        self.note(stage + (f" ({total:,})" if total is not None else ""))

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Say how far a stage is, now and then."""
        self._pace.see(done, totals)
        if self._now() - self._last < self._seconds:
            return
        self._last = self._now()
        of = f"/{self._total:,}" if self._total is not None else ""
        parts = [f"{done:,}{of}", _speed(self._pace, self._total), self._counts(totals) if totals else ""]
        self.note(f"{self._stage}: {' · '.join(p for p in parts if p)}")


class JsonReporter(_Reporter):
    """A JSON object a line, for programs that follow a log: when a stage begins, one every ``seconds``, and one at its end.

    Progress has what is done, the steps a second and the seconds left by the last minutes (null where unknown), and all
    counts of the run: ``sent`` less ``requests`` are retries, ``by_code`` says what captions were refused for.
    """

    def __init__(self, console: Console, seconds: float = 5.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now)
        self._console, self._seconds = console, seconds
        self._last = self._begin
        self._unsaid: tuple[int, Totals | None] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say()

    def note(self, text: str) -> None:
        """Log a remark."""
        self._log(event="note", text=text)

    def start(self, stage: str, total: int | None) -> None:
        """Log that a stage begins, and how far the one before it came."""
        self._say()
        super().start(stage, total)
        self._last = self._begin
        self._log(event="stage", stage=stage, total=total)

    def advance(self, done: int, totals: Totals | None = None) -> None:
        """Log how far a stage is, now and then."""
        self._pace.see(done, totals)
        self._unsaid = done, totals
        if self._now() - self._last >= self._seconds:
            self._say()

    def _say(self) -> None:
        if self._unsaid is None:
            return
        (done, totals), self._unsaid = self._unsaid, None
        self._last = self._now()
        left = self._pace.left(self._total)
        self._log(
            event="progress",
            stage=self._stage,
            done=done,
            total=self._total,
            seconds=round(self._last - self._begin, 1),
            per_second=round(self._pace.rate, 3),
            seconds_left=None if left is None else round(left),
            **(asdict(totals) if totals else {}),
        )

    def _log(self, **fields: object) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **fields}, ensure_ascii=False)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _speed(pace: Pace, total: int | None) -> str:
    """Return ``"3.2/s, 5 min left"``, or nothing where nothing is known."""
    left = pace.left(total)
    return f"{number(pace.rate)}/s, {duration(left)} left" if left is not None else ""


def number(value: float) -> str:
    """Return a figure with as many digits as anybody wants to read."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return ``"42 s"``, ``"12 min"``, ``"3 h 05 min"`` or ``"2 d 7 h"``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"


def describe(totals: Totals, tokens_a_second: float) -> str:
    """Return the counts of a run in one line: captions, why some were refused, retries, tokens, cost."""
    parts = [f"{totals.accepted:,} accepted", f"{totals.rejected:,} refused"]
    if totals.by_code:
        worst = dict(sorted(totals.by_code.items(), key=lambda item: (-item[1], item[0]))[:_CODES])
        parts[-1] += f" ({counts(worst)}{', …' if len(totals.by_code) > _CODES else ''})"
    if repaired := totals.by_source.get("code", 0):
        parts.append(f"{repaired:,} repaired")
    if (retries := totals.sent - totals.requests) > 0:
        parts.append(f"{retries:,} retries")
    if totals.completion_tokens:
        parts.append(f"{totals.completion_tokens:,} tokens out ({number(tokens_a_second)}/s)")
    if totals.cost:
        parts.append(f"cost {totals.cost:,.2f}")
    if totals.errors:
        parts.append(f"{totals.errors:,} without an answer")
    return " · ".join(parts)


def counts(values: Mapping[str, int]) -> str:
    """Return ``"12 missing_image, 3 contradiction"``, the largest first."""
    return ", ".join(f"{n:,} {name}" for name, n in sorted(values.items(), key=lambda kv: (-kv[1], kv[0])))
