"""The way to a server: how long to wait for what, proxies, and whom to trust."""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from captioner.answers import encodable
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError
from captioner.store import Ledger
from tests.engines.asking import (
    ENVIRONMENT,
    SECRET,
    ask,
    check,
    engine_for,
    no_names_known,
    refused,
    request,
    requests,
    whole,
)
from tests.engines.faulty import FaultyServer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def listener(talk: Callable[[socket.socket], None], backlog: int = 5) -> Iterator[int]:
    """A server of a few lines: what it does with each connection; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        stop = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            while not stop.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with peer:
                    talk(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join()


@contextmanager
def saying(content: bytes, status: str = "200 OK", headers: str = "") -> Iterator[OpenAIEngine]:
    """An engine for a server that says one thing, whatever it is asked."""
    reply = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n{headers}\r\n".encode() + content
    )

    def talk(peer: socket.socket) -> None:
        whole(peer)
        peer.sendall(reply)

    with listener(talk) as port:
        settings = {"base_url": f"http://127.0.0.1:{port}/v1", "max_retries": 0, "retry_wait": 0.01, "hedge": 0}
        yield OpenAIEngine(OpenAISettings(model="tiny", **settings))


def completion(**changes: Any) -> bytes:
    choice = {"message": {"content": "fine"}, "finish_reason": "stop"} | changes.pop("choice", {})
    return json.dumps({"model": "tiny", "choices": [choice]} | changes).encode()


@pytest.mark.parametrize(
    ("content", "status", "headers"),
    [
        (completion(model=f"tiny-{SECRET}"), "200 OK", ""),
        (completion(choice={"finish_reason": f"stop {SECRET}"}), "200 OK", ""),
        (completion(choice={"message": {"content": ""}, "finish_reason": SECRET}), "200 OK", ""),
        (b"", "307 Temporary Redirect", f"Location: http://127.0.0.1/v1?key={SECRET}\r\n"),
        (json.dumps({"error": {"message": SECRET}}).encode(), "400 Bad Request", ""),
    ],
    ids=["model", "finish_reason", "finish_reason of nothing", "redirect", "error"],
)
def test_a_key_that_the_server_quotes_anywhere_is_neither_stored_nor_shown(
    monkeypatch: pytest.MonkeyPatch, content: bytes, status: str, headers: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with saying(content, status, headers) as engine:
        (answer,) = ask(engine, requests(1)).values()
    assert answer.error or answer.model or answer.finish_reason
    assert SECRET not in repr(answer)
    assert "***" in repr(answer)


def test_a_key_that_is_no_secret_spoils_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of one's own want any key whatsoever."""
    monkeypatch.setenv("OPENAI_API_KEY", "tin")
    with saying(completion(model="tiny-key-to-all")) as engine:
        (answer,) = ask(engine, requests(1)).values()
    assert (answer.model, answer.finish_reason) == ("tiny-key-to-all", "stop")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[" * 200_000, "200 OK"),
        (b"[" * 200_000, "400 Bad Request"),
        (b'{"detail": [{"loc": null, "msg": "bad"}, {"loc": 5}, 7]}', "422 Unprocessable Entity"),
        (completion(model="\ud800", choice={"finish_reason": "\udfff"}), "200 OK"),
        (b'{"error": {"message": "\\ud800 is half a character"}}', "400 Bad Request"),
        (completion(choice={"finish_reason": ["stop"]}), "200 OK"),
        (json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": {}}] * 2}).encode(), "200 OK"),
        (completion(usage={"prompt_tokens": 10**25, "completion_tokens": -5}), "200 OK"),
        (completion(usage={"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 10**30}}), "200 OK"),
    ],
    ids=[
        "deep",
        "deep error",
        "odd places",
        "half characters",
        "half a character in an error",
        "reason",
        "reasons",
        "tokens",
        "cached",
    ],
)
def test_whatever_a_server_says_is_an_answer_that_can_be_stored(tmp_path: Path, content: bytes, status: str) -> None:
    with saying(content, status) as engine:
        (answer,) = ask(engine, requests(1)).values()
    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        ledger.add_answer(encodable(answer), request(0))
        ledger.commit()
        assert ledger.totals().requests == 1
    assert 0 <= answer.prompt_tokens < 10**9
    assert answer.completion_tokens == 0


def test_an_answer_without_an_end_is_given_up() -> None:
    """It would fill the memory long before any timeout."""
    sent = []

    def talk(peer: socket.socket) -> None:
        whole(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while len(sent) < 1000:
                peer.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")
                sent.append(1)

    with listener(talk) as port:
        settings = {"base_url": f"http://127.0.0.1:{port}/v1", "max_retries": 0, "hedge": 0}
        (answer,) = ask(OpenAIEngine(OpenAISettings(model="tiny", **settings)), requests(1)).values()
    assert "longer than 64 MB" in (answer.error or "")
    assert len(sent) < 1000


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"timeout": float("inf")}, "timeout"),
        ({"base_url": []}, "empty list"),
        ({"headers": {"X-Team": "a\nb"}}, "X-Team"),
        ({"extra_body": {"messages": 3}}, "messages"),
        ({"extra_body": {"stream": True}}, "stream"),
    ],
)
def test_settings_that_can_only_go_wrong_are_refused_at_once(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OpenAISettings(model="tiny", **settings)


def test_a_header_from_the_environment_with_a_line_break_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEAM_KEY", "hush\nhush")
    with FaultyServer() as server:
        said = refused(engine_for(server, headers={"X-Team": "$TEAM_KEY"}))
    assert "TEAM_KEY" in said
    assert "hush" not in said


def proxy(
    seen: list[bytes],
    reply: bytes = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\nConnection: close\r\n\r\nno way",
):  # type: ignore[no-untyped-def]
    def talk(peer: socket.socket) -> None:
        seen.append(whole(peer))
        peer.sendall(reply)

    return talk


def remote(**settings: object) -> OpenAIEngine:
    given = {
        "model": "tiny",
        "base_url": "http://model-server.invalid/v1",
        "max_retries": 0,
        "max_outage": 0,
    } | settings
    return OpenAIEngine(OpenAISettings.model_validate(given))


def ask_once(engine: OpenAIEngine) -> str:
    """Return what is said of a server that cannot be reached for a request."""
    with pytest.raises(EngineError) as raised:
        ask(engine, requests(1))
    return str(raised.value)


# How long to wait for what


def test_a_connection_that_is_not_made_in_time_is_given_up_long_before_the_request_is() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # a queue of connections that nobody accepts: further ones get no answer
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", port))
            waiting.append(peer)
        for _ in range(500):
            if len(select.select([], waiting, [], 0)[1]) >= 2:  # one more than the queue is said to hold: it is full
                break
            time.sleep(0.01)
        settings = {"base_url": f"http://127.0.0.1:{port}/v1", "connect_timeout": 0.2, "timeout": 600}
        said = refused(OpenAIEngine(OpenAISettings.model_validate({"model": "tiny"} | settings)))
        for peer in waiting:
            peer.close()
    assert "cannot reach" in said
    assert "no connection in time" in said


def test_an_answer_that_does_not_come_in_time_is_given_up() -> None:
    with FaultyServer(faults={"hang": 1.0}) as server:
        answer = ask(engine_for(server, timeout=0.2, max_retries=0), requests(1))["k0"]
    assert answer.error == "no answer within 0.2 s"


def test_a_server_that_falls_silent_in_the_middle_is_given_up_long_before_the_request_is() -> None:
    with FaultyServer(script=["slow"]) as server:
        server.pause = 7200  # after the first byte
        answer = ask(engine_for(server, read_timeout=0.3, timeout=3600, max_retries=0), requests(1))["k0"]
    assert (answer.text, answer.attempts) == (None, 1)
    assert answer.seconds < 3600


def test_an_answer_that_has_begun_is_given_up_in_time_too() -> None:
    with FaultyServer(script=["slow"]) as server:
        server.pause = 7200
        answer = ask(engine_for(server, timeout=0.3, max_retries=0), requests(1))["k0"]
    assert answer.error == "no answer within 0.3 s"


def test_a_server_that_talks_slowly_but_steadily_is_not_silent() -> None:
    with FaultyServer(script=["slow"]) as server:
        server.pause = 0.016  # about 300 bytes
        answer = ask(engine_for(server, read_timeout=4), requests(1))["k0"]
    assert (answer.error, answer.attempts) == (None, 1)
    assert answer.seconds > 4


# Proxies


def test_a_proxy_that_is_set_is_used_for_the_check_and_for_requests() -> None:
    seen: list[bytes] = []
    with listener(proxy(seen)) as port:
        engine = remote(proxy=f"http://127.0.0.1:{port}")
        assert "HTTP 400: no way" in refused(engine)
        answer = ask(remote(proxy=f"http://127.0.0.1:{port}"), requests(1))["k0"]
    assert answer.error == "HTTP 400: no way"
    assert seen[0].startswith(b"GET http://model-server.invalid/v1/models HTTP/1.1")
    assert seen[-1].startswith(b"POST http://model-server.invalid/v1/chat/completions HTTP/1.1")


def test_a_proxy_that_is_set_wins_over_the_environment_and_none_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    no_names_known(monkeypatch)
    seen: list[bytes] = []
    with listener(proxy(seen)) as port:
        assert ask(remote(proxy=f"http://127.0.0.1:{port}"), requests(1))["k0"].error == "HTTP 400: no way"
    assert "'model-server.invalid' is not known" in refused(remote(proxy=""))


def test_the_environments_proxy_is_used_for_the_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with listener(proxy(seen)) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert "HTTP 400: no way" in refused(remote())
    assert seen[0].startswith(b"GET http://model-server.invalid/v1/models")


def test_a_host_in_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "model-server.invalid")
    no_names_known(monkeypatch)
    assert "'model-server.invalid' is not known" in refused(remote())


