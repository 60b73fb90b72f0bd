"""A small OpenAI-compatible server that breaks on purpose, at set rates: for what real servers do rarely.

Faults are drawn from the seed, the request's body and how often that body has come: the order in which requests arrive
changes nothing. ``python tests/engines/faulty.py --fault error=0.1 --fault reset=0.1`` runs it by hand.
"""

import argparse
import asyncio
import json
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from aiohttp import web

TRANSPORT_FAULTS = {
    "busy": "429 with Retry-After",
    "busy_silent": "429 without",
    "overloaded": "503",
    "error": "500",
    "html": "502 with an HTML page",
    "html_ok": "200 with an HTML page",
    "hang": "no answer at all",
    "slow": "a byte at a time",
    "reset": "the connection breaks in the middle of the answer",
    "disconnect": "the connection closes before any answer",
    "truncated": "half of the JSON, properly ended",
    "not_chat": "JSON of another kind",
    "error_ok": "200 with an error inside, as some gateways do",
}
CONTENT_FAULTS = {
    "wrong_count": "one caption too few",
    "duplicates": "the first caption twice",
    "refusal": "the model refuses",
    "empty": "an answer without text",
    "length": "cut off at max_tokens",
    "control": "raw control characters in strings",
    "chatter": "words around the JSON",
}
Caption = Callable[[dict[str, Any]], str]


def numbered(body: dict[str, Any]) -> str:
    """The default answer: three captions that name the question."""
    question = body["messages"][-1]["content"][:40]
    return json.dumps({"captions": [f"Caption {i} of {question}." for i in range(3)]})


