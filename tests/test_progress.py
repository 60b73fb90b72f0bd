"""How a run is going, as people and programs read it: it must be true after a resume, too."""

import io
import json
from dataclasses import fields, replace

import pytest
from rich.console import Console

from captioner.progress import JsonReporter, LineReporter, LiveReporter, Pace, describe, duration
from captioner.store import Totals

COUNTED = {"triplets", "by_code", "by_source", "by_error"}
NOTHING = Totals(**{f.name: {} if f.name in COUNTED else 0 for f in fields(Totals)})


def totals(**changed):
    return replace(NOTHING, **changed)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_what_earlier_sessions_did_is_no_part_of_the_rate(clock):
    pace = Pace(clock)
    pace.see(900, totals(completion_tokens=5_000))
    clock.now = 10
    now = totals(completion_tokens=5_400)
    pace.see(920, now)
    assert pace.rate == 2
    assert pace.left(1000) == 40
    assert pace.tokens(now) == 400


def test_the_rate_is_that_of_the_last_minutes(clock):
    pace = Pace(clock)
    for second in range(1000):
        clock.now = second
        pace.see(second * 10 if second < 500 else 5000 + (second - 500), None)
    assert pace.rate == pytest.approx(1, abs=0.05)
    assert len(pace._marks) < 310


@pytest.mark.parametrize("total", [None, 10])
def test_nobody_claims_to_know_how_long_it_takes_before_anything_is_done(clock, total):
    pace = Pace(clock)
    assert pace.left(total) is None
    clock.now = 5
    pace.see(0, NOTHING)
    assert pace.left(total) is None


def test_a_stage_that_tells_no_totals_is_timed_from_its_beginning(clock):
    pace = Pace(clock)
    clock.now = 5
    pace.begin()
    clock.now = 7
    pace.see(10, None)
    assert pace.left(20) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (600, "10 min"), (3_900, "1 h 05 min"), (200_000, "2 d 7 h")],
)
def test_a_duration_is_told_as_people_tell_it(seconds, text):
    assert duration(seconds) == text


def test_the_counts_tell_refusals_by_their_codes_retries_repairs_tokens_and_cost():
    line = describe(
        totals(
            accepted=1_200,
            rejected=40,
            by_code={"near_duplicate": 20, "missing_label": 10, "negated_label": 6, "extra_label": 4},
            by_source={"engine": 1_190, "code": 10},
            requests=130,
            sent=140,
            completion_tokens=9_000,
            cost=1.5,
            errors=2,
        ),
        33.3,
    )
    assert line == (
        "1,200 accepted · 40 refused (20 near_duplicate, 10 missing_label, 6 negated_label, …) · 10 repaired · 10 retries · "
        "9,000 tokens out (33/s) · cost 1.50 · 2 without an answer"
    )


def test_a_log_file_gets_a_line_now_and_then_with_rate_and_time_left(clock):
    text = io.StringIO()
    with LineReporter(Console(file=text, width=200), seconds=10, now=clock) as report:
        report.start("captioning", 1_000)
        report.advance(500, totals(accepted=5_000))
        for second in range(1, 21):
            clock.now = second
            report.advance(500 + 2 * second, totals(accepted=5_000 + 20 * second))
    assert text.getvalue().splitlines() == [
        "captioning (1,000)",
        "captioning: 520/1,000 · 2/s, 4 min left · 5,200 accepted · 0 refused",
        "captioning: 540/1,000 · 2/s, 4 min left · 5,400 accepted · 0 refused",
    ]


def test_a_program_gets_rate_time_left_and_all_counts_as_json(clock):
    text = io.StringIO()
    with JsonReporter(Console(file=text, width=80), seconds=5, now=clock) as report:
        report.start("captioning", 100)
        report.advance(0, NOTHING)
        clock.now = 5
        report.advance(10, totals(requests=12, sent=15, by_code={"missing_label": 3}, cost=0.25))
    stage, progress = map(json.loads, text.getvalue().splitlines())
    assert (stage["event"], stage["stage"], stage["total"]) == ("stage", "captioning", 100)
    assert (progress["done"], progress["per_second"], progress["seconds_left"]) == (10, 2.0, 45)
    assert (progress["sent"], progress["by_code"], progress["cost"]) == (15, {"missing_label": 3}, 0.25)


def test_a_terminal_gets_a_bar_that_fills_and_the_counts_below_it(clock):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with LiveReporter(console, now=clock) as report:
        report.start("writing captions", 20)
        clock.now = 2
        report.advance(10)
        report._progress.refresh()
        half = text.getvalue()
        report.advance(20, totals(accepted=200))
        report._progress.refresh()
    assert "10/20" in half
    assert "5/s, 2 s left" in half
    assert "20/20" in text.getvalue()
    assert "200 accepted" in text.getvalue()
