"""The loop: what is asked, what is accepted, what is asked again, and what is given up."""

import asyncio
import gc
import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.answers import parse_answer
from captioner.engines import Answer
from captioner.engines.openai import OpenAIEngine, OpenAISettings
from captioner.errors import EngineError, StorageError
from captioner.generate import Generator, Limits, LoopSettings, accepted_of
from captioner.prices import Price
from captioner.prompts import load_prompt
from captioner.schema import hash_of
from captioner.store import Ledger
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.engines.faulty import FaultyServer
from tests.scripted import ScriptedEngine, captions
from tests.small import small_schema

SCHEMA = small_schema()
EFFUSION = make_triplet(SCHEMA, Labels(("Effusion",)))
NODULE = make_triplet(SCHEMA, Labels(("Nodule",)))

GOOD = [
    "Chest X-ray showing a pleural effusion.",
    "A pleural effusion is present on this chest radiograph.",
    "There is fluid in the pleural space on the chest X-ray.",
    "This radiograph of the chest demonstrates a pleural effusion.",
]
WRONG = "Chest X-ray showing a lung nodule."
DENIED = "Chest X-ray without pleural effusion."


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "run") as opened:
        yield opened


def generate(ledger, script, *, triplets=(EFFUSION,), limits=None, **settings):
    engine = ScriptedEngine(script)
    settings = {"captions": 3, "repairs": 2, "regenerations": 1, "fill": False} | settings
    generator = Generator(SCHEMA, load_prompt("template"), engine, ledger, LoopSettings(**settings), limits=limits)
    ledger.add_triplets(triplets)
    asyncio.run(generator.run())
    engine.stopped = generator.stopped
    return engine


def accepted(ledger, triplet=EFFUSION):
    return [c.caption for c in accepted_of(ledger.attempts(triplet.id))]


def status(ledger, triplet=EFFUSION):
    return next(s for t, s, _ in ledger.states() if t == triplet)


def test_good_answers_are_accepted_at_the_first_asking(ledger):
    engine = generate(ledger, lambda r: captions(*GOOD[:3]))
    assert accepted(ledger) == GOOD[:3]
    assert status(ledger) == "complete"
    assert len(engine.asked) == 1


@pytest.mark.parametrize("bad", [WRONG, DENIED, "Possible pleural effusion on chest X-ray.", "A normal chest X-ray."])
def test_no_caption_that_disagrees_with_its_label_is_accepted(ledger, bad):
    generate(
        ledger,
        lambda r: captions(bad, *GOOD[:2]) if "cannot be used" not in r.messages[-1].content else captions(GOOD[3]),
    )
    assert bad not in accepted(ledger)
    assert accepted(ledger) == [*GOOD[:2], GOOD[3]]


def test_a_repair_asks_only_for_what_is_missing_and_says_what_was_wrong_and_what_would_pass(ledger):
    engine = generate(ledger, lambda r: captions(WRONG, *GOOD[:2]) if len(r.messages) == 2 else captions(GOOD[2]))
    repair = engine.asked[1]
    assert repair.count == 1
    text = repair.messages[-1].content
    assert WRONG in text
    assert "missing label" in text
    assert "pleural effusion" in text
    assert GOOD[0] in text
    assert [a.kind for a in ledger.attempts(EFFUSION.id)] == ["ask", "repair"]


def test_after_the_repairs_it_is_asked_afresh_and_then_given_up(ledger):
    engine = generate(ledger, lambda r: captions(WRONG, WRONG, WRONG), repairs=2, regenerations=1)
    assert [a.kind for a in ledger.attempts(EFFUSION.id)] == ["ask", "repair", "repair", "regenerate"]
    assert len(engine.asked) == 4
    assert len({r.key for r in engine.asked}) == 4
    assert status(ledger) == "incomplete"
    assert accepted(ledger) == []


def test_the_built_in_writer_completes_what_the_engine_cannot_and_is_named_as_the_source(ledger):
    generate(ledger, lambda r: captions(GOOD[0]), fill=True, captions=10)
    attempts = ledger.attempts(EFFUSION.id)
    assert attempts[-1].kind == "fill"
    sources = [c.source for c in accepted_of(attempts)]
    assert sources == ["engine"] + ["rules"] * 9
    assert len(set(accepted(ledger))) == 10
    assert status(ledger) == "filled"


