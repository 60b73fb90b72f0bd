"""Rows judged by several processes at once, counted in the order in which they came.

The processes are started as programs of their own and not forked or spawned by multiprocessing: a notebook, a script
without a guard around its main part, and a program with threads may all call.
"""

import contextlib
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO, Self

from captioner.audit.counts import Counts, Judge, Settings
from captioner.audit.rows import Bad, Row
from captioner.errors import CaptionerError
from captioner.schema import LabelSchema

PART = 2_000
"""Captions judged at a time."""

_FIRST = 25
_FEW = 14
_PROGRAM = f"from {__name__} import main; main()"


def judge_all(
    rows: Iterable[Row | Bad], schema: LabelSchema, settings: Settings, processes: int | None = None
) -> Iterator[Counts]:
    """Yield the counts of each part of the rows, in order; parts are the same whatever the number of processes.

    Args:
        rows: read as they are needed, a few parts ahead.
        schema: what the labels mean.
        settings: how much is kept.
        processes: the processor's cores if left out. What fits into a few parts is judged in this process.

    Raises:
        CaptionerError: a process ended before its time.
    """
    parts = _parts(rows)
    head = list(islice(parts, _FEW))
    count = processes or _cores()
    if len(head) < _FEW or count < 2:
        judge = Judge(schema, settings)
        yield from map(judge.count, chain(head, parts))
        return
    with _Pool(schema, settings, count) as pool:
        waiting: deque[Future[Counts]] = deque()
        for part in chain(head, parts):
            waiting.append(pool.submit(part))
            if len(waiting) > 3 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(rows: Iterable[Row | Bad]) -> Iterator[list[Row | Bad]]:
    """Cut rows into parts of about as many captions; the first are small, so that growth curves begin early."""
    part: list[Row | Bad] = []
    held, size = 0, _FIRST
    for row in rows:
        part.append(row)
        held += len(row.captions) if isinstance(row, Row) else 1
        if held >= size:
            yield part
            part, held, size = [], 0, min(PART, 2 * size)
    if part:
        yield part


class _Pool:
    """As many worker processes, each with a thread that talks to it."""

    def __init__(self, schema: LabelSchema, settings: Settings, count: int) -> None:
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._workers = [_Worker((schema, settings)) for _ in range(count)]
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(count, "audit")

    def submit(self, part: list[Row | Bad]) -> Future[Counts]:
        return self._threads.submit(self._ask, part)

    def _ask(self, part: list[Row | Bad]) -> Counts:
        worker = self._free.get()
        try:
            return worker.ask(part)
        finally:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for worker in self._workers:
                worker.end()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, which is first told what the parts are judged by. What goes through its pipes was made by this program alone."""

    def __init__(self, first: tuple[LabelSchema, Settings]) -> None:
        self._first: list[object] = [first]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        # In a process group of its own: Ctrl-C is for the one who asks, who then ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,
        )

    def ask(self, part: list[Row | Bad]) -> Counts:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            for value in (*self._first, part):
                pickle.dump(value, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._first.clear()
            self._process.stdin.flush()
            answer: Any = pickle.load(self._process.stdout)  # noqa: S301 - from our own process
        except (EOFError, OSError, pickle.UnpicklingError) as e:
            raise CaptionerError(
                "a process that judged captions ended before its time; it may have run out of memory. "
                "Try again with --processes 1."
            ) from e
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Counts)
        return answer

    def end(self) -> None:
        """Let what it is at go unfinished."""
        self._process.kill()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer each part with its counts until there are no more."""
    schema, settings = pickle.load(source)  # noqa: S301 - from our own process
    judge = Judge(schema, settings)
    while True:
        try:
            part = pickle.load(source)  # noqa: S301 - from our own process
        except EOFError:
            return
        answer: Counts | Exception
        try:
            answer = judge.count(part)
        except Exception as e:  # noqa: BLE001 - raised again where it was asked
            answer = e
        pickle.dump(answer, target, pickle.HIGHEST_PROTOCOL)
        target.flush()


def main() -> None:
    """Serve on standard input and output."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
