"""The engine against a real OpenAI-compatible server.

``CAPTIONER_TEST_BASE_URL`` says where it is (such as http://localhost:8000/v1), ``CAPTIONER_TEST_MODEL`` which model to
ask; without a model, the first that it lists. Keys come from ``OPENAI_API_KEY``. Nothing is asked of what the model
says, only of what the server does: a model with random weights is good enough.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from captioner.engines import SEPARATOR, Answer, Message, Request, Sampling
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError
from captioner.prompts import load_prompt
from captioner.schema import load_schema
from captioner.trial import try_engine
from captioner.triplets import Triplet
from tests.integration.asked import MOST_TOKENS, SCHEMA


@pytest.fixture(scope="module")
def base_url() -> str:
    url = os.environ.get("CAPTIONER_TEST_BASE_URL")
    if not url:
        pytest.skip("needs a real server: set CAPTIONER_TEST_BASE_URL, such as http://localhost:8000/v1")
    return url


@pytest.fixture(scope="module")
def model(base_url: str) -> str:
    if name := os.environ.get("CAPTIONER_TEST_MODEL"):
        return name
    import openai

    with openai.OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none")) as client:
        return next(iter(client.models.list())).id


def requests(count: int, schema: dict[str, Any] | None = None, **sampling: Any) -> Iterator[Request]:
    triplet = Triplet("t0", "xray", "chest", ("effusion",))
    for i in range(count):
        messages = (Message("user", f"Write two captions for image {i}."),)
        yield Request(f"k{i}", messages, triplet, 2, Sampling(**sampling), schema)


def use(engine: OpenAIEngine, what: Callable[[OpenAIEngine], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        try:
            return await what(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def ask(engine: OpenAIEngine, asked: Iterator[Request]) -> list[Answer]:
    async def collect(engine: OpenAIEngine) -> list[Answer]:
        return [answer async for answer in engine.answers(asked)]

    return use(engine, collect)


def test_the_server_passes_the_check(base_url: str, model: str) -> None:
    use(OpenAIEngine(OpenAISettings(model=model, base_url=base_url)), lambda engine: engine.check())


def test_an_unknown_model_is_refused_with_the_models_that_there_are(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings(model="no-such-model", base_url=base_url))
    with pytest.raises(EngineError, match="no model 'no-such-model'") as raised:
        use(engine, lambda engine: engine.check())
    assert model in str(raised.value)


def test_many_requests_at_once_are_all_answered(base_url: str, model: str) -> None:
    # With a schema, no answer is empty: a model that may say anything may also say nothing.
    asked = requests(64, SCHEMA, max_tokens=16, seed=1)
    answers = ask(OpenAIEngine(OpenAISettings(model=model, base_url=base_url)), asked)
    assert sorted(a.key for a in answers) == sorted(f"k{i}" for i in range(64))
    assert [a.error for a in answers if a.error] == []
    assert all(a.prompt_tokens > 0 and 0 < a.completion_tokens <= 16 for a in answers)
    assert all(a.finish_reason in {"stop", "length"} for a in answers)


def test_structured_answers_follow_the_schema(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings(model=model, base_url=base_url))
    answers = ask(engine, requests(16, SCHEMA, max_tokens=2 * MOST_TOKENS, temperature=1.0, seed=1))
    assert [a.error for a in answers if a.error] == []
    if engine.capabilities.structured not in {"strict", "json_schema"}:
        pytest.skip(f"the server enforces no schema: {engine.capabilities.notes}")
    for answer in answers:
        if answer.finish_reason == "stop":
            captions = json.loads(answer.text or "", strict=False)["captions"]  # xgrammar lets control characters in
            assert len(captions) == 2
    assert any(answer.finish_reason == "stop" for answer in answers)


def test_the_same_seed_gives_the_same_answer(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings(model=model, base_url=base_url, concurrency=1))

    async def twice(engine: OpenAIEngine) -> list[str | None]:
        texts = []
        for _ in range(2):
            texts += [a.text async for a in engine.answers(requests(1, max_tokens=16, temperature=1.0, seed=5))]
        return texts

    first, second = use(engine, twice)
    assert first == second


def test_a_prompt_that_is_too_long_fails_alone_and_says_why(base_url: str, model: str) -> None:
    def asked() -> Iterator[Request]:
        yield from requests(2, SCHEMA, max_tokens=8)
        long = (Message("user", "word " * 400_000),)
        yield Request("long", long, Triplet("t0", "xray", "chest", ()), 2, Sampling(max_tokens=8))

    answers = {a.key: a for a in ask(OpenAIEngine(OpenAISettings(model=model, base_url=base_url)), asked())}
    assert "HTTP 4" in (answers["long"].error or "")
    assert answers["k0"].error is None
    assert answers["k1"].error is None


def test_several_answers_to_a_question_are_drawn_at_once(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings(model=model, base_url=base_url))
    (answer,) = ask(engine, requests(1, SCHEMA, n=3, max_tokens=2 * MOST_TOKENS, temperature=1.0, seed=5))
    texts = (answer.text or "").split(SEPARATOR)
    assert len(texts) == 3
    assert len(set(texts)) > 1
    assert all(len(json.loads(t, strict=False)["captions"]) == 2 for t in texts)
    assert engine.capabilities.notes == []


def test_two_ways_to_a_server_share_the_work(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings.model_validate({"model": model, "base_url": [base_url, base_url]}))
    answers = ask(engine, requests(40, SCHEMA, max_tokens=100, seed=5))
    assert len(answers) == 40
    assert [a.error for a in answers if a.error] == []


def test_a_trial_says_what_the_server_can_do(base_url: str, model: str) -> None:
    engine = OpenAIEngine(OpenAISettings(model=model, base_url=base_url))
    trial = asyncio.run(
        try_engine(
            engine,
            load_schema("busi"),
            load_prompt("template"),
            requests=4,
            sampling=Sampling(max_tokens=64, temperature=1.0),
        )
    )
    assert (trial.answered, trial.structure, trial.draws_several) == (4, "strict", True)
    assert trial.counts_tokens
