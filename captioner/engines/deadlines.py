"""When requests count as lost: one timer for all that are on their way, where aiohttp would make one for each."""

import asyncio

_AGAIN = 1.0


class Deadline:
    """By when a task must have what it waits for.

    Attributes:
        at: by the event loop's clock.
        task: whose wait it ends, by cancelling it.
        missed: the time is over.
    """

    __slots__ = ("_before", "at", "missed", "task")

    def __init__(self, at: float, task: "asyncio.Task[object]") -> None:
        self.at = at
        self.task = task
        self.missed = False
        self._before = task.cancelling()

    @property
    def alone(self) -> bool:
        """Whether the deadline is missed, and nobody else wants the task to end as well."""
        return self.missed and self.task.cancelling() == self._before + 1


class Deadlines:
    """All that are still to be met, of one event loop."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """Cancel the task that calls this after so many seconds, unless :meth:`over` comes first."""
        task = asyncio.current_task()
        assert task is not None
        deadline = Deadline(asyncio.get_running_loop().time() + seconds, task)
        self._open.add(deadline)
        if self._timer is None or deadline.at < self._timer.when():
            self._ring_at(deadline.at)
        return deadline

    def over(self, deadline: Deadline) -> None:
        """The wait is over, whatever ended it: its task is its own again."""
        self._open.discard(deadline)
        if deadline.missed:
            deadline.task.uncancel()

    def close(self) -> None:
        """Forget all."""
        self._open.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(moment, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for deadline in self._open:
            if deadline.at <= now:
                if deadline.missed:  # whatever the task waits for has swallowed it
                    deadline.task.uncancel()
                deadline.missed, deadline.at = True, now + _AGAIN
                deadline.task.cancel()
        if self._open:
            self._ring_at(min(d.at for d in self._open))
