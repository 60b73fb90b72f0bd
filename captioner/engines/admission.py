"""How much one server is sent at once and how fast: concurrency that follows the server, and limits per minute."""

import asyncio
import random
import time
from typing import Literal

Outcome = Literal["done", "busy", "failed"]

_START = 32
_CUT = 0.5
_STEP = 0.1
_SLOWER = 1.5
_WORTHWHILE = 1.1
_REST = 10


class Admission:
    """Slots for requests, as many as the server bears: additive increase, multiplicative decrease.

    The first request goes alone, since it teaches what the server can do; then 32 slots, doubled as long as that
    brings throughput, then a tenth more for each round of answers as long as their latency holds; never more than
    the ceiling, and only when the slots there are were used. A sign of overload (429, 503, a timeout) halves the
    slots. Overload of requests that were sent before the last cut says nothing new and cuts nothing: one burst, one
    cut. A ``Retry-After`` stops all sending for that time, and growth for ten times as long: trying whether the server
    bears more must not cost more than a tenth of the time.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._limit = 1.0
        self._in_flight = 0
        self._resume_at = 0.0
        self._grow_at = 0.0
        self._last_cut = 0.0
        self._doubling = True
        self._latency = 0.0
        self._rate = 0.0
        self._open_window(time.monotonic())

    @property
    def limit(self) -> int:
        """How many requests may be at the server now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._in_flight

    @property
    def latency(self) -> float | None:
        """Seconds that an answer takes of late; None before the first."""
        return self._latency or None

    @property
    def resume_at(self) -> float:
        """Until when the server wants to be left alone, by the monotonic clock; in the past if it does not."""
        return self._resume_at

    def free(self, now: float) -> bool:
        """Say whether there is a slot, at this moment of the monotonic clock."""
        return self._in_flight < int(self._limit) and now >= self._resume_at

    def take(self) -> None:
        """Take a slot, :meth:`free` or not."""
        self._in_flight += 1

    def release(self, since: float, outcome: Outcome, retry_after: float | None = None) -> None:
        """Give a slot back.

        Args:
            since: when it was taken, by the monotonic clock.
            outcome: ``"busy"`` for overload; ``"failed"`` for what says nothing of the server's load.
            retry_after: seconds for which the server wants to be left alone.
        """
        now = time.monotonic()
        if outcome == "done":
            self._count(now, now - since)
        elif outcome == "busy":
            if retry_after:
                # Jitter, so that several clients of one server do not come back as one.
                self._resume_at = max(self._resume_at, now + retry_after * random.uniform(1.0, 1.1))  # noqa: S311
                self._grow_at = self._resume_at + _REST * retry_after
            if since >= self._last_cut:
                self._last_cut = now
                self._limit = max(1.0, self._limit * _CUT)
                self._doubling = False
                self._open_window(now)
        self._in_flight -= 1

    def _open_window(self, now: float) -> None:
        self._window_start = now
        self._window_done = 0
        self._window_latency = 0.0
        self._window_full = False

    def _count(self, now: float, latency: float) -> None:
        self._window_done += 1
        self._window_latency += latency
        self._window_full = self._window_full or self._in_flight >= int(self._limit)
        if self._window_done < int(self._limit):
            return
        mean = self._window_latency / self._window_done
        rate = self._window_done / max(now - self._window_start, 1e-9)
        if self._window_full and now >= self._grow_at:
            if int(self._limit) == 1 and self._doubling:
                self._limit = min(self._ceiling, _START)
            elif self._doubling and rate > _WORTHWHILE * self._rate:
                self._limit = min(self._ceiling, self._limit * 2)
            else:
                self._doubling = False
                if mean <= _SLOWER * self._latency:
                    self._limit = min(self._ceiling, self._limit + max(1.0, self._limit * _STEP))
        self._rate = rate
        self._latency = mean if not self._latency else 0.8 * self._latency + 0.2 * mean
        self._open_window(now)


class Pace:
    """A limit per minute, with at most one second's worth at once; ``None`` is no limit."""

    def __init__(self, per_minute: int | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self, amount: float = 1.0) -> None:
        """Take ``amount`` out of the allowance, when there is enough of it."""
        if not self._seconds_each:
            return
        now = time.monotonic()
        due = max(self._next, now - 1.0)
        self._next = due + amount * self._seconds_each
        if due > now:
            await asyncio.sleep(due - now)

    def correct(self, amount: float) -> None:
        """Take ``amount`` more (or, negative, give it back): what was used differed from what was expected."""
        self._next += amount * self._seconds_each
