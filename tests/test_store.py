"""The ledger: what is committed stays, and what a run is."""

import contextlib
import json
import random
import sqlite3
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.engines import Answer, Message, Request, Sampling
from captioner.errors import OutputError, StorageError
from captioner.store import Attempt, CheckedCaption, Ledger, OpenTriplet
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.small import small_schema

SCHEMA = small_schema()
TRIPLETS = [make_triplet(SCHEMA, Labels((c,))) for c in SCHEMA.codes]
FIRST = TRIPLETS[0]


def first(ledger):
    return next(ledger.open_triplets())


def triplets(ledger, ids=None):
    return [each.triplet for each in ledger.open_triplets(ids)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


REQUEST = Request("rkey", (Message("system", "long"), Message("user", "short")), FIRST, 10, Sampling(seed=7))


def attempt(number=0, *, accepted=True):
    issue = {"code": "missing_label", "level": "error"}
    captions = (CheckedCaption("A chest X-ray.", accepted, issues=() if accepted else (issue,)),)
    return Attempt(number, "ask", "rkey", ("cut off",), captions)


def test_what_was_written_is_read_back_by_the_next_process(path):
    with Ledger(path, "run1") as ledger:
        assert ledger.add_triplets(TRIPLETS) == 4
        ledger.add_answer(Answer("rkey", '{"captions": []}', "stop", None, 10, 20, 0.5, 2, "m"), REQUEST)
        ledger.add_attempt(first(ledger), attempt().packed(), "open")
    with Ledger(path, "run1") as ledger:
        assert ledger.attempts(FIRST.id) == [attempt()]
        assert ledger.answer("rkey") == Answer("rkey", '{"captions": []}', "stop", None, 10, 20, 0.5, 2, "m")
        assert ledger.answer("other") is None
        assert ledger.add_triplets(TRIPLETS) == 0
        assert triplets(ledger) == TRIPLETS
        assert first(ledger) == OpenTriplet(1, FIRST, 1)


def test_a_triplet_leaves_the_open_ones_when_it_is_complete(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_attempt(first(ledger), attempt().packed(), "complete")
        assert FIRST not in triplets(ledger)
        assert triplets(ledger, frozenset({TRIPLETS[2].id})) == [TRIPLETS[2]]


def test_an_attempt_is_written_whole_or_not_at_all(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_attempt(first(ledger), attempt().packed(), "open")
        before = ledger.totals()
        with pytest.raises(sqlite3.IntegrityError):
            ledger.add_attempt(first(ledger), attempt().packed(), "complete")
        assert len(ledger.attempts(FIRST.id)) == 1
        assert FIRST in triplets(ledger)
        assert ledger.totals() == before


def test_requests_that_got_no_answer_are_asked_again_at_the_next_start(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", None, error="timeout"), REQUEST)
        ledger.set_status(first(ledger), "failed")
        assert FIRST not in triplets(ledger)
        assert (ledger.totals().errors, ledger.totals().by_error) == (1, {"timeout": 1})
        ledger.reopen()
        assert FIRST in triplets(ledger)
        assert ledger.answer("rkey") is None
        assert (ledger.totals().requests, ledger.totals().errors) == (0, 0)
        assert ledger.totals().triplets == {"open": 4}


def test_an_answer_is_found_by_its_key_however_it_came_to_be_there(path):
    """Before it is written, after, by the next process, and by one that looks on while more come."""
    with Ledger(path, "run1") as ledger, Ledger(path, read_only=True) as reader:
        assert reader.answer("r0") is None
        for i in range(100):
            with ledger.grouped():
                ledger.add_answer(Answer(f"r{i}", f"text {i}", "stop"), REQUEST)
                assert ledger.answer(f"r{i}") == Answer(f"r{i}", f"text {i}", "stop")
            assert reader.answer(f"r{i}") == ledger.answer(f"r{i}") == Answer(f"r{i}", f"text {i}", "stop")
    with Ledger(path, "run1") as ledger:
        keys = [f"r{i}" for i in (99, 7, 100, 0)]
        assert {k: a.text for k, a in ledger.answers(keys).items()} == {
            "r99": "text 99",
            "r7": "text 7",
            "r0": "text 0",
        }


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_found_whenever_and_in_whatever_company_it_is_looked_for(path, seed, monkeypatch):
    """New keys are indexed late, in pieces: all are known all the same, and none that is not there."""
    monkeypatch.setattr("captioner.answer_keys._LATER", 8)
    draw = random.Random(seed)
    keys = [f"r{draw.getrandbits(64):016x}" for _ in range(100)]
    with Ledger(path, "run1") as ledger:
        for i, key in enumerate(keys):
            with ledger.grouped() if draw.random() < 0.5 else contextlib.nullcontext():
                ledger.add_answer(Answer(key, f"text {i}", "stop"), REQUEST)
                wanted = draw.sample(keys, draw.randrange(6))
                found = ledger.answers(wanted)
            assert {k: a.text for k, a in found.items()} == {
                k: f"text {keys.index(k)}" for k in wanted if k in keys[: i + 1]
            }


def test_an_answer_that_takes_the_place_of_a_lost_one_is_not_mistaken_for_it(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_answer(Answer("r1", "{}"), REQUEST)
        ledger.add_answer(Answer("r2", None, error="timeout"), REQUEST)
        assert ledger.answer("r2") is not None
        ledger.reopen()
        ledger.add_answer(Answer("r3", "three"), REQUEST)
        assert ledger.answer("r2") is None
        assert ledger.answer("r3") == Answer("r3", "three")


def test_of_two_answers_to_a_request_the_later_one_counts(path):
    with Ledger(path, "run1") as ledger:
        for text in ("first", "second"):
            ledger.add_answer(Answer("r1", text), REQUEST)
        assert ledger.answer("r1") == Answer("r1", "second")
    with Ledger(path, "run1") as ledger:
        assert ledger.answer("r1") == Answer("r1", "second")


def test_a_ledger_from_before_keys_were_listed_goes_on(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_answer(Answer("r1", "old"), REQUEST)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("DROP INDEX answers_keys; CREATE UNIQUE INDEX before ON answers (key)")
    with Ledger(path, "run1") as ledger:
        ledger.add_answer(Answer("r2", "new"), REQUEST)
        assert {k: a.text for k, a in ledger.answers(["r1", "r2"]).items()} == {"r1": "old", "r2": "new"}


def test_new_answers_are_written_beside_each_other_wherever_their_keys_would_stand(path):
    """An index over keys, which are hashes, would put each on another page: half of all that is written."""
    with Ledger(path, "run1"), contextlib.closing(sqlite3.connect(path)) as db:
        indexes = [name for (name,) in db.execute("SELECT name FROM pragma_index_list('answers')")]
        first_columns = {db.execute("SELECT name FROM pragma_index_info(?)", (i,)).fetchone()[0] for i in indexes}
        plan = str(db.execute("EXPLAIN QUERY PLAN SELECT key, number FROM answers ORDER BY key, number").fetchall())
    assert first_columns == {"number"}
    assert "COVERING INDEX answers_keys" in plan


def test_starting_over_forgets_verdicts_and_keeps_answers(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", "{}"), REQUEST)
        ledger.add_attempt(first(ledger), attempt().packed(), "complete")
        ledger.start_over()
        assert ledger.attempts(FIRST.id) == []
        assert FIRST in triplets(ledger)
        assert ledger.answer("rkey") is not None
        totals = ledger.totals()
        assert (totals.accepted, totals.requests, totals.triplets) == (0, 1, {"open": 4})


def test_totals_count_states_tokens_sources_and_the_codes_of_refusals(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_answer(Answer("rkey", "{}", prompt_tokens=10, completion_tokens=5, attempts=3), REQUEST)
        one, two = islice(ledger.open_triplets(), 2)
        ledger.add_attempt(one, attempt().packed(), "complete")
        ledger.add_attempt(two, attempt(accepted=False).packed(), "open")
        totals = ledger.totals()
    assert totals.triplets == {"complete": 1, "open": 3}
    assert (totals.requests, totals.sent, totals.prompt_tokens, totals.completion_tokens) == (1, 3, 10, 5)
    assert (totals.accepted, totals.rejected) == (1, 1)
    assert totals.by_code == {"missing_label": 1}
    assert totals.by_source == {"engine": 1}


def test_the_question_is_recorded_with_its_answer_and_without_the_system_message(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_answer(Answer("rkey", "{}"), REQUEST)
    with contextlib.closing(sqlite3.connect(path)) as db:
        ((key, messages, seed),) = db.execute("SELECT key, messages, seed FROM answers")
    assert (key, json.loads(messages), seed) == ("rkey", [["user", "short"]], 7)


def test_answers_are_kept_at_once_when_that_is_asked_for_and_what_became_of_them_with_the_next_commit(path):
    with Ledger(path, "run1") as ledger, Ledger(path, read_only=True) as reader:
        ledger.add_triplets(TRIPLETS)
        with ledger.grouped():
            ledger.add_attempt(first(ledger), attempt().packed(), "complete")
            ledger.add_answer(Answer("rkey", "{}"), REQUEST)
            ledger.keep_answers()
            kept = reader.totals()
            assert (kept.requests, kept.accepted, kept.triplets) == (1, 0, {"open": 4})
            assert ledger.waiting
            now = ledger.totals()
            assert (now.requests, now.accepted, now.triplets) == (1, 1, {"complete": 1, "open": 3})
            ledger.commit()
            assert reader.totals() == now


def test_a_kill_between_an_answer_and_its_verdict_leaves_counts_that_fit_the_rows(path):
    with Ledger(path, "run1") as ledger, Ledger(path, "run1") as next_start:
        ledger.add_triplets(TRIPLETS)
        with ledger.grouped():
            open_ = first(ledger)
            ledger.add_answer(Answer("rkey", "{}"), REQUEST)
            ledger.add_attempt(open_, attempt().packed(), "complete")
            ledger.keep_answers()
            assert next_start.answer("rkey") == Answer("rkey", "{}")
            assert next_start.attempts(open_.triplet.id) == []
            assert next_start.totals().triplets == {"open": 4}


def test_what_a_group_of_writes_holds_is_seen_by_others_when_it_is_committed_and_kept_whatever_ends_it(path):
    with Ledger(path, "run1") as ledger, Ledger(path, read_only=True) as reader:
        ledger.add_triplets(TRIPLETS)

        def dies():
            with ledger.grouped():
                ledger.add_answer(Answer("rkey", "{}"), REQUEST)
                assert ledger.waiting
                assert reader.totals().requests == 0
                ledger.commit()
                assert not ledger.waiting
                assert reader.totals().requests == 1
                ledger.set_status(first(ledger), "incomplete")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            dies()
        assert reader.totals().triplets == {"incomplete": 1, "open": 3}


def test_the_pace_is_that_of_the_last_minute_of_answers(path, monkeypatch):
    with Ledger(path, "run1") as ledger:
        assert ledger.pace() is None
        for i, moment in enumerate((0.0, 1000.0, 1000.5, 1001.0, 1002.0)):
            monkeypatch.setattr("time.time", lambda moment=moment: moment)
            ledger.add_answer(Answer(f"r{i}", "{}"), REQUEST)
        assert ledger.pace() == (1.5, 1002.0)
        assert ledger.pace(0.5) == (1.0, 1002.0)


def test_the_history_of_every_triplet_is_read_in_one_pass(path):
    with Ledger(path, "run1") as ledger:
        ledger.add_triplets(TRIPLETS)
        ledger.add_attempt(first(ledger), attempt().packed(), "open")
        ledger.add_attempt(first(ledger), attempt(1, accepted=False).packed(), "complete")
        assert list(ledger.histories()) == [
            (FIRST, "complete", [attempt(), attempt(1, accepted=False)]),
            *((t, "open", []) for t in TRIPLETS[1:]),
        ]


@given(
    st.lists(
        st.builds(
            CheckedCaption,
            st.text(),
            st.booleans(),
            st.sampled_from(["engine", "code", "rules"]),
            st.none() | st.text(),
            st.lists(st.fixed_dictionaries({"code": st.text(), "level": st.sampled_from(["error", "info"])})).map(
                tuple
            ),
        )
    ).map(tuple),
    st.lists(st.text()).map(tuple),
)
def test_an_attempt_is_the_same_after_it_was_packed(captions, problems):
    whole = Attempt(1, "repair", "rkey", problems, captions)
    assert whole.packed().unpacked() == whole


def test_who_looks_on_writes_nothing_and_leaves_no_files_behind(path):
    with Ledger(path, "run1") as ledger, Ledger(path, read_only=True) as reader:
        with pytest.raises(StorageError, match="readonly"):
            reader.set_meta("a", "b")
        ledger.set_meta("a", "c")
        assert reader.meta("a") == "c"
    with Ledger(path, read_only=True) as reader:
        assert reader.meta("a") == "c"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_ledger_of_another_run_is_refused(path):
    with Ledger(path, "run1"):
        pass
    with pytest.raises(OutputError, match=r"another run \(run1, not run2\).*--set name=NAME.*--out"):
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
            ledger.add_answer(Answer("rkey", "x" * 100_000), REQUEST)
        ledger._db.execute("PRAGMA max_page_count = 1000000")
        ledger.add_answer(Answer("rkey", "x" * 100_000), REQUEST)
        assert ledger.totals().requests == 1
        assert triplets(ledger) == TRIPLETS