def test_duplicates_and_near_duplicates_within_a_set_are_failures(ledger):
    twins = [GOOD[0], GOOD[0].upper(), "Chest X-ray, showing a pleural effusion"]
    engine = generate(ledger, lambda r: captions(*twins) if len(r.messages) == 2 else captions(*GOOD[1 : 1 + r.count]))
    first = ledger.attempts(EFFUSION.id)[0]
    assert [c.accepted for c in first.captions] == [True, False, False]
    assert first.captions[1].issues[-1]["code"] == "duplicate"
    assert accepted(ledger) == [GOOD[0], GOOD[1], GOOD[2]]
    assert engine.asked[1].count == 2


def test_more_captions_than_asked_for_are_recorded_and_not_kept(ledger):
    generate(ledger, lambda r: captions(*GOOD))
    attempt = ledger.attempts(EFFUSION.id)[0]
    assert accepted(ledger) == GOOD[:3]
    assert attempt.problems == ("4 captions where 3 were asked for",)
    assert attempt.captions[3].issues[-1]["code"] == "surplus"


def test_identical_questions_are_asked_once(ledger):
    # Attributes tell these triplets apart, but this template's schema of prompts shows the same text for both.
    twins = [EFFUSION, make_triplet(small_schema(id="other"), Labels(("Effusion",)))]
    engine = generate(ledger, lambda r: captions(*GOOD[:3]), triplets=twins)
    assert twins[0].id != twins[1].id
    assert len(engine.asked) == 1
    assert all(status(ledger, t) == "complete" for t in twins)


def test_a_request_without_an_answer_is_left_for_the_next_start_and_never_filled(ledger):
    generate(ledger, lambda r: None, fill=True)
    assert status(ledger) == "failed"
    assert accepted(ledger) == []
    engine = generate(ledger, lambda r: captions(*GOOD[:3]))
    assert len(engine.asked) == 1
    assert status(ledger) == "complete"


def test_a_model_that_says_nothing_is_asked_again_in_the_same_run(ledger):
    def refuses_once(request):
        if ledger.attempts(EFFUSION.id):
            return captions(*GOOD[:3])
        return Answer(request.key, None, "stop", error="the model refused: I cannot help with that")

    engine = generate(ledger, refuses_once)
    assert status(ledger) == "complete"
    assert ledger.attempts(EFFUSION.id)[0].problems == ("the model refused: I cannot help with that",)
    assert len({r.sampling.seed for r in engine.asked}) == len(engine.asked) == 2
    before = ledger.totals()
    assert before.by_error == {"the model refused: I cannot help with that": 1}
    generate(ledger, lambda r: pytest.fail("asked again"))
    assert ledger.totals() == before


def test_an_answer_that_came_is_never_asked_for_again(ledger):
    class KilledError(Exception):
        pass

    def dies(request):
        if request.triplet == NODULE:
            raise KilledError
        return captions(*GOOD[:3])

    with pytest.raises(KilledError):
        generate(ledger, dies, triplets=(EFFUSION, NODULE))
    nodules = [c.replace("pleural effusion", "lung nodule") for c in (GOOD[0], GOOD[1], GOOD[3])]
    engine = generate(ledger, lambda r: captions(*nodules), triplets=(EFFUSION, NODULE))
    assert [r.triplet for r in engine.asked] == [NODULE]
    assert accepted(ledger) == GOOD[:3]
    assert accepted(ledger, NODULE) == nodules


def test_an_answer_that_was_stored_but_not_yet_judged_is_judged_at_the_next_start(ledger):
    probe = ScriptedEngine(lambda r: None)
    generator = Generator(SCHEMA, load_prompt("template"), probe, ledger, LoopSettings(captions=3))
    ledger.add_triplets([EFFUSION])
    request = generator.next_request(next(ledger.open_triplets()))
    ledger.add_answer(Answer(request.key, captions(*GOOD[:3]), "stop"), request)
    asyncio.run(generator.run())
    assert probe.asked == []
    assert accepted(ledger) == GOOD[:3]


def test_when_the_rules_of_checking_change_stored_answers_are_judged_anew_and_none_is_asked_again(ledger):
    generate(ledger, lambda r: captions(*GOOD[:3]))
    ledger.set_meta("checker", "an older version")
    engine = generate(ledger, lambda r: pytest.fail("asked again"))
    assert engine.asked == []
    assert accepted(ledger) == GOOD[:3]
    assert status(ledger) == "complete"


