"""The tables of docs/agreement.md are tests."""

from pathlib import Path

import pytest

from captioner.agreement import CODES, Checker
from captioner.agreement.triggers import KINDS
from captioner.schema import load_schema

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "agreement.md").read_text(encoding="utf-8")


def rows():
    for line in PAGE.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] != "schema" and not cells[0].startswith("---"):
            yield cells


@pytest.mark.parametrize(("schema", "labels", "caption", "result"), list(rows()))
def test_each_row_of_the_page_is_true(schema, labels, caption, result):
    verdict = Checker(load_schema(schema)).check(caption, [label.strip() for label in labels.split(",")])
    codes = {i.code for i in verdict.issues if i.level == "error"}
    if result == "agree, with a warning":
        assert verdict.agrees
        assert [i.code for i in verdict.issues if i.level == "warning"] == ["unknown_word"]
    else:
        assert (verdict.agrees and result == "agree") or result in codes, codes


def test_the_page_has_a_section_and_an_example_for_every_code():
    found = {row[3] for row in rows()}
    for code in CODES:
        assert f"\n### {code}\n" in PAGE
        assert code in found or code in {"denied_class", "unknown_word"}


def test_the_page_names_every_kind_of_detail():
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
