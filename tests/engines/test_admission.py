"""How much is let through at once, and how fast."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from captioner.engines import admission as module
from captioner.engines.admission import Admission, Pace
from captioner.engines.endpoint import Endpoint
from captioner.engines.pool import Pool
from captioner.engines.settings import OpenAISettings


class Clock:
    """Seconds that pass when a test says so, or whoever is tested sleeps."""

    def __init__(self) -> None:
        self.now = self.begin = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "asyncio", clock)
    return clock


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def slot(admission: Admission) -> float:
    """Take a slot that is free; return when it was taken."""
    now = module.time.monotonic()
    assert admission.free(now)
    admission.take()
    return now


def grown(ceiling: int) -> Admission:
    """An admission that one answered request has opened."""
    admission = Admission(ceiling)
    admission.release(slot(admission), "done")
    return admission


def pool(ceiling: int) -> tuple[Pool, Admission]:
    """A pool of one server that one answered request has opened."""
    endpoint = Endpoint(OpenAISettings(model="tiny", base_url="http://127.0.0.1:9/v1", concurrency=ceiling))
    return Pool([endpoint]), endpoint.admission


def one_round(admission: Admission, clock: Clock) -> None:
    """Fill all slots, then give all back as answered."""
    slots = [slot(admission) for _ in range(admission.limit)]
    clock.now += 0.01
    for since in slots:
        admission.release(since, "done")


def test_one_request_goes_first_and_its_answer_lets_more_through() -> None:
    async def main() -> None:
        admission = Admission(64)
        assert admission.limit == 1
        admission.release(slot(admission), "done")
        assert admission.limit == 32

    run(main())


def test_the_ceiling_is_reached_and_never_exceeded(clock: Clock) -> None:
    admission = grown(100)
    for _ in range(20):
        one_round(admission, clock)
        assert admission.limit <= 100
    assert admission.limit == 100


def test_slots_that_nobody_needs_are_not_added() -> None:
    async def main() -> None:
        admission = grown(100)
        for _ in range(200):
            admission.release(slot(admission), "done")
        assert admission.limit == 32

    run(main())


def test_a_burst_of_overload_cuts_once(clock: Clock) -> None:
    async def main() -> None:
        admission = grown(32)
        slots = [slot(admission) for _ in range(32)]
        clock.now += 0.01
        for since in slots:
            admission.release(since, "busy")
        assert admission.limit == 16

    run(main())


def test_overload_after_a_cut_cuts_again_but_never_to_nothing() -> None:
    async def main() -> None:
        admission = grown(32)
        limits = []
        for _ in range(8):
            admission.release(slot(admission), "busy")
            limits.append(admission.limit)
        assert limits == [16, 8, 4, 2, 1, 1, 1, 1]

    run(main())


def test_after_a_cut_it_grows_again_step_by_step(clock: Clock) -> None:
    admission = grown(32)
    admission.release(slot(admission), "busy")
    limits = [admission.limit]
    for _ in range(20):
        one_round(admission, clock)
        limits.append(admission.limit)
    assert limits[0] == 16
    assert limits == sorted(limits)
    assert limits[1] - limits[0] in {0, 1}
    assert limits[-1] == 32


def test_a_failure_that_says_nothing_of_the_load_changes_nothing() -> None:
    async def main() -> None:
        admission = grown(32)
        for _ in range(100):
            admission.release(slot(admission), "failed")
        assert (admission.limit, admission.in_flight) == (32, 0)

    run(main())


def test_a_pause_holds_everybody_back_and_then_lets_them_go() -> None:
    async def main() -> None:
        servers, admission = pool(4)
        servers.release(await servers.acquire(), "done")
        held = await servers.acquire()
        start = time.monotonic()
        servers.release(held, "busy", 0.2)
        first, second = await asyncio.gather(servers.acquire(), servers.acquire())
        assert min(first.since, second.since) - start >= 0.2
        assert admission.in_flight == 2

    run(main())


def test_a_waiter_that_is_cancelled_takes_no_slot_with_it() -> None:
    async def main() -> None:
        servers, admission = pool(1)
        held = await servers.acquire()
        waiting = [asyncio.create_task(servers.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        servers.release(held, "failed")  # hands the slot to the second, which is cancelled before it wakes up
        waiting[1].cancel()
        assert await asyncio.wait_for(waiting[2], 60)
        assert admission.in_flight == 1

    run(main())


def test_no_limit_waits_for_nothing() -> None:
    async def main() -> None:
        pace = Pace(None)
        for _ in range(1000):
            await pace.wait(1e9)
        pace.correct(1e9)

    run(main())


def test_what_was_not_used_is_given_back(clock: Clock) -> None:
    async def main() -> None:
        pace = Pace(60_000)  # a thousand a second
        await pace.wait(1_500)
        pace.correct(-1_500)
        await pace.wait(10)
        await pace.wait(10)
        assert clock.now - clock.begin < 1

    run(main())


@pytest.mark.parametrize("ceiling", [1, 2, 7])
def test_a_small_ceiling_is_kept_from_the_start(ceiling: int) -> None:
    async def main() -> None:
        admission = grown(ceiling)
        assert admission.limit == ceiling

    run(main())
