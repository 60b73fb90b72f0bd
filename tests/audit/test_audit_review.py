"""Human review: the sample, the sheet, and what verdicts say of the checker."""

import csv
import json
import math

import pytest
import yaml

from captioner.audit import audit, read_review, write_corrections, write_sample, write_synonyms
from captioner.errors import UsageError
from captioner.schema import load_schema
from tests.audit.makers import DENIED, GOOD, NODULE, jsonl
from tests.small import CHEST, small_schema

SCHEMA = small_schema()
UNKNOWN = "Chest X-ray with hydrothorax."  # no wording of the small schema


@pytest.fixture
def target(tmp_path):
    rows = [{"labels": ["Effusion"], "caption": f"{GOOD[:-1]} {i}."} for i in range(900)]
    rows += [{"labels": ["Effusion"], "caption": f"{DENIED[:-1]} {i}."} for i in range(90)]
    rows += [{"labels": ["Nodule"], "caption": NODULE}] * 3
    rows += [{"labels": ["Effusion"], "caption": f"{UNKNOWN[:-1]}{' too' * i}."} for i in range(7)]
    return jsonl(tmp_path / "captions.jsonl", rows)


@pytest.fixture
def sample(target, tmp_path):
    found = audit(target, SCHEMA, review=0.1, processes=1)
    folder = tmp_path / "out"
    folder.mkdir()
    return found, write_sample(found, folder)


def rows_of(sheet):
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(sheet, name, judge):
    rows = rows_of(sheet)
    path = sheet.with_name(name)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(r | {"verdict": judge(r)} for r in rows)
    return path


def truth(row):
    return "disagree" if "without" in row["caption"] else "agree"


def test_the_sample_is_as_large_as_the_wanted_error_asks_and_has_some_of_each_kind(sample):
    found, sheet = sample
    rows = rows_of(sheet)
    assert 88 <= len(rows) <= 88 + 3 * 5
    assert {e.caption for e, _ in found.sample} == {r["caption"] for r in rows}
    assert sum("without" in r["caption"] for r in rows) >= 5
    assert sum("hydrothorax" in r["caption"] for r in rows) >= 5
    assert sum(w for _, w in found.sample) == pytest.approx(1000)


def test_many_kinds_do_not_make_the_sample_much_larger_than_it_was_asked_for(tmp_path):
    schema = load_schema("radimagenet")
    rows = [{"labels": [c], "caption": f"An image of number {i}."} for c in schema.codes for i in range(4)]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), schema, review=0.1, processes=1)
    strata = {(e.labels, e.codes) for e, _ in found.sample}
    assert len(strata) >= 165  # each class has one at least
    assert len(found.sample) < 300  # 84 at random; five of each kind would be all 660
    assert sum(w for _, w in found.sample) == pytest.approx(len(rows))


def test_the_order_of_the_sheet_does_not_say_what_the_checker_said(sample):
    found, sheet = sample
    ids = [r["id"] for r in rows_of(sheet)]
    assert ids == sorted(ids) == [e.id for e, _ in found.sample]


def test_the_sheet_does_not_say_what_the_checker_said(sample):
    _, sheet = sample
    assert rows_of(sheet)[0].keys() == {"id", "labels", "caption", "image", "verdict", "comment"}
    assert "negated_label" not in sheet.read_text(encoding="utf-8")


def test_a_caption_is_no_formula_in_a_spreadsheet(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"labels": "Effusion", "caption": '=HYPERLINK("x")'}])
    sheet = write_sample(audit(path, SCHEMA, review=0.1), tmp_path)
    assert rows_of(sheet)[0]["caption"].startswith("'=")


def test_verdicts_give_the_checkers_precision_and_recall_weighted_to_all_captions(sample):
    _, sheet = sample
    one = fill(sheet, "one.csv", truth)
    review = read_review(sheet.with_name("review.json"), [one])
    # The checker refuses the 90 that are denied and the 7 that people accept; it misses none.
    assert review.precision.value == pytest.approx(90 / 97)
    assert review.recall.value == 1
    assert review.accuracy.value == pytest.approx(0.993)
    assert review.agreement.value == pytest.approx(0.91)
    assert review.precision.low < review.precision.value < review.precision.high
    assert review.recall.low < 0.9  # a dozen cases without a miss do not make a perfect checker
    json.dumps(review.to_dict(), allow_nan=False)


