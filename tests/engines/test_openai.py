"""The engine against a real server over HTTP that breaks in all the ways that servers break."""

import asyncio
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from captioner.engines import Answer, Message, Request
from captioner.engines.endpoint import Endpoint
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError
from tests.engines.asking import (
    ENVIRONMENT,
    SCHEMA,
    SECRET,
    ask,
    check,
    engine_for,
    no_names_known,
    only_hangs_time_out,
    refused,
    request,
    requests,
    use,
    whole,
)
from tests.engines.faulty import TRANSPORT_FAULTS, FaultyServer, kept_port


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


# Answers


def test_each_request_gets_the_answer_to_its_own_question() -> None:
    with FaultyServer() as server:
        answers = ask(engine_for(server), requests(100))
    assert len(answers) == 100
    for i in range(100):
        answer = answers[f"k{i}"]
        assert f"Question {i}." in (answer.text or "")
        assert (answer.finish_reason, answer.error, answer.attempts, answer.model) == ("stop", None, 1, "tiny")
        assert answer.prompt_tokens == 2
        assert answer.completion_tokens > 0
        assert answer.seconds > 0


def test_what_is_not_set_is_left_to_the_server() -> None:
    with FaultyServer() as server:
        ask(engine_for(server), [request(0), request(1, temperature=0.0, top_p=0.9, max_tokens=5, seed=0)])
    first, second = sorted(server.bodies, key=len)
    assert set(first) == {"model", "messages"}
    assert {k: second[k] for k in second if k not in first} == {
        "temperature": 0.0,
        "top_p": 0.9,
        "max_tokens": 5,
        "seed": 0,
    }


def test_headers_and_extra_fields_are_sent_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "opensesame")
    with FaultyServer() as server:
        headers = {"X-Team": "imaging", "X-Gateway-Key": "$GATEWAY_KEY"}
        ask(engine_for(server, headers=headers, extra_body={"top_k": 20}), requests(1))
    assert server.bodies[0]["top_k"] == 20
    assert server.headers[0]["X-Team"] == "imaging"
    assert server.headers[0]["X-Gateway-Key"] == "opensesame"


def test_a_server_without_keys_is_sent_none() -> None:
    with FaultyServer() as server:
        engine = engine_for(server)
        ask(engine, requests(1))
    assert "Authorization" not in server.headers[0]


def test_a_query_in_the_address_is_kept() -> None:
    with FaultyServer() as server:
        engine = engine_for(server, base_url=f"{server.base_url}/?api-version=2024-10-21")
        assert ask(engine, requests(1))["k0"].text
        check(engine_for(server, base_url=f"{server.base_url}/?api-version=2024-10-21"))


def test_length_is_said_and_the_cut_text_kept() -> None:
    with FaultyServer(faults={"length": 1.0}) as server:
        answer = ask(engine_for(server), requests(1))["k0"]
    assert answer.finish_reason == "length"
    assert answer.text
    assert answer.error is None


@pytest.mark.parametrize(("fault", "words"), [("refusal", "refused: I cannot help"), ("empty", "empty")])
def test_an_answer_without_text_is_an_error_that_is_not_asked_again(fault: str, words: str) -> None:
    with FaultyServer(faults={fault: 1.0}) as server:
        answer = ask(engine_for(server), requests(1))["k0"]
    assert answer.text is None
    assert words in (answer.error or "")
    assert answer.prompt_tokens > 0
    assert len(server.bodies) == 1


@pytest.mark.parametrize("fault", ["wrong_count", "duplicates", "control", "chatter"])
def test_content_is_handed_over_raw_whatever_is_wrong_with_it(fault: str) -> None:
    with FaultyServer(faults={fault: 1.0}) as server:
        answer = ask(engine_for(server), requests(1))["k0"]
    assert answer.text
    assert answer.error is None
    assert len(server.bodies) == 1


# Flow


def test_requests_are_taken_only_as_the_server_has_room() -> None:
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        for i in range(10**9):
            taken += 1
            yield request(i)

    async def some(engine: OpenAIEngine) -> int:
        answers = engine.answers(endless())
        seen = [await anext(answers) for _ in range(50)]
        await asyncio.sleep(0.2)
        await answers.aclose()
        return len(seen)

    with FaultyServer() as server:
        assert use(engine_for(server, concurrency=8), some) == 50
    # 16 finished and waiting, and one for each worker: at the server, or finished and without room to wait
    assert taken <= 50 + 16 + 8