@pytest.mark.parametrize("processes", [0, 2])
def test_while_very_many_stored_answers_are_judged_anew_a_stop_is_heard_and_the_next_start_goes_on(ledger, processes):
    """Some of them were repaired: then the answer to the repair is judged anew too."""
    script = lambda r: captions(WRONG, *GOOD[:2]) if r.count == 3 and r.sampling.seed % 3 == 0 else captions(*GOOD[:3])  # noqa: E731
    generate(ledger, script, triplets=many(300))
    before = [(t, s, accepted(ledger, t)) for t, s, _ in ledger.states()]
    assert any(s == "complete" and len(ledger.attempts(t.id)) > 1 for t, s, _ in before)
    ledger.set_meta("checker", "an older version")
    silent = ScriptedEngine(lambda r: pytest.fail("asked again"))
    settings = LoopSettings(captions=3, repairs=2, regenerations=1, fill=False)

    def generator():
        return Generator(SCHEMA, load_prompt("template"), silent, ledger, settings, processes=processes)

    async def stopped_soon():
        first = generator()
        loop = asyncio.get_running_loop()
        # Heard at the next turn that anybody else has, as Ctrl-C is.
        await first.run(on_change=lambda: loop.call_soon(setattr, first, "stopped", "Ctrl-C"))

    asyncio.run(stopped_soon())
    judged = ledger.totals().triplets.get("complete", 0)
    assert 0 < judged < 100
    asyncio.run(generator().run())
    assert [(t, s, accepted(ledger, t)) for t, s, _ in ledger.states()] == before


def test_seeds_are_derived_so_that_a_run_can_be_repeated_and_rounds_differ(ledger, tmp_path):
    first = generate(ledger, lambda r: captions(WRONG))
    with Ledger(tmp_path / "again.sqlite", "run") as other:
        second = generate(other, lambda r: captions(WRONG))
    assert [r.sampling.seed for r in first.asked] == [r.sampling.seed for r in second.asked]
    assert len({r.sampling.seed for r in first.asked}) == len(first.asked)


def test_a_questions_seed_is_a_hash_of_its_messages_the_runs_seed_and_the_round(ledger):
    (request,) = generate(ledger, lambda r: captions(*GOOD[:3])).asked
    content = [[m.role, m.content] for m in request.messages]
    assert request.sampling.seed == int(hash_of([content, 0, 0])[:8], 16) & 0x7FFFFFFF


def many(count):
    """Triplets of the same findings that attributes tell apart; their questions are told apart by them too."""
    return [make_triplet(SCHEMA, Labels(("Effusion",)), attributes={"view": f"number {i}"}) for i in range(count)]


def test_a_limit_on_requests_stops_cleanly_and_the_next_session_goes_on(ledger):
    triplets = many(5)
    script = lambda r: captions(*GOOD[:3])  # noqa: E731
    first = generate(ledger, script, triplets=triplets, limits=Limits(requests=2))
    assert len(first.asked) == 2
    assert first.stopped == "limits.requests=2 is reached"
    second = generate(ledger, script, triplets=triplets)
    assert len(second.asked) == 3
    assert second.stopped is None
    assert all(status(ledger, t) == "complete" for t in triplets)


def test_a_limit_on_cost_counts_the_tokens_of_earlier_sessions_too(ledger):
    triplets = many(5)
    limits = Limits(cost=2.5, price=Price(input=1e6))

    def script(request):
        return Answer(request.key, captions(*GOOD[:3]), "stop", prompt_tokens=1, completion_tokens=7)

    first = generate(ledger, script, triplets=triplets, limits=limits)
    assert len(first.asked) == 3
    assert first.stopped == "limits.cost=2.5 is reached"
    assert generate(ledger, script, triplets=triplets, limits=limits).asked == []


def test_a_model_that_never_answers_as_asked_is_given_up_with_examples_and_the_ledger_is_intact(ledger):
    triplets = many(60)
    with pytest.raises(EngineError, match=r"the first 50 answers held no captions.*\n.*Sure, I can help"):
        generate(ledger, lambda r: "Sure, I can help with that.", triplets=triplets)
    assert ledger.totals().requests == 50
    generate(ledger, lambda r: captions(*GOOD[: r.count]), triplets=triplets)
    assert all(status(ledger, t) == "complete" for t in triplets)


