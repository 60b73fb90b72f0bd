"""Several servers of the same model: who gets which request, and what becomes of those that a server loses."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from captioner import engines
from captioner.engines.endpoint import Endpoint
from captioner.engines.failures import Failure
from captioner.engines.health import Health
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError, PipelineError
from captioner.pipeline import load_pipeline
from captioner.schema import load_schema
from tests.engines.asking import (
    DEFAULTS,
    ENVIRONMENT,
    SCHEMA,
    ask,
    check,
    engine_for,
    errors,
    refused,
    requests,
    until,
    use,
)
from tests.engines.faulty import FaultyServer, draw_alike, equally_fast, kept_port


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def endpoint(server: FaultyServer, **settings: Any) -> dict[str, Any]:
    return {"base_url": server.base_url} | settings


def engine_of(*endpoints: dict[str, Any], **settings: Any) -> OpenAIEngine:
    return OpenAIEngine(OpenAISettings(**(DEFAULTS | {"endpoints": endpoints} | settings)))


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is out of service is not tried again for an hour."""
    monkeypatch.setattr("captioner.engines.health._SHORTEST", 3600.0)
    monkeypatch.setattr("captioner.engines.health._LONGEST", 3600.0)
    monkeypatch.setattr("captioner.engines.health._REFUSED", 3600.0)


# Who gets what


def test_all_servers_share_the_work() -> None:
    with FaultyServer(latency=0.01) as first, FaultyServer(latency=0.01) as second:
        equally_fast(first, second, 200)
        answers = ask(engine_for(first, second, concurrency=4), requests(200))
    assert errors(answers) == []
    assert len(answers) == len(first.bodies) + len(second.bodies) == 200
    # Until all have come, they are no more than 8 answers apart, and each holds 4 at most.
    assert min(len(first.bodies), len(second.bodies)) >= (200 - 8 - 4) / 2
    assert first.most_open <= 4
    assert second.most_open <= 4


def test_a_server_of_three_times_the_weight_gets_about_three_times_the_requests() -> None:
    with FaultyServer() as heavy, FaultyServer() as light:
        engine = engine_of(endpoint(heavy, weight=3), endpoint(light))

        async def main() -> None:
            slots = [await engine._pool.acquire() for _ in range(2)]
            for slot in slots:
                engine._pool.release(slot, "done")
            slots = [await engine._pool.acquire() for _ in range(20)]
            taken = [e.admission.in_flight for e in engine._endpoints]
            assert taken == [15, 5]

        asyncio.run(main())


def test_a_slow_server_gets_less_of_the_work() -> None:
    with FaultyServer(latency=0.01) as fast, FaultyServer() as slow:
        # Twenty times as slow, until all requests have come.
        slow.gate = lambda: 20 * slow.served["ok"] < fast.served["ok"] or len(fast.bodies) + len(slow.bodies) >= 300
        ask(engine_for(fast, slow, concurrency=4), requests(300))
    assert len(slow.bodies) <= 300 / 20 + 1 + 4  # the share of its speed, and those that it holds when all have come


def test_a_server_that_holds_requests_back_is_passed_by() -> None:
    with FaultyServer(script=["busy"] * 3, retry_after=600) as busy, FaultyServer() as free:
        answers = ask(engine_for(busy, free), requests(50))
    assert errors(answers) == []
    assert len(busy.bodies) == 1
    assert len(free.bodies) == 50


def test_each_server_has_a_name_for_the_model_a_key_and_headers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "first-key")
    monkeypatch.setenv("SECOND_KEY", "second-key")
    with FaultyServer(key="first-key") as first, FaultyServer(key="second-key", models=["large"]) as second:
        engine = engine_of(
            endpoint(first, api_key_env="FIRST_KEY"),
            endpoint(
                second, api_key_env="SECOND_KEY", model="large", headers={"X-Team": "imaging"}, extra_body={"a": 1}
            ),
        )
        answers = ask(engine, requests(100))
    assert errors(answers) == []
    assert {b["model"] for b in first.bodies} == {"tiny"}
    assert {b["model"] for b in second.bodies} == {"large"}
    assert all(h["X-Team"] == "imaging" for h in second.headers)
    assert not any("X-Team" in h for h in first.headers)
    assert all(b["a"] == 1 for b in second.bodies)


