"""Whole runs against a real ``vllm`` server, which is made to say captions that are right of some labels only.

``make test-engines`` starts it. ``CAPTIONER_TEST_BASE_URL`` says where it is, ``CAPTIONER_TEST_MODEL`` what it calls its
model, and ``CAPTIONER_TEST_VLLM_PYTHON`` that it is a vLLM of ours.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scripted import captioner, judge_scripted, run_demo, scripted, sources


@pytest.fixture(scope="module")
def server() -> dict[str, Any]:
    if "CAPTIONER_TEST_VLLM_PYTHON" not in os.environ:
        pytest.skip("needs vLLM: make test-engines")
    return {
        "engine.base_url": os.environ["CAPTIONER_TEST_BASE_URL"],
        "engine.model": os.environ["CAPTIONER_TEST_MODEL"],
    }


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def trial(settings: dict[str, Any], requests: int = 8) -> tuple[int, dict[str, Any]]:
    command = ("engine", "test", "--schema", "busi", "--requests", requests, "--json")
    done = captioner(*command, settings=settings)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_run_keeps_what_the_server_says_rightly_and_refuses_the_rest(server, tmp_path):
    run = run_demo(tmp_path, server | scripted())
    judge_scripted(run)
    assert summary(run)["prompt_tokens"] > 0
    assert summary(run)["completion_tokens"] > 0


def test_a_server_that_refuses_a_form_is_asked_in_another(server, tmp_path):
    """A schema beside a choice is one constraint too many: vLLM refuses each request that names both."""
    settings = server | scripted()
    del settings["engine.structured"]
    judge_scripted(run_demo(tmp_path, settings))


def test_several_answers_to_a_question_are_drawn_at_once(server, tmp_path):
    run = run_demo(tmp_path, server | scripted() | {"sampling.n": 2})
    judge_scripted(run)


def test_answers_that_are_cut_off_give_nothing_and_every_set_is_complete_all_the_same(server, tmp_path):
    # Sixteen tokens cannot hold ten captions: these and what is between them are nineteen at least.
    settings = server | {"sampling.max_tokens": 16, "loop.repairs": 1, "loop.regenerations": 0}
    run = run_demo(tmp_path, settings)
    assert {source for found in sources(run).values() for source in found} == {"rules"}
    assert summary(run)["requests"] == 2 * summary(run)["triplets"]["filled"]


def test_a_trial_says_what_the_server_can_do(server):
    _, found = trial(server | {"sampling.max_tokens": 16})
    assert found["answered"] == found["requests"] == 8
    assert (found["structure"], found["draws_several"]) == ("strict", True)
    assert found["counts_tokens"]
    assert 0 < found["median_seconds"] <= found["slowest_seconds"]
    assert "raise sampling.max_tokens" in " ".join(found["advice"])


def test_a_trial_counts_the_captions_that_agree(server):
    settings = {name: value for name, value in scripted().items() if name.startswith("engine.")}
    code, found = trial(server | settings, requests=6)
    assert code == 0
    assert (found["readable"], found["captions"]) == (6, 60)
    assert found["repeats"]
    assert found["agreeing"] == 2 * 2  # two of six questions are about benign lesions, and two captions are
    assert "another model or prompt will cost less" in " ".join(found["advice"])
