"""Answers checked in processes beside the run: the same verdicts, whatever becomes of the processes."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from captioner.checking import AnswerCheck, Round
from captioner.pool import WORTH, Pool, processes_for
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.scripted import captions
from tests.small import small_schema

SCHEMA = small_schema()
EFFUSION = make_triplet(SCHEMA, Labels(("Effusion",)))
GOOD = "Chest X-ray showing a pleural effusion."
TEXTS = [
    captions(GOOD, "A chest X-ray with fluid in the pleural space."),
    captions("Chest X-ray without pleural effusion.", GOOD),
    captions(GOOD, GOOD),
    "no captions at all",
    captions("Chest X-ray of a 63-year-old man with a pleural effusion.", GOOD),
]
ROUNDS = [
    Round(EFFUSION, i, "ask", f"r{i}", TEXTS[i % len(TEXTS)], "stop", None, () if i % 2 else (GOOD,))
    for i in range(300)
]


def run(processes, meddle=lambda pool: None, done=None):
    found = {}

    async def work():
        async with Pool(AnswerCheck(SCHEMA, 2), done or found.__setitem__, processes) as pool:
            for i, round_ in enumerate(ROUNDS):
                pool.submit(i, round_)
                if i % 20 == 0:
                    await asyncio.sleep(0.01)
            meddle(pool)
            while pool.waiting:
                await asyncio.sleep(0.01)
                for task in [t for t in pool.tasks if t.done()]:
                    task.result()

    asyncio.run(work())
    return found


HERE = run(0)


def test_a_process_gives_the_verdicts_that_this_one_would_give():
    assert len(HERE) == len(ROUNDS)
    assert run(2) == HERE


def test_what_the_processes_cannot_keep_up_with_gets_the_same_verdicts_here(monkeypatch):
    monkeypatch.setattr("captioner.pool._AHEAD", 2)
    assert run(1) == HERE


def test_what_a_process_that_dies_has_left_is_checked_here():
    def kill(pool):
        for worker in pool._workers:
            os.kill(worker._process.pid, signal.SIGKILL)

    assert run(2, kill) == HERE


def test_an_error_of_whoever_records_a_verdict_is_not_lost():
    def full(token, attempt):
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        run(1, done=full)


def test_a_process_ends_when_its_input_does():
    process = subprocess.Popen(
        [sys.executable, "-c", "from captioner.pool import main; main()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        process.communicate(timeout=600)
    assert process.returncode == 0


def test_few_answers_are_worth_no_process_and_on_a_single_core_none_are(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processes_for(WORTH - 1) == 0
    assert processes_for(WORTH) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert processes_for(WORTH) == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert processes_for(10**6) == 0