def test_concurrency_is_never_exceeded_and_is_reached() -> None:
    with FaultyServer(latency=0.05) as server:
        # All but the first, which goes alone, are looked at once eight are there: however slowly they come.
        server.gate = lambda: len(server.bodies) == 1 or server.most_open >= 8
        ask(engine_for(server, concurrency=8), requests(120))
    assert server.most_open == 8


def test_the_first_request_goes_alone() -> None:
    with FaultyServer(latency=0.1) as server:
        ask(engine_for(server, concurrency=8), requests(9))
    assert server.moments[1] - server.moments[0] >= 0.1


def test_no_requests_give_no_answers() -> None:
    with FaultyServer() as server:
        assert ask(engine_for(server), []) == {}


def test_an_engine_can_be_asked_again_after_it_was_asked() -> None:
    async def twice(engine: OpenAIEngine) -> int:
        first = [a async for a in engine.answers(requests(5))]
        second = [a async for a in engine.answers(requests(5))]
        return len(first) + len(second)

    with FaultyServer() as server:
        assert use(engine_for(server), twice) == 10


def test_an_iterable_that_breaks_breaks_the_answers_too() -> None:
    def broken() -> Iterator[Request]:
        yield request(0)
        raise KeyError("a bug of the caller")

    with FaultyServer() as server, pytest.raises(KeyError, match="a bug of the caller"):
        ask(engine_for(server), broken())


def test_leaving_in_the_middle_leaves_nothing_running() -> None:
    async def leave(engine: OpenAIEngine) -> None:
        async for _ in engine.answers(requests(1000)):
            break  # without aclose: close() must do

    with FaultyServer(latency=0.01) as server:
        use(engine_for(server), leave)


def test_cancelling_leaves_nothing_running() -> None:
    async def cancel(engine: OpenAIEngine) -> None:
        async def consume() -> None:
            async for _ in engine.answers(requests(1000)):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with FaultyServer(faults={"hang": 0.5, "busy": 0.2}, retry_after=5, latency=0.01) as server:
        use(engine_for(server), cancel)


# Faults


@pytest.mark.parametrize("fault", sorted(set(TRANSPORT_FAULTS) - {"slow", "hang"}))
def test_a_transient_fault_is_followed_by_a_second_attempt(fault: str) -> None:
    with FaultyServer(script=[fault]) as server:
        answer = ask(engine_for(server), requests(1))["k0"]
    assert (answer.error, answer.attempts) == (None, 2)
    assert "Question 0" in (answer.text or "")


def hang_once(monkeypatch: pytest.MonkeyPatch, server: FaultyServer, after: int = 0) -> list[float]:
    """Let the first attempt at a request hang; the second has all the time that a busy machine may need.

    Args:
        monkeypatch, server: of the test.
        after: so many other requests, one at a time.

    Returns:
        For how many seconds the engine would wait at each attempt; filled as they are made.
    """
    patience, waits = Endpoint.patience, list[float]()

    def noted(endpoint: Endpoint, timeouts: int) -> float:
        waits.append(patience(endpoint, timeouts))
        server.faults = {"hang": 1.0} if len(waits) == after + 1 else {}
        return 600.0 if timeouts else waits[-1]

    monkeypatch.setattr(Endpoint, "patience", noted)
    return waits


def test_a_request_that_hangs_is_given_up_in_time_and_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer() as server:
        hang_once(monkeypatch, server)
        answer = ask(engine_for(server, timeout=0.3), requests(1))["k0"]
    assert (answer.error, answer.attempts) == (None, 2)
    assert "Question 0" in (answer.text or "")


def test_a_prompt_of_megabytes_is_sent_like_any_other() -> None:
    long = Request("long", (Message("user", "word " * 500_000),), request().triplet, 3)
    with FaultyServer() as server:
        answers = ask(engine_for(server), [request(0), long])
    assert answers["long"].text
    assert answers["long"].prompt_tokens == 500_000


def test_a_slow_answer_is_waited_for() -> None:
    with FaultyServer(script=["slow"]) as server:
        answer = ask(engine_for(server), requests(1))["k0"]
    assert (answer.error, answer.attempts) == (None, 1)


