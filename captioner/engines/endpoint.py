"""One server: the way to it, what it can do, how much it bears, and whether it is in service."""

import asyncio
import math
import time
from collections import deque

from captioner.engines import Request
from captioner.engines.admission import Admission, Pace
from captioner.engines.capabilities import Capabilities
from captioner.engines.completions import Completion
from captioner.engines.connection import Connection
from captioner.engines.health import Health
from captioner.engines.settings import OpenAISettings

_LEAST_PATIENCE = 60.0
_MUCH_LONGER = 20
_HANGS_FLOOR = 10.0
_HANGS_TIMES = 3.0
_REMEMBERED = 500
_ENOUGH = 50


class Flight:
    """A request on its way to a server.

    Attributes:
        sent: since when, by the monotonic clock; later than now while a limit per minute holds it back.
        task: who waits for the answer.
        copy: a second copy of it on its way, None if there is none.
        answer: to the second copy, if it came first.
    """

    __slots__ = ("answer", "copy", "endpoint", "request", "sent", "task")

    def __init__(self, request: Request, endpoint: "Endpoint") -> None:
        task = asyncio.current_task()
        assert task is not None
        self.request = request
        self.endpoint = endpoint
        self.sent = math.inf
        self.task = task
        self.copy: asyncio.Task[Completion | None] | None = None
        self.answer: Completion | None = None


class Endpoint:
    """One server among those that have the model.

    Attributes:
        model: what it calls the model.
        weight: its share of the requests, beside the others' weights.
        connection: the way to it.
        capabilities: what it has been found to do.
        admission: how many requests it bears at once.
        health: whether it is in service.
    """

    def __init__(self, settings: OpenAISettings, weight: float = 1.0) -> None:
        self.model = settings.model
        self.weight = weight
        self.connection = Connection(settings)
        self.capabilities = Capabilities(
            settings.model, settings.structured, settings.extra_body, self.connection.address
        )
        self.admission = Admission(settings.concurrency)
        self.health = Health()
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._settings = settings
        self._requests = Pace(settings.requests_per_minute)
        self._tokens = Pace(settings.tokens_per_minute)
        self._paced = settings.requests_per_minute is not None or settings.tokens_per_minute is not None
        self._expected = 256.0

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return self.connection.address

    async def post(self, body: bytes, patience: float, flight: Flight | None = None) -> Completion:
        """Send a request, as fast as the limits per minute allow.

        Args:
            body: JSON.
            patience: seconds until the answer must be there.
            flight: is told when the request is really sent.

        Raises:
            Failure: there is no answer, or none that can be used.
        """
        expected = len(body) / 4 + self._expected  # about four characters to a token
        if self._paced:
            await self._requests.wait()
            await self._tokens.wait(expected)
        sent = time.monotonic()
        if flight is not None:
            flight.sent = sent
        completion = await self.connection.post(body, patience)
        self._seconds.append(time.monotonic() - sent)
        self._expected += 0.05 * (completion.completion_tokens - self._expected)
        self._tokens.correct(completion.prompt_tokens + completion.completion_tokens - expected)
        return completion

    def patience(self, timeouts: int) -> float:
        """Return after how many seconds a request counts as lost: long after others would have been answered."""
        latency = self.admission.latency
        if latency is None:
            return self._settings.timeout
        return min(self._settings.timeout, max(_LEAST_PATIENCE, _MUCH_LONGER * latency) * 2.0**timeouts)

    def hangs_after(self) -> float:
        """Return after how many seconds a request seems to hang: three times what 99 of 100 take, and at least ten."""
        if len(self._seconds) < _ENOUGH:
            return math.inf
        slowest = sorted(self._seconds)[math.ceil(0.99 * len(self._seconds)) - 1]
        return max(_HANGS_FLOOR, _HANGS_TIMES * slowest)