def test_what_one_server_cannot_do_is_still_asked_of_the_others() -> None:
    with FaultyServer(unsupported={"strict", "json_schema", "seed"}) as weak, FaultyServer() as strong:
        engine = engine_for(weak, strong)
        answers = ask(engine, requests(60, SCHEMA, seed=1))
    assert errors(answers) == []
    assert weak.bodies[-1]["response_format"] == {"type": "json_object"}
    assert strong.bodies[-1]["response_format"]["json_schema"]["strict"]
    assert "seed" in strong.bodies[-1]
    assert "seed" not in weak.bodies[-1]


def test_a_server_that_breaks_on_structure_is_found_out_though_another_does_not() -> None:
    def breaks(body: dict[str, Any]) -> str:
        if (body.get("response_format") or {}).get("type") == "json_schema":
            raise RuntimeError
        return '{"captions": ["Fine."]}'

    with FaultyServer(caption=breaks) as weak, FaultyServer() as strong:
        strong.gate = lambda: strong.served["ok"] < weak.served["ok"] + 8 or weak.served["ok"] > 20
        answers = ask(engine_for(weak, strong, concurrency=4), until(lambda: weak.served["ok"] > 20, SCHEMA))
    assert errors(answers) == []
    assert weak.bodies[-1]["response_format"] == {"type": "json_object"}
    assert weak.served["ok"] > 20


# What is lost with a server


def test_a_request_that_fails_is_sent_to_another_server_that_has_room_the_second_time() -> None:
    with FaultyServer(faults={"error": 1.0}) as broken, FaultyServer() as good:
        answers = ask(engine_for(broken, good, max_retries=1), requests(1))
    assert [(a.error, a.attempts) for a in answers.values()] == [(None, 2)]
    assert (len(broken.bodies), len(good.bodies)) == (1, 1)


def test_a_server_that_dies_in_the_middle_costs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    with kept_port() as port, FaultyServer(latency=0.01) as staying:
        dying = FaultyServer(latency=0.01, port=port)
        dying.__enter__()

        def kill(answered: int) -> None:
            if answered == 100:
                dying.__exit__()

        # Four connections can break, and one request may be unlucky enough to have met with each.
        answers = ask(engine_for(dying, staying, concurrency=4, max_retries=4), requests(400), kill)
    assert errors(answers) == []
    assert len(answers) == 400
    assert f"{dying.base_url} is out of service" in caplog.text


def test_a_server_that_comes_back_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("captioner.engines.health._SHORTEST", 0.05)
    monkeypatch.setattr("captioner.engines.health._LONGEST", 0.05)
    with kept_port() as port, FaultyServer(latency=0.01) as staying:
        dying, again = FaultyServer(port=port), FaultyServer(port=port)
        staying.gate = lambda: len(staying.bodies) < 1000 or len(again.bodies) > 50
        dying.__enter__()

        def restart(answered: int) -> None:
            if answered == 50:
                dying.__exit__()
            elif answered == 150:
                again.__enter__()

        answers = ask(engine_for(dying, staying, concurrency=4), until(lambda: len(again.bodies) > 50), restart)
        again.__exit__()
    assert errors(answers) == []
    assert len(again.bodies) > 50
    assert f"{dying.base_url} is back in service" in caplog.text


@pytest.mark.usefixtures("no_second_look")
@pytest.mark.parametrize("fault", ["error", "reset", "html", "not_chat", "overloaded"])
def test_a_server_that_breaks_every_time_is_left_alone_after_a_few_requests(fault: str) -> None:
    with FaultyServer(faults={fault: 1.0}) as broken, FaultyServer(latency=0.002) as good:
        answers = ask(engine_for(broken, good, max_retries=5), requests(300))
    assert errors(answers) == []
    assert len(broken.bodies) <= 5  # one at a time, as long as it has answered none; five put it out of service


@pytest.mark.usefixtures("no_second_look")
def test_a_server_whose_key_is_revoked_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with FaultyServer(key="right", latency=0.01) as revoked, FaultyServer(key="right", latency=0.01) as good:

        def revoke(answered: int) -> None:
            if answered == 50:
                revoked.key = "another"

        answers = ask(engine_for(revoked, good, concurrency=16), requests(300), revoke)
    assert errors(answers) == []
    assert (
        revoked.served["unauthorized"] <= 16
    )  # those that were on their way: one refusal puts a server out of service