def test_a_model_that_has_answered_well_is_not_given_up_for_a_bad_patch(ledger):
    triplets = many(60)
    answers = iter([captions(*GOOD[:3])] + ["no"] * 59)
    generate(ledger, lambda r: next(answers, captions(*GOOD[: r.count])), triplets=triplets)
    assert all(status(ledger, t) == "complete" for t in triplets)


class Hurried(ScriptedEngine):
    """Answers when it likes, several questions at a time, and may be asked again meanwhile.

    Its very first answer is the last of its wave: it comes when another wave has begun.
    """

    overlaps = True

    def __init__(self, script, seed):
        super().__init__(script)
        self.random = random.Random(seed)
        self.calls, self.numbers = 0, itertools.count()
        self.overlapped = asyncio.Event()

    async def answers(self, requests):
        self.calls += 1
        if self.calls > 1:
            self.overlapped.set()
        requests, flying = iter(requests), set()

        async def one(request, number):
            if number == 0:
                await asyncio.wait_for(self.overlapped.wait(), 600)
            await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.02]))
            return [answer async for answer in ScriptedEngine.answers(self, [request])][0]  # noqa: RUF015

        while True:
            while len(flying) < 8 and (request := next(requests, None)) is not None:
                flying.add(asyncio.create_task(one(request, next(self.numbers))))
            if not flying:
                break
            for _ in range(100):  # nothing more to ask for now: the last answers leave time for the next wave to begin
                if len(flying) == 8 or self.calls > 1:
                    break
                await asyncio.sleep(0.001)
            done, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
        self.calls -= 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("processes", [0, 1])
def test_waves_that_overlap_ask_for_each_round_of_each_triplet_once(ledger, seed, processes):
    triplets = many(150)
    draw = random.Random(seed)
    engine = Hurried(lambda r: captions(*draw.choice([GOOD, GOOD, [WRONG, *GOOD], [DENIED]])[: r.count]), seed)
    settings = LoopSettings(captions=3, repairs=2, regenerations=1, fill=True)
    generator = Generator(SCHEMA, load_prompt("template"), engine, ledger, settings, processes=processes)
    ledger.add_triplets(triplets)
    asyncio.run(generator.run())
    assert engine.overlapped.is_set()
    assert len(engine.asked) == len({r.key for r in engine.asked})
    assert sum(a.key is not None for t in triplets for a in ledger.attempts(t.id)) == len(engine.asked)
    totals = ledger.totals()
    assert set(totals.triplets) <= {"complete", "filled"}
    assert totals.accepted == 3 * len(triplets)
    assert all([a.round for a in attempts] == list(range(len(attempts))) for _, _, attempts in ledger.histories())
    assert (
        sum(c.accepted for _, _, attempts in ledger.histories() for a in attempts for c in a.captions)
        == totals.accepted
    )


@pytest.mark.parametrize("half", ["\ud83d", "\\ud83d"])
def test_half_of_a_surrogate_pair_in_an_answer_makes_it_faulty_and_it_is_asked_for_again(ledger, half):
    def script(request):
        return captions(*GOOD[:3]) if ledger.attempts(EFFUSION.id) else f'{{"captions": ["Fluid {half}"]}}'

    engine = generate(ledger, script)
    assert accepted(ledger) == GOOD[:3]
    first = ledger.attempts(EFFUSION.id)[0]
    assert first.captions == ()
    assert len(engine.asked) == 2


def test_half_of_a_surrogate_pair_in_a_refusal_is_recorded(ledger):
    generate(ledger, lambda r: Answer(r.key, None, "stop", error="the model refused: \ud83d"))
    assert ledger.attempts(EFFUSION.id)[0].problems == ("the model refused: \ufffd",)


@pytest.mark.parametrize("seed", range(3))
def test_a_question_leaves_only_when_every_answer_that_came_before_it_is_durable(ledger, seed):
    """What another connection sees is what a kill at that moment would leave."""

    class Watched(Hurried):
        given = 0

        async def answers(self, requests):
            async for answer in super().answers(self.watched(requests)):
                self.given += 1
                yield answer

        def watched(self, requests):
            for request in requests:
                assert watcher.totals().requests == self.given
                yield request

    draw = random.Random(seed)
    engine = Watched(lambda r: captions(*draw.choice([GOOD, [WRONG, *GOOD]])[: r.count]), seed)
    generator = Generator(SCHEMA, load_prompt("template"), engine, ledger, LoopSettings(captions=3), processes=0)
    ledger.add_triplets(many(100))
    with Ledger(ledger.path, read_only=True) as watcher:
        asyncio.run(generator.run())
    assert engine.overlapped.is_set()
    assert engine.given > 100


