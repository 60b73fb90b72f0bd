"""The figures: each one on captions few enough to count by hand."""

import json
import math

import pytest

from captioner.audit import audit
from captioner.audit.gates import gates, github, parse_limit, write_junit
from captioner.errors import UsageError
from tests.audit.makers import DENIED, EXTRA, GOOD, HEDGED, NODULE, ROWS, jsonl
from tests.small import small_schema

SCHEMA = small_schema()


@pytest.fixture
def found(tmp_path):
    return audit(jsonl(tmp_path / "a.jsonl"), SCHEMA)


def test_the_headline_is_the_share_that_agrees_with_its_interval(found):
    assert (found.agreement.hits, found.agreement.total) == (3, 6)
    assert "3 of 6 captions agree with their labels: 50.0 % (95 % interval 18.8 % to 81.2 %)" in found.headline()


def test_agreement_is_told_by_class_by_combination_and_by_split(found):
    by_class = found.by_class.set_index("class")
    assert (by_class.loc["Effusion", "captions"], by_class.loc["Effusion", "agree"]) == (5, 2)
    assert (by_class.loc["Nodule", "captions"], by_class.loc["Nodule", "agree"]) == (2, 2)
    assert dict(zip(found.by_combination["labels"], found.by_combination["agree"], strict=True)) == {
        "Effusion": 1,
        "Nodule": 1,
        "Effusion|Nodule": 1,
    }
    groups = found.by_group.set_index("value")
    assert (groups.loc["train", "share"], groups.loc["test", "captions"]) == (0.5, 4)


def test_coverage_counts_labels_that_are_asserted_and_how_others_fail(found):
    row = found.coverage.set_index("class").loc["Effusion"]
    assert (row["captions"], row["asserted"], row["negated"], row["hedged"], row["missing"]) == (5, 3, 1, 1, 0)
    assert found.coverage_rate == pytest.approx(5 / 7)


def test_classes_that_captions_assert_without_a_label_are_a_matrix(found):
    assert found.spurious.loc["Effusion", "Nodule"] == 1
    assert found.spurious.to_numpy().sum() == 1
    said = found.frequencies.set_index("class")["asserted"]
    assert (said["Effusion"], said["Nodule"]) == (3, 3)


def test_the_heat_map_counts_captions_with_an_error_by_class_and_code(found):
    assert found.heat_map.loc["Effusion"].to_dict() == {"extra_label": 1, "hedged_label": 1, "negated_label": 1}
    assert found.heat_map.loc["Nodule"].sum() == 0


def test_the_same_caption_under_two_labels_is_found(found):
    (row,) = found.duplicates.to_dict("records")
    assert (row["caption"], row["label_sets"], row["captions"]) == (EXTRA, 2, 2)


def test_diversity_is_counted_exactly_where_there_is_little(found):
    words = [w for r in ROWS for w in r["caption"].lower().replace("-", " ").rstrip(".").split()]
    assert found.diversity["words"] == pytest.approx(len(words) / 6)
    assert found.diversity["distinct_1"] == pytest.approx(len(set(words)) / len(words))
    assert found.diversity["distinct_captions"] == pytest.approx(5 / 6)
    assert math.isnan(found.diversity["self_similarity"])
    assert found.openings.iloc[0].to_dict() == {"opening": "chest x ray with a", "captions": 4, "share": 4 / 6}
    assert found.vocabulary.iloc[-1].to_dict() == {"captions": 6, "words": len(set(words))}


def test_captions_of_one_row_are_a_set_and_their_likeness_is_measured(tmp_path):
    same = {"labels": "Effusion", "captions": [GOOD, GOOD]}
    other = {"labels": "Effusion", "captions": [GOOD, "Fluid in the pleural space."]}
    found = audit(jsonl(tmp_path / "a.jsonl", [same, other]), SCHEMA)
    assert (found.rows, found.captions) == (2, 4)
    assert found.diversity["self_similarity"] == pytest.approx((1 + 1 / 11) / 2)
    assert list(found.similarity["sets"]).count(1) == 2


def test_a_text_that_is_too_long_to_be_read_asserts_no_label(tmp_path):
    found = audit(jsonl(tmp_path / "a.jsonl", [{"labels": "Effusion", "caption": GOOD * 5000}]), SCHEMA)
    assert found.coverage.iloc[0]["asserted"] == 0
    assert len(found.examples[0][2].caption) <= 5000


def test_examples_are_kept_for_each_code_and_class_and_for_agreement(found):
    cells = {(code, label): e.caption for code, label, e in found.examples}
    assert cells["negated_label", "Effusion"] == DENIED
    assert cells["agree", "Nodule"] == NODULE
    assert len({e.id for _, _, e in found.examples}) == 6