def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        said = refused(remote(proxy=f"http://127.0.0.1:{port}"))
    assert f"the proxy http://127.0.0.1:{port}" in said


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # in the official client
def test_a_proxy_that_refuses_a_tunnel_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    reply = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with listener(proxy(seen, reply)) as port:
        monkeypatch.setenv("https_proxy", f"http://me:hush-hush@127.0.0.1:{port}")
        said = refused(remote(base_url="https://model-server.invalid/v1"))
        answer = ask_once(remote(base_url="https://model-server.invalid/v1"))
    assert all(s.startswith(b"CONNECT model-server.invalid:443") for s in seen)
    assert all(b"Proxy-Authorization: Basic bWU6aHVzaC1odXNo" in s for s in seen)
    assert "407" in said
    assert "407" in answer
    assert f"the proxy http://127.0.0.1:{port}" in said
    assert "hush-hush" not in said


def test_a_server_on_this_machine_is_reached_directly_unless_a_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen: list[bytes] = []
    with FaultyServer() as server:
        check(engine_for(server))
        assert ask(engine_for(server), requests(1))["k0"].text
        with listener(proxy(seen)) as port:
            ask(engine_for(server, proxy=f"http://127.0.0.1:{port}", max_retries=0), requests(1))
    assert seen[0].startswith(b"POST http://127.0.0.1")


@pytest.mark.parametrize(
    ("value", "words"),
    [("proxy:3128", "is no proxy"), ("socks5://proxy:1080", "is no proxy"), ("http://me:hush@proxy:1", "no user")],
)
def test_a_proxy_that_cannot_work_is_refused_at_once(value: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as raised:
        OpenAISettings(model="tiny", proxy=value)
    assert "hush" not in str(raised.value)
