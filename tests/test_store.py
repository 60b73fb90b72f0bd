"""The ledger: what is committed stays, and what a run is."""

import sqlite3

import pytest

from captioner.engines import Answer, Message, Request, Sampling
from captioner.errors import OutputError, StorageError
from captioner.store import Attempt, CheckedCaption, Ledger
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.small import small_schema

SCHEMA = small_schema()
TRIPLETS = [make_triplet(SCHEMA, Labels((c,))) for c in SCHEMA.codes]
FIRST = TRIPLETS[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def attempt(number=0, *, accepted=True):
    issue = {"code": "missing_label", "level": "error"}
    captions = (CheckedCaption("A chest X-ray.", accepted, issues=() if accepted else (issue,)),)
    return Attempt(number, "ask", "rkey", ("cut off",), captions)


def test_what_was_written_is_read_back_by_the_next_process(path):
    with Ledger(path, "run1") as ledger:
        assert ledger.add_triplets(TRIPLETS) == 4
        ledger.add_answer(Answer("rkey", '{"captions": []}', "stop", None, 10, 20, 0.5, 2, "m"))
        ledger.add_attempt(FIRST.id, attempt(), "open")
    with Ledger(path, "run1") as ledger:
        assert ledger.attempts(FIRST.id) == [attempt()]
        assert ledger.answer("rkey") == Answer("rkey", '{"captions": []}', "stop", None, 10, 20, 0.5, 2, "m")
        assert ledger.answer("other") is None
        assert ledger.add_triplets(TRIPLETS) == 0
        assert list(ledger.open_triplets()) == TRIPLETS


def test_a_triplet_leaves_the_open_ones_when_it_is_complete(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_attempt(FIRST.id, attempt(), "complete")
        assert FIRST not in ledger.open_triplets()
        assert list(ledger.open_triplets(frozenset({TRIPLETS[2].id}))) == [TRIPLETS[2]]


def test_an_attempt_is_written_whole_or_not_at_all(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_attempt(FIRST.id, attempt(), "open")
        with pytest.raises(sqlite3.IntegrityError):
            ledger.add_attempt(FIRST.id, attempt(), "complete")
        assert len(ledger.attempts(FIRST.id)) == 1
        assert FIRST in ledger.open_triplets()


def test_requests_that_got_no_answer_are_asked_again_at_the_next_start(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", None, error="timeout"))
        ledger.set_status(FIRST.id, "failed")
        assert FIRST not in ledger.open_triplets()
        ledger.reopen()
        assert FIRST in ledger.open_triplets()
        assert ledger.answer("rkey") is None


def test_starting_over_forgets_verdicts_and_keeps_answers(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", "{}"))
        ledger.add_attempt(FIRST.id, attempt(), "complete")
        ledger.start_over()
        assert ledger.attempts(FIRST.id) == []
        assert FIRST in ledger.open_triplets()
        assert ledger.answer("rkey") is not None


def test_totals_count_states_tokens_sources_and_the_codes_of_refusals(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", "{}", prompt_tokens=10, completion_tokens=5, attempts=3))
        ledger.add_attempt(FIRST.id, attempt(), "complete")
        ledger.add_attempt(TRIPLETS[1].id, attempt(accepted=False), "open")
        totals = ledger.totals()
    assert totals.triplets == {"complete": 1, "open": 3}
    assert (totals.requests, totals.sent, totals.prompt_tokens, totals.completion_tokens) == (1, 3, 10, 5)
    assert (totals.accepted, totals.rejected) == (1, 1)
    assert totals.by_code == {"missing_label": 1}
    assert totals.by_source == {"engine": 1}


def test_the_request_is_recorded_without_the_system_message(path):
    request = Request("rkey", (Message("system", "long"), Message("user", "short")), FIRST, 10, Sampling(seed=7))
    with Ledger(path, "run1") as ledger:
        ledger.add_request(request)
        ledger.add_request(request)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT key, messages, count, seed FROM requests").fetchall() == [
            ("rkey", '[{"role": "user", "content": "short"}]', 10, 7)
        ]
    db.close()


def test_a_ledger_of_another_run_is_refused(path):
    with Ledger(path, "run1"):
        pass
    with pytest.raises(OutputError, match="another run"):
        Ledger(path, "run2")


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path):
    path.write_bytes(b"my thesis " * 200)
    with pytest.raises(OutputError, match="not a ledger"):
        Ledger(path, "run1")
    assert path.read_bytes() == b"my thesis " * 200


def test_a_run_can_be_looked_at_while_it_writes(path):
    with Ledger(path, "run1") as writer:
        writer.add_triplets(TRIPLETS)
        with Ledger(path, read_only=True) as reader:
            assert reader.totals().triplets == {"open": 4}


def test_a_full_disk_is_a_clear_error_and_the_ledger_stays_usable(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")  # as a full disk: no page more
        with pytest.raises(StorageError, match=r"full.*start the same command again"):
            ledger.add_answer(Answer("rkey", "x" * 100_000))
        ledger._db.execute("PRAGMA max_page_count = 1000000")
        ledger.add_answer(Answer("rkey", "x" * 100_000))
        assert list(ledger.open_triplets()) == TRIPLETS