@pytest.mark.usefixtures("no_second_look")
def test_an_old_answer_that_comes_late_does_not_bring_a_revoked_server_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with FaultyServer(key="right") as revoked, FaultyServer(key="right") as good:
        engine = engine_for(revoked, good, concurrency=16)
        health = engine._endpoints[0].health

        def gate() -> bool:
            """The key is revoked as the twentieth request comes, which is answered when the next have been refused."""
            if len(revoked.bodies) >= 20:
                revoked.key = "another"
            return revoked.key == "right" or not health.closed

        revoked.gate = gate
        answers = ask(engine, requests(300))
    assert errors(answers) == []
    assert 0 < revoked.served["unauthorized"] < 16
    assert "back in service" not in caplog.text


def test_when_all_servers_are_gone_the_run_waits_and_then_stops() -> None:
    with kept_port() as one, kept_port() as other:
        first, second = FaultyServer(port=one), FaultyServer(port=other)  # neither is started
        with pytest.raises(EngineError) as raised:
            ask(engine_for(first, second, max_outage=0.3), requests(100_000))
    assert f"none of {first.base_url}, {second.base_url} can be used" in str(raised.value)
    assert "connection refused" in str(raised.value)


def test_when_all_servers_refuse_the_key_the_run_stops_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with (
        FaultyServer(key="right") as first,
        FaultyServer(key="right") as second,
        pytest.raises(EngineError, match="OPENAI_API_KEY"),
    ):
        ask(engine_for(first, second, concurrency=1), requests(100_000))
    # Three requests that both refuse end it; the other worker may have one more under way, which ends it too.
    assert len(first.bodies) + len(second.bodies) <= 2 * (3 + 1)


def test_faults_at_both_of_two_servers_lose_nothing() -> None:
    faults = {"error": 0.1, "reset": 0.05, "busy": 0.05, "truncated": 0.05, "disconnect": 0.05}
    with FaultyServer(faults=faults, seed=3) as first, FaultyServer(faults=faults) as second:
        draw_alike(first, second)
        answers = ask(engine_for(first, second), requests(400, SCHEMA))
        sent = len(first.bodies) + len(second.bodies)
    assert errors(answers) == []
    assert sum(a.attempts for a in answers.values()) == sent
    assert sent <= 1.6 * 400


# The check before a run


def test_the_check_passes_when_one_server_is_not_there_yet() -> None:
    with kept_port() as port, FaultyServer() as good:
        check(engine_for(FaultyServer(port=port), good))


def test_the_check_fails_when_none_is_there_and_names_each() -> None:
    with kept_port() as one, kept_port() as other:
        first, second = FaultyServer(port=one), FaultyServer(port=other)
        said = refused(engine_for(first, second))
    assert first.base_url in said
    assert second.base_url in said


def test_the_check_fails_when_one_has_not_the_model() -> None:
    with FaultyServer() as good, FaultyServer(models=["other"]) as wrong:
        said = refused(engine_for(good, wrong))
    assert f"{wrong.base_url} has no model 'tiny'; it has: other" in said
    assert good.base_url not in said


# Where, not what


def test_which_servers_are_asked_is_no_part_of_a_request() -> None:
    schema = load_schema("busi")
    one = load_pipeline({"schema": "busi", "engine": {"model": "m", "base_url": "http://a/v1"}})
    two = load_pipeline({"schema": "busi", "engine": {"model": "m", "base_url": ["http://a/v1", "http://b/v1"]}})
    made = [engines.make(spec.engine, schema) for spec in (one, two)]
    assert [(e.name, e.model) for e in made] == [("openai", "m")] * 2


def test_addresses_may_be_given_as_a_list_on_the_command_line() -> None:
    spec = load_pipeline({"schema": "busi"}, ["engine.model=m", "engine.base_url=[http://a/v1, http://b/v1]"])
    engine = engines.make(spec.engine, load_schema("busi"))
    assert isinstance(engine, OpenAIEngine)
    assert [e.base_url for e in engine.settings.each()] == ["http://a/v1", "http://b/v1"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "http://a/v1", "endpoints": [{"base_url": "http://b/v1"}]}, "not as both"),
        ({"base_url": ["http://a/v1"], "endpoints": [{"base_url": "http://b/v1"}]}, "not as both"),
        ({"base_url": ["a/v1"]}, "must start with http"),
        ({"endpoints": [{"base_url": "http://b/v1", "weight": 0}]}, "greater than 0"),
        ({"endpoints": [{"weight": 1}]}, "base_url"),
        ({"endpoints": [{"base_url": "http://b/v1", "api_key": "sk-secret"}]}, "Extra inputs"),
    ],
)
def test_endpoints_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as raised:
        OpenAISettings.model_validate({"model": "tiny"} | settings)
    assert "sk-secret" not in str(raised.value)


