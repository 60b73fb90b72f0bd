"""What engines promise a whole run: the same run wherever it is asked, diversity, cost, and clear words when all fails."""

import gc
import itertools
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from captioner.agreement import Checker
from captioner.cli import app
from captioner.demo import make_dataset
from captioner.errors import EngineError, PipelineError
from captioner.pipeline import load_pipeline
from captioner.run import Plan, Summary, execute, forecast, prepare
from captioner.schema import load_schema
from captioner.store import Ledger
from tests.engines.asking import ENVIRONMENT
from tests.engines.faulty import FaultyServer, _error
from tests.engines.weak import LlamaCppPython, Thinker
from tests.model import FRAMES, _facts, careful


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "data")
    return tmp_path


def plan(folder: Path, *servers: FaultyServer, out: str = "out", **settings: Any) -> Plan:
    urls = json.dumps([s.base_url for s in servers] if len(servers) > 1 else servers[0].base_url)
    given = {"engine.model": "tiny", "engine.base_url": urls, "engine.retry_wait": 0.01, "engine.hedge": 0}
    given |= settings
    overrides = [f"{name}={value}" for name, value in given.items()]
    where = [f"data.root={folder / 'data'}", f"out={folder / out}", "data.images=none"]
    return prepare(load_pipeline("demo", [*where, *overrides]))


def run(folder: Path, *servers: FaultyServer, out: str = "out", **settings: Any) -> Summary:
    return execute(plan(folder, *servers, out=out, **settings))


def ledger(summary: Summary) -> Ledger:
    return Ledger(Path(summary.out) / "runs" / summary.run / "ledger.sqlite", read_only=True)


def captions(summary: Summary) -> list[tuple[str, list[str]]]:
    """The accepted captions of each triplet."""
    with ledger(summary) as book:
        return [(t.id, [c.caption for a in at for c in a.captions if c.accepted]) for t, _, at in book.histories()]


def asked(server: FaultyServer) -> list[str]:
    return [b["messages"][-1]["content"] for b in server.bodies]


def varied(body: dict[str, Any]) -> str:
    """Right captions, other ones for each seed."""
    view, findings, wanted, again = _facts(body)
    frames = random.Random(f"{body.get('seed')} {again}").sample(FRAMES, wanted)
    return json.dumps({"captions": [f.format(view=view, findings=" and ".join(findings)) for f in frames]})


# The same run, wherever it is asked


def test_a_run_goes_on_when_a_server_is_added_and_asks_nothing_twice(demo: Path) -> None:
    with FaultyServer(caption=careful) as first, FaultyServer(caption=careful) as second:
        begun = run(demo, first, **{"limits.requests": 2})
        before = asked(first)
        done = run(demo, first, second, **{"engine.concurrency": 1})
        assert begun.run == done.run
        assert done.complete
        assert len(before) == 2
        again = [*asked(first)[2:], *asked(second)]
    assert not set(before) & set(again)
    assert done.requests == len(before) + len(again)


