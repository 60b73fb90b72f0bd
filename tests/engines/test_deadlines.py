"""Deadlines of many tasks, kept with one timer."""

import asyncio
import contextlib
import random
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from captioner.engines.deadlines import Deadlines


async def waits(deadlines: Deadlines, seconds: float, what: Awaitable[None]) -> bool:
    """Return whether what a task waits for has come in time."""
    deadline = deadlines.within(seconds)
    try:
        await what
    except asyncio.CancelledError:
        if not deadline.alone:
            raise
        return False
    finally:
        deadlines.over(deadline)
    return True


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def use(what: Callable[[Deadlines], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        deadlines = Deadlines()
        try:
            return await what(deadlines)
        finally:
            deadlines.close()

    return asyncio.run(main())


def test_a_task_that_takes_too_long_is_ended_and_goes_on_to_other_things() -> None:
    async def twice(deadlines: Deadlines) -> list[bool]:
        return [await waits(deadlines, 0.01, sleep(600)), await waits(deadlines, 600, sleep(0.01))]

    assert use(twice) == [False, True]


@pytest.mark.parametrize("seed", range(3))
def test_deadlines_in_any_order_are_kept_by_each_task_alone(seed: int) -> None:
    async def together(deadlines: Deadlines) -> list[bool]:
        too_late = [waits(deadlines, 0.05 * (i % 7), sleep(600)) for i in range(100)]
        in_time = [waits(deadlines, 600 + i, sleep(0.01 * (i % 5))) for i in range(100)]
        order = list(range(200))
        random.Random(seed).shuffle(order)
        results = await asyncio.gather(*((too_late + in_time)[i] for i in order))
        return [results[order.index(i)] for i in range(200)]

    assert use(together) == [False] * 100 + [True] * 100


def test_an_earlier_deadline_that_is_set_later_comes_first() -> None:
    async def both(deadlines: Deadlines) -> None:
        patient = asyncio.create_task(waits(deadlines, 600, sleep(600)))
        await sleep(0)
        assert await waits(deadlines, 0.01, sleep(600)) is False
        assert not patient.done()
        patient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await patient

    use(both)


@pytest.mark.parametrize("later", [-1.0, 0.0])
def test_who_is_ended_by_somebody_else_as_well_ends(later: float) -> None:
    async def ended(deadlines: Deadlines) -> None:
        task = asyncio.create_task(waits(deadlines, 0.0, sleep(600)))
        await sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + later, task.cancel)  # in the same turn as the timer: before it, or after
        with pytest.raises(asyncio.CancelledError):
            await task

    use(ended)


async def swallowing(seconds: float) -> None:
    """Wait as libraries do that end tasks of their own: a cancellation that comes meanwhile is taken for theirs."""
    with contextlib.suppress(asyncio.CancelledError):
        await sleep(600)
    await sleep(seconds)


def test_a_task_whose_library_swallows_the_end_is_ended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.engines.deadlines._AGAIN", 0.01)

    async def ended(deadlines: Deadlines) -> tuple[bool, int]:
        return await waits(deadlines, 0.01, swallowing(600)), cancelling()

    assert use(ended) == (False, 0)


def test_a_deadline_that_was_missed_in_vain_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.engines.deadlines._AGAIN", 600.0)

    async def in_vain(deadlines: Deadlines) -> tuple[bool, int, bool]:
        first = await waits(deadlines, 0.0, swallowing(0.0))
        return first, cancelling(), await waits(deadlines, 0.01, sleep(600))

    assert use(in_vain) == (True, 0, False)


def test_closing_forgets_all() -> None:
    async def closed(deadlines: Deadlines) -> bool:
        deadline = deadlines.within(0.0)
        deadlines.close()
        await sleep(0.01)
        return deadline.missed

    assert use(closed) is False
