"""Batches at a server with OpenAI's ``/v1/files`` and ``/v1/batches``."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from captioner import atomic
from captioner.engines.batch_files import Job, State
from captioner.engines.connection import Connection
from captioner.engines.failures import Failure, scrub
from captioner.engines.settings import ServerSettings
from captioner.errors import CaptionerError, EngineError

if TYPE_CHECKING:
    import openai
    from openai.types import Batch, FileObject

_LONGEST_WAIT = 60.0
_MARGIN = 3600  # seconds by which a server's own clocks may differ
_PENDING = {"pending", "running"}  # files at Azure; a batch can be made of one that is processed
_OVER = {"completed", "expired", "cancelled"}
_NOTES = {
    "expired": "the batch expired before this request was answered",
    "cancelled": "the batch was cancelled before this request was answered",
}

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)


class BatchServer:
    """Hands files in, waits, and fetches results; what was handed in is remembered at once and never handed in again.

    Args:
        settings: how the server is reached.
        poll_seconds: between two looks at a batch.
        endpoint: what a batch is made for; the same as in the lines of its file.
    """

    def __init__(
        self,
        settings: ServerSettings,
        poll_seconds: float,
        endpoint: Literal["/v1/chat/completions", "/chat/completions"],
    ) -> None:
        self._connection = Connection(settings)
        self._settings = settings
        self._poll_seconds = poll_seconds
        self._endpoint = endpoint
        self._told: dict[str, str] = {}

    async def close(self) -> None:
        """Close all connections; batches go on at the server."""
        await self._connection.close()

    async def check(self) -> None:
        """Make sure that the server is there and takes the key.

        Raises:
            EngineError: it does not.
        """
        try:
            await self._connection.models()
        except Failure as failure:
            if failure.kind == "unreachable":
                raise EngineError(self._connection.unreachable(failure.message)) from None
            raise EngineError(self._connection.wrong_key(failure)) from None

    async def submit(self, job: Job) -> None:
        """Hand a file in, unless that has been done.

        Raises:
            EngineError: the server refuses it, cannot be reached, or another server has it.
        """
        state = job.load()
        if state.address is not None:
            self._mine(job, state)
        if state.batch or job.results.exists():
            return
        again = state.file is not None  # a run was killed before it could note the batch: there may be one
        if state.file is None:
            uploaded = await self._patiently("take the file of requests", partial(self._upload, job))
            state = state.model_copy(
                update={"address": self._connection.address, "file": uploaded.id, "uploaded": uploaded.created_at}
            )
            job.save(state)
            if uploaded.status in _PENDING:
                await self._patiently("take in the file of requests", partial(self._taken_in, uploaded.id))
        file, since = str(state.file), state.uploaded

        async def create() -> "Batch":
            nonlocal again
            found = await self._find(file, since) if again else None
            if found is not None:
                return found
            again = True  # whatever goes wrong from here on, the server may have made it
            client = self._client(retries=0)
            # Azure's own name for the same endpoint is none that the client's types know.
            endpoint = cast('Literal["/v1/chat/completions"]', self._endpoint)
            return _sound(await client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h"))

        batch = await self._patiently("start a batch", create)
        job.save(state.model_copy(update={"batch": batch.id}))
        _logger.info("%s is batch %s", job.requests, batch.id)

    async def collect(self, jobs: Sequence[Job]) -> AsyncIterator[Job]:
        """Yield each batch when its results are there.

        Raises:
            EngineError: a batch is not valid, or the server has lost it or cannot be reached.
        """
        waiting, held, done = [j for j in jobs if not j.results.exists()], dict[Job, str](), 0
        handed_in = dict.fromkeys(waiting, 0)  # how many were done by then
        for job in jobs:
            if job not in handed_in:
                yield job
        while waiting:
            for job in list(waiting):
                batch = await self._look(job)
                if batch.status == "failed":
                    job.save(job.load().model_copy(update={"batch": None, "file": None}))  # it never ran
                    waiting.remove(job)
                    held[job] = _refused(job, batch)
                    if not _too_much(batch):
                        raise EngineError(held[job])
                elif batch.status in _OVER:
                    await self._fetch(job, batch)
                    waiting.remove(job)
                    done += 1
                    yield job
            # An account takes only so many tokens at once; there is room again when another batch is done.
            for job in [j for j in held if handed_in[j] < done]:
                await self.submit(job)
                handed_in[job] = done
                waiting.append(job)
                del held[job]
            if held and not waiting:
                raise EngineError(next(iter(held.values())))
            if waiting:
                await asyncio.sleep(self._poll_seconds)

    async def _upload(self, job: Job) -> "FileObject":
        client = self._client(self._settings.timeout)
        return _sound(await client.files.create(file=job.requests, purpose="batch"))

    async def _taken_in(self, file: str) -> None:
        while True:
            found = _sound(await self._client().files.retrieve(file))
            if found.status not in _PENDING:
                return
            await asyncio.sleep(self._poll_seconds)

    async def _look(self, job: Job) -> "Batch":
        identity = str(job.load().batch)

        async def retrieve() -> "Batch":
            return _sound(await self._client().batches.retrieve(identity))

        batch = await self._patiently(f"find batch {identity} of {job.requests}", retrieve)
        counts = batch.request_counts
        now = batch.status + (f", {counts.completed:,} of {counts.total:,} requests" if counts else "")
        if self._told.get(identity) != now:
            _logger.info("batch %s: %s", identity, now)
            self._told[identity] = now
        return batch

    async def _fetch(self, job: Job, batch: "Batch") -> None:
        """Bring the answers, and the errors, into one file."""
        if batch.status in _NOTES:
            job.save(job.load().model_copy(update={"note": _NOTES[batch.status]}))

        async def download() -> bool:
            with atomic.replacing(job.results) as file:
                for identity in (batch.output_file_id, batch.error_file_id):
                    if identity:
                        client = self._client(self._settings.timeout)
                        async with client.files.with_streaming_response.content(identity) as response:
                            async for part in response.iter_bytes():
                                file.write(part)
                        file.write(b"\n")
            return True

        await self._patiently(f"hand out the results of batch {batch.id}", download)

    async def _find(self, file: str, since: int) -> "Batch | None":
        """Return the batch of a file, if the server has one and lists its batches."""
        import openai

        try:
            async for batch in self._client().batches.list(limit=100):
                if batch.input_file_id == file:
                    return batch
                if batch.created_at < since - _MARGIN:  # newest first
                    return None
        except openai.APIStatusError as error:
            if error.status_code not in {404, 405, 501}:
                raise
        return None

    def _client(self, timeout: float | None = None, retries: int | None = None) -> "openai.AsyncOpenAI":
        import openai

        client, _ = self._connection.open()
        if timeout is not None:
            client = client.with_options(timeout=openai.Timeout(timeout, connect=self._settings.connect_timeout))
        return client if retries is None else client.with_options(max_retries=retries)

    def _mine(self, job: Job, state: State) -> None:
        if state.address != self._connection.address:
            raise EngineError(
                f"{job.requests} was handed in at {state.address}, not at {self._connection.address}. Set engine.base_url to "
                f"that again; or, to give that batch up, remove {job.requests.name} and its job file."
            )

    async def _patiently(self, what: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """Call until it works: a wait of hours must survive a server that is away for minutes.

        Raises:
            EngineError: the server says no, or nothing sensible for ``max_outage`` seconds.
        """
        begin, wait = time.monotonic(), 0.5
        while True:
            try:
                return await call()
            except CaptionerError:
                raise
            except Failure as caught:
                failure = caught
            except Exception as error:
                found = self._connection.failure_of(error)
                if found is None:
                    raise
                failure = found
            if not failure.again:
                raise EngineError(self._refusal(what, failure)) from None
            if time.monotonic() - begin > self._settings.max_outage:
                raise EngineError(
                    f"{self._connection.address} did not {what} for {self._settings.max_outage:g} s: {failure.message}. "
                    "What was handed in is remembered: start the same command again."
                ) from None
            await asyncio.sleep(failure.retry_after or wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _refusal(self, what: str, failure: Failure) -> str:
        if failure.status == 401:
            return self._connection.wrong_key(failure)
        hint = ""
        if failure.status in {404, 405}:
            hint = " If it has no batch API: engine.mode=file runs batches on this machine, engine.name=openai asks at once."
        return f"{self._connection.address} does not {what}: {failure.message}.{hint}"


def _sound(answer: _T) -> _T:
    """Return an answer if it has an id: the client takes a page of HTML for text, and any JSON for what it waits for."""
    if not isinstance(getattr(answer, "id", None), str):
        raise Failure("garbled", "the answer is not what a batch API says")
    return answer


def _too_much(batch: "Batch") -> bool:
    return any(error.code == "token_limit_exceeded" for error in (batch.errors and batch.errors.data) or ())


def _refused(job: Job, batch: "Batch") -> str:
    said = [scrub(e.message or e.code or "").rstrip(".") for e in (batch.errors and batch.errors.data) or ()]
    more = f" (and {len(said) - 1} more)" if said[1:] else ""
    hint = " Lower engine.requests_per_file, so that each batch holds fewer tokens." if _too_much(batch) else ""
    return f"batch {batch.id} of {job.requests} was refused: {said[0] if said else 'no reason given'}{more}.{hint}"
