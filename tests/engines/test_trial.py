"""``captioner engine test``: what it finds out about a server, and what it advises."""

import asyncio
import json
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from captioner.cli import app
from captioner.engines import Sampling, make
from captioner.prompts import load_prompt
from captioner.schema import load_schema
from captioner.trial import Trial, try_engine
from tests.engines.asking import ENVIRONMENT, engine_for
from tests.engines.faulty import FaultyServer, kept_port
from tests.engines.weak import LlamaCppPython, Thinker, TransformersServe
from tests.model import careful


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def tried(server: FaultyServer, requests: int = 8, **settings: Any) -> Trial:
    trial = try_engine(
        engine_for(server, **settings),
        load_schema("busi"),
        load_prompt("template"),
        requests=requests,
        sampling=Sampling(max_tokens=2048),
    )
    return asyncio.run(trial)


def plain(body: dict[str, Any]) -> str:
    """A model that answers as the question says, whatever the schema."""
    return "Four." if "plus two" in body["messages"][-1]["content"] else careful(body)


def advice(trial: Trial) -> str:
    return " / ".join(trial.advice)


def test_a_good_server_can_everything_and_there_is_little_to_change() -> None:
    with FaultyServer(caption=careful) as server:
        trial = tried(server)
        assert len(server.bodies) == 8 + 5
    assert trial.usable
    assert (trial.answered, trial.readable, trial.structure, trial.enforced) == (8, 8, "strict", True)
    assert (trial.draws_several, trial.repeats, trial.counts_tokens) == (True, True, True)
    assert trial.agreeing > 0.5 * trial.captions
    assert 0 < trial.median_seconds <= trial.slowest_seconds
    assert trial.advice == ()


def test_a_schema_that_is_accepted_and_ignored_is_not_taken_for_one_that_works() -> None:
    """The answers are in the form asked for all the same: the prompt asks for it too, and the model is able."""
    with FaultyServer(caption=plain, enforces=False) as server:
        trial = tried(server)
    assert (trial.readable, trial.structure, trial.enforced) == (8, "strict", False)
    assert "saves repairs" in advice(trial)


def test_a_model_that_is_told_of_the_schema_in_words_does_not_prove_that_it_is_enforced() -> None:
    with FaultyServer(caption=careful, unsupported=("json_schema",)) as server:
        trial = tried(server)
    assert (trial.structure, trial.enforced) == ("json_object", None)


def test_a_proof_that_fails_proves_nothing() -> None:
    def stubborn(body: dict[str, Any]) -> str:
        return plain(body).removeprefix("Four.")

    with FaultyServer(caption=stubborn, enforces=False) as server:
        trial = tried(server)
    assert (trial.structure, trial.enforced) == ("strict", None)


def test_transformers_serve_is_told_apart() -> None:
    with TransformersServe(strict=True, caption=careful) as server:
        trial = tried(server)
    assert (trial.structure, trial.draws_several, trial.counts_tokens) == ("none", False, False)
    assert trial.readable == 8
    assert "tokens are not counted" in advice(trial)
    assert "saves repairs" in advice(trial)


def test_llama_cpp_python_is_told_apart() -> None:
    with LlamaCppPython(caption=careful) as server:
        trial = tried(server)
    assert (trial.structure, trial.draws_several) == ("json_object", False)
    assert trial.usable


def test_a_server_that_does_not_repeat_is_told() -> None:
    asked: list[int] = []

    def moody(body: dict[str, Any]) -> str:
        asked.append(1)
        return json.dumps({"captions": [f"Breast ultrasound image, number {len(asked)}."]})

    with FaultyServer(caption=moody) as server:
        assert tried(server, 1).repeats is False


def test_control_characters_are_blamed_on_the_servers_backend() -> None:
    with FaultyServer(caption=careful, faults={"control": 1.0}) as server:
        assert "guidance" in advice(tried(server))


def test_answers_that_are_cut_off_do_not_hide_those_with_control_characters() -> None:
    with FaultyServer(caption=careful, script=["control", "length"] * 4) as server:
        trial = tried(server)
    assert "guidance" in advice(trial)
    assert "raise sampling.max_tokens" in advice(trial)


def test_a_server_that_bears_all_that_is_allowed_could_be_asked_more() -> None:
    with FaultyServer(caption=careful, latency=0.01) as server:
        trial = tried(server, 40, concurrency=4)
    assert trial.at_once == 4
    assert "engine.concurrency=4 at once: try more" in advice(trial)


