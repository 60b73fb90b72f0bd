"""What a run will take: counted with the model's tokenizer where it is at hand, learnt from answers, or estimated."""

import pytest

from captioner.engines import Message
from captioner.estimates import counter_for, of_judge, of_questions
from captioner.store import Totals

PROMPTS = [
    (Message("system", "a" * 400), Message("user", "b" * 400)),
    (Message("system", "a" * 400), Message("user", "")),
]


def totals(requests, prompt, completion):
    return Totals({}, requests, requests, 0, prompt, completion, 0.0, 0, 0, {}, {}, {})


def test_without_a_tokenizer_four_characters_are_a_token_and_that_is_said():
    estimate = of_questions(PROMPTS, 10, 5, "nobody/knows-it")
    assert (estimate.requests, estimate.prompt_tokens, estimate.completion_tokens) == (10, 1500, 2000)
    assert estimate.basis == "an estimate: 4 characters a token"


def test_answers_so_far_say_it_better():
    estimate = of_questions(PROMPTS, 10, 5, "m", totals(100, 70_000, 30_000))
    assert (estimate.prompt_tokens, estimate.completion_tokens) == (7000, 3000)
    assert estimate.basis == "as the 100 answers so far"


def test_a_few_answers_say_nothing_yet_and_neither_do_those_of_a_server_that_does_not_count():
    for so_far in (totals(5, 70_000, 30_000), totals(100, 0, 0)):
        assert of_questions(PROMPTS, 10, 5, "m", so_far).basis == "an estimate: 4 characters a token"


def test_nothing_is_asked_nothing_is_taken():
    assert of_questions([], 0, 10, "m").prompt_tokens == of_judge(0).prompt_tokens == 0


@pytest.fixture
def tokenizer():
    """A tokenizer of words, as a file's text."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return made.to_str()


def test_the_tokenizer_in_a_models_folder_counts(tmp_path, tokenizer):
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    assert counter_for(str(tmp_path))("three words here") == 3
    estimate = of_questions([(Message("user", "three words here"),)], 10, 5, str(tmp_path))
    assert estimate.prompt_tokens == 10 * (3 + 4)
    assert estimate.basis == "counted with the model's tokenizer"


def test_the_tokenizer_of_a_model_that_was_downloaded_before_counts(tmp_path, tokenizer, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--our--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("c0ffee")
    (model / "snapshots" / "c0ffee").mkdir(parents=True)
    (model / "snapshots" / "c0ffee" / "tokenizer.json").write_text(tokenizer)
    assert counter_for("our/model")("three words here") == 3
    assert counter_for("our/other") is None
    assert counter_for("gpt-5-mini") is None
    assert counter_for("no: name@of a/model/at all") is None


def test_a_tokenizer_that_cannot_be_read_is_done_without(tmp_path, tokenizer):
    (tmp_path / "tokenizer.json").write_text(tokenizer[:20])
    assert counter_for(str(tmp_path)) is None
