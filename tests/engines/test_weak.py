"""Servers that can less than most, and servers that want to be asked in their own way."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from captioner.engines import SEPARATOR, Answer, Message, Request
from captioner.engines.completions import read_completion
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from tests.engines.asking import ENVIRONMENT, SCHEMA, SECRET, ask, check, engine_for, errors, refused, request, requests
from tests.engines.faulty import FaultyServer, equally_fast
from tests.engines.weak import Azure, LlamaCppPython, Thinker, TransformersServe


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def by_seed(body: dict[str, Any]) -> str:
    """An answer that shows what was asked, and with which seed."""
    return json.dumps({"captions": [f"{body['messages'][-1]['content'][:10]} by seed {body.get('seed')}."]})


# Several answers to one question


def test_several_answers_are_drawn_at_once_and_come_apart_again() -> None:
    with FaultyServer(caption=by_seed) as server:
        answer = ask(engine_for(server), [request(0, SCHEMA, n=3, seed=7)])["k0"]
    assert server.bodies[0]["n"] == 3
    assert len(server.bodies) == 1
    texts = (answer.text or "").split(SEPARATOR)
    assert texts == [by_seed(server.bodies[0] | {"seed": seed}) for seed in (7, 8, 9)]
    assert answer.completion_tokens == 3 * len(texts[0].split())


def test_of_several_answers_one_that_is_cut_off_does_not_spoil_the_others() -> None:
    with FaultyServer(caption=by_seed, faults={"length": 1.0}) as server:
        answer = ask(engine_for(server), [request(0, SCHEMA, n=3, seed=7)])["k0"]
    assert len((answer.text or "").split(SEPARATOR)) == 2
    assert answer.finish_reason == "stop"


def test_one_answer_is_asked_for_without_a_number() -> None:
    with FaultyServer() as server:
        ask(engine_for(server), requests(1, n=1))
    assert "n" not in server.bodies[0]


@pytest.mark.parametrize("server", [{"ignores": {"n"}}, {"unsupported": {"n"}}], ids=["in silence", "with an error"])
def test_a_server_that_draws_one_answer_is_asked_for_each_with_a_seed_of_its_own(server: dict[str, Any]) -> None:
    with FaultyServer(caption=by_seed, **server) as weak:
        engine = engine_for(weak)
        answers = ask(engine, requests(5, SCHEMA, n=3, seed=7))
    assert errors(answers) == []
    for answer in answers.values():
        seeds = [json.loads(t)["captions"][0].split()[-1] for t in (answer.text or "").split(SEPARATOR)]
        assert seeds == ["7.", "8.", "9."]
    assert sum("n" in body for body in weak.bodies) == 1
    assert any("one answer at a time" in note for note in engine.capabilities.notes)


def test_an_answer_that_fails_among_several_is_done_without() -> None:
    with FaultyServer(caption=by_seed, ignores={"n"}, script=["ok", *["error"] * 2, "ok"]) as weak:
        answer = ask(engine_for(weak, max_retries=1), [request(0, n=3, seed=7)])["k0"]
    assert answer.error is None
    assert len((answer.text or "").split(SEPARATOR)) == 1


# Weak servers


def test_transformers_serve_that_refuses_fields_is_asked_in_words_and_for_one_answer_at_a_time() -> None:
    with TransformersServe(strict=True) as server:
        engine = engine_for(server)
        check(engine_for(server))
        answers = ask(engine, requests(10, SCHEMA, n=2, seed=1, max_tokens=100))
    assert errors(answers) == []
    last = server.bodies[-1]
    assert not set(last) & TransformersServe.UNUSED
    assert (last["max_tokens"], json.dumps(SCHEMA) in last["messages"][-1]["content"]) == (100, True)
    assert all(len((a.text or "").split(SEPARATOR)) == 2 for a in answers.values())
    assert {a.prompt_tokens for a in answers.values()} == {0}


def test_transformers_serve_that_ignores_fields_is_found_out() -> None:
    with TransformersServe(strict=False) as server:
        engine = engine_for(server, concurrency=1)
        answers = ask(engine, requests(30, SCHEMA, seed=1))
    assert errors(answers) == []
    assert engine.capabilities.structured == "json_object"  # which tells the model in words, too
    assert json.loads(answers["k29"].text or "")


def test_transformers_serve_names_a_field_of_vllm_that_it_does_not_know() -> None:
    with TransformersServe(strict=False) as server:
        answers = ask(engine_for(server, extra_body={"top_k": 20}), requests(2))
    assert all("Unexpected keys in the request: {'top_k'}" in (a.error or "") for a in answers.values())
    assert len(server.bodies) == 2


def test_llama_cpp_python_that_breaks_on_a_schema_is_asked_for_an_object() -> None:
    with LlamaCppPython(caption=by_seed) as server:
        engine = engine_for(server)
        answers = ask(engine, requests(10, SCHEMA, n=2, seed=1))
    assert errors(answers) == []
    assert server.bodies[-1]["response_format"] == {"type": "json_object"}
    assert all(len((a.text or "").split(SEPARATOR)) == 2 for a in answers.values())


# Models that think


FORMS = ["counted", "apart", "before", "hidden"]
TOO_MUCH = [
    "max_tokens is too large: {}. This model supports at most {} completion tokens.",
    "'max_tokens' or 'max_completion_tokens' is too large: {}. This model's maximum context length is {} tokens.",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {1}. Given: 9 `inputs` tokens",
    "Invalid max_tokens value, the valid range of max_tokens is [1, {1}]",
    "max_tokens: Input should be less than or equal to {1}",
]


def limits(server: Thinker) -> list[int | None]:
    """How many tokens each request left for thought and answer, in order of arrival."""
    return [Thinker.limit(body) for body in server.bodies]


def whole(answer: Answer) -> bool:
    return answer.finish_reason == "stop" and bool(json.loads((answer.text or "").rpartition("</think>")[2]))


@pytest.mark.parametrize("shown", FORMS)
def test_a_model_that_thinks_gets_room_for_thought_and_answer_and_no_answer_is_lost(shown: str) -> None:
    with Thinker(100, shown, caption=by_seed) as server:
        engine = engine_for(server)
        answers = ask(engine, requests(20, SCHEMA, seed=1, max_tokens=50))
    assert limits(server) == [50, *[200] * 20]
    assert all(map(whole, answers.values()))
    assert "thinks before it answers" in engine.capabilities.notes[0]
    first = answers["k0"]
    assert (first.attempts, answers["k1"].attempts) == (2, 1)
    # The answer that was cut off, and that nobody uses, was paid for too: 50 tokens.
    assert first.completion_tokens == 50 + answers["k1"].completion_tokens


def test_a_model_that_is_seen_to_think_gets_room_before_any_answer_is_cut_off() -> None:
    """Of a batch, all requests are written after the first is answered."""
    with Thinker(30, "counted", caption=by_seed) as server:
        answers = ask(engine_for(server), requests(5, SCHEMA, max_tokens=50))
    assert limits(server) == [50, *[200] * 4]
    assert all(map(whole, answers.values()))


@pytest.mark.parametrize("said", TOO_MUCH)
def test_a_server_without_room_for_so_much_is_asked_for_less_however_it_says_so(said: str) -> None:
    with Thinker(60, "counted", caption=by_seed, most_tokens=100, refusal=said) as server:
        answers = ask(engine_for(server, concurrency=1), requests(8, SCHEMA, max_tokens=50))
    # Three that had to be sent with less are enough.
    assert limits(server) == [50, 200, 100, 200, 100, 200, 100, *[100] * 5]
    assert all(map(whole, answers.values()))


@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_many_refusals_at_once_take_no_more_room_than_the_server_lacks(concurrency: int) -> None:
    with Thinker(60, "counted", caption=by_seed, most_tokens=100) as server:
        answers = ask(engine_for(server, concurrency=concurrency), requests(100, SCHEMA, max_tokens=50))
    assert all(map(whole, answers.values()))
    assert limits(server)[-1] == 100


def test_a_server_without_any_room_for_thoughts_is_asked_as_if_the_model_had_none() -> None:
    with Thinker(30, "counted", caption=by_seed, most_tokens=50) as server:
        answers = ask(engine_for(server), requests(30, SCHEMA, max_tokens=50))
    assert all(map(whole, answers.values()))
    assert limits(server)[-1] == 50


def test_an_answer_that_was_cut_off_is_kept_where_the_server_has_no_room_for_more() -> None:
    """It is not paid for a second time."""
    with Thinker(60, "counted", caption=by_seed, most_tokens=50) as server:
        answers = ask(engine_for(server, concurrency=1), requests(2, SCHEMA, max_tokens=50))
    assert limits(server) == [50, 200, 100, 200, 100, 50]
    assert [(a.finish_reason, a.completion_tokens) for a in answers.values()] == [("length", 50)] * 2


class Small(Thinker):
    """A context of 400 tokens: prompt, thought and answer."""

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        wanted = sum(len(m["content"].split()) for m in body["messages"]) + (self.limit(body) or 0)
        if wanted > 400:
            said = f"This model's maximum context length is 400 tokens. However, your request has {wanted} tokens."
            return web.json_response({"error": {"message": said, "type": "BadRequestError"}}, status=400)
        return None


@pytest.mark.parametrize(
    ("words", "sent", "fits"), [(220, [200, 100], True), (320, [200, 100, 50], True), (900, [200, 100, 50], False)]
)
def test_prompts_that_leave_no_room_for_thoughts_do_not_take_it_from_the_others(
    words: int,
    sent: list[int],
    fits: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    long = (Message("user", "word " * words),)

    def asked() -> Iterator[Request]:
        for i in range(80):
            yield replace(request(i, SCHEMA, max_tokens=50), **({"messages": long} if 20 <= i < 40 else {}))

    with Small(30, "counted", caption=by_seed) as server:
        engine = engine_for(server, concurrency=4)
        answers = ask(engine, asked())
    assert len(engine.capabilities.notes) == 1
    by_words = [len(body["messages"][-1]["content"].split()) for body in server.bodies]
    assert {limit for limit, n in zip(limits(server)[1:], by_words[1:], strict=True) if n < 100} == {200}
    assert [limit for limit, n in zip(limits(server), by_words, strict=True) if n >= 100].count(200) == 20
    assert {limit for limit, n in zip(limits(server), by_words, strict=True) if n >= 100} == set(sent)
    long_ones = [answers[f"k{i}"] for i in range(20, 40)]
    assert all(map(whole, long_ones)) if fits else all("maximum context" in (a.error or "") for a in long_ones)
    assert all(whole(a) for key, a in answers.items() if not 20 <= int(key[1:]) < 40)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_refusal_of_too_many_tokens_never_takes_the_bound_away(field: str) -> None:
    """Though it says what a server says that does not know the field."""
    said = f"{field} above {{1}} is not supported"
    with Thinker(30, "counted", caption=by_seed, most_tokens=100, refusal=said) as server:
        answers = ask(engine_for(server), requests(20, SCHEMA, max_tokens=50))
    assert all("max_tokens" in body for body in server.bodies)
    assert all(map(whole, answers.values()))


def test_what_answers_cost_that_are_not_used_is_counted_wherever_it_ends() -> None:
    """The first is cut off in its thought, the second is one of three, and the rest is refused."""
    script = ["ok", "ok", *["error"] * 2]
    with Thinker(60, "counted", caption=by_seed, ignores={"n"}, script=script) as server:
        answer = ask(engine_for(server, max_retries=1), [request(0, SCHEMA, n=3, seed=1, max_tokens=50)])["k0"]
    assert len(server.bodies) == 4
    one = len(by_seed(server.bodies[0]).split(" "))
    assert (answer.error, answer.completion_tokens) == (None, 50 + 60 + one)


def test_a_model_that_thinks_without_a_bound_is_left_alone() -> None:
    with Thinker(60, "counted", caption=by_seed) as server:
        engine = engine_for(server)
        ask(engine, requests(5, SCHEMA))
    assert engine.capabilities.thinks
    assert engine.capabilities.notes == []


def test_a_bound_that_the_user_sends_is_kept_for_a_model_that_thinks() -> None:
    with Thinker(60, "counted", caption=by_seed) as server:
        engine = engine_for(server, extra_body={"max_completion_tokens": 150})
        ask(engine, requests(5, SCHEMA, max_tokens=50))
    assert {body["max_completion_tokens"] for body in server.bodies} == {150}
    assert engine.capabilities.notes == []


@pytest.mark.parametrize("text", ["<think>\n\n</think>{}", "{}"])
@pytest.mark.parametrize("counted", [0, None, -1, "12", [], {}])
def test_a_model_that_did_not_think_is_not_taken_for_one_that_does(text: str, counted: Any) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": counted}}
    message = {"content": text, "reasoning_content": None}
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    assert not read_completion(json.dumps(body).encode(), {}).thinks


def test_a_thought_that_only_ends_is_seen_and_does_not_cost_the_structure() -> None:
    """The chat templates of some models begin the thought, so that only its end is in the answer."""

    def answer(body: dict[str, Any]) -> str:
        return f"let me see</think>\n{by_seed(body)}"

    with FaultyServer(caption=answer) as server:
        engine = engine_for(server)
        ask(engine, requests(20, SCHEMA, max_tokens=50))
    assert engine.capabilities.thinks
    assert engine.capabilities.structured == "strict"


def test_the_first_small_request_of_a_check_says_nothing_of_thinking() -> None:
    with Thinker(100, "hidden", models=None) as server:
        engine = engine_for(server)
        check(engine)
    assert not engine.capabilities.thinks


# Azure


def azure(server: Azure, deployment: str = "captions", **settings: Any) -> OpenAIEngine:
    given = {
        "model": deployment,
        "base_url": server.address(deployment),
        "headers": {"api-key": "$AZURE_OPENAI_API_KEY"},
    }
    return OpenAIEngine(OpenAISettings(**(given | {"retry_wait": 0.01} | settings)))


def test_azure_is_asked_with_a_version_and_the_key_in_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    with Azure(azure_key=SECRET) as server:
        check(azure(server))
        answers = ask(azure(server), requests(20, SCHEMA, seed=1))
    assert errors(answers) == []
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


def test_a_key_for_openai_that_is_in_the_environment_too_is_not_sent_to_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-alone")
    with Azure(azure_key=SECRET) as server:
        check(azure(server))
        ask(azure(server), requests(1))
    assert not any("Authorization" in h for h in server.headers)


def test_a_wrong_key_for_azure_names_the_header_and_never_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    with Azure(azure_key="another") as server:
        said = refused(azure(server))
    assert "refuses the key in the header api-key" in said
    assert "invalid subscription key" in said
    assert SECRET not in said


def test_an_azure_deployment_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    with Azure(azure_key=SECRET) as server:
        said = refused(azure(server, "captoins"))
    assert "'captoins'" in said
    assert "deployment for this resource does not exist" in said


def test_a_prompt_that_azure_filters_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    bad = Request("bad", (Message("user", "forbidden"),), request().triplet, 3)
    with Azure(azure_key=SECRET) as server:
        answers = ask(azure(server), [*requests(5), bad, request(9)])
    assert [k for k, a in answers.items() if a.error] == ["bad"]
    assert "content management policy" in (answers["bad"].error or "")


def test_azure_and_another_server_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    with Azure(azure_key=SECRET, latency=0.005) as first, FaultyServer(latency=0.005) as second:
        settings = {
            "model": "tiny",
            "concurrency": 4,
            "endpoints": [
                {"base_url": first.address(), "model": "captions", "headers": {"api-key": "$AZURE_OPENAI_API_KEY"}},
                {"base_url": second.base_url},
            ],
        }
        equally_fast(first, second, 60)
        answers = ask(OpenAIEngine(OpenAISettings.model_validate(settings)), requests(60))
    assert errors(answers) == []
    # Until all have come, they are no more than 8 answers apart, and each holds 4 at most.
    assert min(len(first.bodies), len(second.bodies)) >= (60 - 8 - 4) / 2
    assert not any("api-key" in h for h in second.headers)