def test_what_is_asked_of_the_model_beside_the_prompt_makes_another_run(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        plain = plan(demo, server).hash
        extra = plan(demo, server, **{"engine.extra_body": "{top_k: 20}"}).hash
        headers = plan(demo, server, **{"engine.headers": "{X-Team: imaging}", "engine.hedge": 0.1}).hash
    assert plain == headers
    assert plain != extra


def test_keys_of_several_servers_are_stored_nowhere(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST", "sk-first-0123456789")
    with FaultyServer(caption=careful, key="sk-first-0123456789") as first, FaultyServer(caption=careful) as second:
        endpoints = [
            {"base_url": first.base_url, "api_key_env": "FIRST"},
            {"base_url": second.base_url, "headers": {"X-Key": "hush-hush"}, "extra_body": {"token": "hush-hush"}},
        ]
        given = [f"data.root={demo / 'data'}", f"out={demo / 'out'}", "engine.model=tiny"]
        done = execute(prepare(load_pipeline("demo", [*given, f"engine.endpoints={json.dumps(endpoints)}"])))
    assert done.complete
    for path in (p for p in (demo / "out").rglob("*") if p.is_file()):
        assert b"sk-first" not in path.read_bytes(), path
        assert b"hush-hush" not in path.read_bytes(), path


# Diversity


def test_several_answers_to_a_question_make_a_set_together(demo: Path) -> None:
    with FaultyServer(caption=varied) as server:
        done = run(demo, server, **{"sampling.n": 5, "captions": 6, "loop.fill": "none"})
        first = server.bodies[0]
    assert first["n"] == 5
    assert "Write 2" in first["messages"][-1]["content"]
    assert first["response_format"]["json_schema"]["schema"]["properties"]["captions"]["maxItems"] == 2
    assert done.triplets["complete"] > 0
    assert done.sources.keys() == {"engine"}
    schema = load_schema("demo")
    with ledger(done) as book:
        for triplet, status, attempts in book.histories():
            captions = [c.caption for a in attempts for c in a.captions if c.accepted]
            assert len(set(captions)) == len(captions)
            assert len(captions) == 6 or status == "incomplete"
            assert all(Checker(schema).check(c, triplet.findings).agrees for c in captions)


def test_a_server_that_draws_one_answer_makes_the_same_sets(demo: Path) -> None:
    with FaultyServer(caption=varied) as able, LlamaCppPython(caption=varied) as weak:
        one = run(demo, able, out="a", **{"sampling.n": 3, "captions": 6})
        two = run(demo, weak, out="b", **{"sampling.n": 3, "captions": 6})
    assert one.run == two.run
    with ledger(one) as a, ledger(two) as b:
        first = {t.id: attempts[0].captions for t, _, attempts in a.histories()}
        assert first == {t.id: attempts[0].captions for t, _, attempts in b.histories()}


def test_the_temperature_follows_its_schedule_round_by_round(demo: Path) -> None:
    def wrong(body: dict[str, Any]) -> str:
        return json.dumps({"captions": ["A chest X-ray without any finding at all."] * 3})

    with FaultyServer(caption=wrong) as server:
        run(demo, server, **{"sampling.temperature": "[0.2, 0.7]", "captions": 3, "engine.concurrency": 1})
    rounds = [b["temperature"] for b in server.bodies]
    triplets = rounds.count(0.2)
    assert rounds == [0.2] * triplets + [0.7] * (3 * triplets)  # two repairs and a regeneration


def test_how_answers_are_drawn_makes_another_run_and_what_is_left_as_it_is_does_not(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        hashes = [
            plan(demo, server, **given).hash
            for given in (
                {"sampling.temperature": 0.7},
                {"sampling.temperature": 0.7, "sampling.n": 1},
                {"sampling.temperature": "[0.7]"},
                {"sampling.temperature": "[0.7, 1.0]"},
                {"sampling.temperature": 0.7, "sampling.n": 2},
            )
        ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_seeds_repeat_from_run_to_run_and_differ_from_question_to_question(demo: Path) -> None:
    seeds = []
    with FaultyServer(caption=careful) as server:
        for out in "ab":
            server.bodies.clear()
            run(demo, server, out=out)
            seeds.append({b["messages"][-1]["content"]: b["seed"] for b in server.bodies})
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0].values())) == len(seeds[0]) > 1


# Cost


PRICES = {"price.input": 1000.0, "price.output": 2000.0}


def test_the_ledger_records_what_a_run_cost_by_the_prices_of_the_day(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        some = run(demo, server, **PRICES, **{"limits.requests": 3})
        dear = some.cost
        assert dear == pytest.approx((some.prompt_tokens * 1000 + some.completion_tokens * 2000) / 1e6)
        done = run(demo, server, **{"price.input": 0.0, "price.output": 0.0})
    assert done.requests > some.requests
    assert done.cost == pytest.approx(dear)


def test_cached_tokens_are_paid_at_their_own_price(demo: Path) -> None:
    class Caching(FaultyServer):
        def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
            completion = super()._completion(body, fault)
            completion["usage"]["prompt_tokens_details"] = {"cached_tokens": completion["usage"]["prompt_tokens"]}
            return completion

    with Caching(caption=careful) as server:
        done = run(demo, server, **PRICES, **{"price.cached_input": 10.0})
    assert done.cost == pytest.approx((done.prompt_tokens * 10 + done.completion_tokens * 2000) / 1e6)


def test_a_judge_is_paid_at_the_price_of_its_own_model_in_the_plan_and_in_the_ledger(demo: Path) -> None:
    def judge(body: dict[str, Any]) -> str:
        if "You check captions" in body["messages"][0]["content"]:
            caption = json.loads(body["messages"][-1]["content"])["caption"]
            return json.dumps({"agrees": True, "quote": caption[:10], "reason": "It is right."})
        return careful(body)

    with FaultyServer(caption=judge, models=["tiny", "large"]) as server:
        engine = json.dumps({"model": "large", "base_url": server.base_url})
        given = PRICES | {
            "judge.engine": engine,
            "judge.of": "all",
            "judge.price.input": 1e5,
            "judge.price.output": 0.0,
        }
        given |= {"captions": 3}
        planned = forecast(plan(demo, server, **given))
        done = run(demo, server, **given)
        judged = [b for b in server.bodies if b["model"] == "large"]
        words = sum(len(m["content"].split()) for b in judged for m in b["messages"])
    assert planned.judged >= len(judged) > 0
    without = (planned.prompt_tokens * 1000 + planned.completion_tokens * 2000) / 1e6
    assert planned.cost > 2 * without
    engines = ((done.prompt_tokens - words) * 1000) / 1e6 + words * 1e5 / 1e6
    assert done.cost == pytest.approx(engines, rel=0.05)


def test_a_limit_on_the_cost_wants_a_price_that_is_known(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        with pytest.raises(
            PipelineError, match=r"no price is known for tiny at http://127.*price\.input.*prices\.yaml"
        ):
            plan(demo, server, **{"limits.cost": 1.0})
        one = forecast(plan(demo, server, **{"price.input": 1000.0}))
        limit = 5.5 * one.cost / one.requests
        stopped = run(demo, server, **{"limits.cost": limit, "price.input": 1000.0, "engine.concurrency": 32})
    assert stopped.stopped == f"limits.cost={limit} is reached"
    # What is on its way counts: with 32 requests at once, the limit is passed by one answer and not by 32.
    assert 0.5 * limit < stopped.cost < 1.5 * limit


def test_a_plan_says_how_it_counted_and_learns_from_the_answers_so_far(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        given = PRICES | {"triplets.per": "image", "name": "one"}
        before = forecast(plan(demo, server, **given))
        begun = run(demo, server, **given, **{"limits.requests": 12, "loop.repairs": 0})
        few = forecast(plan(demo, server, **given, **{"loop.repairs": 0}))
        assert before.basis == few.basis == "an estimate: 4 characters a token"
    assert 0 < few.requests < before.requests
    assert begun.requests == 12
    assert before.cost == pytest.approx((before.prompt_tokens * 1000 + before.completion_tokens * 2000) / 1e6)


def test_the_run_s_own_file_says_which_prices_held(demo: Path) -> None:
    with FaultyServer(caption=careful) as server:
        done = run(demo, server, **PRICES)
    stored = yaml.safe_load((Path(done.out) / "runs" / done.run / "pipeline.yaml").read_text())
    assert stored["price"] == {"input": 1000.0, "cached_input": None, "output": 2000.0}


# When all fails


def test_a_prompt_that_is_too_long_costs_its_own_triplet_alone_and_says_why(demo: Path) -> None:
    class Short(FaultyServer):
        """As vLLM refuses: a 400 with the lengths."""

        def _unsupported(self, body: dict[str, Any]) -> Any:
            if "Finding: pleural effusion" in body["messages"][-1]["content"]:
                said = "This model's maximum context length is 64 tokens. However, your request has 900 input tokens."
                return _error(400, said, param="input_tokens")
            return super()._unsupported(body)

    with Short(caption=careful) as server:
        done = run(demo, server)
        failed = sum("Finding: pleural effusion" in q for q in asked(server))
    assert failed > 0
    assert not done.complete
    assert done.exit_code == 1
    assert done.triplets["failed"] == failed
    assert done.triplets["complete"] + done.triplets.get("filled", 0) > 0
    assert any("maximum context length is 64 tokens" in why for why in done.failures)


def test_a_model_that_never_answers_in_json_is_given_up_with_examples(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.generate.BARREN", 8)
    with (
        FaultyServer(caption=lambda body: "I am sorry, Dave.") as server,
        pytest.raises(EngineError, match=r"first 8 answers held no captions(?s:.*)I am sorry, Dave"),
    ):
        run(demo, server)


@pytest.mark.parametrize("limit", [{}, {"limits.requests": 3}], ids=["in one go", "stopped again and again"])
def test_a_model_that_thinks_longer_than_an_answer_may_be_writes_what_one_that_does_not_would(
    demo: Path, limit: dict[str, int]
) -> None:
    with FaultyServer(caption=careful) as server:
        expected = run(demo, server, out="expected")
    with Thinker(400, "counted", caption=careful) as server:
        done = run(demo, server, **{"sampling.max_tokens": 300}, **limit)
        while done.stopped:
            done = run(demo, server, **{"sampling.max_tokens": 300}, **limit)
    assert {Thinker.limit(body) for body in server.bodies} == {300, 1200}
    assert (done.triplets, done.sources, done.requests) == (expected.triplets, expected.sources, expected.requests)
    assert captions(done) == captions(expected)


def test_jumps_of_the_clock_change_nothing(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {"error": 0.1, "busy": 0.1, "reset": 0.05}
    real, jumps = time.time, itertools.cycle([0, 86_400, -86_400, 31_536_000, -5])
    outcomes = []
    for out, clock in (("a", real), ("b", lambda: real() + next(jumps))):
        monkeypatch.setattr(time, "time", clock)
        with FaultyServer(caption=careful, faults=faults, seed=3) as server:
            done = run(demo, server, out=out, **{"engine.requests_per_minute": 6000, "engine.tokens_per_minute": 10**7})
        with ledger(done) as book:
            outcomes.append([(t.id, s, [a.captions for a in attempts]) for t, s, attempts in book.histories()])
        assert done.complete
    assert outcomes[0] == outcomes[1]


def test_a_plan_prices_openais_models_from_the_table_and_batches_at_half(demo: Path) -> None:
    shown = {}
    for name in ("openai", "batch"):
        flags = ["--data", str(demo / "data"), "--out", str(demo / "out"), "--set", f"engine.name={name}"]
        done = CliRunner().invoke(app, ["plan", "demo", *flags, "--set", "engine.model=gpt-5-mini", "--json"])
        assert done.exit_code == 0, done.output
        shown[name] = json.loads(done.stdout)
        assert shown[name]["price"].startswith("OpenAI list prices of 20")
    assert shown["batch"]["cost"] == pytest.approx(shown["openai"]["cost"] / 2)
    tokens = shown["openai"]["prompt_tokens"], shown["openai"]["completion_tokens"]
    assert shown["openai"]["cost"] == pytest.approx((tokens[0] * 0.25 + tokens[1] * 2.0) / 1e6)


def test_a_plan_says_what_the_judge_takes(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.cli.runs.out", Console(width=200, highlight=False))
    flags = ["--data", str(demo / "data"), "--out", str(demo / "out"), "--set", "engine.model=gpt-5-mini"]
    plain = CliRunner().invoke(app, ["plan", "demo", *flags])
    judged = CliRunner().invoke(app, ["plan", "demo", *flags, "--set", "judge.engine={model: gpt-5}"])
    assert "shown to the judge" not in plain.stdout
    assert "captions at most" in judged.stdout
    costs = [float(re.search(r"cost +about ([\d.]+), repairs not counted", d.stdout)[1]) for d in (plain, judged)]
    assert costs[1] > costs[0]


# What it does to the process


def test_memory_is_looked_through_rarely_while_a_run_asks_and_as_before_when_it_ends(demo: Path) -> None:
    before, during = gc.get_threshold(), []

    def watched(body: dict[str, Any]) -> str:
        during.append(gc.get_threshold()[0])  # the server is a thread of this process
        return careful(body)

    with FaultyServer(caption=watched) as server:
        run(demo, server)
    assert min(during) > before[0]
    assert gc.get_threshold() == before
