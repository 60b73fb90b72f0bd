"""The report's files, its marks and its words."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from captioner.audit import audit
from captioner.report import charts, folder_for, write_report
from captioner.report.markdown import text
from captioner.report.page import EXAMPLES
from captioner.report.thumbnails import thumbnails
from captioner.report.words import marked, reason, visible
from tests.audit.makers import DENIED, GOOD, NODULE, ROWS, jsonl, picture, tar
from tests.small import small_schema

SCHEMA = small_schema()
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def plain(markup):
    return Markup(markup).striptags() if not isinstance(markup, Markup) else re.sub(r"<[^>]*>", "", markup)


@pytest.fixture
def found(tmp_path):
    return audit(jsonl(tmp_path / "a.jsonl"), SCHEMA)


def test_a_report_is_one_page_markdown_and_json_of_the_same_figures(found, tmp_path):
    written = write_report(found, tmp_path / "out", when=NOW)
    page = written.html.read_text(encoding="utf-8")
    assert "50.0 %" in page
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
    assert "50.0 % (95 % interval 18.8 % to 81.2 %)" in written.markdown.read_text(encoding="utf-8")
    assert json.loads(written.json.read_text(encoding="utf-8"))["agreement"]["share"] == 0.5
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["audit.json", "audit.md", "index.html"]


def test_the_same_figures_at_the_same_time_give_the_same_bytes(found, tmp_path):
    one, two = (write_report(found, tmp_path / name, when=NOW) for name in "ab")
    assert one.html.read_bytes() == two.html.read_bytes()


def test_an_earlier_audit_of_the_folder_becomes_a_trend(found, tmp_path):
    better = audit(jsonl(tmp_path / "b.jsonl", [{"labels": "Effusion", "caption": GOOD}] * 50), SCHEMA)
    write_report(found, tmp_path / "out", when=NOW)
    written = write_report(better, tmp_path / "out", when=NOW + timedelta(days=1))
    page = written.html.read_text(encoding="utf-8")
    assert "+50.0 points since 2026-01-02" in page
    history = json.loads(written.json.read_text(encoding="utf-8"))["history"]
    assert [h["agreement"]["share"] for h in history] == [0.5, 1]


ENTRY = {"schema": "small", "time": "2026-01-01", "checker": "x", "captions": 3, "agreement": {"share": 1, "low": 0}}
CONTENTS = ["", "{", "[]", '{"history": 3}', '{"history": [1]}', "\x00", json.dumps({"history": [ENTRY]})]
CONTENTS += [json.dumps({"history": [ENTRY | {"time": "then"}]}), json.dumps({"history": [ENTRY | {"agreement": 1}]})]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_that_is_no_earlier_audit_does_no_harm(found, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audit.json").write_text(content)
    written = write_report(found, tmp_path / "out")
    assert len(json.loads(written.json.read_text(encoding="utf-8"))["history"]) == 1


def test_a_target_without_captions_has_a_report_too(tmp_path):
    empty = audit(jsonl(tmp_path / "a.jsonl", [{"labels": "Goiter", "caption": GOOD}]), SCHEMA)
    page = write_report(empty, tmp_path / "out").html.read_text(encoding="utf-8")
    assert "Rows that could not be audited" in page
    assert "label &#39;Goiter&#39; is not in schema" in page


def test_examples_of_the_largest_audit_are_bounded_and_each_kind_has_some(tmp_path):
    rows = [{"labels": r["labels"], "caption": f"{r['caption'][:-1]} {i}."} for i in range(300) for r in ROWS]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA, examples=500, processes=1)
    page = write_report(found, tmp_path / "out").html.read_text(encoding="utf-8")
    assert page.count('<article class="example') == EXAMPLES
    for code in ("negated_label", "extra_label", "hedged_label", "agree"):
        assert f'data-codes="{code}"' in page


def test_pictures_come_from_files_and_from_anybodys_tars_and_damage_leaves_one_out(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "c.png").write_bytes(picture(size=(300, 900))[:200])
    rows = [
        {"labels": "Effusion", "caption": f"{GOOD} {n}", "image": n} for n in ("a.png", "b.png", "c.png", "gone.png")
    ]
    found = audit(jsonl(tmp_path / "a.jsonl", rows), SCHEMA, examples=10)
    uris = thumbnails(e for _, _, e in found.examples)
    (uri,) = uris.values()
    assert uri.startswith("data:image/jpeg;base64,")
    members = [("k.jpg", picture(kind="JPEG")), ("k.txt", NODULE.encode()), ("k.cls", b"Nodule")]
    (tmp_path / "tars").mkdir()
    tar(tmp_path / "tars" / "x.tar", members)
    assert len(thumbnails(e for _, _, e in audit(tmp_path / "tars", SCHEMA).examples)) == 1


def test_the_words_that_an_issue_is_about_are_marked_and_so_is_the_cue(tmp_path):
    found = audit(jsonl(tmp_path / "a.jsonl", [{"labels": "Effusion", "caption": DENIED}]), SCHEMA)
    (example,) = {e.id: e for _, _, e in found.examples}.values()
    markup = marked(example.caption, example.issues)
    assert '<mark class="error" title="negated label">pleural effusion</mark>' in markup
    assert '<mark class="error cue" title="cue of negated label">without</mark>' in markup
    said = reason(example.issues[0], found.names, example.caption)
    assert said.startswith("A positive label is denied: “pleural effusion”, because of “without”. ")


spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda s: (min(s), max(s)))


@given(
    st.text(max_size=30),
    st.lists(
        st.fixed_dictionaries(
            {
                "code": st.sampled_from(["negated_label", "<b>"]),
                "level": st.sampled_from(["error", "warning", "info"]),
                "span": st.none() | spans,
                "cue": st.none() | spans,
            }
        ),
        max_size=4,
    ),
)
def test_a_marked_caption_is_the_caption_whatever_is_marked(caption, issues):
    markup = marked(caption, issues)
    assert Markup(re.sub(r"</?mark[^>]*>", "", markup)).unescape() == visible(caption)
    assert len(visible(caption)) == len(caption)
    assert "<b>" not in markup


@given(st.text())
def test_nothing_in_markdown_is_markup(value):
    line = text(value)
    assert "\n" not in line
    assert not re.search(r"(?<!\\)[<>|`*_\[\]]", line)


def test_charts_of_nothing_are_nothing():
    assert charts.histogram([], "t", "x") == ""
    assert charts.curve([(0, 0)], "t", "x", "y") == ""
    assert charts.trend([], [], "t") == ""
    assert charts.interval(float("nan"), 0, 1) == ""


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_ticks_are_round_few_and_inside(a, b):
    low, high = min(a, b), max(a, b)
    found = charts.ticks(low, high)
    assert len(found) <= 12
    assert all(low - 1e-6 * (1 + high) <= t <= high + 1e-6 * (1 + high) for t in found)


def test_names_in_charts_are_escaped():
    assert "<b>" not in charts.histogram([(0, 1, 3)], "<b>", "<b>")


def test_a_report_of_a_run_goes_into_its_folder_and_others_beside_ones_work(tmp_path):
    (tmp_path / "runs").mkdir()
    assert folder_for(tmp_path) == tmp_path / "report"
    assert str(folder_for(tmp_path / "captions.v2.jsonl")) == "audit-captions"
