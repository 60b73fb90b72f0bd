"""The model of the tests that is wrong on purpose: the check refuses what it says wrongly, and passes what it says rightly."""

import json
import random

import pytest

from captioner.agreement import CODES as ALL
from captioner.agreement import Checker
from captioner.prompts import load_prompt
from captioner.schema import load_schema
from captioner.triplets import Labels, make_triplet
from tests.wrong import CODES, Model, Question, wrong

SCHEMA = load_schema("demo")
LABELS = [(code,) for code in SCHEMA.codes] + [("cxr_cardiomegaly", "cxr_effusion")]


def body(labels, seed=0):
    triplet = make_triplet(SCHEMA, Labels(labels))
    messages = load_prompt("template").render(SCHEMA, triplet, 10)
    return {"messages": [{"role": m.role, "content": m.content} for m in messages], "seed": seed}


def test_there_is_a_way_to_be_wrong_in_every_code():
    assert set(CODES) == set(ALL) - {"denied_class", "unknown_word"}


@pytest.mark.parametrize("code", CODES)
def test_a_caption_that_is_wrong_in_a_code_is_refused_for_it(code):
    checker, rng, refused = Checker(SCHEMA), random.Random(code), set()
    for labels in LABELS:
        for _ in range(3):
            caption = wrong(code, Question(body(labels)), rng)
            if caption is not None:
                verdict = checker.check(caption, labels)
                assert not verdict.agrees, (labels, caption)
                refused |= {i.code for i in verdict.issues if i.level == "error"}
    assert code in refused


@pytest.mark.parametrize("labels", LABELS, ids="+".join)
def test_what_is_said_rightly_is_accepted_and_the_same_question_gets_the_same_answer(labels):
    checker = Checker(SCHEMA)
    model = Model()
    answer = model(body(labels))
    assert answer == model(body(labels)) != model(body(labels, seed=1))
    for caption in json.loads(answer)["captions"]:
        assert checker.check(caption, labels).agrees, caption
