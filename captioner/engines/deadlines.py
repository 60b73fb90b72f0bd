"""When requests count as lost: one timer for all of them, since a timer for each costs a tenth of what a request does."""

import asyncio


class Deadline:
    """By when a task must have what it waits for.

    Attributes:
        at: by the event loop's clock.
        task: whose wait it ends.
        missed: the time is over, and the task was cancelled.
    """

    __slots__ = ("at", "missed", "task")

    def __init__(self, at: float, task: "asyncio.Task[object]") -> None:
        self.at = at
        self.task = task
        self.missed = False


class Deadlines:
    """All that are still to be met, of one event loop."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """Cancel the task that calls this after so many seconds, unless the deadline is met by then."""
        task = asyncio.current_task()
        assert task is not None
        deadline = Deadline(asyncio.get_running_loop().time() + seconds, task)
        self._open.add(deadline)
        if self._timer is None or deadline.at < self._timer.when():
            self._ring_at(deadline.at)
        return deadline

    def met(self, deadline: Deadline) -> None:
        """Forget a deadline."""
        self._open.discard(deadline)

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
        for deadline in [d for d in self._open if d.at <= now]:
            self._open.remove(deadline)
            deadline.missed = True
            deadline.task.cancel()
        if self._open:
            self._ring_at(min(d.at for d in self._open))
