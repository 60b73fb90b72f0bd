"""Reading what servers answer, good or bad: whatever comes, there is a result or a Failure."""

import json
import time
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.engines import Message, Request, Sampling
from captioner.engines.capabilities import Capabilities
from captioner.engines.completions import read_completion
from captioner.engines.failures import Failure, from_response, scrub, seconds_to_wait
from captioner.triplets import Triplet

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "error", "code", "usage", "detail", "loc", "text", "param"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def completion(**message: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


@given(st.binary(max_size=200) | ANY_JSON.map(lambda data: json.dumps(data).encode()))
def test_any_body_with_status_200_is_a_completion_or_a_failure(body: bytes) -> None:
    try:
        read = read_completion(body, {})
    except Failure as failure:
        assert "\n" not in failure.message  # noqa: PT017 - either outcome is right
    else:
        assert (read.text is None) != (read.silence is None)


@given(st.integers(300, 599), st.binary(max_size=200) | ANY_JSON.map(lambda data: json.dumps(data).encode()))
def test_any_body_with_another_status_is_a_failure_in_one_short_line(status: int, body: bytes) -> None:
    failure = from_response(status, {}, body)
    assert failure.message.startswith(f"HTTP {status}")
    assert "\n" not in failure.message
    assert len(failure.message) < 400


@given(st.text(max_size=100), st.from_regex(r"[A-Za-z0-9_-]{16,40}", fullmatch=True), st.text(max_size=100))
def test_a_key_is_never_quoted(before: str, key: str, after: str) -> None:
    body = json.dumps({"error": {"message": f"{before} {key} {after}"}}).encode()
    assert key not in from_response(401, {}, body, [key]).message


@pytest.mark.parametrize("echo", ["sk-ab**************yz", "sk-proj-abcdefghijk", "Bearer abcdefghijk"])
def test_what_looks_like_a_key_is_starred_out_even_if_it_is_not_ours(echo: str) -> None:
    assert echo not in scrub(f"Incorrect API key provided: {echo}. See the documentation.")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"retry-after-ms": "150", "Retry-After": "1"}, 0.15),
        ({"Retry-After": "86400"}, 600.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": ""}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_to_wait(headers) == seconds


def test_retry_after_may_be_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    assert seconds_to_wait({"Retry-After": formatdate(1_000_000_060, usegmt=True)}) == 60


@pytest.mark.parametrize("wrong", [-86_400, 86_400])
def test_a_date_is_read_by_the_servers_own_clock(wrong: float) -> None:
    there = time.time() + wrong
    headers = {"Date": formatdate(there, usegmt=True), "Retry-After": formatdate(there + 60, usegmt=True)}
    assert seconds_to_wait(headers) == 60


@given(st.text(max_size=40))
def test_any_retry_after_is_none_or_a_bearable_wait(value: str) -> None:
    seconds = seconds_to_wait({"Retry-After": value})
    assert seconds is None or 0 <= seconds <= 600


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {}, "fatal"),
        (402, {}, "fatal"),
        (404, {}, "fatal"),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}, "fatal"),
        (429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, "busy"),
        (503, {}, "busy"),
        (529, {}, "busy"),
        (504, {}, "timeout"),
        (500, {}, "server"),
        (400, {}, "request"),
        (413, {}, "request"),
        (307, {}, "fatal"),
    ],
)
def test_the_status_says_what_follows(status: int, body: Any, kind: str) -> None:
    assert from_response(status, {}, json.dumps(body).encode()).kind == kind


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no", "type": "t"}}, "no"),
        ({"error": "no"}, "no"),
        ({"message": "no", "object": "error"}, "no"),
        ({"detail": "no"}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many", "input": "the whole prompt"}]}, "n: too many"),
    ],
)
def test_the_message_is_found_wherever_servers_put_it(body: Any, said: str) -> None:
    assert from_response(400, {}, json.dumps(body).encode()).message == f"HTTP 400: {said}"


def test_content_in_parts_is_joined() -> None:
    read = read_completion(completion(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), {})
    assert read.text == "ab"


def test_a_model_that_only_thought_says_what_to_raise() -> None:
    body = {"choices": [{"message": {"content": None, "reasoning_content": "Hm"}, "finish_reason": "length"}]}
    assert "max_tokens" in (read_completion(json.dumps(body).encode(), {}).silence or "")


# What real servers say of what they cannot do


def asked(**sampling: Any) -> Request:
    schema = {"type": "object"}
    return Request("k", (Message("user", "?"),), Triplet("t", "m", "a", ()), 3, Sampling(**sampling), schema)


@pytest.mark.parametrize(
    "message",
    [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required.",
        "The provided JSON schema contains features not supported by xgrammar.",
        "Failed to parse grammar",
    ],
)
def test_a_refused_structure_is_recognised(message: str) -> None:
    capabilities = Capabilities("tiny", "auto", {})
    failure = from_response(400, {}, json.dumps({"error": {"message": message}}).encode())
    assert capabilities.learn(failure, asked(), 1, times=1)
    assert capabilities.structured == "json_schema"
    assert not Capabilities("tiny", "auto", {}).learn(failure, replace(asked(), answer_schema=None), 1, times=1)


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 800. This model's maximum context length is 512 tokens.",
        "This model's maximum context length is 512 tokens. However, you requested 900 tokens. Please reduce the length.",
        "The response was filtered due to the prompt triggering the content management policy.",
        "seeding of the tumour",
    ],
)
def test_a_refused_prompt_is_not_taken_for_something_that_the_server_cannot_do(message: str) -> None:
    capabilities = Capabilities("tiny", "auto", {})
    failure = from_response(400, {}, json.dumps({"error": {"message": message}}).encode())
    assert not capabilities.learn(failure, asked(), 1, times=1)
    assert capabilities.notes == []


def test_models_that_reason_take_neither_max_tokens_nor_temperature() -> None:
    capabilities = Capabilities("o4-mini", "auto", {})
    said = [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        ("temperature", "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported."),
    ]  # fmt: skip
    for param, message in said:
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_value"}
        assert capabilities.learn(from_response(400, {}, json.dumps({"error": error}).encode()), asked(), 1, times=1)
    body = json.loads(capabilities.body(asked(temperature=0.7, max_tokens=500, seed=1)))
    assert "temperature" not in body
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["seed"]) == (500, 1)
    assert capabilities.structured == "strict"
