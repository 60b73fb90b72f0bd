"""Batches through a program on this machine, such as vLLM's batch runner; or by hand, elsewhere."""

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from captioner import atomic
from captioner.engines.batch_files import Job, read_results
from captioner.engines.failures import scrub
from captioner.errors import EngineError

VLLM = (
    *(
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.run_batch",
        "-i",
        "{input}",
        "-o",
        "{output}",
        "--model",
        "{model}",
    ),
    # xgrammar, the default, lets raw control characters into JSON strings (xgrammar issues 800 and 286).
    *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
)
_CAUSE = re.compile(r"\b\w+(?:Error|Exception): .+")
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 20.0

_logger = logging.getLogger(__name__)


def split_command(value: Any) -> Any:
    """Take a command as one text too, as a shell would read it; no shell ever does. Nothing (``command=``) is no command."""
    return tuple(shlex.split(value or "")) if value is None or isinstance(value, str) else value


class CommandRunner:
    """Runs a command for each file of requests, one after the other.

    Args:
        command: the program and its arguments, where ``{input}``, ``{output}`` and ``{model}`` are filled in; nothing
            if somebody makes the results by hand.
        model: its name or path.
    """

    def __init__(self, command: Sequence[str], model: str) -> None:
        self._command = tuple(command)
        self._model = model

    async def check(self) -> None:
        """Make sure that the program is there.

        Raises:
            EngineError: it is not.
        """
        if self._command == VLLM and importlib.util.find_spec("vllm") is None:
            raise EngineError(
                "vLLM, which is to run the batch, is not installed here: pip install 'captioner[vllm]'. "
                "Or say with engine.command what is to run, or with engine.mode=api that a server is."
            )
        if self._command and shutil.which(self._command[0]) is None:
            raise EngineError(f"engine.command: there is no program {self._command[0]!r}")

    async def submit(self, job: Job) -> None:
        """Do nothing: files wait for their turn.

        Raises:
            EngineError: a server is at work on it.
        """
        state = job.load()
        if state.batch and not job.results.exists():
            raise EngineError(
                f"{job.requests} was handed in at {state.address} as batch {state.batch}: fetch its results with "
                f"engine.mode=api; or, to give that batch up, remove {job.requests.name} and its job file."
            )

    async def collect(self, jobs: Sequence[Job]) -> AsyncIterator[Job]:
        """Yield each batch when its results are there.

        Raises:
            EngineError: the program failed and left no result; or the results are to be made by hand.
        """
        for job in jobs:
            if not job.results.exists() and self._command:
                await self._make(job)
            if job.results.exists():
                yield job
        missing = [job for job in jobs if not job.results.exists()]
        if missing:
            first, more = missing[0], f" and {len(missing) - 1} more" if missing[1:] else ""
            raise EngineError(
                f"{len(missing)} files of requests wait for their results: {first.requests}{more}. Make "
                f"{first.results.name} beside it (vllm run-batch -i {first.requests.name} -o {first.results.name} "
                f"--model {self._model}, on any machine) and start the same command again."
            )

    async def close(self) -> None:
        """Do nothing: a program ends with the wait for it."""

    async def _make(self, job: Job) -> None:
        # The program holds the lock too: a run that was killed may have left it at work, and it is waited for.
        with job.requests.open("r+b") as lock:
            await _locked(lock, job)
            code = 0
            if not _has_answers(job.output):
                code = await self._run(job, lock)
            if not _has_answers(job.output) and (code != 0 or not job.output.exists()):
                raise EngineError(
                    f"{self._command[0]} made no results (exit code {code}): {_last_line(job.log)}. All that it said is "
                    f"in {job.log}. Put it right, and start the same command again."
                )
            if code != 0:
                note = f"{self._command[0]} ended too early (exit code {code}): {_last_line(job.log)}"
                job.save(job.load().model_copy(update={"note": note}))
            with atomic.storage(job.results):
                job.output.replace(job.results)
                atomic.sync_folder(job.folder)

    async def _run(self, job: Job, lock: BinaryIO) -> int:
        fills: dict[str, Path | str] = {"{input}": job.requests, "{output}": job.output, "{model}": self._model}
        arguments = [_fill(part, fills) for part in self._command]
        _logger.info("running %s", " ".join(arguments))
        with job.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await _stop(process)


def _fill(part: str, fills: dict[str, Path | str]) -> str:
    for name, value in fills.items():
        part = part.replace(name, str(value))
    return part


async def _locked(lock: BinaryIO, job: Job) -> None:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                _logger.warning("the program of an earlier start is still at work on %s; waiting for it", job.requests)
            told = True
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _has_answers(path: Path) -> bool:
    return path.exists() and next(read_results(path), None) is not None


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = next((line for line in reversed(lines) if line.strip()), "")
    if "root cause" in said:  # vLLM's last words: the reason is one of the errors before
        causes = [found[0] for line in lines if (found := _CAUSE.search(line)) and "root cause" not in line]
        said = causes[-1] if causes else said
    return scrub(said) or "it said nothing"
