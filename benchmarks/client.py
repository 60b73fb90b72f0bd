"""What a request costs the client: CPU time and throughput, paired in one run.

The same bodies go to one stub server (a process of its own) at the same concurrency through a bare aiohttp loop that
parses the JSON, through captioner's engine, and through the official client on both of its transports. The rounds are
interleaved; ratios of medians are printed, since seconds say more of the machine than of the code.

    python -m benchmarks.client [--requests 1000] [--concurrency 64] [--rounds 3]
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection

import aiohttp
import openai

from captioner.engines import Message, Request, Sampling
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.triplets import Triplet

_CAPTION = "Chest X-ray showing a right-sided pleural effusion without any sign of pneumothorax, number {}."
_TEXT = json.dumps({"captions": [_CAPTION.format(i) for i in range(10)]})
_COMPLETION = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 0,
    "model": "stub",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 400, "completion_tokens": 250, "total_tokens": 650},
}
_PROMPT = "Write ten captions for this image. " * 40
_SAMPLING = Sampling(temperature=0.8, max_tokens=800, seed=7)


class _Stub(asyncio.Protocol):
    """The cheapest server that there is: it reads headers, skips the body and answers the same after a while."""

    def __init__(self, latency: float) -> None:
        body = json.dumps(_COMPLETION).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._reply = head.encode() + body
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._reply)


def _serve(latency: float, pipe: Connection) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Stub(latency), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def _requests(count: int) -> Iterator[Request]:
    for i in range(count):
        messages = (Message("system", "You are a radiologist."), Message("user", f"{_PROMPT} Case {i}."))
        yield Request(f"k{i}", messages, Triplet("t", "xray", "chest", ()), 10, _SAMPLING)


def _body(request: Request) -> dict[str, object]:
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    return {"model": "stub", "messages": messages, "temperature": 0.8, "max_tokens": 800, "seed": 7}


async def _pool(count: int, concurrency: int, ask: Callable[[Request], Awaitable[object]]) -> None:
    requests = _requests(count)

    async def work() -> None:
        for request in requests:
            await ask(request)

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def bare(url: str, count: int, concurrency: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(request: Request) -> object:
            async with session.post(f"{url}/chat/completions", json=_body(request)) as response:
                return json.loads(await response.read())["choices"][0]["message"]["content"]

        await _pool(count, concurrency, ask)


async def captioner(url: str, count: int, concurrency: int) -> None:
    engine = OpenAIEngine(OpenAISettings(model="stub", base_url=url, concurrency=concurrency))
    answered = 0
    async for answer in engine.answers(_requests(count)):
        answered += answer.text is not None
    await engine.close()
    assert answered == count


async def _official(url: str, count: int, concurrency: int, http: object) -> None:
    async with openai.AsyncOpenAI(api_key="none", base_url=url, http_client=http) as client:  # type: ignore[arg-type]

        async def ask(request: Request) -> object:
            completion = await client.chat.completions.create(**_body(request))  # type: ignore[call-overload]
            return completion.choices[0].message.content

        await _pool(count, concurrency, ask)


async def official(url: str, count: int, concurrency: int) -> None:
    await _official(url, count, concurrency, openai.DefaultAsyncHttpxClient())


async def official_aiohttp(url: str, count: int, concurrency: int) -> None:
    await _official(url, count, concurrency, openai.DefaultAioHttpClient())


_CLIENTS = {
    "bare aiohttp": bare,
    "captioner": captioner,
    "openai, aiohttp": official_aiohttp,
    "openai, default": official,
}


def measure(latency: float, count: int, concurrency: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return CPU milliseconds a request and requests a second of each client, medians of interleaved rounds."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(latency, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in _CLIENTS}
    try:
        for client in _CLIENTS.values():
            asyncio.run(client(url, concurrency, concurrency))  # imports and first connections do not count
        for _ in range(rounds):
            for name, client in _CLIENTS.items():
                wall, cpu = time.perf_counter(), time.process_time()
                asyncio.run(client(url, count, concurrency))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                figures[name].append((1000 * cpu / count, count / wall))
    finally:
        server.terminate()
        server.join()
    return {
        name: (statistics.median(cpu for cpu, _ in runs), statistics.median(rate for _, rate in runs))
        for name, runs in figures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for latency in (0.0, 0.05):
        figures = measure(latency, options.requests, options.concurrency, options.rounds)
        base_cpu, base_rate = figures["bare aiohttp"]
        print(f"\nserver latency {1000 * latency:.0f} ms, concurrency {options.concurrency}")
        print(f"{'client':<18}{'CPU ms/request':>15}{'x bare':>8}{'requests/s':>12}{'x bare':>8}")
        for name, (cpu, rate) in figures.items():
            print(f"{name:<18}{cpu:>15.2f}{cpu / base_cpu:>8.2f}{rate:>12.0f}{rate / base_rate:>8.2f}")


if __name__ == "__main__":
    main()