def test_a_misspelt_setting_of_an_endpoint_is_named() -> None:
    given = {"model": "m", "endpoints": [{"base_url": "http://a/v1", "wieght": 2}]}
    with pytest.raises(PipelineError, match=r"endpoints\.0\.wieght"):
        engines.make(given, load_schema("busi"))


# The breaker itself


def test_a_limit_on_the_rate_and_a_refused_request_say_nothing_of_a_servers_health() -> None:
    health = Health()
    for _ in range(100):
        assert not health.failed(Failure("busy", "slow down", status=429), 0.0)
        assert not health.failed(Failure("request", "too long", status=400), 0.0)
    assert health.closed


def test_failures_between_answers_do_not_put_a_server_out_of_service() -> None:
    health = Health()
    for _ in range(100):
        for _ in range(4):
            assert not health.failed(Failure("server", "broken", status=500), 0.0)
        health.worked(0.0)
    assert health.closed


def test_a_server_out_of_service_is_tried_by_one_request_at_a_time_and_ever_more_seldom() -> None:
    health = Health()
    assert health.failed(Failure("unreachable", "refused"), 0.0)
    now, pauses = 0.0, []
    for _ in range(8):
        assert not health.due(now)
        pauses.append(health.retry_at - now)
        now = health.retry_at
        assert health.due(now)
        health.try_again()
        assert not health.due(now)
        assert not health.failed(Failure("unreachable", "refused"), now)
        health.tried()
    assert pauses[1] > pauses[0]
    assert max(pauses) < 70
    health.try_again()
    assert health.worked(now)
    health.tried()
    assert health.closed


def test_an_answer_to_what_was_sent_before_a_server_went_out_of_service_does_not_bring_it_back() -> None:
    health = Health()
    assert health.failed(Failure("fatal", "wrong key", status=401), 10.0)
    assert not health.worked(9.0)
    assert not health.closed
    assert not health.due(11.0)
    assert health.worked(11.0)
    assert health.closed


# Requests that hang