def test_a_hang_is_not_waited_out_once_answers_are_known_to_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.engines.endpoint._LEAST_PATIENCE", 1.0)
    with FaultyServer() as server:
        waits = hang_once(monkeypatch, server, after=1)
        answers = ask(engine_for(server, timeout=3600, concurrency=1), requests(2))
    assert [(a.error, a.attempts) for a in answers.values()] == [(None, 1), (None, 2)]
    assert waits[0] == 3600
    assert 1 <= waits[1] == waits[2] / 2 < 3600


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("error", "HTTP 500: Internal server error"),
        ("html", "HTTP 502: an HTML page, '502 Bad Gateway', not an API"),
        ("html_ok", "an HTML page, '502 Bad Gateway', not an API"),
        ("hang", "no answer within 1 s"),
        ("reset", "the connection broke"),
        ("disconnect", "the server closed the connection without an answer"),
        ("truncated", "not JSON: cut off"),
        ("not_chat", "not a chat completion"),
        ("error_ok", "HTTP 502: upstream failed"),
    ],
)
def test_a_lasting_fault_becomes_an_error_in_one_line(fault: str, words: str) -> None:
    with FaultyServer(faults={fault: 1.0}) as server:
        answer = ask(engine_for(server, max_retries=2, timeout=1 if fault == "hang" else 60), requests(1))["k0"]
    assert answer.text is None
    assert words in (answer.error or "")
    assert (answer.error or "").endswith("(3 attempts)")
    assert "\n" not in (answer.error or "")
    assert answer.attempts == 3
    # Of a request that is given up for lack of time, nothing may have been read yet.
    assert len(server.bodies) == 3 or fault == "hang"


def test_a_refused_request_is_not_sent_again_and_costs_no_other() -> None:
    def too_long(body: dict[str, Any]) -> str:
        return "{}"

    with FaultyServer(caption=too_long, unsupported={"logprobs"}) as server:
        answers = ask(engine_for(server, extra_body={"logprobs": True}), requests(3))
    assert all("HTTP 422: logprobs: Extra inputs are not permitted" in (a.error or "") for a in answers.values())
    assert len(server.bodies) == 3


def test_thirty_percent_faults_cost_at_most_sixty_percent_more_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {
        "busy": 0.03,
        "busy_silent": 0.02,
        "overloaded": 0.02,
        "error": 0.05,
        "html": 0.03,
        "html_ok": 0.02,
        "hang": 0.005,
        "reset": 0.04,
        "disconnect": 0.035,
        "truncated": 0.03,
        "not_chat": 0.01,
        "error_ok": 0.01,
    }
    assert sum(faults.values()) == pytest.approx(0.3)
    with FaultyServer(faults=faults, seed=6, retry_after=0.01) as server:
        only_hangs_time_out(monkeypatch, server, 5.0)
        answers = ask(engine_for(server), requests(400, SCHEMA))
    assert len(answers) == 400
    assert [a.error for a in answers.values() if a.error] == []
    assert all(f"Question {k[1:]}." in (a.text or "") for k, a in answers.items())
    assert len(server.bodies) <= 1.6 * 400
    assert sum(a.attempts for a in answers.values()) == len(server.bodies)


def test_a_server_that_limits_its_rate_is_asked_more_slowly_and_answers_all() -> None:
    with FaultyServer(requests_per_second=200, retry_after=0.2, latency=0.01) as server:
        answers = ask(engine_for(server, concurrency=32), requests(300))
    assert [a.error for a in answers.values() if a.error] == []
    # Between two refusals lie 20 answers (the server bears 0.1 s worth at once) or more, each burst is no larger than what is let
    # through, and that is halved each time: 32 + 18 + 11 + 8, and 7 for each of the other 12 at the most.
    assert len(server.bodies) <= 1.6 * 300


def test_retry_after_holds_all_requests_back() -> None:
    with FaultyServer(script=["ok", "busy"], retry_after=0.5) as server:
        engine = engine_for(server, concurrency=4)
        (endpoint,) = engine._endpoints
        # The first goes alone. Of the next four, one is told to wait, and the others are answered once that has been heard.
        server.gate = lambda: (
            len(server.bodies) == 1
            or (len(server.bodies) >= 5 and (not server.served["busy"] or endpoint.admission.resume_at > 0))
        )
        ask(engine, requests(30))
    assert server.moments[5] - server.moments[4] >= 0.5
    assert len(server.bodies) == 31


def test_requests_per_minute_are_kept() -> None:
    with FaultyServer() as server:
        ask(engine_for(server, requests_per_minute=1200), requests(30))
    # One second's worth (20) may go at once, and a second time after the first answer; the other nine go at 20 a second.
    assert max(server.moments) - server.moments[0] >= 0.4


