"""The built-in writer behind the engine protocol."""

import asyncio
import json

from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.rules import RulesEngine
from captioner.schema import LabelSchema, parse_schema
from captioner.triplets import Labels, make_triplet

SCHEMA: LabelSchema = parse_schema(
    {
        "id": "example",
        "title": "Example",
        "modality": "xray",
        "anatomy": "chest",
        "tables": [{"layout": "folders"}],
        "classes": [{"code": "A", "name": "pleural effusion"}, {"code": "B", "name": "pneumothorax"}],
    }
)


def ask(*requests: Request) -> list[Answer]:
    async def collect() -> list[Answer]:
        engine = RulesEngine(SCHEMA)
        await engine.check()
        answers = [a async for a in engine.answers(requests)]
        await engine.close()
        return answers

    return asyncio.run(collect())


def request(key: str, code: str, seed: int | None = None) -> Request:
    triplet = make_triplet(SCHEMA, Labels((code,)))
    return Request(key, (Message("user", "not read"),), triplet, 10, Sampling(seed=seed))


def test_every_request_gets_one_answer_with_as_many_captions_as_it_asks_for():
    answers = ask(request("one", "A"), request("two", "B"))
    assert [a.key for a in answers] == ["one", "two"]
    for answer, word in zip(answers, ("effusion", "pneumothorax"), strict=True):
        assert answer.finish_reason == "stop"
        assert answer.error is None
        assert answer.text is not None
        captions = json.loads(answer.text)["captions"]
        assert len(captions) == 10
        assert all(word in c.lower() for c in captions)


def test_the_answer_says_that_no_language_model_wrote_it():
    (answer,) = ask(request("one", "A"))
    assert answer.model == RulesEngine.model
    assert RulesEngine.model.startswith("built-in writer")
    assert RulesEngine.name == "rules"


def test_the_same_question_has_the_same_answer_and_another_seed_another():
    first, again, other = ask(request("one", "A"), request("two", "A"), request("three", "A", seed=1))
    assert first.text == again.text
    assert first.text != other.text
