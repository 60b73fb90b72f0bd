"""A language model's second opinion: it can refuse a caption, never pass one, and survives whatever a run survives."""

import asyncio
import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from captioner.demo import make_dataset
from captioner.engines import Answer
from captioner.errors import PipelineError
from captioner.generate import Generator, Limits, LoopSettings, accepted_of
from captioner.judge import CaptionJudge, opinion
from captioner.pipeline import load_pipeline
from captioner.prices import Price
from captioner.prompts import load_prompt
from captioner.run import execute, prepare
from captioner.store import CheckedCaption, Ledger
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.scripted import ScriptedEngine, captions
from tests.small import small_schema

SCHEMA = small_schema()
EFFUSION = make_triplet(SCHEMA, Labels(("Effusion",)))
PLAIN = "Chest X-ray showing a pleural effusion."
LARGE = "A large pleural effusion is present on this chest radiograph."
OTHERS = [
    "There is fluid in the pleural space on the chest X-ray.",
    "This radiograph of the chest demonstrates a pleural effusion.",
]
DENIED = "Chest X-ray without pleural effusion."


def says(agrees, quote, reason="because"):
    return json.dumps({"agrees": agrees, "quote": quote, "reason": reason})


def shown(request):
    return json.loads(request.messages[-1].content)["caption"]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "run") as opened:
        yield opened


def generate(ledger, script, verdicts, *, of=None, everything=False, limits=None, **settings):
    engine, judge = ScriptedEngine(script), ScriptedEngine(verdicts)
    settings = {"captions": 2, "fill": False} | settings
    generator = Generator(
        *(SCHEMA, load_prompt("template"), engine, ledger, LoopSettings(**settings)),
        limits=limits,
        judge=CaptionJudge(SCHEMA, judge, of, everything),
    )
    ledger.add_triplets([EFFUSION])
    asyncio.run(generator.run())
    return engine, judge


def accepted(ledger):
    return [c.caption for c in accepted_of(ledger.attempts(EFFUSION.id))]


def judged(ledger):
    return [
        (c.caption, c.accepted, i["detail"])
        for a in ledger.attempts(EFFUSION.id)
        for c in a.captions
        for i in c.issues
        if i["code"] == "judged"
    ]


def status(ledger):
    return next(s for _, s, _ in ledger.states())


def test_only_what_the_rules_leave_open_is_shown_to_the_judge(ledger):
    _, judge = generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: says(True, "large pleural effusion"))
    assert [shown(r) for r in judge.asked] == [LARGE]
    assert judged(ledger) == [(LARGE, True, "agrees")]
    assert accepted(ledger) == [PLAIN, LARGE]


def test_a_judge_that_disagrees_refuses_and_its_reason_reaches_the_repair(ledger):
    engine, _ = generate(
        ledger,
        lambda r: captions(PLAIN, LARGE) if len(r.messages) == 2 else captions(OTHERS[0]),
        lambda r: says(False, "large", "No label gives a size."),
    )
    assert judged(ledger) == [(LARGE, False, "disagrees")]
    assert accepted(ledger) == [PLAIN, OTHERS[0]]
    assert "No label gives a size." in engine.asked[1].messages[-1].content


def test_a_judge_never_passes_what_a_rule_has_refused(ledger):
    generate(
        ledger, lambda r: captions(DENIED, DENIED), lambda r: says(True, "pleural effusion"), everything=True, repairs=1
    )
    assert accepted(ledger) == []
    assert judged(ledger) == []


def test_everything_or_some_kinds_alone_can_be_shown(ledger, tmp_path):
    _, judge = generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: says(True, "effusion"), everything=True)
    assert [shown(r) for r in judge.asked] == [PLAIN, LARGE]
    for kinds, count in (({"severity"}, 1), ({"invented_detail"}, 1), ({"view"}, 0)):
        with Ledger(tmp_path / f"{min(kinds)}.sqlite", "run") as other:
            _, judge = generate(
                other, lambda r: captions(PLAIN, LARGE), lambda r: says(True, "effusion"), of=frozenset(kinds)
            )
        assert len(judge.asked) == count


@pytest.mark.parametrize(
    "text",
    [
        says(False, "a small effusion"),
        says(False, ""),
        "no",
        '{"agrees": false}',
        '{"agrees": 0, "quote": "large", "reason": "x"}',
    ],
)
def test_a_verdict_without_a_quotation_from_the_caption_does_not_count(ledger, text):
    generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: text)
    assert judged(ledger) == [(LARGE, True, "discarded")]
    assert accepted(ledger) == [PLAIN, LARGE]


def test_a_quotation_is_found_in_any_case_and_its_place_is_told():
    issue = opinion(LARGE, Answer("k", says(False, "LARGE pleural"), "stop"))
    assert issue["level"] == "error"
    assert LARGE[slice(*issue["span"])] == issue["text"] == "large pleural"


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_judge_answers_is_a_verdict(caption, text):
    assert opinion(caption, Answer("k", text, "stop"))["level"] in {"error", "info", "warning"}


