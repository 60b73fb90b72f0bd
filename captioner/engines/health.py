"""Whether one of several servers is fit for work: a circuit breaker that opens after failures, tries again, and closes."""

import random

from captioner.engines.failures import Failure

_FAILURES = 5
_SHORTEST = 1.0
_LONGEST = 60.0
_REFUSED = 30.0


class Health:
    """In service until it fails; then one request at a time shows, after ever longer pauses, whether it works again.

    A server that cannot be reached, or refuses the key or the model, is out of service at once; one that breaks, hangs or
    talks nonsense, after five failures without an answer between them. A limit on the rate (429) says nothing here.

    Attributes:
        closed: in service.
        down_since: since when it can be reached or used by nobody, by the monotonic clock; None while that is not known.
        why: the failure that put it out of service.
    """

    __slots__ = ("_failures", "_opened", "_pause", "_probing", "_retry_at", "closed", "down_since", "why")

    def __init__(self) -> None:
        self.closed = True
        self.down_since: float | None = None
        self.why = ""
        self._failures = 0
        self._opened = 0.0
        self._pause = 0.0
        self._retry_at = 0.0
        self._probing = False

    @property
    def retry_at(self) -> float:
        """When a server that is out of service may be tried again, by the monotonic clock."""
        return self._retry_at

    def due(self, now: float) -> bool:
        """Say whether a server that is out of service may be tried now."""
        return not self._probing and now >= self._retry_at

    def try_again(self) -> None:
        """A request goes to a server that is out of service: no other does until :meth:`tried`."""
        self._probing = True

    def tried(self) -> None:
        """The request that tried the server is back, whatever came of it."""
        self._probing = False

    def worked(self, sent: float) -> bool:
        """Take note of an answer to a request that was sent at a moment; return whether the server is back in service with it.

        What was sent before it went out of service says nothing of it now.
        """
        if not self.closed and sent < self._opened:
            return False
        self._failures = 0
        self.down_since = None
        back, self.closed = not self.closed, True
        return back

    def failed(self, failure: Failure, now: float) -> bool:
        """Take note of a failure; return whether it puts the server out of service."""
        gone = failure.kind in {"unreachable", "fatal"}
        if not gone:
            self.down_since = None
        elif self.down_since is None:
            self.down_since = now
        if failure.kind == "request" or (failure.kind == "busy" and failure.status == 429):
            return False
        self._failures += 1
        if not self.closed:
            if self._probing:
                self._pause = min(_LONGEST, 2 * self._pause)
                self._wait(now)
            return False
        if not gone and self._failures < _FAILURES:
            return False
        self.closed, self._opened = False, now
        self.why = failure.message
        self._pause = _REFUSED if failure.kind == "fatal" else _SHORTEST
        self._wait(now)
        return True

    def _wait(self, now: float) -> None:
        # Jitter, so that several clients of one server do not come back as one.
        self._retry_at = now + self._pause * random.uniform(0.9, 1.1)  # noqa: S311
