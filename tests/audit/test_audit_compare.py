"""Runs side by side."""

import json
import re

import pytest

from captioner.audit import compare
from captioner.audit.compare import together
from captioner.demo import make_dataset
from captioner.errors import UsageError
from captioner.pipeline import load_pipeline
from captioner.report import write_comparison
from captioner.report.comparison import comparison_latex, comparison_markdown, latex, p_value
from captioner.run import execute, prepare
from captioner.store import Ledger
from tests.audit.runs import make_runs
from tests.engines.faulty import FaultyServer
from tests.model import careful


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def found(runs):
    return compare([runs["careless"], runs["careful"], runs["template"]])


def test_runs_are_compared_on_the_triplets_that_all_of_them_finished(found):
    assert found.triplets == 15
    assert found.left_out == 0
    assert [(r.run, r.prompt) for r in found.runs] == [
        ("careless", "template"),
        ("careful", "template"),
        ("template", "template"),
    ]


def test_a_careless_model_is_seen_to_be_one_at_its_first_answer(found):
    careless, careful, writer = found.runs
    assert careless.agreement.share < 0.9 < careful.agreement.share
    assert careless.asked_again > careful.asked_again
    assert careless.requests > careful.requests >= writer.requests == 15
    assert writer.completion_tokens == 0
    assert careless.completion_tokens > careful.completion_tokens
    assert writer.agreement.share == 1
    assert writer.accepted_at_once.share == 1


def test_cost_is_by_the_prices_of_the_pipeline_and_unknown_without(found):
    careless, _, writer = found.runs
    assert careless.cost == pytest.approx((careless.prompt_tokens + 4 * careless.completion_tokens) / 1e6)
    assert writer.cost is None


def test_a_judge_s_opinions_cost_what_its_own_model_costs(runs, tmp_path):
    make_dataset(tmp_path / "data")

    def agrees(body):
        caption = json.loads(body["messages"][-1]["content"])["caption"]
        return json.dumps({"agrees": True, "quote": caption[:20], "reason": "The labels say so."})

    with FaultyServer(caption=careful) as server, FaultyServer(caption=agrees, models=["judge"]) as second:
        judge = {
            "engine": {"model": "judge", "base_url": second.base_url},
            "of": "all",
            "price": {"input": 7, "output": 9},
        }
        settings = [
            f"data.root={tmp_path / 'data'}",
            f"out={tmp_path / 'out'}",
            "name=judged",
            f"judge={json.dumps(judge)}",
        ]
        settings += [f"engine.base_url={server.base_url}", "engine.model=tiny", "price.input=1", "price.output=4"]
        execute(prepare(load_pipeline("demo", settings)))
    folder = tmp_path / "out" / "runs" / "judged"
    judged, alone = compare([folder, runs["careful"]]).runs
    with Ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        paid = ledger.totals().cost
    assert judged.cost == pytest.approx(paid)
    assert judged.cost > 2 * alone.cost
    assert judged.prompt_tokens == alone.prompt_tokens


def test_speed_is_what_was_accepted_by_the_time_in_which_something_was_asked_for(found, runs):
    careless, _, writer = found.runs
    with Ledger(runs["careless"] / "ledger.sqlite", read_only=True) as ledger:
        times = list(ledger.times().values())
    assert 0 < careless.asking <= max(came for _, came in times) - min(asked for asked, _ in times) + 1e-6
    assert careless.captions_a_second == pytest.approx(careless.accepted / careless.asking)
    assert "captions a second" in comparison_markdown(found)
    assert writer.accepted == 150


def test_pauses_between_requests_are_no_time_of_asking():
    assert together([(0, 1), (0.5, 2), (10, 11), (10.2, 10.4)]) == 3
    assert together([]) == 0


def test_totals_are_those_of_the_ledger(found, runs):
    with Ledger(runs["careless"] / "ledger.sqlite", read_only=True) as ledger:
        totals = ledger.totals()
    careless = found.runs[0]
    assert (careless.prompt_tokens, careless.completion_tokens) == (totals.prompt_tokens, totals.completion_tokens)
    assert careless.accepted == totals.accepted
    assert careless.repaired == totals.by_source.get("code", 0)