def test_two_that_fail_in_the_same_moment_end_the_run_with_one_error_and_nothing_else(ledger, monkeypatch):
    class Failing(ScriptedEngine):
        async def answers(self, requests):
            await asyncio.sleep(0)
            raise StorageError("the disk is full")
            yield

    def full():
        raise StorageError("the disk is full")

    monkeypatch.setattr("captioner.generate._COMMIT", 0)
    monkeypatch.setattr(ledger, "commit", full)
    generator = Generator(SCHEMA, load_prompt("template"), Failing(captions), ledger, LoopSettings(captions=3))
    ledger.add_triplets([EFFUSION])
    said = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
        with pytest.raises(StorageError, match="the disk is full"):
            await generator.run()
        gc.collect()

    asyncio.run(run())
    assert said == []


@pytest.mark.parametrize("processes", [0, 1])
def test_at_no_moment_is_more_than_what_is_in_flight_asked_and_not_durable(ledger, processes):
    """Held against a server that looks into the ledger as each question arrives."""
    concurrency = 4
    missing = []

    def look(body):
        with Ledger(ledger.path, read_only=True) as watcher:
            missing.append(len(server.bodies) - watcher.totals().requests)
        return captions(WRONG, *GOOD[:2]) if len(body["messages"]) == 2 else captions(GOOD[2])

    with FaultyServer(caption=look) as server:
        engine = OpenAIEngine(OpenAISettings(model="tiny", base_url=server.base_url, concurrency=concurrency, hedge=0))
        generator = Generator(
            SCHEMA, load_prompt("template"), engine, ledger, LoopSettings(captions=3), processes=processes
        )
        ledger.add_triplets(many(150))

        async def main():
            await generator.run()
            await engine.close()

        asyncio.run(main())
    assert len(missing) == 300
    assert max(missing) <= concurrency


def test_answers_that_had_come_when_the_engine_fails_are_kept(ledger):
    class Failing(Hurried):
        async def answers(self, requests):
            count = 0
            async for answer in super().answers(requests):
                yield answer
                count += 1
                if count == 70:
                    raise EngineError("the key was revoked")

    engine = Failing(lambda r: captions(*GOOD[: r.count]), 1)
    generator = Generator(SCHEMA, load_prompt("template"), engine, ledger, LoopSettings(captions=3))
    ledger.add_triplets(many(200))
    with pytest.raises(EngineError, match="revoked"):
        asyncio.run(generator.run())
    assert ledger.totals().requests == 70


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot help with that.", "not of the form"),
        ("", "not of the form"),
        ('{"captions": ["A chest X-ray', "not JSON"),
        ('{"captions": []}', "captions"),
        ('{"captions": [1]}', "captions.0"),
        ('{"caption": "x"}', "captions"),
        ('{"captions": ["A chest\\u0000 X-ray."]}', "control characters"),
        ('{"captions": ["A \\u202echest X-ray."]}', "control characters"),
        ('{"captions": ["' + "x" * 601 + '"]}', "captions.0"),
        ("[" * 100_000, "nested"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_gives_no_captions_and_a_reason(text, reason):
    found, problems = parse_answer(Answer("k", text, "stop"))
    assert found == []
    assert reason in problems[0]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_cut_off_answer_gives_no_captions_even_where_a_part_looks_whole(finish):
    found, problems = parse_answer(Answer("k", captions(*GOOD), finish))
    assert found == []
    assert problems


@pytest.mark.parametrize(
    "wrapped",
    ["{}", "```json\n{}\n```", "Here are the captions:\n{}\nI hope this helps.", "<think>Let me {{see}}</think>{}"],
)
def test_what_surrounds_the_json_does_no_harm(wrapped):
    text = wrapped.replace("{}", captions(*GOOD)).replace("{{see}}", "{see}")
    assert parse_answer(Answer("k", text, "stop")) == (GOOD, [])


@given(
    st.text()
    | st.recursive(st.none() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)).map(json.dumps)
)
def test_no_answer_whatsoever_breaks_the_parser(text):
    found, problems = parse_answer(Answer("k", text, "stop"))
    assert bool(found) != bool(problems)