def test_a_judge_without_an_answer_leaves_the_captions_for_the_next_start(ledger):
    engine, _ = generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: None)
    assert status(ledger) == "failed"
    assert accepted(ledger) == []
    again, judge = generate(ledger, lambda r: pytest.fail("asked again"), lambda r: says(True, "large"))
    assert (len(engine.asked), len(again.asked), len(judge.asked)) == (1, 0, 1)
    assert accepted(ledger) == [PLAIN, LARGE]


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_a_judge_that_answers_with_nothing_gives_no_verdict_that_counts(ledger, reason):
    """Such an answer is kept as others are, and not asked for again: the run must not wait for another."""
    generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: Answer(r.key, None, reason, error="empty"))
    assert judged(ledger) == [(LARGE, True, "discarded")]
    assert (status(ledger), accepted(ledger)) == ("complete", [PLAIN, LARGE])


def test_after_a_kill_neither_model_is_asked_again_for_what_it_has_answered(ledger):
    class KilledError(Exception):
        pass

    def dies(request):
        if shown(request) == OTHERS[0]:
            raise KilledError
        return says(True, "effusion")

    with pytest.raises(KilledError):
        generate(ledger, lambda r: captions(LARGE, OTHERS[0]), dies, everything=True)
    assert ledger.attempts(EFFUSION.id) == []
    engine, judge = generate(
        ledger, lambda r: pytest.fail("asked again"), lambda r: says(True, "chest"), everything=True
    )
    assert engine.asked == []
    assert [shown(r) for r in judge.asked] == [OTHERS[0]]
    assert accepted(ledger) == [LARGE, OTHERS[0]]


def test_when_the_rules_change_the_judges_answers_are_found_again(ledger):
    generate(ledger, lambda r: captions(PLAIN, LARGE), lambda r: says(True, "large"))
    ledger.set_meta("checker", "an older version")
    engine, judge = generate(ledger, lambda r: pytest.fail("asked"), lambda r: pytest.fail("asked"))
    assert engine.asked == judge.asked == []
    assert judged(ledger) == [(LARGE, True, "agrees")]


def test_a_judges_requests_count_towards_the_limits_and_a_stopped_run_goes_on(ledger):
    script = lambda r: captions(PLAIN, LARGE)  # noqa: E731
    _, judge = generate(ledger, script, lambda r: says(True, "large"), limits=Limits(requests=1))
    assert judge.asked == []
    assert status(ledger) == "open"
    engine, judge = generate(ledger, script, lambda r: says(True, "large"))
    assert (len(engine.asked), len(judge.asked)) == (0, 1)
    assert status(ledger) == "complete"


def test_a_limit_on_cost_holds_for_a_judge_that_is_dearer_than_the_model(ledger):
    """What is on its way is priced by what each model's answers cost, not by the mean of both."""
    ledger.add_triplets(many(100))

    class Together(ScriptedEngine):
        """All questions are on their way before the first is answered."""

        async def answers(self, requests):
            async for answer in super().answers(list(requests)):
                yield answer

    def said(text):
        return lambda r: Answer(r.key, text, "stop", prompt_tokens=1)

    limits = Limits(cost=300, price=Price(input=1e6), judge_price=Price(input=50e6))
    engine, judge = ScriptedEngine(said(captions(PLAIN, LARGE))), Together(said(says(True, "large")))
    settings, second = LoopSettings(captions=2, fill=False), CaptionJudge(SCHEMA, judge)
    generator = Generator(
        SCHEMA, load_prompt("template"), engine, ledger, settings, limits=limits, judge=second, processes=0
    )
    asyncio.run(generator.run())
    assert generator.stopped == "limits.cost=300 is reached"
    assert len(engine.asked) == 100
    assert len(judge.asked) >= 1
    assert ledger.totals().cost <= 300 + 50


def many(count):
    return [make_triplet(SCHEMA, Labels(("Effusion",)), attributes={"view": f"number {i}"}) for i in range(count)]


@pytest.mark.parametrize("processes", [0, 1])
def test_very_many_answers_that_wait_for_the_judge_are_each_shown_once_at_the_next_start(ledger, processes):
    ledger.add_triplets(many(100))

    def session(script, verdict, limits=None):
        engine, judge = ScriptedEngine(script), ScriptedEngine(verdict)
        settings = LoopSettings(captions=2, fill=False)
        second = CaptionJudge(SCHEMA, judge)
        parts = (SCHEMA, load_prompt("template"), engine, ledger, settings)
        asyncio.run(Generator(*parts, limits=limits, judge=second, processes=processes).run())
        return engine, judge

    session(lambda r: captions(PLAIN, LARGE), lambda r: pytest.fail("asked"), Limits(requests=100))
    assert ledger.totals().triplets == {"open": 100}
    engine, judge = session(lambda r: pytest.fail("asked again"), lambda r: says(True, "large"))
    assert (len(engine.asked), len(judge.asked)) == (0, 100)
    assert ledger.totals().triplets == {"complete": 100}


