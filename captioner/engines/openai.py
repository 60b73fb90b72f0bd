"""Any server with OpenAI's chat completions: OpenAI, Azure, ``vllm serve``, llama.cpp, Ollama, gateways.

The requests themselves go over one aiohttp session and not through the official client, which costs several times the
CPU time for each; ``benchmarks/client.py`` measures it.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from captioner.engines import SEPARATOR, Answer, Message, Request, Sampling
from captioner.engines.admission import Outcome
from captioner.engines.capabilities import Capabilities
from captioner.engines.completions import Completion
from captioner.engines.endpoint import Endpoint
from captioner.engines.failures import Failure
from captioner.engines.flights import Flights, Trial
from captioner.engines.pool import Pool, Slot
from captioner.engines.settings import OpenAISettings
from captioner.errors import EngineError, did_you_mean
from captioner.triplets import Triplet

__all__ = ["OpenAIEngine", "OpenAISettings"]

_STORM = 100
_FATAL_STORM = 3
_LONGEST_WAIT = 60.0
_LONGEST_WAIT_UNREACHABLE = 10.0
_BUSY_REPLIES = 50
_TINY = Request(
    key="check",
    messages=(Message("user", "Answer with the word OK."),),
    triplet=Triplet("check", "none", "none", ()),
    count=1,
    sampling=Sampling(max_tokens=16),
)

_logger = logging.getLogger(__name__)


class OpenAIEngine:
    """One server or several with the same model, asked many things at once."""

    name = "openai"
    overlaps = True

    def __init__(self, settings: OpenAISettings) -> None:
        self.settings = settings
        self.model = settings.model
        weights = [e.weight for e in settings.endpoints] or [1.0]
        self._each = settings.each()
        self._endpoints = [Endpoint(*pair) for pair in zip(self._each, weights, strict=True)]
        self._pool = Pool(self._endpoints)
        self._flights = Flights(self._pool, settings.hedge)
        self._failed_in_a_row = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._came: Callable[[Answer], None] = lambda _: None

    def __repr__(self) -> str:
        return f"OpenAIEngine(model={self.model!r}, address={self._addresses()!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What the server (of several, the first) has been found to do; its ``notes`` say what was changed for it."""
        return self._endpoints[0].capabilities

    @property
    def address(self) -> str:
        """Where the server is (of several, the first)."""
        return self._endpoints[0].address

    @property
    def concurrency(self) -> int:
        """How many requests the server (of several, the first) bears at once, as far as has been found out."""
        return self._endpoints[0].admission.limit

    def apart(self) -> tuple["OpenAIEngine", ...]:
        """Return an engine for each server."""
        return tuple(OpenAIEngine(settings) for settings in self._each)

    async def check(self) -> None:
        """Make sure that the server is there, takes the key and has the model.

        Of several, those that cannot be reached now are left to be tried again; but one must be there, and all that are must
        take the key and have the model.

        Raises:
            EngineError: it does not; names the address, where the key was looked for, or the models that there are.
        """
        results = await asyncio.gather(*(self._check(endpoint) for endpoint in self._endpoints))
        failed = [(e, *r) for e, r in zip(self._endpoints, results, strict=True) if r is not None]
        wrong = [message for _, failure, message in failed if failure.kind != "unreachable"]
        if wrong or len(failed) == len(self._endpoints):
            raise EngineError("\n".join(wrong or [message for _, _, message in failed]))
        for endpoint, failure, _ in failed:
            self._pool.failed(endpoint, failure)

    async def _check(self, endpoint: Endpoint) -> tuple[Failure, str] | None:
        """Return why a server cannot be used, as a failure and in words."""
        models = None
        others = tuple(e for e in self._endpoints if e is not endpoint)
        try:
            models = await endpoint.connection.models()
            if models and endpoint.model in models:
                return None
            # Not all servers list models, and gateways know more names than they list: the last word has a request.
            await self._ask(_TINY, await self._pool.acquire(never=others), Trial(others))
        except Failure as failure:
            return failure, _unusable(endpoint, failure, models)
        return None

    def tell(self, came: Callable[[Answer], None]) -> None:
        """Call ``came`` with each answer the moment it comes, before anything else is asked."""
        self._came = came

    async def answers(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Yield one answer for each request, in the order in which they come back.

        Requests are taken from the iterable when there is room for them at the server, never ahead.

        Raises:
            EngineError: the server refuses the key or the model, cannot be reached for ``max_outage`` seconds, or a
                hundred requests in a row failed.
        """
        for endpoint in self._endpoints:
            endpoint.connection.open()
        iterator = iter(requests)
        concurrency = sum(settings.concurrency for settings in self._each)
        # Room for answers while the consumer works, so that the server does not wait for it; bounded all the same.
        finished: asyncio.Queue[Answer | Exception] = asyncio.Queue(2 * concurrency)
        workers = {asyncio.create_task(self._work(iterator, finished)) for _ in range(concurrency)}
        self._flights.start()
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
        for endpoint in self._endpoints:
            await endpoint.connection.close()

    async def _stop(self, workers: set[asyncio.Task[None]]) -> None:
        workers = set(workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers -= workers
        if not self._workers:
            await self._flights.stop()

    async def _work(self, requests: Iterator[Request], finished: "asyncio.Queue[Answer | Exception]") -> None:
        """Take requests until there are none; put their answers, and at last the exception that ended it."""
        try:
            while True:
                slot = await self._pool.acquire()
                try:
                    request = next(requests)
                except BaseException:
                    self._pool.release(slot, "failed")
                    raise
                answer = await self._answer(request, slot)
                self._came(answer)
                await finished.put(answer)
                await asyncio.sleep(0)  # answers that come together are told together, before any of them is followed
        except Exception as error:  # noqa: BLE001 - handed over to whoever reads the answers
            await finished.put(error)

    async def _answer(self, request: Request, slot: Slot) -> Answer:
        start = time.perf_counter()
        trial = Trial()
        try:
            completion = await self._ask(request, slot, trial)
            if completion.choices < request.sampling.n:
                completion = await self._draw_rest(request, completion, trial)
        except Failure as failure:
            endpoint = trial.last or slot.endpoint
            if failure.kind == "unreachable":
                raise EngineError(self._unreachable(endpoint, failure)) from None
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= (_FATAL_STORM if failure.kind == "fatal" else _STORM):
                raise EngineError(self._given_up(endpoint, failure)) from None
            tries = f" ({trial.attempts} attempts)" if trial.attempts > 1 else ""
            seconds = time.perf_counter() - start
            error, refused = failure.message + tries, failure.kind == "request"
            spent = trial.charge(Completion(None, None, error, 0, 0, None))
            return Answer(
                key=request.key,
                text=None,
                error=error,
                prompt_tokens=spent.prompt_tokens,
                completion_tokens=spent.completion_tokens,
                seconds=seconds,
                attempts=trial.attempts,
                cached_tokens=spent.cached_tokens,
                refused=refused,
            )
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
            cached_tokens=completion.cached_tokens,
        )

    async def _draw_rest(self, request: Request, drawn: Completion, trial: Trial) -> Completion:
        """Ask for the answers that a server has not drawn at once, each with a seed of its own."""
        sampling, texts = request.sampling, [drawn.text] if drawn.text else []
        best = spent = drawn
        for i in range(drawn.choices, sampling.n):
            seed = None if sampling.seed is None else sampling.seed + i
            one, again = replace(request, sampling=sampling._replace(n=1, seed=seed)), Trial()
            try:
                completion = await self._ask(one, await self._pool.acquire(), again)
            except Failure as failure:
                spent = again.charge(spent)
                if failure.kind == "unreachable" or not texts:
                    trial.waste(spent)
                    raise
                break  # what has come is not thrown away
            finally:
                trial.attempts += again.attempts
            spent = spent.charged_with(completion)
            if completion.text and completion.finish_reason not in {"length", "content_filter"}:
                if best.finish_reason in {"length", "content_filter"}:
                    best, texts = completion, []
                texts.append(completion.text)
        text = SEPARATOR.join(texts) or None
        silence = None if text else best.silence
        return spent._replace(text=text, silence=silence, finish_reason=best.finish_reason, model=best.model)

    async def _ask(self, request: Request, slot: Slot, trial: Trial) -> Completion:
        """Send a request until it is answered or there is no hope.

        Raises:
            Failure: the last one.
        """
        try:
            return await self._send(request, slot, trial)
        except Failure as failure:
            if not self._again(failure, trial):
                raise
            first = [failure]

        # tenacity costs a good part of what a request costs, so it comes in only now, and is told of the first failure.
        async def again() -> Completion:
            if first:
                raise first.pop()
            return await self._send(request, await self._pool.acquire(trial.last, trial.refused), trial)

        retrying = AsyncRetrying(
            stop=lambda _: self._hopeless(trial),
            wait=lambda state: self._wait(state, trial),
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and self._again(error, trial)),
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(again)

    def _again(self, failure: Failure, trial: Trial) -> bool:
        """Say whether sending a request once more can help: here, or where it has not been refused yet."""
        return failure.again or (failure.kind == "fatal" and len(trial.refused) < len(self._endpoints))

    def _hopeless(self, trial: Trial) -> bool:
        since = self._pool.down_since()
        if since is not None and time.monotonic() - since > self.settings.max_outage:
            return True
        return trial.faults > self.settings.max_retries or trial.busy > _BUSY_REPLIES

    def _wait(self, state: RetryCallState, trial: Trial) -> float:
        failure = state.outcome and state.outcome.exception()
        if isinstance(failure, Failure) and failure.retry_after:
            return 0.0  # admission holds all requests back for that long
        if state.attempt_number == 1 and trial.last is not None and self._pool.elsewhere(trial.last):
            return 0.0
        unreachable = isinstance(failure, Failure) and failure.kind == "unreachable"
        longest = _LONGEST_WAIT_UNREACHABLE if unreachable else _LONGEST_WAIT
        return wait_random_exponential(self.settings.retry_wait, max=longest)(state)

    async def _send(self, request: Request, slot: Slot, trial: Trial) -> Completion:
        """Send a request in a slot, put as the server has been found to want it; give the slot back."""
        endpoint, structured = slot.endpoint, request.answer_schema is not None
        capabilities = endpoint.capabilities
        outcome: Outcome = "failed"
        retry_after: float | None = None
        try:
            while True:
                version, room = capabilities.version, capabilities.room(request)
                try:
                    completion, first = await self._flights.post(request, endpoint, trial)
                except Failure as failure:
                    if capabilities.version != version and failure.kind in {"request", "server"}:
                        continue  # the answer to another request has taught better in the meantime
                    trial.count(failure, endpoint)
                    if capabilities.learn(failure, request, room, times=trial.server_errors):
                        if trial.wasted is None or capabilities.room(request) > 1:
                            continue
                        capabilities.answered(request, 1)  # that is how it was answered before
                        outcome = "done"
                        wasted, trial.wasted = trial.wasted, None
                        return wasted
                    if failure.kind == "server" and structured and self._unsure(endpoint) and not self._hopeless(trial):
                        await asyncio.sleep(self.settings.retry_wait * random.random())  # noqa: S311
                        continue
                    self._pool.failed(endpoint, failure)
                    if failure.kind in {"busy", "timeout"}:
                        outcome, retry_after = "busy", failure.retry_after
                    raise
                if first:  # if not, this server has not answered yet
                    outcome = "done"
                    self._pool.worked(slot)
                    if structured and completion.text:
                        capabilities.listen(completion.text, version)
                    if completion.choices < request.sampling.n:
                        capabilities.draws_one()
                    if completion.logprobs:
                        capabilities.logprobs = True
                    capabilities.answered(request, room)
                    if completion.thinks and structured:  # the small request of a check is too short for a thought
                        capabilities.notice_thinking(request)
                        if room == 1 and completion.finish_reason == "length" and capabilities.room(request) > 1:
                            trial.waste(completion)
                            outcome = "failed"
                            continue
                return trial.charge(completion)
        finally:
            capabilities.forget(request)
            self._pool.release(slot, outcome, retry_after)

    def _unsure(self, endpoint: Endpoint) -> bool:
        """Say whether a breakdown may be about the structure that was asked for: then the same server is asked once more.

        A server that is the only one is asked again anyway.
        """
        return len(self._endpoints) > 1 and endpoint.health.closed and endpoint.capabilities.unproven

    def _addresses(self) -> str:
        return ", ".join(endpoint.address for endpoint in self._endpoints)

    def _unreachable(self, endpoint: Endpoint, failure: Failure) -> str:
        if len(self._endpoints) == 1:
            return endpoint.connection.unreachable(failure.message)
        return (
            f"none of {self._addresses()} can be used; the last, {endpoint.address}: {failure.message}. "
            "Answers so far are kept: put it right, and start the same run again."
        )

    def _given_up(self, endpoint: Endpoint, failure: Failure) -> str:
        if failure.status == 401:
            return endpoint.connection.wrong_key(failure)
        return (
            f"{self._failed_in_a_row} requests in a row failed at {self._addresses()}; "
            f"the last: {failure.message}. Answers so far are kept: put it right, and start the same run again."
        )


def _unusable(endpoint: Endpoint, failure: Failure, models: list[str] | None) -> str:
    """Return what to say when not even a small request is answered."""
    address = endpoint.address
    if failure.kind == "unreachable":
        return endpoint.connection.unreachable(failure.message)
    if failure.status in {401, 403}:
        return endpoint.connection.wrong_key(failure)
    if models and failure.status in {400, 404}:
        shown = ", ".join(sorted(models)[:20]) + (" …" if len(models) > 20 else "")
        hint = did_you_mean(endpoint.model, models)
        return f"{address} has no model {endpoint.model!r}; it has: {shown}.{hint} ({failure.message})"
    if failure.status == 404:
        missing = "" if address.endswith("/v1") else " Most servers want an address that ends in /v1."
        return f"{address} knows no chat completions with model {endpoint.model!r} ({failure.message}).{missing}"
    return f"{address} does not answer a first small request: {failure.message}"
