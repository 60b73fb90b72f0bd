"""What tests of the engine over HTTP share: requests, an engine for a server, and a run that leaves nothing behind."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.batch import BatchEngine
from captioner.engines.completions import Completion
from captioner.engines.endpoint import Endpoint, Flight
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError
from captioner.triplets import Triplet
from tests.engines.faulty import FaultyServer

SCHEMA = {
    "type": "object",
    "properties": {"captions": {"type": "array", "items": {"type": "string"}}},
    "required": ["captions"],
    "additionalProperties": False,
}
SECRET = "sk-a-very-secret-key-0123456789"
ENVIRONMENT = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY"),
    *("ALL_PROXY", "all_proxy", "no_proxy"),
)
DEFAULTS: dict[str, Any] = {"model": "tiny", "retry_wait": 0.01, "timeout": 600, "hedge": 0}

Used = TypeVar("Used", OpenAIEngine, BatchEngine)


def request(i: int = 0, schema: dict[str, Any] | None = None, **sampling: Any) -> Request:
    triplet = Triplet("t0", "xray", "chest", ("effusion",))
    return Request(f"k{i}", (Message("user", f"Question {i}"),), triplet, 3, Sampling(**sampling), schema)


def requests(count: int, schema: dict[str, Any] | None = None, **sampling: Any) -> Iterator[Request]:
    return (request(i, schema, **sampling) for i in range(count))


def until(enough: Callable[[], bool], schema: dict[str, Any] | None = None) -> Iterator[Request]:
    """As many requests as it takes, within reason: how many that are is a matter of the machine's speed."""
    for i in range(20_000):
        if enough():
            return
        yield request(i, schema)


def whole(peer: socket.socket) -> bytes:
    """Return a request to its end: whoever hangs up before that breaks the connection, and its answer may be lost."""
    said = b""
    while b"\r\n\r\n" not in said and (part := peer.recv(65536)):
        said += part
    head, _, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    while length is not None and len(body) < int(length[1]) and (part := peer.recv(65536)):
        body += part
    return said


def only_hangs_time_out(monkeypatch: pytest.MonkeyPatch, server: FaultyServer, seconds: float) -> None:
    """Let requests that will hang be given up after so many seconds, and no other, however slow the machine is.

    For a server that draws its faults, and an engine that sends nothing twice at once (``hedge=0``).
    """
    post = Endpoint.post

    async def patient(endpoint: Endpoint, body: bytes, patience: float, flight: Flight | None = None) -> Completion:
        hangs = server.next_fault(body.decode()) == "hang"
        return await post(endpoint, body, seconds if hangs else 600.0, flight)

    monkeypatch.setattr(Endpoint, "post", patient)


def no_names_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no host name be known, as those that end in .invalid are not, without asking a server of names that may be slow."""

    def unknown(host: str, *_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def engine_for(*servers: FaultyServer, **settings: Any) -> OpenAIEngine:
    """Return an engine for a server, or for several; what a slow machine would make of it (a timeout, a copy) is left out."""
    urls = [server.base_url for server in servers]
    where = {"base_url": urls[0] if len(urls) == 1 else urls}
    return OpenAIEngine(OpenAISettings(**(DEFAULTS | where | settings)))


def use(engine: Used, what: Callable[[Used], Awaitable[Any]]) -> Any:
    """Run something with an engine, close it, and make sure that nothing is left running."""

    async def main() -> Any:
        try:
            return await what(engine)
        finally:
            await engine.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


def ask(
    engine: OpenAIEngine, asked: Iterable[Request], on_answer: Callable[[int], None] = lambda _: None
) -> dict[str, Answer]:
    """Return the answers by their keys; ``on_answer`` is told how many there are."""

    async def collect(engine: OpenAIEngine) -> list[Answer]:
        answers: list[Answer] = []
        async for answer in engine.answers(asked):
            answers.append(answer)
            on_answer(len(answers))
        return answers

    answers = use(engine, collect)
    assert len({a.key for a in answers}) == len(answers)
    return {a.key: a for a in answers}


def check(engine: OpenAIEngine) -> None:
    use(engine, lambda e: e.check())


def refused(engine: OpenAIEngine) -> str:
    """Return what the check says of an engine that cannot be used."""
    with pytest.raises(EngineError) as raised:
        check(engine)
    return str(raised.value)


def errors(answers: dict[str, Answer]) -> list[str]:
    return [a.error for a in answers.values() if a.error]