def test_tokens_per_minute_are_kept() -> None:
    with FaultyServer() as server:
        ask(engine_for(server, tokens_per_minute=60_000), requests(12))
    # About 290 tokens are expected for each at 1,000 a second, until the answers turn out to be shorter; after the first answer,
    # which is waited for, the others come at once, and three of them have to wait for nothing.
    assert max(server.moments) - server.moments[0] >= 0.1


# Servers that can do less


def test_structure_is_asked_for_as_strictly_as_it_can_be() -> None:
    with FaultyServer() as server:
        ask(engine_for(server), requests(2, SCHEMA))
    wanted = server.bodies[0]["response_format"]
    assert wanted == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert server.bodies[0]["messages"][-1]["content"] == "Question 0"


@pytest.mark.parametrize("status", [400, 422, 500, 501])
@pytest.mark.parametrize(
    ("cannot", "last"),
    [
        ({"strict"}, "json_schema"),
        ({"strict", "json_schema"}, "json_object"),
        ({"strict", "json_schema", "json_object"}, None),
    ],
)
def test_a_server_that_refuses_structure_is_asked_for_less_and_in_words(
    cannot: set[str], last: str | None, status: int
) -> None:
    with FaultyServer(unsupported=cannot, unsupported_status=status) as server:
        engine = engine_for(server)
        answers = ask(engine, requests(20, SCHEMA))
    assert [a.error for a in answers.values() if a.error] == []
    final = server.bodies[-1]
    assert (final.get("response_format") or {}).get("type") == last
    in_words = json.dumps(SCHEMA) in final["messages"][-1]["content"]
    assert in_words == (last != "json_schema")
    assert server.served["unsupported"] == len(cannot)  # learnt once, for all
    assert len(engine.capabilities.notes) == len(cannot)


def test_what_many_requests_learn_at_once_is_learnt_once() -> None:
    asked = [request(0), *(request(i, SCHEMA) for i in range(1, 33))]  # the first goes alone, and teaches nothing
    with FaultyServer(unsupported={"strict"}, latency=0.05) as server:
        engine = engine_for(server)
        answers = ask(engine, asked)
    assert server.served["unsupported"] > 1
    assert [a.error for a in answers.values() if a.error] == []
    assert engine.capabilities.structured == "json_schema"


def test_structure_that_is_ignored_in_silence_is_noticed() -> None:
    with FaultyServer(ignores_structure=True) as server:
        engine = engine_for(server, concurrency=1)
        answers = ask(engine, requests(20, SCHEMA))
    assert engine.capabilities.structured == "json_object"
    assert sum((a.text or "").startswith("{") for a in answers.values()) >= 8


def test_a_server_that_breaks_on_structure_without_saying_why_is_asked_for_less() -> None:
    def breaks(body: dict[str, Any]) -> str:
        if (body.get("response_format") or {}).get("type") == "json_schema":
            raise RuntimeError  # aiohttp answers 500 with a page of text
        return '{"captions": []}'

    with FaultyServer(caption=breaks) as server:
        engine = engine_for(server)
        answers = ask(engine, requests(3, SCHEMA))
    assert [a.error for a in answers.values() if a.error] == []
    assert engine.capabilities.structured == "json_object"


def test_random_breakdowns_do_not_cost_the_structure_once_it_has_worked() -> None:
    with FaultyServer(script=["ok", *["error"] * 4]) as server:
        engine = engine_for(server)
        ask(engine, requests(10, SCHEMA))
    assert engine.capabilities.structured == "strict"


def test_a_forced_structure_is_never_given_up() -> None:
    with FaultyServer(unsupported={"strict", "json_schema"}) as server:
        answers = ask(engine_for(server, structured="json_schema"), requests(2, SCHEMA))
    assert all("json_schema is not available" in (a.error or "") for a in answers.values())


@pytest.mark.parametrize("field", ["seed", "temperature", "top_p"])
def test_a_field_that_the_server_does_not_take_is_left_out(field: str) -> None:
    with FaultyServer(unsupported={field}) as server:
        engine = engine_for(server)
        answers = ask(engine, requests(5, seed=3, temperature=0.5, top_p=0.9))
    assert [a.error for a in answers.values() if a.error] == []
    assert server.served["unsupported"] == 1
    assert field not in server.bodies[-1]
    assert {"seed", "temperature", "top_p"} - {field} <= set(server.bodies[-1])
    assert field in engine.capabilities.notes[0]


