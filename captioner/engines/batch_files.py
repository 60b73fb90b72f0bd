"""The files of batches: requests in, results out, and what must be remembered in between.

All of a batch lies in one folder under one number: ``requests-000001.jsonl`` (whole or not there), ``job-000001.json``
(where it was handed in, and what came of it), ``results-000001.jsonl`` (whole or not there).
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from captioner import atomic
from captioner.engines import Answer
from captioner.engines.completions import read_completion
from captioner.engines.failures import Failure, from_response
from captioner.errors import EngineError

ENDPOINT: Final = "/v1/chat/completions"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
"""OpenAI's limits for one file."""

_HEAD = b'{"custom_id":"'


class State(BaseModel):
    """What is remembered of a batch.

    Attributes:
        address: the server that has it.
        file: its requests' id there, with the server's time of the upload.
        batch: its id there.
        note: why requests of it may have no answer.
        failed: keys that got no answer, once all others have been handed on; they may be asked again.
    """

    model_config = ConfigDict(extra="forbid")

    address: str | None = None
    file: str | None = None
    uploaded: int = 0
    batch: str | None = None
    note: str | None = None
    failed: list[str] = []


@dataclass(frozen=True, slots=True)
class Job:
    """One batch and its files."""

    folder: Path
    number: int

    def _path(self, what: str) -> Path:
        return self.folder / what.replace("#", f"{self.number:06}")

    @property
    def requests(self) -> Path:
        """What is asked, a line for each request."""
        return self._path("requests-#.jsonl")

    @property
    def results(self) -> Path:
        """What was answered, in any order."""
        return self._path("results-#.jsonl")

    @property
    def output(self) -> Path:
        """Where a command writes its results while it is at work."""
        return self._path("output-#.jsonl")

    @property
    def log(self) -> Path:
        """What a command says."""
        return self._path("log-#.txt")

    def keys(self) -> Iterator[str]:
        """Yield the keys of its requests."""
        with self.requests.open("rb") as file:
            for line in file:
                yield line[len(_HEAD) : line.index(b'"', len(_HEAD))].decode()

    def load(self) -> State:
        """Return what is remembered of it.

        Raises:
            EngineError: the file is damaged.
        """
        path = self._path("job-#.json")
        try:
            return State.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return State()
        except ValidationError:
            raise EngineError(
                f"{path} is damaged. Look up at the server whether {self.requests.name} has a batch there; "
                "if you remove the file, its requests are submitted again."
            ) from None

    def save(self, state: State) -> None:
        """Remember something of it, at once on disk."""
        atomic.write(self._path("job-#.json"), state.model_dump_json(exclude_defaults=True).encode())


def jobs_in(folder: Path) -> list[Job]:
    """Return the batches of a folder, oldest first."""
    names = (re.fullmatch(r"requests-(\d{6,})\.jsonl", path.name) for path in folder.glob("requests-*.jsonl"))
    return [Job(folder, number) for number in sorted(int(name[1]) for name in names if name)]


def request_line(key: str, body: bytes, endpoint: str = ENDPOINT) -> bytes:
    """Return the line of a request: its key comes back with the answer."""
    assert '"' not in key
    assert "\\" not in key
    return b'%b%b","method":"POST","url":"%b","body":%b}\n' % (_HEAD, key.encode(), endpoint.encode(), body)


def write_jobs(folder: Path, lines: Iterable[bytes], most_requests: int, most_bytes: int) -> Iterator[Job]:
    """Write lines into as few files as the limits allow; yield each as soon as it is on disk.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with atomic.storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remaining = iter(lines)
    line = next(remaining, None)
    while line is not None:
        job = Job(folder, max((j.number for j in jobs_in(folder)), default=0) + 1)
        with atomic.replacing(job.requests) as file:
            count = size = 0
            while line is not None and (count == 0 or (count < most_requests and size + len(line) <= most_bytes)):
                file.write(line)
                count, size = count + 1, size + len(line)
                line = next(remaining, None)
        yield job


def read_results(path: Path) -> Iterator[Answer]:
    """Yield the answers of a results file, of OpenAI or vLLM; lines that are damaged are left out."""
    with path.open("rb") as file:
        for line in file:
            answer = _read_line(line)
            if answer is not None:
                yield answer


def _read_line(line: bytes) -> Answer | None:
    try:
        data = json.loads(line)
    except ValueError:  # cut off: whoever wrote it was killed
        return None
    key = data.get("custom_id") if isinstance(data, dict) else None
    if not isinstance(key, str):
        return None
    given = data.get("response")
    response: dict[str, Any] = given if isinstance(given, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    try:
        if status == 200 and body is not None and not data.get("error"):
            said = read_completion(json.dumps(body).encode(), {})
        else:
            raise _refusal(status, body, data.get("error"))
    except Failure as failure:
        return Answer(
            key, None, error=failure.message, refused=failure.kind == "request" and failure.status is not None
        )
    return Answer(
        key=key,
        text=said.text,
        finish_reason=said.finish_reason,
        error=said.silence,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
        model=said.model,
        cached_tokens=said.cached_tokens,
    )


def _refusal(status: Any, body: Any, error: Any) -> Failure:
    content = json.dumps(body or error or {"error": {"message": "no reason is given"}}).encode()
    failure = from_response(status if isinstance(status, int) else 500, {}, content)
    if not isinstance(status, int) or status == 200:  # it never came to a request of its own
        return Failure("request", failure.message.split(": ", 1)[-1])
    return failure
