"""vLLM in process and vLLM's batch runner, real ones: ``make test-engines`` installs them and runs this.

``CAPTIONER_TEST_VLLM_PYTHON`` is the Python that has vLLM and captioner, ``CAPTIONER_TEST_VLLM_MODEL`` a small model.
Nothing is asked of what the model says but the form, which a schema forces on it: one with random weights is good enough.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from captioner.engines import Answer
from captioner.engines.batch import BatchEngine, BatchSettings
from tests.integration.asked import CHUNK, COUNT, CUT, LONG, MOST_TOKENS, SMALL, answers_of
from tests.integration.scripted import captioner, judge_scripted, run_demo, scripted, sources

COMMAND = (
    *("-m", "vllm.entrypoints.openai.run_batch", "-i", "{input}", "-o", "{output}", "--model", "{model}"),
    *("--dtype", "float32", "--max-model-len", "4096", "--enforce-eager", "--max-num-batched-tokens", "131072"),
    *("--max-num-seqs", "32", "--kv-cache-memory-bytes", str(256 * 2**20)),
    *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
)


@pytest.fixture(scope="module")
def python() -> str:
    path = os.environ.get("CAPTIONER_TEST_VLLM_PYTHON")
    if not path:
        pytest.skip("needs vLLM: make test-engines")
    return path


@pytest.fixture(scope="module")
def model() -> str:
    return os.environ["CAPTIONER_TEST_VLLM_MODEL"]


def judge(answers: Sequence[Answer]) -> None:
    """What must hold for either engine."""
    by_key = {a.key: a for a in answers}
    assert len(answers) == len(by_key) == COUNT
    long, cut = by_key.pop(f"k{LONG}"), by_key.pop(f"k{CUT}")
    assert long.text is None
    assert "maximum context length" in (long.error or "")
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 16)
    assert [a.error for a in by_key.values() if a.error] == []
    assert all(a.prompt_tokens > 240 and 0 < a.completion_tokens <= MOST_TOKENS + 1 for a in by_key.values())
    assert {a.finish_reason for a in by_key.values()} == {"stop"}
    assert all(len(json.loads(a.text or "")["captions"]) == 2 for a in by_key.values())


def test_vllm_in_process_answers_all_and_is_topped_up_as_answers_come(python: str, model: str) -> None:
    done = subprocess.run([python, "-m", "tests.integration.asked", model], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    answers = [Answer(*fields, cached_tokens=cached) for *fields, cached in said]
    judge(answers)
    # One of the first is refused at once, and another is asked in its place; all that follow are asked when one is answered.
    later = [a for a in answers if int(a.key[1:]) > CHUNK]
    assert len(later) == COUNT - CHUNK - 1
    assert min(a.cached_tokens for a in later) >= 128  # what all prompts begin with, at least 240 tokens, is read once


def test_a_run_with_vllm_in_process_is_a_run_like_any_other(python: str, model: str, tmp_path: Path) -> None:
    settings = {
        "engine.name": "vllm",
        "engine.model": model,
        "engine.dtype": "float32",
        "engine.max_model_len": 8192,
        "engine.engine_args": json.dumps(SMALL),
        "sampling.max_tokens": 16,  # ten captions and what is between them are nineteen at least
        "loop.repairs": 1,
        "loop.regenerations": 0,
    }
    run = run_demo(tmp_path, settings, python=python)
    found = sources(run)
    assert {source for kinds in found.values() for source in kinds} == {"rules"}
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["requests"] == 2 * len(found)


def test_vllm_s_batch_runner_answers_a_file(python: str, model: str, tmp_path: Path) -> None:
    settings = BatchSettings(model=model, mode="file", command=(python, *COMMAND), folder=tmp_path)
    judge(asyncio.run(answers_of(BatchEngine(settings))))
    assert (tmp_path / "results-000001.jsonl").read_bytes().count(b"\n") == COUNT


def test_a_run_in_a_batch_keeps_what_is_right_and_finds_its_files_again(
    python: str, model: str, tmp_path: Path
) -> None:
    settings = scripted() | {
        "engine.name": "batch",
        "engine.mode": "file",
        "engine.model": model,
        "engine.command": json.dumps([python, *COMMAND]),
    }
    run = run_demo(tmp_path, settings)
    judge_scripted(run)
    (results,) = (run / "batches").glob("results-*.jsonl")
    made = results.stat().st_mtime_ns
    command = ("run", "demo", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert captioner(*command, settings=settings).returncode == 0
    assert results.stat().st_mtime_ns == made
