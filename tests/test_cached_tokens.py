"""What servers had read before is kept, counted and paid at its own price, whatever becomes of the run."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from captioner.audit import compare
from captioner.demo import make_dataset
from captioner.engines import Answer, Message, Request
from captioner.pipeline import load_pipeline
from captioner.run import Summary, execute, prepare
from captioner.store import Ledger
from captioner.triplets import Triplet
from tests.engines.faulty import FaultyServer
from tests.model import careful

TRIPLET = Triplet("t0", "xray", "chest", ("Effusion",))
ANSWER = Answer("k", "text", "stop", prompt_tokens=100, completion_tokens=7, model="m", cached_tokens=64)


def asked(key: str = "k") -> Request:
    return Request(key, (Message("user", "Hello."),), TRIPLET, 1)


def test_an_answer_keeps_what_was_read_from_a_cache(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger, ledger.grouped():
        ledger.add_answer(ANSWER, asked(), cost=1.5)
        assert ledger.answer("k") == ANSWER  # before it is written
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as again:
        assert again.answer("k") == again.answers(["k"])["k"] == ANSWER
        assert (again.totals().cached_tokens, again.totals().prompt_tokens) == (64, 100)


def test_an_answer_that_is_asked_for_again_is_taken_from_the_count(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        ledger.add_answer(ANSWER, asked())
        lost = Answer("l", None, error="the answer is empty", prompt_tokens=50, cached_tokens=32)
        ledger.add_answer(lost, asked("l"))
        assert ledger.totals().cached_tokens == 96
        ledger.reopen()
        assert (ledger.totals().cached_tokens, ledger.totals().prompt_tokens) == (64, 100)


def test_other_rules_judge_anew_and_what_was_paid_stays_paid(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        ledger.add_triplets([TRIPLET])
        ledger.add_answer(ANSWER, asked(), cost=1.5)
        before = ledger.totals()
        ledger.start_over()
        assert ledger.totals() == before
        assert (before.cost, before.cached_tokens) == (1.5, 64)


def older(path: Path) -> None:
    """Make a ledger as it was before what was read from a cache was kept."""
    with Ledger(path, "run") as ledger:
        ledger.add_answer(ANSWER, asked())
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE answers DROP COLUMN cached_tokens")
    counts = json.loads(db.execute("SELECT value FROM meta WHERE key = 'counts'").fetchone()[0])
    del counts["cached_tokens"]
    db.execute("UPDATE meta SET value = ? WHERE key = 'counts'", (json.dumps(counts),))
    db.commit()
    db.close()


def test_an_older_ledger_can_be_looked_at_and_is_left_as_it_is(tmp_path: Path) -> None:
    older(tmp_path / "ledger.sqlite")
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.answers(["k"])["k"].cached_tokens == ledger.totals().cached_tokens == 0
        answer = ledger.answer("k")
        assert answer is not None
        assert answer.text == "text"
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    assert "cached_tokens" not in [column[1] for column in db.execute("PRAGMA table_info(answers)")]
    db.close()


def test_an_older_ledger_goes_on_and_counts_from_then_on(tmp_path: Path) -> None:
    older(tmp_path / "ledger.sqlite")
    for _ in range(2):
        with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
            ledger.add_answer(Answer("l", "more", "stop", prompt_tokens=10, cached_tokens=5), asked("l"))
            assert {key: a.cached_tokens for key, a in ledger.answers(["k", "l"]).items()} == {"k": 0, "l": 5}


class Caching(FaultyServer):
    """A server that had read all but one token of each prompt before."""

    def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        completion = super()._completion(body, fault)
        usage = completion["usage"]
        usage["prompt_tokens_details"] = {"cached_tokens": usage["prompt_tokens"] - 1}
        return completion


def run(folder: Path, server: FaultyServer, **settings: Any) -> Summary:
    given = {"engine.model": "tiny", "engine.base_url": server.base_url} | settings
    given |= {"price.input": 1000.0, "price.cached_input": 10.0, "price.output": 2000.0}
    given |= {"data.root": folder / "data", "data.images": "none", "out": folder / "out"}
    return execute(prepare(load_pipeline("demo", [f"{name}={value}" for name, value in given.items()])))


def test_ledger_and_comparison_agree_on_the_cost_of_a_run_that_was_stopped_and_went_on(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    with Caching(caption=careful) as server:
        some = run(tmp_path, server, **{"limits.requests": 3})
        done = run(tmp_path, server)
        other = run(tmp_path, server, prompt="report")
    assert some.requests < done.requests
    runs = tmp_path / "out" / "runs"
    with Ledger(runs / done.run / "ledger.sqlite", read_only=True) as ledger:
        cached = ledger.totals().cached_tokens
    assert cached == done.prompt_tokens - done.requests
    cost = (done.requests * 1000 + cached * 10 + done.completion_tokens * 2000) / 1e6
    assert done.cost == pytest.approx(cost)
    compared = compare([runs / done.run, runs / other.run])
    assert [figures.cost for figures in compared.runs] == pytest.approx([done.cost, other.cost])