def test_figures_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    from captioner.audit import workers

    monkeypatch.setattr(workers, "PART", 300)
    monkeypatch.setattr(workers, "_FEW", 2)
    rows = [r | {"caption": f"{r['caption'][:-1]} {i // 9}."} for i in range(500) for r in ROWS]
    path = jsonl(tmp_path / "a.jsonl", rows)
    one, two = (audit(path, SCHEMA, processes=n, review=0.2) for n in (1, 2))
    assert one.to_json() == two.to_json()
    assert one.captions == 3000
    assert [(e.id, w) for e, w in one.sample] == [(e.id, w) for e, w in two.sample]


def test_a_schema_that_makes_the_worker_fail_is_told_not_hung(tmp_path, monkeypatch):
    from captioner.audit import workers
    from captioner.errors import CaptionerError

    monkeypatch.setattr(workers, "_PROGRAM", "raise SystemExit")
    monkeypatch.setattr(workers, "_FEW", 2)
    path = jsonl(tmp_path / "a.jsonl", ROWS * 100)
    with pytest.raises(CaptionerError, match="ended before its time"):
        audit(path, SCHEMA, processes=2)


def test_a_worker_that_has_failed_before_it_is_asked_is_told_too(monkeypatch):
    from captioner.audit import workers
    from captioner.errors import CaptionerError

    monkeypatch.setattr(workers, "_PROGRAM", "raise SystemExit")
    worker = workers._Worker((SCHEMA, workers.Settings()))
    worker._process.wait()
    with pytest.raises(CaptionerError, match="ended before its time"):
        worker.ask([])
    worker.close()


def test_all_of_it_is_json_that_any_parser_reads_and_shows_in_a_notebook(found, tmp_path):
    data = json.loads(found.to_json())
    assert data["agreement"]["share"] == 0.5
    assert data["diversity"]["self_similarity"] is None
    assert data["heat_map"]["rows"] == ["Effusion", "Nodule"]
    attack = audit(jsonl(tmp_path / "<b>.jsonl", [{"labels": "Effusion", "caption": "<script>x</script>"}]), SCHEMA)
    assert "<b>" not in attack._repr_html_().replace("<b>There", "").replace("<b>0 of", "")
    assert "<script>" not in attack._repr_html_()
    assert "50.0 %" in found._repr_html_()
    assert "3 of 6" in repr(found)


def test_a_target_without_a_caption_is_an_audit_that_says_so(tmp_path):
    empty = audit(jsonl(tmp_path / "a.jsonl", []), SCHEMA)
    assert empty.headline() == "There is no caption that could be judged"
    json.loads(empty.to_json())
    assert [g.passed for g in gates(empty, 0.9)] == [False]


def test_thresholds_pass_or_fail_each_by_itself(found):
    limits = [parse_limit(t) for t in ("hedged_label=0.2", "extra_label=0.1", "missing_label=0")]
    result = gates(found, 0.9, limits)
    assert [(g.name, g.passed) for g in result] == [
        ("agreement", False),
        ("hedged_label", True),
        ("extra_label", False),
        ("missing_label", True),
    ]
    assert result[0].message == "50.0 % of the captions agree with their labels; at least 90.0 % must"


@pytest.mark.parametrize("text", ["hedged_label", "hedged_label=", "hedged_label=2", "hedged_label=nan", "hedged=0.1"])
def test_a_threshold_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UsageError, match="--max-issue"):
        parse_limit(text)


def test_a_detail_can_have_a_threshold_of_its_own(tmp_path):
    rows = [{"labels": "Effusion", "caption": "Chest X-ray of a 54-year-old with a pleural effusion."}]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA)
    assert found.share_with("invented_detail.age") == 1
    assert found.share_with("invented_detail.size") == 0
    assert found.share_with("invented_detail") == 1


def test_junit_has_a_case_for_each_threshold_and_is_well_formed_whatever_a_caption_holds(tmp_path):
    from xml.etree import ElementTree as ET

    rows = [{"labels": "Effusion", "caption": "No effusion \x00\x1b <b>&"}]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA)
    write_junit(tmp_path / "junit.xml", found, gates(found, 0.9, [("extra_label", 0.0)]))
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "agree with their labels" in suite.find("testcase/failure").get("message")


def test_annotations_point_at_the_row_and_cannot_be_broken_by_a_caption(tmp_path):
    rows = [{"labels": "Effusion", "caption": "No effusion.\n::error::injected 100%"}]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA)
    lines = github(found, gates(found, 0.9))
    assert lines[0].startswith("::error title=captioner audit::0 %25 of the captions")
    assert "line=1," in lines[1]
    assert all("\n" not in line for line in lines)
    assert "100%25" in lines[1]


def test_words_that_hedge_are_counted(tmp_path):
    rows = [
        {"labels": ["Effusion"], "caption": c} for c in (HEDGED, HEDGED, "Pleural effusion cannot be excluded.", GOOD)
    ]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA)
    counted = dict(zip(found.hedges["wording"], found.hedges["captions"], strict=True))
    assert counted["possible"] == 2
    assert sum(counted.values()) == 3
    assert found.to_dict()["hedges"][0]["wording"] == "possible"
