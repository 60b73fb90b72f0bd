"""Batches: the requests of a whole wave in files, for OpenAI's Batch API (half the price) or vLLM's batch runner.

Answers come hours later, in any order, some perhaps never. What was handed in is remembered on disk before anything else
happens, so that a run that was killed finds its batches again instead of paying twice.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from captioner.engines import Answer, Request
from captioner.engines.batch_command import VLLM, CommandRunner, split_command
from captioner.engines.batch_files import (
    ENDPOINT,
    MOST_BYTES,
    MOST_REQUESTS,
    Job,
    jobs_in,
    read_results,
    request_line,
    write_jobs,
)
from captioner.engines.batch_server import BatchServer
from captioner.engines.openai import OpenAIEngine
from captioner.engines.settings import OpenAISettings, ServerSettings
from captioner.errors import EngineError

_MOST_AT_ONCE = 10
_FOR_FILES = {"command"}
_FOR_SERVERS = {*ServerSettings.model_fields, "poll_seconds", "direct", "endpoint"} - {
    "model",
    "structured",
    "extra_body",
}


class BatchSettings(ServerSettings):
    """How batches are made, and who answers them."""

    mode: Literal["api", "file"] = Field(default="api", description="api: a server; file: a program on this machine")
    command: Annotated[tuple[str, ...], BeforeValidator(split_command)] = Field(
        default=VLLM, description="with mode file: what to run, with {input}, {output} and {model}; empty: by hand"
    )
    folder: Path | None = Field(default=None, description="where the files are kept; the run's folder if left out")
    requests_per_file: int = Field(default=MOST_REQUESTS, ge=1, le=MOST_REQUESTS)
    bytes_per_file: int = Field(default=MOST_BYTES, ge=1, le=MOST_BYTES)
    endpoint: Literal["/v1/chat/completions", "/chat/completions"] = Field(
        default=ENDPOINT, description="with mode api: what the lines of a file name; the second at Azure"
    )
    poll_seconds: float = Field(default=30.0, gt=0, description="with mode api: between two looks at a batch")
    direct: int = Field(
        default=1,
        ge=0,
        description="with mode api: so few requests are asked at once, at the full price; 0: the model takes batches only",
    )

    @model_validator(mode="after")
    def _of_one_mode(self) -> Self:
        strange = sorted(self.model_fields_set & (_FOR_SERVERS if self.mode == "file" else _FOR_FILES))
        if strange:
            raise ValueError(f"{strange[0]} means nothing with mode {self.mode}")
        if self.command and not all(any(name in part for part in self.command) for name in ("{input}", "{output}")):
            raise ValueError("command must say where {input} and {output} go")
        return self


class _Runner(Protocol):
    async def check(self) -> None: ...
    async def submit(self, job: Job) -> None: ...
    def collect(self, jobs: Sequence[Job]) -> AsyncIterator[Job]: ...
    async def close(self) -> None: ...


class BatchEngine:
    """Answers requests through batches.

    With a server, the first request of a new batch is asked at once, unless ``direct`` is 0: it shows which form of request
    the server takes, which nobody wants to find out after a day.
    """

    name = "batch"

    def __init__(self, settings: BatchSettings) -> None:
        self.settings = settings
        self.model = settings.model
        given = {name: getattr(settings, name) for name in settings.model_fields_set & set(ServerSettings.model_fields)}
        self._direct = OpenAIEngine(OpenAISettings(**given))
        self._runner: _Runner
        if settings.mode == "api":
            self._runner = BatchServer(settings, settings.poll_seconds, settings.endpoint)
        else:
            self._runner = CommandRunner(settings.command, settings.model)
        self._asks_at_once = settings.mode == "api" and settings.direct > 0
        self._folder = settings.folder

    @property
    def address(self) -> str | None:
        """Where the server is; None for a program on this machine."""
        return self._direct.address if self.settings.mode == "api" else None

    def keep_in(self, folder: Path) -> None:
        """Keep the files in a folder of the run, unless the settings name one."""
        self._folder = self.settings.folder or folder

    async def check(self) -> None:
        """Make sure that the server takes the key and has the model, or that the program is there.

        Raises:
            EngineError: it does not.
        """
        await (self._direct if self._asks_at_once else self._runner).check()

    async def answers(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Yield one answer for each request: all are taken first, what no earlier batch holds goes into new ones.

        Raises:
            EngineError: a batch is refused, lost, or to be made by hand. What was handed in is found again.
            StorageError: the disk is full.
        """
        folder = self._folder
        if folder is None:
            raise EngineError("engine.folder: say where the files of batches are to be kept")
        home = _homes(folder)
        wanted: dict[Job, set[str]] = {}

        def new() -> Iterator[Request]:
            for request in requests:
                job = home.get(request.key)
                if job is None:
                    yield request
                else:
                    wanted.setdefault(job, set()).add(request.key)

        fresh = new()
        if self._asks_at_once:
            first = list(islice(fresh, self.settings.direct + 1))
            at_once = first if len(first) <= self.settings.direct else first[:1]
            fresh = chain(first[len(at_once) :], fresh)
            asked = 0
            while at_once:
                async for answer in self._direct.answers(at_once):
                    yield answer
                # Whether the server has room for the thoughts of a model that thinks is known before a batch relies on it.
                asked += 1
                at_once = [] if self._direct.capabilities.settled or asked == _MOST_AT_ONCE else list(islice(fresh, 1))
        for job in write_jobs(
            folder, self._lines(fresh), self.settings.requests_per_file, self.settings.bytes_per_file
        ):
            await self._runner.submit(job)
            wanted[job] = set(job.keys())
        for job in wanted:
            await self._runner.submit(job)
        async for job in self._runner.collect(list(wanted)):
            for answer in _deliver(job, wanted[job]):
                yield answer

    async def close(self) -> None:
        """Give connections back; batches at a server go on."""
        await self._direct.close()
        await self._runner.close()

    def _lines(self, requests: Iterable[Request]) -> Iterator[bytes]:
        for request in requests:
            yield request_line(request.key, self._direct.capabilities.body(request), self.settings.endpoint)


def _homes(folder: Path) -> dict[str, Job]:
    """Return in which batch a request is; one that was delivered does not count for the requests that failed in it."""
    home: dict[str, Job] = {}
    for job in jobs_in(folder):
        failed = set(job.load().failed)
        home.update((key, job) for key in job.keys() if key not in failed)  # noqa: SIM118 - not a mapping
    return home


def _deliver(job: Job, wanted: set[str]) -> Iterator[Answer]:
    """Yield an answer for each request that is wanted of a batch, then note which of its requests may be asked again."""
    unanswered: dict[str, Answer | None] = dict.fromkeys(job.keys())
    for answer in read_results(job.results):
        if answer.text is None:
            if answer.key in unanswered:  # a later line may be better: results can be put together from two attempts
                unanswered[answer.key] = answer
            continue
        unanswered.pop(answer.key, None)
        if answer.key in wanted:
            wanted.remove(answer.key)
            yield answer
    state = job.load()
    why = state.note or f"{job.results} has no line for this request"
    for key in sorted(wanted):
        yield unanswered.get(key) or Answer(key, None, error=why)
    job.save(state.model_copy(update={"failed": sorted(unanswered)}))