def test_pairs_are_tested_triplet_by_triplet(found):
    pair = next(p for p in found.pairs if (p.first, p.second) == ("careless", "careful"))
    assert pair.both + pair.only_first + pair.only_second + pair.neither == 15
    assert pair.only_second > pair.only_first
    assert pair.p < 0.05
    assert pair.low <= pair.gain <= pair.high
    assert pair.gain > 0.1
    assert len(found.pairs) == 3


def test_where_runs_differ_most_comes_first_with_the_captions_as_they_were_written(found):
    gaps = [max(d.shares) - min(d.shares) for d in found.differences]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.2
    wrong = [text for text, agrees, _ in found.differences[0].captions[0] if not agrees]
    assert wrong


def test_a_comparison_is_a_page_a_table_for_papers_and_json(found, tmp_path):
    page = write_comparison(found, tmp_path / "out")
    assert sorted(p.suffix for p in page.parent.iterdir()) == [".html", ".json", ".md", ".tex"]
    html = page.read_text(encoding="utf-8")
    assert "3 runs side by side" in html
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", html)
    assert json.loads((page.parent / "compare.json").read_text(encoding="utf-8"))["triplets"] == 15
    assert "| agree as written |" in comparison_markdown(found)
    text = comparison_latex(found)
    assert text.count(r"\\") == len(re.findall(r"&.*\\\\", text))
    assert r"95 \% interval" in text
    assert "careful" in found._repr_html_()


def test_what_means_something_in_latex_is_escaped():
    assert latex("a_b & 5 % {x} ~ ^ \\") == r"a\_b \& 5 \% \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    assert p_value(0.0001) == "p < 0.001"
    assert p_value(0.04) == "p = 0.040"


def test_two_prompts_of_the_built_in_writer_are_compared_too(runs):
    found = compare([runs["template"], runs["plain"]])
    assert {r.prompt for r in found.runs} == {"template", "plain"}
    assert found.pairs[0].p == 1


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_runs_cannot_be_compared(runs, count):
    with pytest.raises(UsageError, match="at least two different runs"):
        compare([runs["careful"]] * count)
    with pytest.raises(UsageError, match="at least two different runs"):
        compare([runs["careful"], runs["careful"]])


def test_a_folder_that_is_no_run_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="no run in this folder"):
        compare([runs["careful"], tmp_path])
    with pytest.raises(UsageError, match="no such folder"):
        compare([runs["careful"], tmp_path / "missing"])


def test_a_run_that_asked_nothing_is_said_to_be_so(runs, tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "0123456789abcdef"):
        pass
    with pytest.raises(
        UsageError, match=rf"{tmp_path}: this run has asked nothing yet: start the same `captioner run …`"
    ):
        compare([runs["careful"], tmp_path])


def test_a_run_on_texts_has_nobody_s_captions_to_compare(runs, tmp_path):
    (tmp_path / "pipeline.yaml").write_text("texts: pmc_oa\n")
    with pytest.raises(UsageError, match="a run on a dataset's own texts"):
        compare([runs["careful"], tmp_path])


def test_runs_of_different_datasets_are_refused(runs, tmp_path):
    make_dataset(tmp_path / "data")
    table = (tmp_path / "data" / "labels.csv").read_text()
    schema = tmp_path / "other.yaml"
    from captioner import resources

    schema.write_text(resources.find("label_schemas", "demo").read_text().replace("id: demo", "id: other"))
    assert table
    settings = [f"schema={schema}", f"data.root={tmp_path / 'data'}", f"out={tmp_path / 'out'}", "name=x"]
    execute(prepare(load_pipeline("demo", settings)))
    with pytest.raises(UsageError, match="is of dataset 'other'"):
        compare([runs["careful"], tmp_path / "out" / "runs" / "x"])
