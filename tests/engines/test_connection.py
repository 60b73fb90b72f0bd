"""The way to a server: how long to wait for what, proxies, and whom to trust."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import ValidationError

from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError
from tests.engines.asking import ENVIRONMENT, ask, check, engine_for, no_names_known, refused, requests, whole
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
