"""What a request costs the client: CPU time and throughput, paired in one run.

The same bodies go to one stub server (a process of its own) at the same concurrency through a bare aiohttp loop that
parses the JSON, through captioner's engine, and through the official client on both of its transports. The rounds are
interleaved; ratios of medians are printed, since seconds say more of the machine than of the code.

    python -m benchmarks.client [--requests 1000] [--concurrency 64] [--rounds 3]
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import openai

from benchmarks._stub import stub
from captioner.engines import Message, Request, Sampling
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.triplets import Triplet

_CAPTION = "Chest X-ray showing a right-sided pleural effusion without any sign of pneumothorax, number {}."
_TEXT = json.dumps({"captions": [_CAPTION.format(i) for i in range(10)]})
_PROMPT = "Write ten captions for this image. " * 40
_SAMPLING = Sampling(temperature=0.8, max_tokens=800, seed=7)


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
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in _CLIENTS}
    with stub([_TEXT], latency) as url:
        for client in _CLIENTS.values():
            asyncio.run(client(url, concurrency, concurrency))  # imports and first connections do not count
        for _ in range(rounds):
            for name, client in _CLIENTS.items():
                wall, cpu = time.perf_counter(), time.process_time()
                asyncio.run(client(url, count, concurrency))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                figures[name].append((1000 * cpu / count, count / wall))
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