@contextmanager
def kept_port() -> Iterator[int]:
    """A port that nobody else gets: it refuses connections until a server is given it, and again when that is gone."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def equally_fast(first: "FaultyServer", second: "FaultyServer", requests: int) -> None:
    """Let none of two servers get ahead of the other until all requests have come."""
    for one, other in ((first, second), (second, first)):
        one.gate = lambda one=one, other=other: (  # type: ignore[misc]
            one.served["ok"] < other.served["ok"] + 8 or len(one.bodies) + len(other.bodies) >= requests
        )


def draw_alike(first: "FaultyServer", second: "FaultyServer") -> None:
    """Let two servers draw the same faults for a request, whichever of them gets it: nothing then depends on who does."""
    second.seed, second._seen = first.seed, first._seen


class FaultyServer:
    """A context manager; the server runs in a thread of its own.

    Args:
        caption: request body → what the model says, before content faults.
        faults: name of a fault → rate.
        script: faults (or ``"ok"``) of the first requests, in order of arrival; then the rates hold.
        seed: of the faults.
        latency: seconds before each answer.
        key: what ``Authorization: Bearer`` must hold; None takes anything.
        models: what the server has; an unknown one gets a 404. None takes any name and lists nothing (404).
        unsupported: response formats and fields that get a 400: ``"json_schema"``, ``"strict"``, ``"seed"`` …
        enforces: a schema that leaves no choice decides the answer.
        ignores_structure: answers in prose unless the message itself asks for JSON.
        ignores: fields that are taken and mean nothing: ``"n"``.
        retry_after: seconds, with the fault ``busy``.
        requests_per_second: more than that gets a 429 with Retry-After; None is no limit.
        tls: serves https with it.
        port: one that is kept for it; any if 0.

    Attributes:
        gate: requests that have come are looked at once it says so; tests set it, so that no machine's speed decides.
        pause: seconds between the bytes of an answer that is slow.
    """

    def __init__(
        self,
        *,
        caption: Caption = numbered,
        faults: Mapping[str, float] | None = None,
        script: Iterable[str] = (),
        seed: int = 0,
        latency: float = 0.0,
        key: str | None = None,
        models: Iterable[str] | None = ("tiny",),
        unsupported: Iterable[str] = (),
        unsupported_status: int = 400,
        enforces: bool = True,
        ignores_structure: bool = False,
        ignores: Iterable[str] = (),
        retry_after: float = 0.05,
        requests_per_second: float | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.caption = caption
        self.faults = dict(faults or {})
        unknown = set(self.faults) - set(TRANSPORT_FAULTS) - set(CONTENT_FAULTS)
        assert not unknown, f"unknown faults: {unknown}"
        self.script = list(script)
        self.seed = seed
        self.latency = latency
        self.key = key
        self.models = None if models is None else list(models)
        self.unsupported = set(unsupported)
        self.unsupported_status = unsupported_status
        self.enforces = enforces
        self.ignores_structure = ignores_structure
        self.ignores = set(ignores)
        self.retry_after = retry_after
        self.requests_per_second = requests_per_second
        self.tls = tls
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.served: Counter[str] = Counter()
        self.moments: list[float] = []
        self.open = self.most_open = 0
        self.gate: Callable[[], bool] = lambda: True
        self.pause = 0.002
        self._seen: Counter[str] = Counter()
        self._allowance = 0.0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = port
        self._kept = port > 0

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(600)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(600)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        self.add_routes(app)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls, reuse_port=self._kept or None)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await _turns()  # asyncio leaves a connection open for ever that comes in as the server closes
        await site.stop()
        await runner.cleanup()
        await _turns()  # for connections that are going away

    def add_routes(self, app: web.Application) -> None:
        """Add what a server has beyond chat completions."""

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}":
            return None
        sent = request.headers.get("Authorization", "")  # a careless server that quotes what it was sent
        return _error(401, f"Incorrect API key provided: {sent}", code="invalid_api_key")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if refused := self._unauthorized(request):
            return refused
        if self.models is None:
            return _error(404, "Not Found")
        data = [{"id": m, "object": "model", "created": 0, "owned_by": "test"} for m in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        moment = time.monotonic()
        try:
            return await self._reply(request, moment)
        finally:
            self.open -= 1

    async def _reply(self, request: web.Request, moment: float) -> web.StreamResponse:
        raw = await request.text()  # a client that dies before leaves no trace in any of the three
        body = json.loads(raw)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.moments.append(moment)
        if refused := self._unauthorized(request):
            self.served["unauthorized"] += 1
            return refused
        if self.models is not None and body["model"] not in self.models:
            return _error(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        if refused := self._unsupported(body):
            self.served["unsupported"] += 1
            return refused
        if self._too_fast():
            self.served["too_fast"] += 1
            return _error(429, "Rate limit reached", headers={"Retry-After": str(self.retry_after)})
        while not self.gate():  # noqa: ASYNC110 - what it waits for happens in other threads
            await asyncio.sleep(0.002)
        fault = self._draw(raw)
        self.served[fault] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        return await self._act(fault, request, self._completion(body, fault))

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        wanted = body.get("response_format") or {}
        names = {wanted.get("type")} | set(body)
        if (wanted.get("json_schema") or {}).get("strict"):
            names.add("strict")
        for name in sorted(self.unsupported & names):
            if name in {"json_schema", "json_object", "strict"}:
                return _error(self.unsupported_status, f"response_format {name} is not available here")
            if name == "max_tokens":
                said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
                return _error(self.unsupported_status, said, param="max_tokens")
            detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]
            return web.json_response({"detail": detail}, status=422)
        return None

    def _too_fast(self) -> bool:
        if self.requests_per_second is None:
            return False
        now = time.monotonic()
        due = max(self._allowance, now - 0.1) + 1 / self.requests_per_second
        if due > now:
            return True
        self._allowance = due
        return False

    def _draw(self, raw: str) -> str:
        if self.script:
            return self.script.pop(0)
        fault = self.next_fault(raw)
        self._seen[raw] += 1
        return fault

    def next_fault(self, raw: str) -> str:
        """Return what a request, as it is sent, will meet with when it comes the next time, once the script is at its end."""
        point = random.Random(f"{self.seed} {self._seen[raw] + 1} {raw}").random()
        for name, rate in self.faults.items():
            point -= rate
            if point < 0:
                return name
        return "ok"

    def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        """Return n answers, as if each had a seed of its own; a fault is in the last of them."""
        number = 1 if "n" in self.ignores else body.get("n", 1)
        choices, words = [], 0
        for i in range(number):
            asked = body | {"seed": (body.get("seed") or 0) + i} if number > 1 else body
            choice, length = self._choice(asked, fault if i == number - 1 else "ok")
            choices.append(choice | {"index": i})
            words += length
        prompt = sum(len(m["content"].split()) for m in body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": words}
        return {"object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}

    def _choice(self, body: dict[str, Any], fault: str) -> tuple[dict[str, Any], int]:
        forced = _forced(body) if self.enforces else None
        text: str | None = forced or self.caption(body)
        if self.ignores_structure and "JSON" not in body["messages"][-1]["content"]:
            text = "Certainly, here are some captions."
        message: dict[str, Any] = {"role": "assistant", "content": text}
        reason = "stop"
        if fault in {"wrong_count", "duplicates", "control"} and forced is None:
            data = json.loads(text or "")
            captions = data["captions"]
            data["captions"] = {
                "wrong_count": captions[:-1],
                "duplicates": [*captions[:-1], captions[0]],
                "control": [c + "\x01" for c in captions],
            }[fault]
            message["content"] = json.dumps(data).replace("\\u0001", "\x01")
        elif fault == "refusal":
            message["content"], message["refusal"] = None, "I cannot help with medical images."
        elif fault == "empty":
            message["content"] = ""
        elif fault == "length":
            message["content"], reason = (text or "")[: len(text or "") // 2], "length"
        elif fault == "chatter":
            message["content"] = f"Sure! Here you are:\n```json\n{text}\n```\nAnything else?"
        logprobs = {"content": []} if body.get("logprobs") and "logprobs" not in self.ignores else None
        return {"message": message, "finish_reason": reason, "logprobs": logprobs}, len((text or "").split())

    async def _act(self, fault: str, request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
        actions: dict[str, Callable[[], web.StreamResponse | Awaitable[web.StreamResponse]]] = {
            "busy": lambda: _error(429, "Rate limit reached", headers={"Retry-After": str(self.retry_after)}),
            "busy_silent": lambda: _error(429, "Rate limit reached"),
            "overloaded": lambda: _error(503, "The server is overloaded"),
            "error": lambda: _error(500, "Internal server error"),
            "html": lambda: web.Response(status=502, text=_PAGE, content_type="text/html"),
            "html_ok": lambda: web.Response(text=_PAGE, content_type="text/html"),
            "truncated": lambda: web.Response(body=_half(completion), content_type="application/json"),
            "not_chat": lambda: web.json_response({"object": "list", "data": []}),
            "error_ok": lambda: web.json_response({"error": {"message": "upstream failed", "code": 502}}),
            "hang": _hang,
            "disconnect": lambda: _break(request, b""),
            "reset": lambda: _break(request, _half(completion)),
            "slow": lambda: _drip(request, json.dumps(completion).encode(), self.pause),
        }
        reply = actions.get(fault, lambda: web.json_response(completion))()
        return reply if isinstance(reply, web.StreamResponse) else await reply


_PAGE = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def _forced(body: Mapping[str, Any]) -> str | None:
    """Return the one answer that a request's schema, or vLLM's choice, allows; None if there are several."""
    choices = (body.get("structured_outputs") or {}).get("choice") or ()
    if len(choices) == 1:
        return str(choices[0])
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
    values = {name: kind.get("enum", ()) for name, kind in schema.get("properties", {}).items()}
    if not values or any(len(allowed) != 1 for allowed in values.values()):
        return None
    return json.dumps({name: allowed[0] for name, allowed in values.items()})


def _error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    error = {"message": message, "type": "error", "param": param, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def _half(completion: dict[str, Any]) -> bytes:
    whole = json.dumps(completion).encode()
    return whole[: len(whole) // 2]


async def _turns() -> None:
    """Let the loop do what is due, again and again: on a busy machine it may come to it only once in a while."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def _hang() -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def _break(request: web.Request, part: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(part) + 100)})
    if part:
        await response.prepare(request)
        await response.write(part)
    assert request.transport is not None
    request.transport.abort()
    return response


async def _drip(request: web.Request, whole: bytes, pause: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole))})
    await response.prepare(request)
    for i in range(len(whole)):
        await response.write(whole[i : i + 1])
        await asyncio.sleep(pause)
    return response


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve until interrupted, with faults.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=RATE")
    options = parser.parse_args()
    faults = {name: float(rate) for name, rate in (f.split("=") for f in options.fault)}
    server = FaultyServer(faults=faults, seed=options.seed, latency=options.latency)
    server.port = options.port
    with server:
        print(f"{server.base_url}, model tiny; faults: {faults or 'none'}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(dict(server.served))


if __name__ == "__main__":
    main()
