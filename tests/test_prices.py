"""Prices: the table that ships, a user's own, and what a pipeline states."""

import re

import pytest
import yaml

from captioner import resources
from captioner.errors import PipelineError
from captioner.prices import FILE, Price, find_price, given_price

OPENAI = "https://api.openai.com/v1"


def own(folder, *groups):
    (folder / FILE).write_text(yaml.safe_dump(list(groups)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_price_that_ships_has_a_date_a_source_and_a_server():
    for group in yaml.safe_load((resources.shipped() / FILE).read_text()):
        assert group["as_of"]
        assert group["source"].startswith("https://")
        assert group["hosts"]
        for price in group["models"].values():
            assert 0 < price["cached_input"] < price["input"] < price["output"]


def test_a_model_is_found_at_its_makers_server_with_or_without_a_date():
    price = find_price("gpt-4o-mini", OPENAI)
    assert (price.input, price.cached_input, price.output) == (0.15, 0.075, 0.60)
    assert re.match(r"OpenAI list prices of \d{4}-\d\d-\d\d \(.*prices\.yaml\)", price.source)
    assert find_price("gpt-4o-mini-2024-07-18", OPENAI) == price


def test_a_model_of_the_same_name_elsewhere_has_no_price():
    for address in (None, "http://localhost:8000/v1", "https://api.openai.com.example.org/v1"):
        assert find_price("gpt-4o-mini", address) == Price()
    assert find_price("nobody-knows-it", OPENAI).source == ""


def test_batches_cost_half():
    one, batch = (find_price("gpt-5-mini", OPENAI, batch=b) for b in (False, True))
    assert batch.of(1000, 1000, 500) == pytest.approx(one.of(1000, 1000, 500) / 2)


def test_cached_tokens_have_a_price_of_their_own():
    price = Price(input=2.0, output=10.0, cached_input=0.5)
    assert price.of(1_000_000, 0, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5)
    assert Price(input=2.0, output=10.0).of(1_000_000, 100_000, 400_000) == pytest.approx(3.0)


def test_a_file_in_the_working_directory_comes_first_model_by_model(elsewhere):
    own(elsewhere, {"models": {"gpt-5-mini": {"input": 1, "output": 2}, "mine": {"input": 3, "output": 4}}})
    assert find_price("gpt-5-mini", OPENAI).output == 2
    assert find_price("mine", "http://gpu1:8000/v1").input == 3
    assert find_price("mine", None).source == str(elsewhere / FILE)
    assert find_price("gpt-5-nano", OPENAI).input == 0.05  # still the one that ships


def test_a_price_that_holds_at_one_server_does_not_at_another(elsewhere):
    own(
        elsewhere,
        {"hosts": ["a.example.org"], "models": {"m": {"input": 1, "output": 2}}},
        {"models": {"m": {"input": 5, "output": 6}}},
    )
    assert find_price("m", "https://a.example.org/v1").input == 1
    assert find_price("m", "https://b.example.org/v1").input == 5


def test_what_a_pipeline_states_wins():
    price = given_price({"input": 7.0, "output": None, "cached_input": None}, "gpt-5-mini", OPENAI)
    assert (price.input, price.output, price.source) == (7.0, 0.0, "the pipeline's price")
    assert given_price({"input": None, "output": None, "cached_input": None}, "gpt-5-mini", OPENAI).input == 0.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- models: {m: {input: -1, output: 2}}", "greater than or equal to 0"),
        ("- models: {m: {input: 1}}", "output"),
        ("- {models: {}, colour: red}", "colour"),
        ("models: {m: {input: 1, output: 2}}", "prices.yaml"),
        ("- [", "prices.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(elsewhere, text, words):
    (elsewhere / FILE).write_text(text)
    with pytest.raises(PipelineError, match=words) as raised:
        find_price("m", None)
    assert FILE in str(raised.value)