def test_an_engine_without_a_server_can_be_tried_too() -> None:
    schema = load_schema("busi")
    trial = asyncio.run(
        try_engine(make({}, schema), schema, load_prompt("template"), requests=3, sampling=Sampling(max_tokens=2048))
    )
    assert trial.usable
    assert (trial.address, trial.structure, trial.at_once) == (None, None, None)


def test_several_servers_get_a_row_each_and_one_that_is_not_there_fails_the_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("captioner.cli.engines.out", Console(width=200, highlight=False))
    with kept_port() as port, FaultyServer(caption=careful) as good, LlamaCppPython(caption=careful) as weak:
        addresses = [s.base_url for s in (good, weak, FaultyServer(port=port))]
        command = ["engine", "test", "--schema", "busi", "--requests", "4", "--set", "engine.model=tiny"]
        command += ["--set", f"engine.base_url=[{', '.join(addresses)}]"]
        shown = CliRunner().invoke(app, command)
        machine = CliRunner().invoke(app, [*command, "--json"])
    assert (shown.exit_code, machine.exit_code) == (1, 1)
    rows = [line for line in shown.stdout.splitlines() if line.startswith("http") and "/v1 " in line]
    assert [row.split()[0] for row in rows[:3]] == addresses
    assert "JSON Schema (strict), several answers at once" in rows[0]
    assert "JSON asked for without a schema (unproven), one answer at a time" in rows[1]
    assert "cannot be used" in rows[2]
    found = json.loads(machine.stdout)["endpoints"]
    assert [f["structure"] for f in found] == ["strict", "json_object", None]
    assert "cannot reach" in found[2]["error"]


@pytest.mark.parametrize(
    ("enforces", "said"), [(True, "JSON Schema (strict)"), (False, "JSON Schema accepted, not enforced")]
)
def test_one_server_is_described_in_lines(enforces: bool, said: str) -> None:  # noqa: FBT001 - pytest gives it
    with FaultyServer(caption=plain, enforces=enforces) as server:
        command = ["engine", "test", "--schema", "busi", "--requests", "4", "--set", "engine.model=tiny"]
        shown = CliRunner().invoke(app, [*command, "--set", f"engine.base_url={server.base_url}"])
    assert shown.exit_code == 0, shown.stdout
    assert f"tiny at {server.base_url}" in shown.stdout
    said += ", several answers at once, repeats with a seed" + ", vLLM's structured_outputs" * enforces
    assert f"{said}, logprobs, counts tokens" in shown.stdout
    assert "requests/s" in shown.stdout


def test_a_model_that_thinks_is_named_with_how_to_have_it_think_less() -> None:
    with Thinker(50, "counted", caption=careful) as server:
        trial = tried(server)
    assert (trial.thinks, trial.readable) == (True, 8)
    assert any("thinks before it answers" in note for note in trial.notes)
    assert "reasoning_effort" in advice(trial)
    assert "enable_thinking" in advice(trial)


def test_the_command_says_that_a_model_thinks() -> None:
    with Thinker(50, "apart", caption=careful) as server:
        flags = ["--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}", "--requests", "2"]
        said = CliRunner().invoke(app, ["engine", "test", *flags])
    assert said.exit_code == 0, said.output
    assert "thinks before it answers, counts tokens" in " ".join(said.output.split())


def test_structured_outputs_of_vllm_and_logprobs_are_tried_and_no_refusal_spoils_the_trial() -> None:
    with FaultyServer(caption=careful) as server:
        trial = tried(server)
    assert (trial.structured_outputs, trial.logprobs) == (True, True)
    with FaultyServer(caption=careful, unsupported=("structured_outputs", "logprobs")) as server:
        trial = tried(server)
    assert (trial.structured_outputs, trial.logprobs, trial.usable) == (False, False, True)
    with FaultyServer(caption=careful, enforces=False, ignores=("logprobs",)) as server:
        trial = tried(server)
    assert (trial.structured_outputs, trial.logprobs, trial.usable) == (False, False, True)


def test_a_model_that_thinks_longer_than_an_answer_may_be_does_not_hide_what_its_server_can() -> None:
    with Thinker(2500, "counted", caption=careful) as server:
        trial = tried(server)
    assert (trial.structured_outputs, trial.logprobs, trial.readable) == (True, True, 8)
