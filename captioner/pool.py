"""Answers checked in processes beside this one, so that the next questions are asked meanwhile.

The processes are started as programs of their own and not forked or spawned by multiprocessing: a notebook, a script
without a guard around its main part, and a program with threads may all call. They end when their input does, so that
none stays behind whatever becomes of the run.
"""

import asyncio
import contextlib
import os
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

from captioner.checking import AnswerCheck, Round
from captioner.store import PackedAttempt

Token = TypeVar("Token")

WORTH = 500
"""Answers from which a process that takes half a second to start pays."""

_MOST = 3
_AHEAD = 512
_NICENESS = 5
_TURN = 0.001
_LENGTH = struct.Struct("<I")
_PROGRAM = f"from {__name__} import main; main()"


def processes_for(answers: int) -> int:
    """Return how many processes are worth while for so many answers: they take what whoever asks leaves of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, cores) if answers >= WORTH and cores > 1 else 0


class Pool(Generic[Token]):
    """Checks rounds and hands on what came of each; use as an asynchronous context manager.

    What the processes cannot keep up with is checked here, which also keeps whoever submits from running ahead. So is
    everything where there are no processes, and whatever a process that died has left.

    Args:
        check: what checks.
        done: called with each round's token and attempt, in any order.
        processes: how many; may be 0.

    Attributes:
        tasks: run as long as the processes do; one ends with an exception when ``done`` raises it.
    """

    def __init__(self, check: AnswerCheck, done: Callable[[Token, PackedAttempt], None], processes: int) -> None:
        self._check, self._done, self._processes = check, done, processes
        self._workers: list[_Worker[Token]] = []
        self._piece: list[tuple[Token, Round]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Rounds that were submitted and are not done."""
        return len(self._piece) + sum(len(w.rounds) for w in self._workers)

    async def __aenter__(self) -> Self:
        for _ in range(self._processes):
            worker: _Worker[Token] = _Worker(await _start())
            worker.write(self._check)
            self._workers.append(worker)
            self.tasks.add(asyncio.create_task(self._read(worker)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for worker in self._workers:
            await worker.end()

    def submit(self, token: Token, round_: Round) -> None:
        """Have an answer checked."""
        if all(len(worker.rounds) + len(self._piece) >= _AHEAD for worker in self._workers):
            self._done(token, self._check.attempt(round_))
            return
        if not self._piece:  # what one turn of the loop brings goes in one piece
            asyncio.get_running_loop().call_soon(self._flush)
        self._piece.append((token, round_))

    async def turn(self) -> None:
        """Let the processes have what was submitted, and take in what is done.

        Raises:
            Exception: what ``done`` raised.
        """
        await asyncio.sleep(_TURN if self.waiting else 0)
        for task in self.tasks:
            if task.done():
                task.result()

    def _flush(self) -> None:
        if self._piece:
            min(self._workers, key=lambda w: len(w.rounds)).check(self._piece)
            self._piece = []

    async def _read(self, worker: "_Worker[Token]") -> None:
        try:
            while True:
                for number, attempt in await worker.read():
                    self._done(worker.rounds.pop(number)[0], attempt)
        except (asyncio.IncompleteReadError, OSError):  # it died
            self._workers.remove(worker)
            left = list(worker.rounds.values())
            if not self._workers:
                left += self._piece
                self._piece = []
            for token, round_ in left:
                self._done(token, self._check.attempt(round_))
            await worker.end()


class _Worker(Generic[Token]):
    """One process. What goes through its pipes was made by this program alone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0
        self.rounds: dict[int, tuple[Token, Round]] = {}

    def check(self, piece: Sequence[tuple[Token, Round]]) -> None:
        numbered = dict(enumerate(piece, self._number + 1))
        self._number += len(piece)
        self.rounds |= numbered
        self.write([(number, round_) for number, (_, round_) in numbered.items()])

    def write(self, value: object) -> None:
        assert self._process.stdin is not None
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.write(_LENGTH.pack(len(content)) + content)

    async def read(self) -> list[tuple[int, PackedAttempt]]:
        assert self._process.stdout is not None
        (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
        found: list[tuple[int, PackedAttempt]] = pickle.loads(await self._process.stdout.readexactly(length))  # noqa: S301 - from our own process
        return found

    async def end(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _start() -> asyncio.subprocess.Process:
    # In a process group of its own: Ctrl-C is for the one who asks, who lets what is under way come home.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        process_group=0,
    )


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Check what comes, piece by piece, until there is no more."""
    check: AnswerCheck = _read(source)
    with contextlib.suppress(EOFError):
        while True:
            rounds: list[tuple[int, Round]] = _read(source)
            content = pickle.dumps([(number, check.attempt(r)) for number, r in rounds], pickle.HIGHEST_PROTOCOL)
            target.write(_LENGTH.pack(len(content)) + content)
            target.flush()


def _read(source: BinaryIO) -> Any:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(source.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - from our own process


def main() -> None:
    """Serve on standard input and output."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # asking comes first: an idle server costs more than a late verdict
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