class Impatience:
    """Requests count as lost sooner than real servers would allow, but not before it is time."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._log = caplog
        self.due: Callable[[], bool] = lambda: True

    def after(self, answers: int) -> Callable[[int], None]:
        """Make it time when there are so many answers, and only what hangs is still on its way."""
        answered = 0
        self.due = lambda: answered >= answers

        def count(number: int) -> None:
            nonlocal answered
            answered = number

        return count

    @property
    def text(self) -> str:
        return self._log.text


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Impatience:
    impatience, bound = Impatience(caplog), Endpoint.hangs_after
    monkeypatch.setattr(Endpoint, "hangs_after", lambda e: bound(e) if impatience.due() else math.inf)
    monkeypatch.setattr("captioner.engines.endpoint._HANGS_FLOOR", 0.3)
    monkeypatch.setattr("captioner.engines.endpoint._LEAST_PATIENCE", 3600.0)
    monkeypatch.setattr("captioner.engines.flights._LOOK", 0.05)
    caplog.set_level(logging.INFO)
    return impatience


def test_a_request_that_hangs_is_sent_a_second_time_and_the_first_is_given_up(impatient: Impatience) -> None:
    with FaultyServer(script=[*["ok"] * 120, "hang"], latency=0.005) as server:
        answers = ask(engine_for(server, timeout=3600, hedge=0.02), requests(200), impatient.after(199))
        deadline = time.monotonic() + 600
        while server.open and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.open == 0  # the hanging one was cancelled
    assert errors(answers) == []
    assert sorted(a.attempts for a in answers.values())[-2:] == [1, 2]
    assert len(server.bodies) == 201
    assert (
        "1 of 200 requests hung and were sent a second time; the second copy was answered first 1 time"
        in impatient.text
    )


def test_a_second_copy_goes_to_another_server(impatient: Impatience) -> None:
    with FaultyServer(script=[*["ok"] * 60, "hang"], latency=0.005) as first, FaultyServer(latency=0.005) as second:
        equally_fast(first, second, 200)
        answers = ask(engine_for(first, second, timeout=3600, hedge=0.02), requests(200), impatient.after(199))
    assert errors(answers) == []
    asked = [b["messages"][-1]["content"] for b in (*first.bodies, *second.bodies)]
    twice = {q for q in asked if asked.count(q) == 2}
    assert len(twice) == 1
    assert twice <= {b["messages"][-1]["content"] for b in second.bodies}


async def answered(engine: OpenAIEngine, count: int, enough: int, told: Callable[[int], None]) -> None:
    """Ask so many requests and take so many answers; look at what hangs some more times, and leave."""
    stream = engine.answers(requests(count))
    for number in range(1, enough + 1):
        await anext(stream)
        told(number)
    await asyncio.sleep(0.3)
    await stream.aclose()


@pytest.mark.usefixtures("no_second_look")
def test_a_server_that_hangs_every_time_is_left_alone(impatient: Impatience) -> None:
    async def twice(engine: OpenAIEngine) -> None:
        await answered(engine, 200, 200, impatient.after(192))
        assert f"{hanging.base_url} is out of service" in impatient.text
        asked = len(hanging.bodies)
        await answered(engine, 100, 100, impatient.after(101))
        assert len(hanging.bodies) == asked

    with FaultyServer(latency=0.005) as good, FaultyServer(script=["ok"] * 60, faults={"hang": 1.0}) as hanging:
        # All that may be there at once hang there before the other has answered all there is.
        good.gate = lambda: good.served["ok"] < 60 or hanging.served["hang"] == 8
        use(engine_for(good, hanging, timeout=3600, hedge=0.2, concurrency=8), twice)


def test_no_more_than_the_set_share_is_sent_twice(impatient: Impatience) -> None:
    with FaultyServer(script=[*["ok"] * 60, *["hang"] * 20]) as hanging, FaultyServer() as good:
        good.gate = lambda: good.served["ok"] < 60 or hanging.served["hang"] == 20
        engine = engine_for(hanging, good, timeout=3600, hedge=0.05)
        # 20 of 300 hang, and are all that is left when 280 are answered; 15 of them may be sent twice.
        use(engine, lambda e: answered(e, 300, 295, impatient.after(280)))
    assert (
        "15 of 300 requests hung and were sent a second time; the second copy was answered first 15" in impatient.text
    )
    assert len(hanging.bodies) + len(good.bodies) == 315


def test_nothing_is_sent_twice_where_that_is_not_wanted(impatient: Impatience) -> None:
    with FaultyServer(script=[*["ok"] * 60, "hang"]) as server:
        use(engine_for(server, timeout=3600, hedge=0), lambda e: answered(e, 100, 99, impatient.after(99)))
    assert "a second time" not in impatient.text
    assert len(server.bodies) == 100


class Waiting(FaultyServer):
    """Lets a request hang until the next one comes, which it acts upon at once, or a little later.

    Args:
        first, second: what it then does with each.
        later: seconds.
    """

    def __init__(self, *, first: str, second: str, later: float, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.second, self.later = first, second, later
        self.arrived: asyncio.Event | None = None

    async def _act(self, fault: str, request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
        if fault == "hang":
            self.arrived = asyncio.Event()
            await self.arrived.wait()
            await asyncio.sleep(max(0.0, -self.later))
            fault = self.first
        elif self.arrived is not None:
            self.arrived.set()
            await asyncio.sleep(max(0.0, self.later))
            fault = self.second
        return await super()._act(fault, request, completion)


def test_a_second_copy_that_fails_leaves_the_first_waiting(impatient: Impatience) -> None:
    with Waiting(first="ok", second="error", later=-0.3, script=[*["ok"] * 80, "hang"]) as server:
        answers = ask(engine_for(server, timeout=3600, concurrency=1, hedge=0.02), requests(81), impatient.after(80))
    assert errors(answers) == []
    assert answers["k80"].attempts == 2
    assert "answered first 0 times" in impatient.text


def test_a_request_that_fails_while_its_second_copy_is_on_its_way_waits_for_that(impatient: Impatience) -> None:
    with Waiting(first="disconnect", second="ok", later=0.3, script=[*["ok"] * 80, "hang"]) as server:
        answers = ask(engine_for(server, timeout=3600, concurrency=1, hedge=0.02), requests(81), impatient.after(80))
    assert errors(answers) == []
    assert answers["k80"].attempts == 2
    assert len(server.bodies) == 82


def test_leaving_while_a_second_copy_is_on_its_way_leaves_nothing_running(impatient: Impatience) -> None:
    impatient.due = lambda: bool(server.faults)

    async def leave(engine: OpenAIEngine) -> None:
        stream = engine.answers(requests(200))
        for _ in range(100):
            await anext(stream)
        server.faults = {"hang": 1.0}
        async with asyncio.timeout(600):
            while not engine._flights._copies:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await stream.aclose()

    with FaultyServer(latency=0.005) as server:
        use(engine_for(server, timeout=3600, hedge=0.1, concurrency=4), leave)
