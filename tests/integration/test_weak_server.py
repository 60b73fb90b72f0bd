"""``transformers serve``, a real server that can less than most: ``make test-engines`` installs and starts it.

It breaks when it is asked for its models, and ignores ``response_format`` and ``n`` in silence. Its model recites a sentence,
whatever it is asked; a run is complete all the same.
"""

import json
import os
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.integration.scripted import captioner, run_demo, sources


@pytest.fixture(scope="module")
def server() -> dict[str, Any]:
    if "CAPTIONER_TEST_WEAK_URL" not in os.environ:
        pytest.skip("needs transformers serve: make test-engines")
    return {
        "engine.base_url": os.environ["CAPTIONER_TEST_WEAK_URL"],
        "engine.model": os.environ["CAPTIONER_TEST_WEAK_MODEL"],
        "sampling.max_tokens": 16,
    }


def test_a_trial_says_what_the_server_cannot_do(server):
    one_by_one = server | {"engine.concurrency": 1}  # four answers teach that a form is ignored
    done = captioner("engine", "test", "--schema", "busi", "--requests", 16, "--json", settings=one_by_one)
    found = json.loads(done.stdout)
    assert done.returncode == 1  # nothing that the model says is in the form asked for
    assert (found["answered"], found["readable"]) == (16, 0)
    assert (found["structure"], found["draws_several"], found["repeats"]) == ("none", False, True)
    assert len(found["notes"]) == 4  # a form of request less three times, and one answer at a time


def test_a_run_is_complete_and_the_built_in_writer_fills_in_what_the_model_cannot_say(server, tmp_path):
    run = run_demo(tmp_path, server | {"loop.repairs": 0, "loop.regenerations": 0, "sampling.n": 2})
    assert {source for found in sources(run).values() for source in found} == {"rules"}
    answers = pq.read_table(run / "rejected.parquet").to_pylist()
    assert answers  # what the model said is kept, with what is wrong with it


def test_a_field_that_the_server_refuses_and_the_user_demands_is_said_in_its_own_words(server, tmp_path):
    settings = server | {"engine.extra_body": '{"structured_outputs": {"choice": ["yes"]}}', "loop.repairs": 0}
    done = captioner("engine", "test", "--schema", "busi", "--requests", 2, settings=settings)
    assert done.returncode == 1
    assert "structured_outputs" in done.stdout + done.stderr


def test_an_unknown_model_is_refused_with_the_one_that_there_is(server):
    done = captioner("engine", "test", "--schema", "busi", settings=server | {"engine.model": "other"})
    assert done.returncode == 1
    assert server["engine.model"] in done.stderr
    assert "Traceback" not in done.stderr