def test_of_very_many_answers_that_other_rules_judge_those_for_the_judge_are_judged_once(ledger):
    """While others among them have been repaired, and are looked at twice."""
    ledger.add_triplets(many(70))
    asked = []

    def script(request):
        asked.append(request)
        if len(request.messages) == 2:
            return captions(PLAIN, LARGE) if len(asked) <= 10 else captions(PLAIN, DENIED)
        return captions(OTHERS[0])

    def session(script, verdict):
        parts = (SCHEMA, load_prompt("template"), ScriptedEngine(script), ledger, LoopSettings(captions=2, fill=False))
        asyncio.run(Generator(*parts, judge=CaptionJudge(SCHEMA, ScriptedEngine(verdict))).run())

    session(script, lambda r: says(True, "large"))
    assert ledger.totals().triplets == {"complete": 70}
    with ledger.transaction():
        ledger._db.execute("DELETE FROM answers WHERE key < 'r'")  # the judge has to be asked again
    ledger.set_meta("checker", "an older version")
    session(lambda r: pytest.fail("asked again"), lambda r: says(True, "large"))
    assert ledger.totals().triplets == {"complete": 70}


def test_a_judge_that_leaves_a_question_out_does_not_make_the_loop_go_round_for_ever(ledger):
    class Forgetful(ScriptedEngine):
        async def answers(self, requests):
            for _ in requests:
                pass
            for answer in ():
                yield answer

    generator = Generator(
        *(SCHEMA, load_prompt("template"), ScriptedEngine(lambda r: captions(PLAIN, LARGE)), ledger),
        LoopSettings(captions=2, fill=False),
        judge=CaptionJudge(SCHEMA, Forgetful(lambda r: None)),
    )
    ledger.add_triplets([EFFUSION])
    asyncio.run(generator.run())
    assert status(ledger) == "failed"


def test_the_question_depends_on_labels_caption_and_model_alone():
    judge = CaptionJudge(SCHEMA, ScriptedEngine(lambda r: None))
    nodule = make_triplet(SCHEMA, Labels(("Nodule",)))
    one = CheckedCaption(LARGE, accepted=True)
    assert judge.request(EFFUSION, one) == judge.request(EFFUSION, one)
    keys = {judge.request(t, CheckedCaption(c, accepted=True)).key for t in (EFFUSION, nodule) for c in (LARGE, PLAIN)}
    assert len(keys) == 4


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "busi"
    (folder / "benign").mkdir(parents=True)
    (folder / "benign" / "a.png").write_bytes(b"")
    return {"schema": "busi", "data": {"root": str(folder), "images": "none"}}


def test_a_run_with_a_judge_is_another_run_and_one_without_keeps_its_name(table):
    plain = prepare(load_pipeline(table))
    model = {"model": "m", "base_url": "http://localhost:1/v1"}
    names = {plain.hash}
    for of in ("warnings", "all", ["severity"]):
        plan = prepare(load_pipeline({**table, "judge": {"engine": model, "of": of}}))
        assert plan.engines == (plan.engine, plan.judge.engine)
        names.add(plan.hash)
    assert len(names) == 4
    assert prepare(load_pipeline(table)).hash == plain.hash


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"engine": {"name": "rules"}}, "built-in writer cannot judge"),
        ({"engine": {"model": "m", "base_ur": "x"}}, r"judge\.engine"),
        ({"engine": {"model": "m"}, "of": ["severty"]}, "severity"),
        ({}, r"judge\.engine"),
    ],
)
def test_a_judge_that_cannot_be_used_is_told_before_anything_is_asked(table, judge, message):
    with pytest.raises(PipelineError, match=message):
        prepare(load_pipeline({**table, "judge": judge}))


def test_a_run_asks_its_judge_writes_down_who_it_is_and_no_secret(tmp_path):
    make_dataset(tmp_path / "data")
    model = {"model": "m", "base_url": "http://localhost:1/v1", "headers": {"X-Key": "s3cret"}}
    spec = load_pipeline(
        {
            "schema": "demo",
            "captions": 2,
            "data": {"root": str(tmp_path / "data"), "images": "none"},
            "out": str(tmp_path / "out"),
            "judge": {"engine": model, "of": "all"},
        }
    )
    plan = prepare(spec)
    judge = ScriptedEngine(lambda r: says(True, shown(r)))
    plan.judge = replace(plan.judge, engine=judge)
    summary = execute(plan)
    assert summary.complete
    assert len(judge.asked) == 2 * len(plan.asked)
    text = (plan.out / "runs" / plan.run / "pipeline.yaml").read_text(encoding="utf-8")
    assert "s3cret" not in text
    record = yaml.safe_load(text)
    assert record["judge"]["engine"]["model"] == "m"
    assert record["judge"]["of"] == "all"
    assert "ground-truth labels" in record["judge_text"]