def test_two_reviewers_are_held_against_each_other_and_ties_decide_nothing(sample):
    _, sheet = sample
    one = fill(sheet, "one.csv", truth)
    two = fill(
        sheet, "two.csv", lambda r: "no" if "without" in r["caption"] or r["caption"].endswith("too.") else "YES"
    )
    review = read_review(sheet.with_name("review.json"), [one, two])
    ((first, second, value, number),) = review.kappas
    assert (first, second, number) == (str(one), str(two), len(rows_of(sheet)))
    assert 0 < value < 1
    assert review.undecided > 0
    assert review.reviewed + review.undecided == number


def test_what_people_accept_can_be_allowed_and_then_agrees(sample, target, tmp_path):
    found, sheet = sample
    review = read_review(sheet.with_name("review.json"), [fill(sheet, "one.csv", truth)])
    count = write_corrections(review, tmp_path / "allow.jsonl")
    assert count == len([c for c in review.corrections if c.people == "agree"]) >= 5
    again = audit(target, SCHEMA, allow=tmp_path / "allow.jsonl")
    assert again.agreement.hits == found.agreement.hits + count


def test_wordings_that_the_schema_may_lack_are_proposed(sample):
    _, sheet = sample
    review = read_review(sheet.with_name("review.json"), [fill(sheet, "one.csv", truth)])
    assert any("hydrothorax" in w for w in review.wordings["Effusion"])
    assert set(review.wordings) == {"Effusion"}


def test_proposed_synonyms_are_written_as_a_schema_file_words_them(sample, tmp_path):
    _, sheet = sample
    review = read_review(sheet.with_name("review.json"), [fill(sheet, "one.csv", truth)])
    write_synonyms(review, tmp_path / "synonyms.yaml")
    (proposed,) = yaml.safe_load((tmp_path / "synonyms.yaml").read_text(encoding="utf-8"))["classes"]
    assert proposed["code"] == "Effusion"
    assert any("hydrothorax" in w for w in proposed["synonyms"])
    classes = [c | ({"synonyms": proposed["synonyms"]} if c["code"] == "Effusion" else {}) for c in CHEST["classes"]]
    assert small_schema(classes=classes)["Effusion"]


def test_a_sheet_saved_with_semicolons_is_read(sample):
    _, sheet = sample
    one = fill(sheet, "one.csv", truth)
    rows = rows_of(one)
    with one.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    assert read_review(sheet.with_name("review.json"), [one]).reviewed == len(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,verdict\nnobody,agree\n", "row 2: id 'nobody' is not in the sample"),
        ("a,b\n1,2\n", "no columns 'id' and 'verdict'"),
        ("", "no verdict yet"),
        (b"\xff\xfe\x00", "not UTF-8 text; save it as CSV in UTF-8"),
    ],
)
def test_a_sheet_that_is_none_is_refused(sample, tmp_path, content, message):
    _, sheet = sample
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message):
        read_review(sheet.with_name("review.json"), [path])


def test_a_verdict_that_is_neither_is_refused_with_its_row(sample):
    _, sheet = sample
    with pytest.raises(UsageError, match="row 2: verdict 'perhaps' is neither"):
        read_review(sheet.with_name("review.json"), [fill(sheet, "one.csv", lambda _: "perhaps")])


@pytest.mark.parametrize("content", ["", "{}", '{"captions": {"a": {}}}', "[]"])
def test_a_key_that_is_none_is_refused(sample, tmp_path, content):
    _, sheet = sample
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(UsageError, match="not the key of a review sample"):
        read_review(tmp_path / "key.json", [sheet])


def test_an_allow_list_with_an_unknown_label_is_refused_with_its_row(target, tmp_path):
    (tmp_path / "allow.jsonl").write_text('{"labels": ["Goiter"], "caption": "x"}\n')
    with pytest.raises(UsageError, match=r"allow.jsonl: row 1: .*'Goiter'"):
        audit(target, SCHEMA, allow=tmp_path / "allow.jsonl")


def test_where_the_checker_refuses_nothing_its_precision_is_unknown(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"labels": "Effusion", "caption": GOOD}])
    sheet = write_sample(audit(path, SCHEMA, review=0.2), tmp_path)
    review = read_review(tmp_path / "review.json", [fill(sheet, "one.csv", lambda _: "agree")])
    assert math.isnan(review.precision.value)
    assert review.to_dict()["precision"]["value"] is None