def test_max_tokens_becomes_max_completion_tokens_where_that_is_wanted() -> None:
    with FaultyServer(unsupported={"max_tokens"}) as server:
        answers = ask(engine_for(server), requests(5, max_tokens=77))
    assert [a.error for a in answers.values() if a.error] == []
    assert server.bodies[-1]["max_completion_tokens"] == 77
    assert "max_tokens" not in server.bodies[-1]


# check()


def test_a_good_server_passes_without_a_request_to_the_model() -> None:
    with FaultyServer() as server:
        check(engine_for(server))
    assert server.bodies == []


def test_a_server_that_lists_no_models_is_asked_something_small() -> None:
    with FaultyServer(models=None) as server:
        check(engine_for(server, model="any"))
    assert len(server.bodies) == 1


def test_an_unknown_model_lists_the_known_ones_and_the_nearest() -> None:
    with FaultyServer(models=["llama-3.1-8b", "qwen3-4b"]) as server:
        said = refused(engine_for(server, model="llama-3.1-8B-instruct"))
    assert "no model 'llama-3.1-8B-instruct'" in said
    assert "llama-3.1-8b, qwen3-4b" in said
    assert "Did you mean 'llama-3.1-8b'?" in said


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        said = refused(OpenAIEngine(OpenAISettings(model="tiny", base_url=url)))
    assert f"cannot reach {url}" in said
    assert "vllm serve tiny" in said
    assert "refused" in said


def test_an_unknown_host_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    no_names_known(monkeypatch)
    said = refused(OpenAIEngine(OpenAISettings(model="tiny", base_url="http://no-such-host.invalid/v1")))
    assert "cannot reach http://no-such-host.invalid/v1" in said
    assert "'no-such-host.invalid' is not known" in said


def test_an_address_without_v1_gets_a_hint() -> None:
    with FaultyServer() as server:
        said = refused(engine_for(server, base_url=server.base_url.removesuffix("/v1")))
    assert "ends in /v1" in said


def test_a_server_that_redirects_is_not_followed_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web

    class Redirecting(FaultyServer):
        async def _chat(self, request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect("https://elsewhere.invalid/v1/chat/completions")

    with Redirecting(models=None) as server:
        said = refused(engine_for(server))
    assert "redirects to https://elsewhere.invalid/v1/chat/completions" in said


# Keys


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET + "\n")
    with FaultyServer(key=SECRET) as server:
        check(engine_for(server, api_key_env="MY_KEY"))
        answers = ask(engine_for(server, api_key_env="MY_KEY"), requests(1))
    assert answers["k0"].text


def test_the_key_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    with FaultyServer(key=SECRET) as server:
        check(engine_for(server, api_key_file=tmp_path / "key"))


def test_a_wrong_key_names_its_source_and_never_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    with FaultyServer(key="another") as server:
        said = refused(engine_for(server, api_key_env="MY_KEY"))
    assert "MY_KEY" in said
    assert "HTTP 401" in said
    assert SECRET not in said
    assert "0123456789" not in said


def test_a_missing_key_says_which_variable_to_set() -> None:
    with FaultyServer(key=SECRET) as server:
        said = refused(engine_for(server))
    assert "OPENAI_API_KEY" in said


def test_openai_itself_is_not_called_without_a_key() -> None:
    said = refused(OpenAIEngine(OpenAISettings(model="gpt-4o-mini")))
    assert "OPENAI_API_KEY" in said
    assert "api.openai.com" in said


def test_a_variable_that_was_named_must_be_set() -> None:
    with FaultyServer() as server:
        said = refused(engine_for(server, api_key_env="MY_KEY"))
        assert "MY_KEY" in said
        assert "Export it, name a file that holds the key (engine.api_key_file)" in said
        assert "GATEWAY" in refused(engine_for(server, headers={"X-Key": "$GATEWAY"}))


@pytest.mark.parametrize("content", [None, "", "two words", "umlaut-ä"])
def test_a_key_file_that_holds_no_key_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with FaultyServer() as server:
        said = refused(engine_for(server, api_key_file=file))
    assert str(file) in said
    assert not content or content not in said


def test_keys_are_in_no_repr_no_settings_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    def careless(body: dict[str, Any]) -> str:
        return "{}"

    with FaultyServer(caption=careless, key="another") as server:
        engine = engine_for(server, headers={"X-Other": SECRET})
        shown = [repr(engine), repr(engine.settings), str(engine.settings.model_dump(mode="json"))]
        with pytest.raises(EngineError) as raised:
            ask(engine, requests(50))
    assert not any(SECRET in text for text in [*shown, str(raised.value), *engine.capabilities.notes])


