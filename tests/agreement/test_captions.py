"""Captions written by hand without looking at the rules, with the verdict that a careful reader gives."""

import csv
import json
from pathlib import Path

import pytest

from captioner.agreement import Checker
from captioner.schema import load_schema
from tests.agreement.vocabularies import schema_of

TEXT = Path(__file__).with_name("captions.tsv").read_text(encoding="utf-8")
ROWS = list(csv.DictReader(TEXT.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("schema", sorted({row["schema"] for row in ROWS}))
def test_the_check_reads_captions_as_a_careful_reader_does(schema):
    checker = Checker(load_schema(schema))
    wrong = []
    for row in ROWS:
        if row["schema"] == schema:
            verdict = checker.check(row["caption"], row["labels"].split(","))
            if verdict.verdict != row["verdict"]:
                wrong.append(
                    (row["verdict"], row["labels"], row["caption"], [(i.code, i.text) for i in verdict.issues])
                )
    assert not wrong


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_gold_verdicts_of_two_annotators_are_met(real_data):
    rows = read(real_data / "agreement_dev.jsonl")
    checkers = {name: Checker(load_schema(name)) for name in {r["schema"] for r in rows}}
    right = coded = wrong_ones = 0
    for row in rows:
        verdict = checkers[row["schema"]].check(row["caption"], row["labels"])
        right += verdict.verdict == row["verdict"]
        if not verdict.agrees and row["verdict"] == "disagree":
            wrong_ones += 1
            coded += bool({i.code for i in verdict.issues if i.level == "error"} & set(row["errors"]))
    assert right >= 0.98 * len(rows)
    assert coded >= 0.93 * wrong_ones


def test_hard_captions_over_small_vocabularies_are_met(real_data):
    rows = read(real_data / "agreement_tricky.jsonl")
    checkers = {name: Checker(schema_of(name)) for name in {r["vocab"] for r in rows}}
    right = sum(checkers[r["vocab"]].check(r["caption"], r["labels"]).agrees == (r["verdict"] == "pass") for r in rows)
    assert right >= 0.95 * len(rows)
