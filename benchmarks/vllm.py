"""Throughput of a whole run against a real vLLM, paired with vLLM's own benchmark.

One server (vLLM on the CPU with a tiny model, as ``make test-engines`` installs it) is asked the same questions at the same
concurrency by ``vllm bench serve`` and by captioner: prompts rendered, answers parsed and checked, everything in a ledger on
disk. The server is made to say the same text to each of them, captions that agree with the label, so that all answers
have the same length. The rounds are interleaved, and which of the two begins changes from round to round; before each,
the server forgets the prompts that it has read. The median of the rounds' ratios is printed.

    python -m benchmarks.vllm [--requests 192] [--captions 10] [--concurrency 32] [--rounds 5] [--base-url http://localhost:8000/v1]

``--base-url`` measures with a server of your own, whose model is called ``tiny``; the answers then need
``--structured-outputs-config '{"backend":"guidance"}'``, and forgetting VLLM_SERVER_DEV_MODE=1.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from captioner.engines import Sampling
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.generate import Generator, LoopSettings
from captioner.prompts import load_prompt
from captioner.schema import load_schema
from captioner.store import Ledger
from captioner.triplets import Labels, Triplet, make_triplet
from captioner.writer import write_captions
from tests.integration.engines import ENVIRONMENT, VLLM, CannotBeHadError, install_vllm, python, vllm_server

SCHEMA = load_schema("chestxray14")
PROMPT = load_prompt("template")
LABELS = Labels(("Effusion",))
SAMPLING = Sampling(temperature=0.8, max_tokens=800, seed=7)
# As `vllm bench serve` runs it; the console script of this build does not start.
BENCH = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""


def triplets(count: int) -> list[Triplet]:
    """Return as many of the same finding, told apart by an attribute."""
    return [make_triplet(SCHEMA, LABELS, attributes={"view": f"number {i}"}) for i in range(count)]


def said(captions: int) -> dict[str, Any]:
    """Return what makes the server say captions that agree with the finding."""
    text = json.dumps({"captions": write_captions(SCHEMA, make_triplet(SCHEMA, LABELS), captions, seed=1)})
    return {"structured_outputs": {"choice": [text]}}


def write_questions(asked: list[Triplet], captions: int, path: Path) -> None:
    """Write the same messages for vLLM's benchmark."""
    lines = []
    for triplet in asked:
        messages = [{"role": m.role, "content": m.content} for m in PROMPT.render(SCHEMA, triplet, captions)]
        lines.append(json.dumps({"prompt": messages}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def bench(url: str, concurrency: int, questions: Path, count: int, captions: int) -> tuple[float, float]:
    """Return requests a second of ``vllm bench serve``, and tokens of an answer."""
    result = questions.with_suffix(".result.json")
    body = said(captions) | {"max_completion_tokens": 800, "temperature": 0.8}
    done = subprocess.run(
        [
            *(python(VLLM), "-c", BENCH, "--backend", "openai-chat", "--base-url", url.removesuffix("/v1")),
            *("--endpoint", "/v1/chat/completions", "--model", "tiny", "--skip-tokenizer-init"),
            *("--dataset-name", "custom", "--dataset-path", questions, "--skip-chat-template", "--disable-shuffle"),
            *("--num-prompts", str(count), "--max-concurrency", str(concurrency), "--extra-body", json.dumps(body)),
            *("--disable-tqdm", "--ready-check-timeout-sec", "0", "--save-result", "--result-filename", result),
        ],
        check=False,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"vllm bench serve failed:\n{done.stderr[-3000:]}")
    found = json.loads(result.read_text(encoding="utf-8"))
    assert found["completed"] == count, found
    return found["request_throughput"], found["total_output_tokens"] / count


async def run(url: str, concurrency: int, asked: list[Triplet], captions: int) -> tuple[float, float]:
    """Return requests a second of captioner, and tokens of an answer."""
    settings = OpenAISettings(
        model="tiny", base_url=url, concurrency=concurrency, structured="none", extra_body=said(captions), hedge=0
    )
    engine = OpenAIEngine(settings)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite", "run") as ledger:
        ledger.add_triplets(asked)
        begin = time.perf_counter()
        await Generator(SCHEMA, PROMPT, engine, ledger, LoopSettings(captions, sampling=SAMPLING)).run()
        seconds = time.perf_counter() - begin
        totals = ledger.totals()
        assert totals.triplets == {"complete": len(asked)}, totals
        tokens = totals.completion_tokens / len(asked)
    await engine.close()
    return len(asked) / seconds, tokens


def forget(url: str) -> None:
    """Let the server forget the prompts that it has read."""
    call = urllib.request.Request(url.removesuffix("/v1") + "/reset_prefix_cache", method="POST")
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(call, timeout=60):
        pass


def measure(url: str, count: int, captions: int, concurrency: int, rounds: int) -> None:
    asked = triplets(count)
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        write_questions(asked, captions, questions)
        asyncio.run(run(url, concurrency, triplets(2 * concurrency), captions))  # what is slow once does not count
        for number in range(rounds):
            rates: dict[str, tuple[float, float]] = {}
            for name in ("bench", "run") if number % 2 else ("run", "bench"):
                forget(url)
                rates[name] = (
                    bench(url, concurrency, questions, count, captions)
                    if name == "bench"
                    else asyncio.run(run(url, concurrency, asked, captions))
                )
            (mine, my_tokens), (theirs, their_tokens) = rates["run"], rates["bench"]
            ratios.append(mine / theirs)
            print(
                f"round {number + 1}: captioner {mine:.2f} requests/s ({my_tokens:.0f} tokens), "
                f"vllm bench serve {theirs:.2f} ({their_tokens:.0f} tokens), ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(
        f"captioner's whole run has {statistics.median(ratios):.2f} x the throughput of vllm bench serve "
        f"({min(ratios):.2f} … {max(ratios):.2f}; {count} requests of {captions} captions, concurrency {concurrency}, "
        f"{rounds} rounds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--captions", type=int, default=10, help="in an answer")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base-url")
    options = parser.parse_args()
    logging.disable()
    try:
        install_vllm()
    except CannotBeHadError as error:
        print(f"vLLM cannot be had, so nothing was measured:\n{error}")
        return
    with contextlib.ExitStack() as stack:
        url = options.base_url
        if url is None:
            os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # it then has a way to make it forget
            server = stack.enter_context(vllm_server())
            server.wait()
            url = server.address
        measure(url, options.requests, options.captions, options.concurrency, options.rounds)


if __name__ == "__main__":
    main()
