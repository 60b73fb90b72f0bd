"""Which of several servers a request goes to: the least loaded for its weight that is in service and has room."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from captioner.engines.admission import Outcome
from captioner.engines.endpoint import Endpoint
from captioner.engines.failures import Failure

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Slot:
    """Room for one request at a server.

    Attributes:
        endpoint: the server.
        since: when it was given, by the monotonic clock.
        probe: it is to show whether a server that was out of service works again.
    """

    endpoint: Endpoint
    since: float
    probe: bool


class Pool:
    """Gives out slots, first come, first served.

    A server that is out of service gets one request now and then, to see whether it is back. Where all are out of service,
    all are asked: whoever sends decides how long.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._waiters: deque[tuple[asyncio.Future[Slot], Endpoint | None, Collection[Endpoint]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, avoid: Endpoint | None = None, never: Collection[Endpoint] = ()) -> Slot:
        """Wait for a slot.

        Args:
            avoid: a server that comes into question only where no other does.
            never: servers that do not.
        """
        slot = None if self._waiters else self._choose(avoid, never)
        if slot is not None:
            return slot
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters.append((waiter, avoid, never))
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(waiter.result(), "failed")
            raise

    def extra(self, avoid: Endpoint) -> Slot | None:
        """Return a slot beyond what there is room for, elsewhere if possible; None where that would do harm."""
        now = time.monotonic()
        fit = [e for e in self.endpoints if e.health.closed and now >= e.admission.resume_at]
        chosen = min(fit, key=lambda e: (e is avoid, (e.admission.in_flight + 1) / e.weight), default=None)
        if chosen is None:
            return None
        chosen.admission.take()
        return Slot(chosen, now, probe=False)

    def elsewhere(self, endpoint: Endpoint) -> bool:
        """Say whether another server is in service."""
        return any(e.health.closed for e in self.endpoints if e is not endpoint)

    def worked(self, slot: Slot) -> None:
        """Take note of an answer to a request that was sent in a slot."""
        if slot.endpoint.health.worked(slot.since) and len(self.endpoints) > 1:
            _logger.warning("%s is back in service", slot.endpoint.address)

    def failed(self, endpoint: Endpoint, failure: Failure) -> None:
        """Take note of a failure."""
        if endpoint.health.failed(failure, time.monotonic()) and len(self.endpoints) > 1:
            _logger.warning(
                "%s is out of service: %s; its requests go to the others", endpoint.address, failure.message
            )

    def down_since(self) -> float | None:
        """Return since when no server can be reached or used, by the monotonic clock; None while one can, or may."""
        moments = [e.health.down_since for e in self.endpoints]
        return None if None in moments else max(m for m in moments if m is not None)

    def release(self, slot: Slot, outcome: Outcome, retry_after: float | None = None) -> None:
        """Give a slot back.

        Args:
            slot: what :meth:`acquire` returned.
            outcome: ``"busy"`` for overload; ``"failed"`` for what says nothing of the server's load.
            retry_after: seconds for which the server wants to be left alone.
        """
        if slot.probe:
            slot.endpoint.health.tried()
        slot.endpoint.admission.release(slot.since, outcome, retry_after)
        if self._waiters:
            self._wake()

    def _choose(self, avoid: Endpoint | None, never: Collection[Endpoint]) -> Slot | None:
        now = time.monotonic()
        if len(self.endpoints) == 1:
            only = self.endpoints[0]
            if not only.admission.free(now):
                return None
            only.admission.take()
            return Slot(only, now, probe=False)
        able = [e for e in self.endpoints if e not in never] or self.endpoints
        if any(e.health.closed for e in able):
            able = [e for e in able if e.health.closed or e.health.due(now)]
        able = [e for e in able if e.admission.free(now)]
        if not able:
            return None
        chosen = min(able, key=lambda e: (e is avoid, (e.admission.in_flight + 1) / e.weight))
        chosen.admission.take()
        probe = not chosen.health.closed
        if probe:
            chosen.health.try_again()
        return Slot(chosen, now, probe)

    def _wake(self) -> None:
        while self._waiters:
            waiter, avoid, never = self._waiters[0]
            if waiter.done():
                self._waiters.popleft()
                continue
            slot = self._choose(avoid, never)
            if slot is None:
                break
            self._waiters.popleft()
            waiter.set_result(slot)
        if self._waiters:
            self._wake_later()

    def _wake_later(self) -> None:
        """See to it that waiters are looked at again when a pause ends, even if nothing comes back before."""
        now = time.monotonic()
        next_moment = math.inf
        for endpoint in self.endpoints:
            moment = endpoint.admission.resume_at
            if now < moment < next_moment:
                next_moment = moment
            if not endpoint.health.closed and now < endpoint.health.retry_at < next_moment:
                next_moment = endpoint.health.retry_at
        if self._timer is not None and self._timer.when() != next_moment:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and next_moment < math.inf:
            self._timer = asyncio.get_running_loop().call_at(next_moment, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._wake()
