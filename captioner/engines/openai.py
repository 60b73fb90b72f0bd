"""Any server with OpenAI's chat completions: OpenAI, Azure, ``vllm serve``, llama.cpp, Ollama, gateways.

The requests themselves go over one aiohttp session and not through the official client, which costs several times the
CPU time for each; ``benchmarks/client.py`` measures it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.admission import Admission, Outcome, Pace
from captioner.engines.capabilities import Capabilities
from captioner.engines.completions import Completion
from captioner.engines.connection import Connection, OpenAISettings
from captioner.engines.failures import Failure
from captioner.errors import EngineError, did_you_mean
from captioner.triplets import Triplet

__all__ = ["OpenAIEngine", "OpenAISettings"]

_STORM = 100
_FATAL_STORM = 3
_LONGEST_WAIT = 60.0
_LONGEST_WAIT_UNREACHABLE = 10.0
_LEAST_PATIENCE = 60.0
_MUCH_LONGER = 20
_BUSY_REPLIES = 50
_TINY = Request(
    key="check",
    messages=(Message("user", "Answer with the word OK."),),
    triplet=Triplet("check", "none", "none", ()),
    count=1,
    sampling=Sampling(max_tokens=16),
)


class OpenAIEngine:
    """One server, asked many things at once.

    Attributes:
        capabilities: what the server has been found to do; its ``notes`` say what was changed for it.
    """

    name = "openai"

    def __init__(self, settings: OpenAISettings) -> None:
        self.settings = settings
        self.model = settings.model
        self.capabilities = Capabilities(settings.model, settings.structured, settings.extra_body)
        self._connection = Connection(settings)
        self._admission = Admission(settings.concurrency)
        self._requests_pace = Pace(settings.requests_per_minute)
        self._tokens_pace = Pace(settings.tokens_per_minute)
        self._expected_completion = 256.0
        self._failed_in_a_row = 0
        self._unreachable_since: float | None = None
        self._workers: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"OpenAIEngine(model={self.model!r}, address={self._connection.address!r})"

    async def check(self) -> None:
        """Make sure that the server is there, takes the key and has the model.

        Raises:
            EngineError: it does not; names the address, where the key was looked for, or the models that there are.
        """
        models = await self._connection.models()
        if models and self.model in models:
            return
        # Not all servers list models, and gateways know more names than they list: the last word has a request.
        try:
            await self._ask(_TINY, await self._admission.acquire(), _Trial())
        except Failure as failure:
            raise EngineError(self._unusable(failure, models)) from None

    async def answers(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Yield one answer for each request, in the order in which they come back.

        Requests are taken from the iterable when there is room for them at the server, never ahead.

        Raises:
            EngineError: the server refuses the key or the model, cannot be reached for ``max_outage`` seconds, or a
                hundred requests in a row failed.
        """
        self._connection.open()
        iterator = iter(requests)
        # Room for answers while the consumer works, so that the server does not wait for it; bounded all the same.
        finished: asyncio.Queue[Answer | Exception] = asyncio.Queue(2 * self.settings.concurrency)
        workers = {asyncio.create_task(self._work(iterator, finished)) for _ in range(self.settings.concurrency)}
        running = len(workers)
        self._workers |= workers
        try:
            while running:
                item = await finished.get()
                if isinstance(item, Answer):
                    yield item
                elif isinstance(item, StopIteration):
                    running -= 1
                else:
                    raise item
        finally:
            await self._stop(workers)

    async def close(self) -> None:
        """Stop what is still running and close all connections."""
        await self._stop(self._workers)
        await self._connection.close()

    async def _stop(self, workers: set[asyncio.Task[None]]) -> None:
        workers = set(workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers -= workers

    async def _work(self, requests: Iterator[Request], finished: "asyncio.Queue[Answer | Exception]") -> None:
        """Take requests until there are none; put their answers, and at last the exception that ended it."""
        try:
            while True:
                slot = await self._admission.acquire()
                try:
                    request = next(requests)
                except BaseException:
                    self._admission.release(slot, "failed")
                    raise
                await finished.put(await self._answer(request, slot))
        except Exception as error:  # noqa: BLE001 - handed over to whoever reads the answers
            await finished.put(error)

    async def _answer(self, request: Request, slot: float) -> Answer:
        start = time.perf_counter()
        trial = _Trial()
        try:
            completion = await self._ask(request, slot, trial)
        except Failure as failure:
            if failure.kind == "unreachable":
                raise EngineError(self._connection.unreachable(failure.message)) from None
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= (_FATAL_STORM if failure.kind == "fatal" else _STORM):
                raise EngineError(self._given_up(failure)) from None
            tries = f" ({trial.attempts} attempts)" if trial.attempts > 1 else ""
            seconds = time.perf_counter() - start
            return Answer(request.key, None, error=failure.message + tries, seconds=seconds, attempts=trial.attempts)
        self._failed_in_a_row = 0
        return Answer(
            key=request.key,
            text=completion.text,
            finish_reason=completion.finish_reason,
            error=completion.silence,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=time.perf_counter() - start,
            attempts=trial.attempts,
            model=completion.model,
        )

    async def _ask(self, request: Request, slot: float, trial: "_Trial") -> Completion:
        """Send a request until it is answered or there is no hope.

        Raises:
            Failure: the last one.
        """
        try:
            return await self._send(request, slot, trial)
        except Failure as failure:
            if not failure.again:
                raise
            first = [failure]

        # tenacity costs a good part of what a request costs, so it comes in only now, and is told of the first failure.
        async def again() -> Completion:
            if first:
                raise first.pop()
            return await self._send(request, await self._admission.acquire(), trial)

        retrying = AsyncRetrying(
            stop=lambda _: self._hopeless(trial),
            wait=self._wait,
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and error.again),
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(again)

    def _hopeless(self, trial: "_Trial") -> bool:
        since = self._unreachable_since
        if since is not None and time.monotonic() - since > self.settings.max_outage:
            return True
        return trial.faults > self.settings.max_retries or trial.busy > _BUSY_REPLIES

    def _wait(self, state: RetryCallState) -> float:
        failure = state.outcome and state.outcome.exception()
        if isinstance(failure, Failure) and failure.retry_after:
            return 0.0  # admission holds all requests back for that long
        unreachable = isinstance(failure, Failure) and failure.kind == "unreachable"
        longest = _LONGEST_WAIT_UNREACHABLE if unreachable else _LONGEST_WAIT
        return wait_random_exponential(self.settings.retry_wait, max=longest)(state)

    async def _send(self, request: Request, slot: float, trial: "_Trial") -> Completion:
        """Send a request in a slot, put as the server has been found to want it; give the slot back."""
        structured = request.answer_schema is not None
        outcome: Outcome = "failed"
        retry_after: float | None = None
        try:
            while True:
                version = self.capabilities.version
                try:
                    completion = await self._send_once(self.capabilities.body(request), trial)
                except Failure as failure:
                    if self.capabilities.version != version and failure.kind in {"request", "server"}:
                        continue  # the answer to another request has taught better in the meantime
                    self._note_outage(failure)
                    trial.count(failure)
                    if self.capabilities.learn(failure, structured=structured, times=trial.server_errors):
                        continue
                    if failure.kind in {"busy", "timeout"}:
                        outcome, retry_after = "busy", failure.retry_after
                    raise
                outcome = "done"
                self._unreachable_since = None
                if structured and completion.text:
                    self.capabilities.listen(completion.text, version)
                return completion
        finally:
            self._admission.release(slot, outcome, retry_after)

    async def _send_once(self, body: bytes, trial: "_Trial") -> Completion:
        await self._requests_pace.wait()
        expected = len(body) / 4 + self._expected_completion  # about four characters to a token
        await self._tokens_pace.wait(expected)
        trial.attempts += 1
        completion = await self._connection.post(body, self._patience(trial))
        self._expected_completion += 0.05 * (completion.completion_tokens - self._expected_completion)
        self._tokens_pace.correct(completion.prompt_tokens + completion.completion_tokens - expected)
        return completion

    def _note_outage(self, failure: Failure) -> None:
        if failure.kind != "unreachable":
            self._unreachable_since = None
        elif self._unreachable_since is None:
            self._unreachable_since = time.monotonic()

    def _patience(self, trial: "_Trial") -> float:
        """Return after how many seconds a request counts as lost: long after others would have been answered."""
        latency = self._admission.latency
        if latency is None:
            return self.settings.timeout
        return min(self.settings.timeout, max(_LEAST_PATIENCE, _MUCH_LONGER * latency) * 2.0**trial.timeouts)

    def _unusable(self, failure: Failure, models: list[str] | None) -> str:
        """Return what to say when not even a small request is answered."""
        address = self._connection.address
        if failure.kind == "unreachable":
            return self._connection.unreachable(failure.message)
        if failure.status in {401, 403}:
            return self._connection.wrong_key(failure)
        if models and failure.status in {400, 404}:
            shown = ", ".join(sorted(models)[:20]) + (" …" if len(models) > 20 else "")
            hint = did_you_mean(self.model, models)
            return f"{address} has no model {self.model!r}; it has: {shown}.{hint} ({failure.message})"
        if failure.status == 404:
            missing = "" if address.endswith("/v1") else " Most servers want an address that ends in /v1."
            return f"{address} knows no chat completions with model {self.model!r} ({failure.message}).{missing}"
        return f"{address} does not answer a first small request: {failure.message}"

    def _given_up(self, failure: Failure) -> str:
        if failure.status == 401:
            return self._connection.wrong_key(failure)
        return (
            f"{self._failed_in_a_row} requests in a row failed at {self._connection.address}; "
            f"the last: {failure.message}. Answers so far are kept: put it right, and start the same run again."
        )


class _Trial:
    """What one request has been through."""

    __slots__ = ("attempts", "busy", "faults", "server_errors", "timeouts")

    def __init__(self) -> None:
        self.attempts = 0
        self.faults = 0
        self.busy = 0
        self.server_errors = 0
        self.timeouts = 0

    def count(self, failure: Failure) -> None:
        if failure.kind == "busy":
            self.busy += 1
        elif failure.kind != "unreachable":
            self.faults += 1
            self.server_errors += failure.kind == "server"
            self.timeouts += failure.kind == "timeout"