def test_a_revoked_key_stops_the_run_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    answered = 0

    async def until_revoked(engine: OpenAIEngine) -> None:
        nonlocal answered
        async for answer in engine.answers(requests(10_000)):
            answered += answer.text is not None
            if (
                answered == 20
            ):  # twelve more are answered or on their way, and four are lost in the middle of three failures
                server.key = "another"

    with FaultyServer(key=SECRET) as server:
        engine = engine_for(server, concurrency=4)
        with pytest.raises(EngineError, match="OPENAI_API_KEY"):
            use(engine, until_revoked)
    assert len(server.bodies) < 60


def test_a_server_that_fails_a_hundred_times_in_a_row_stops_the_run() -> None:
    said = r"100 requests in a row failed .*HTTP 500"
    with FaultyServer(faults={"error": 1.0}) as server, pytest.raises(EngineError, match=said):
        ask(engine_for(server, max_retries=1), requests(100_000))
    assert (
        len(server.bodies) <= (100 + 31) * 2
    )  # whichever of the 32 workers fails for the hundredth time or later is the last


def test_failures_between_answers_do_not_stop_the_run_however_many_they_are() -> None:
    with FaultyServer(faults={"error": 0.7}) as server:
        answers = ask(engine_for(server, max_retries=0, concurrency=1), requests(400))
    assert sum(a.error is not None for a in answers.values()) > 200


def test_a_server_that_goes_away_for_good_stops_the_run() -> None:
    with kept_port() as port:
        server = FaultyServer(port=port)  # it is not started
        with pytest.raises(EngineError, match=f"cannot reach {server.base_url}: connection refused"):
            ask(engine_for(server, max_outage=0.3), requests(100_000))


def test_a_server_that_comes_back_costs_no_request() -> None:
    seen: list[Answer] = []
    with kept_port() as port:
        first, second = FaultyServer(port=port), FaultyServer(port=port)

        async def restart(engine: OpenAIEngine) -> None:
            async for answer in engine.answers(requests(300)):
                seen.append(answer)
                if len(seen) == 50:
                    first.__exit__()
                    asyncio.get_running_loop().call_later(0.5, second.__enter__)

        first.__enter__()
        # Two connections can break, and one request may be unlucky enough to have met with both.
        use(engine_for(first, max_retries=2, concurrency=2), restart)
        second.__exit__()
    assert len(seen) == 300
    assert [a.error for a in seen if a.error] == []


# Settings


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "must start with http"),
        ("http://user:secret@host/v1", "no user or password"),
        ("http://host/v1/chat/completions", "must end before /chat/completions"),
        ("http:///v1", "names no host"),
    ],
)
def test_an_address_that_cannot_work_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as raised:
        OpenAISettings(model="tiny", base_url=url)
    assert "secret" not in str(raised.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        OpenAISettings.model_validate({"model": "tiny", "api_key": SECRET})


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    out = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name, *out]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_a_certificate_of_ones_own_is_trusted_with_ca_file_and_not_without(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with FaultyServer(tls=context) as server:
        said = refused(engine_for(server))
        assert "certificate is not trusted" in said
        assert "ca_file" in said
        engine = engine_for(server, ca_file=certificate / "cert.pem")
        assert ask(engine, requests(1))["k0"].text
        check(engine_for(server, ca_file=certificate / "cert.pem"))


def test_a_ca_file_that_is_none_is_named(certificate: Path) -> None:
    with FaultyServer() as server:
        assert "nowhere.pem" in refused(engine_for(server, ca_file=certificate / "nowhere.pem"))
        assert "key.pem" in refused(engine_for(server, ca_file=certificate / "key.pem"))


# Proxies


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def proxy() -> None:
            peer, _ = listener.accept()
            with peer:
                asked.append(whole(peer))
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\nConnection: close\r\n\r\nno way")

        thread = threading.Thread(target=proxy)
        thread.start()
        engine = OpenAIEngine(OpenAISettings(model="tiny", base_url="http://model-server.invalid/v1", max_retries=0))
        answer = ask(engine, requests(1))["k0"]
        thread.join()
        assert asked[0].startswith(b"POST http://model-server.invalid/v1/chat/completions HTTP/1.1")
        assert answer.error == "HTTP 400: no way"
        with FaultyServer() as server:
            assert ask(engine_for(server), requests(1))["k0"].text
