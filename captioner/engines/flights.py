"""Requests on their way, and a second copy of one that hangs: whichever answer comes first is taken."""

import asyncio
import logging
import math
import time

from captioner.engines import Request
from captioner.engines.admission import Outcome
from captioner.engines.completions import Completion
from captioner.engines.endpoint import Endpoint, Flight
from captioner.engines.failures import Failure
from captioner.engines.pool import Pool

_LOOK = 1.0

_logger = logging.getLogger(__name__)


class Trial:
    """What one request has been through.

    Attributes:
        attempts: how often it was sent.
        last: the server that had it last.
        refused: servers that refuse all requests, as this one has found out.
        wasted: an answer that was paid for and is not used, with the tokens of all such; None if there is none.
    """

    __slots__ = ("attempts", "busy", "faults", "last", "refused", "server_errors", "timeouts", "wasted")

    def __init__(self, refused: tuple[Endpoint, ...] = ()) -> None:
        self.attempts = 0
        self.faults = 0
        self.busy = 0
        self.server_errors = 0
        self.timeouts = 0
        self.last: Endpoint | None = None
        self.refused = refused
        self.wasted: Completion | None = None

    def waste(self, completion: Completion) -> None:
        """Ask again in spite of an answer."""
        self.wasted = self.charge(completion)

    def charge(self, completion: Completion) -> Completion:
        """Return an answer with the tokens of those that were not used, which are then accounted for."""
        if self.wasted is None:
            return completion
        wasted, self.wasted = self.wasted, None
        return completion.charged_with(wasted)

    def count(self, failure: Failure, endpoint: Endpoint) -> None:
        """Take note of a failure."""
        if self.last is not endpoint:
            self.last, self.server_errors = endpoint, 0
        if failure.kind == "busy":
            self.busy += 1
        elif failure.kind != "unreachable":
            self.faults += 1
            self.server_errors += failure.kind == "server"
            self.timeouts += failure.kind == "timeout"
        if failure.kind == "fatal":
            self.refused = (*self.refused, endpoint)


class Flights:
    """Sends requests, and a second copy of those that hang, elsewhere or over another connection.

    What is paid for twice stays small: a second copy is sent once for a request, for a set share of all requests at most,
    and where there is no sign of overload.

    Args:
        pool: the servers.
        share: of requests that may be sent twice.
    """

    def __init__(self, pool: Pool, share: float) -> None:
        self._pool = pool
        self._share = share
        self._flights: dict[Flight, Trial] = {}
        self._copies: set[asyncio.Task[Completion | None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._sent = self._copied = self._first = 0

    async def post(self, request: Request, endpoint: Endpoint, trial: Trial) -> tuple[Completion, bool]:
        """Send a request to a server; return the answer, and whether it came to this copy and not to a second one.

        Raises:
            Failure: there is none.
        """
        self._sent += 1
        trial.attempts += 1
        flight = Flight(request, endpoint)
        self._flights[flight] = trial
        try:
            body = endpoint.capabilities.body(request)
            return await endpoint.post(body, endpoint.patience(trial.timeouts), flight), True
        except asyncio.CancelledError:
            if flight.answer is None or flight.task.uncancel():
                raise
            self._pool.failed(endpoint, Failure("timeout", "requests hang"))
            return flight.answer, False
        except Failure as failure:
            if flight.copy is None:
                raise
            self._pool.failed(endpoint, failure)
            del self._flights[flight]  # nobody is to be told when the copy is answered: it is waited for here
            answer = await flight.copy
            if answer is None:
                raise
            return answer, False
        finally:
            self._flights.pop(flight, None)
            if flight.copy is not None:
                flight.copy.cancel()

    def start(self) -> None:
        """Begin to look for requests that hang."""
        if self._watcher is None and self._share:
            self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End all that was started here."""
        tasks = [*self._copies, *([self._watcher] if self._watcher else [])]
        self._watcher = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._copied:
            _logger.warning(
                "%d of %d requests hung and were sent a second time; the second copy was answered first %d times",
                *(self._copied, self._sent, self._first),
            )
            self._sent = self._copied = self._first = 0

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._copied >= self._share * self._sent:
                continue
            bounds = {endpoint: endpoint.hangs_after() for endpoint in self._pool.endpoints}
            # A server that has hardly answered yet is measured by the others.
            known = max((b for b in bounds.values() if b < math.inf), default=math.inf)
            now = time.monotonic()
            for flight, trial in list(self._flights.items()):
                if flight.copy is None and now - flight.sent > min(bounds[flight.endpoint], known):
                    _logger.info("%s: no answer for %.0f s", flight.endpoint.address, now - flight.sent)
                    self._copied += 1
                    flight.copy = asyncio.create_task(self._copy(flight, trial))
                    self._copies.add(flight.copy)
                    flight.copy.add_done_callback(self._copies.discard)
                    if self._copied >= self._share * self._sent:
                        break

    async def _copy(self, flight: Flight, trial: Trial) -> Completion | None:
        """Send a second copy; end the wait for the first if this one is answered before."""
        slot = self._pool.extra(avoid=flight.endpoint)
        if slot is None:
            return None
        endpoint = slot.endpoint
        outcome: Outcome = "failed"
        retry_after: float | None = None
        trial.attempts += 1
        try:
            answer = await endpoint.post(endpoint.capabilities.body(flight.request), endpoint.patience(0))
            outcome = "done"
        except Failure as failure:
            self._pool.failed(endpoint, failure)
            if failure.kind in {"busy", "timeout"}:
                outcome, retry_after = "busy", failure.retry_after
            return None
        finally:
            self._pool.release(slot, outcome, retry_after)
        self._pool.worked(slot)
        self._first += 1
        if flight in self._flights:
            flight.answer = answer
            flight.task.cancel()
        return answer
