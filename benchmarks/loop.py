"""What a request costs with all that captioner does for it: rendered, asked, parsed, checked, stored.

Distinct triplets go through the loop to one stub server (a process of its own), over a ledger on disk; a bare aiohttp loop
sends the same bodies at the same concurrency and parses the JSON, as one would write it first: with the standard library's
JSON and aiohttp's own timeout. Each round has all clients, none always after the same. A ratio is the median over the rounds,
with the least and the greatest: a machine that is not alone is now slower, now faster.

- *engine*: captioner's engine alone, on requests that are made already.
- *loop, unchecked*: the whole loop with a check that passes everything: what the client and its ledger cost.
- *loop*: the whole loop; each answer holds ten captions, so each request pays ten checks, in processes beside it.

    python -m benchmarks.loop [--requests 5000] [--concurrency 64] [--rounds 9]
"""

import argparse
import asyncio
import json
import logging
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from benchmarks._stub import stub
from captioner.engines import Request, Sampling
from captioner.engines.capabilities import Capabilities
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.generate import Generator, LoopSettings
from captioner.prompts import load_prompt
from captioner.schema import load_schema
from captioner.store import CheckedCaption, Ledger
from captioner.triplets import Labels, Triplet, make_triplet
from captioner.writer import write_captions

SCHEMA = load_schema("chestxray14")
SETTINGS = LoopSettings(captions=10, sampling=Sampling(temperature=0.8, max_tokens=800, seed=7))


def triplets(count: int) -> list[Triplet]:
    """Return as many of the same finding, told apart by an attribute."""
    labels = Labels(("Effusion",))
    return [make_triplet(SCHEMA, labels, attributes={"view": f"number {i}"}) for i in range(count)]


def answers(count: int = 200) -> list[str]:
    """Return answers of ten captions each that agree with the finding."""
    triplet = make_triplet(SCHEMA, Labels(("Effusion",)))
    return [json.dumps({"captions": write_captions(SCHEMA, triplet, 10, seed=seed)}) for seed in range(count)]


def accept_all(_: Triplet, captions: Sequence[str], __: Sequence[str]) -> list[CheckedCaption]:
    """Check nothing."""
    return [CheckedCaption(caption, True) for caption in captions]


def questions(asked: list[Triplet], folder: str) -> list[Request]:
    """Return the first question about each triplet, exactly as the loop asks it."""
    with Ledger(Path(folder) / "questions.sqlite", "run") as ledger:
        ledger.add_triplets(asked)
        generator = Generator(SCHEMA, load_prompt("template"), engine_for("http://127.0.0.1:1", 1), ledger, SETTINGS)
        return [request for o in ledger.open_triplets() if (request := generator.next_request(o)) is not None]


async def bare(url: str, concurrency: int, bodies: list[dict[str, object]]) -> None:
    left = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for body in left:
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    json.loads(await response.read())["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(concurrency)))


def engine_for(url: str, concurrency: int) -> OpenAIEngine:
    return OpenAIEngine(OpenAISettings(model="stub", base_url=url, concurrency=concurrency))


async def engine_alone(url: str, concurrency: int, requests: list[Request]) -> None:
    engine = engine_for(url, concurrency)
    answered = 0
    async for answer in engine.answers(requests):
        answered += answer.text is not None
    await engine.close()
    assert answered == len(requests)


async def loop(url: str, concurrency: int, asked: list[Triplet], folder: str, *, checked: bool) -> None:
    engine = engine_for(url, concurrency)
    with Ledger(Path(tempfile.mkdtemp(dir=folder)) / "ledger.sqlite", "run") as ledger:
        ledger.add_triplets(asked)
        generator = Generator(
            SCHEMA, load_prompt("template"), engine, ledger, SETTINGS, processes=None if checked else 0
        )
        if not checked:
            generator.check.captions = accept_all  # type: ignore[method-assign]
        await generator.run()
        assert ledger.totals().triplets == {"complete": len(asked)}
    await engine.close()


def cpu() -> tuple[float, float]:
    """Return CPU seconds of this process and of those that it started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time(), children.ru_utime + children.ru_stime


def measure(latency: float, count: int, concurrency: int, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Return of each client, round by round: CPU ms a request, of which in other processes, and requests a second."""
    asked = triplets(count)
    plain = Capabilities("stub", "auto", {})
    figures: dict[str, list[tuple[float, float, float]]] = {}
    with stub(answers(), latency) as url, tempfile.TemporaryDirectory() as folder:
        requests = questions(asked, folder)
        bodies = [json.loads(plain.body(r)) for r in requests]
        clients: dict[str, Callable[[int], Awaitable[None]]] = {
            "bare aiohttp": lambda n: bare(url, concurrency, bodies[:n]),
            "engine": lambda n: engine_alone(url, concurrency, requests[:n]),
            "loop, unchecked": lambda n: loop(url, concurrency, asked[:n], folder, checked=False),
            "loop": lambda n: loop(url, concurrency, asked[:n], folder, checked=True),
        }
        for client in clients.values():  # imports and first connections do not count
            asyncio.run(client(concurrency))  # type: ignore[arg-type]
        for turn in range(rounds):
            order, first = list(clients.items()), turn % len(clients)
            for name, client in order[first:] + order[:first]:
                wall, (mine, others) = time.perf_counter(), cpu()
                asyncio.run(client(count))  # type: ignore[arg-type]
                wall, (mine_now, others_now) = time.perf_counter() - wall, cpu()
                mine, others = mine_now - mine, others_now - others
                figures.setdefault(name, []).append(
                    (1000 * (mine + others) / count, 1000 * others / count, count / wall)
                )
    return figures


def ratio(ours: Sequence[tuple[float, float, float]], theirs: Sequence[tuple[float, float, float]], what: int) -> str:
    """Return the median of a figure's ratio over the rounds, with the least and the greatest."""
    ratios = [a[what] / b[what] for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Fewer say more of how long a checking process takes to start (half a second) than of a run.
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    logging.disable()
    for latency in (0.0, 0.05):
        figures = measure(latency, options.requests, options.concurrency, options.rounds)
        bare_rounds = figures["bare aiohttp"]
        print(
            f"\nserver latency {1000 * latency:.0f} ms, concurrency {options.concurrency}, {options.requests} requests"
        )
        print(f"{'client':<18}{'CPU ms/request':>15}{'of it beside':>14}{'x bare':>24}{'requests/s':>12}{'x bare':>24}")
        for name, runs in figures.items():
            total, beside, rate = (statistics.median(figure) for figure in zip(*runs, strict=True))
            cost, speed = ratio(runs, bare_rounds, 0), ratio(runs, bare_rounds, 2)
            print(f"{name:<18}{total:>15.2f}{beside:>14.2f}{cost:>24}{rate:>12.0f}{speed:>24}")


if __name__ == "__main__":
    main()
