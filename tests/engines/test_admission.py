"""How much is let through at once, and how fast."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from captioner.engines.admission import Admission, Pace


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def grown(ceiling: int) -> Admission:
    """An admission that one answered request has opened."""
    admission = Admission(ceiling)
    admission.release(await admission.acquire(), "done")
    return admission


async def one_round(admission: Admission) -> None:
    """Fill all slots, then give all back as answered."""
    slots = [await admission.acquire() for _ in range(admission.limit)]
    await asyncio.sleep(0.01)
    for slot in slots:
        admission.release(slot, "done")


def test_one_request_goes_first_and_its_answer_lets_more_through() -> None:
    async def main() -> None:
        admission = Admission(64)
        assert admission.limit == 1
        admission.release(await admission.acquire(), "done")
        assert admission.limit == 32

    run(main())


def test_the_ceiling_is_reached_and_never_exceeded() -> None:
    async def main() -> None:
        admission = await grown(100)
        for _ in range(20):
            await one_round(admission)
            assert admission.limit <= 100
        assert admission.limit == 100

    run(main())


def test_slots_that_nobody_needs_are_not_added() -> None:
    async def main() -> None:
        admission = await grown(100)
        for _ in range(200):
            admission.release(await admission.acquire(), "done")
        assert admission.limit == 32

    run(main())


def test_a_burst_of_overload_cuts_once() -> None:
    async def main() -> None:
        admission = await grown(32)
        slots = [await admission.acquire() for _ in range(32)]
        for slot in slots:
            admission.release(slot, "busy")
        assert admission.limit == 16

    run(main())


def test_overload_after_a_cut_cuts_again_but_never_to_nothing() -> None:
    async def main() -> None:
        admission = await grown(32)
        limits = []
        for _ in range(8):
            admission.release(await admission.acquire(), "busy")
            limits.append(admission.limit)
        assert limits == [16, 8, 4, 2, 1, 1, 1, 1]

    run(main())


def test_after_a_cut_it_grows_again_step_by_step() -> None:
    async def main() -> None:
        admission = await grown(32)
        admission.release(await admission.acquire(), "busy")
        limits = [admission.limit]
        for _ in range(20):
            await one_round(admission)
            limits.append(admission.limit)
        assert limits[0] == 16
        assert limits == sorted(limits)
        assert limits[1] - limits[0] in {0, 1}
        assert limits[-1] == 32

    run(main())


def test_a_failure_that_says_nothing_of_the_load_changes_nothing() -> None:
    async def main() -> None:
        admission = await grown(32)
        for _ in range(100):
            admission.release(await admission.acquire(), "failed")
        assert (admission.limit, admission.in_flight) == (32, 0)

    run(main())


def test_a_pause_holds_everybody_back_and_then_lets_them_go() -> None:
    async def main() -> None:
        admission = await grown(4)
        admission.release(await admission.acquire(), "busy", 0.2)
        start = time.monotonic()
        first, second = await asyncio.gather(admission.acquire(), admission.acquire())
        assert min(first, second) - start >= 0.19

    run(main())


def test_a_waiter_that_is_cancelled_takes_no_slot_with_it() -> None:
    async def main() -> None:
        admission = Admission(1)
        slot = await admission.acquire()
        waiting = [asyncio.create_task(admission.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        admission.release(slot, "failed")  # hands the slot to the second, which is cancelled before it wakes up
        waiting[1].cancel()
        assert await asyncio.wait_for(waiting[2], 1)
        assert admission.in_flight == 1

    run(main())


def test_no_limit_waits_for_nothing() -> None:
    async def main() -> None:
        pace = Pace(None)
        for _ in range(1000):
            await pace.wait(1e9)
        pace.correct(1e9)

    run(main())


def test_what_was_not_used_is_given_back() -> None:
    async def main() -> None:
        pace = Pace(60_000)  # a thousand a second
        await pace.wait(1_500)
        pace.correct(-1_500)
        start = time.monotonic()
        await pace.wait(10)
        await pace.wait(10)
        assert time.monotonic() - start < 1

    run(main())


@pytest.mark.parametrize("ceiling", [1, 2, 7])
def test_a_small_ceiling_is_kept_from_the_start(ceiling: int) -> None:
    async def main() -> None:
        admission = await grown(ceiling)
        assert admission.limit == ceiling

    run(main())
