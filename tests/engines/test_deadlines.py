"""Deadlines of many tasks, kept with one timer."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from captioner.engines.deadlines import Deadlines


async def waits(deadlines: Deadlines, seconds: float, needs: float) -> bool:
    """Return whether a task that needs some time has it."""
    deadline = deadlines.within(seconds)
    try:
        await asyncio.sleep(needs)
    except asyncio.CancelledError:
        if not deadline.missed or deadline.task.uncancel():
            raise
        return False
    finally:
        deadlines.met(deadline)
    return True


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
        return [await waits(deadlines, 0.01, 600), await waits(deadlines, 600, 0.01)]

    assert use(twice) == [False, True]


@pytest.mark.parametrize("seed", range(3))
def test_deadlines_in_any_order_are_kept_by_each_task_alone(seed: int) -> None:
    async def together(deadlines: Deadlines) -> list[bool]:
        too_late = [waits(deadlines, 0.05 * (i % 7), 600) for i in range(100)]
        in_time = [waits(deadlines, 600 + i, 0.01 * (i % 5)) for i in range(100)]
        order = list(range(200))
        random.Random(seed).shuffle(order)
        results = await asyncio.gather(*((too_late + in_time)[i] for i in order))
        return [results[order.index(i)] for i in range(200)]

    assert use(together) == [False] * 100 + [True] * 100


def test_an_earlier_deadline_that_is_set_later_comes_first() -> None:
    async def both(deadlines: Deadlines) -> bool:
        patient = asyncio.create_task(waits(deadlines, 600, 600))
        await asyncio.sleep(0)
        assert await waits(deadlines, 0.01, 600) is False
        assert not patient.done()
        patient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await patient
        return True

    assert use(both)


def test_who_is_ended_by_somebody_else_as_well_ends() -> None:
    async def ended(deadlines: Deadlines) -> None:
        task = asyncio.create_task(waits(deadlines, 0.0, 600))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        # The timer is due now; whoever cancels does so in the same turn, before or after.
        loop.call_at(loop.time(), task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    use(ended)


def test_closing_forgets_all() -> None:
    async def closed(deadlines: Deadlines) -> bool:
        deadline = deadlines.within(0.0)
        deadlines.close()
        await asyncio.sleep(0.01)
        return deadline.missed

    assert use(closed) is False
