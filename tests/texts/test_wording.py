"""Templates, sections of reports, and clean text."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.texts.wording import Template, clean, sections

REPORT = """\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough  // pneumonia?

 COMPARISON:  None.

 FINDINGS:

 The lungs are clear.  There is no effusion:
 the sinuses are sharp.

 IMPRESSION:

 No acute process.

 NOTIFICATION:  Called at 5 pm.
"""


@pytest.mark.parametrize(
    ("template", "record", "texts"),
    [
        ("{caption}", {"caption": " A fundus. "}, ["A fundus."]),
        ("{caption}", {"caption": ""}, []),
        ("{caption}", {"caption": "nan"}, []),
        ("{caption}", {"caption": math.nan}, []),
        ("{caption}", {"caption": None}, []),
        ("{caption}", {}, []),
        ("{findings?} {impression?}", {"findings": "Clear.", "impression": ""}, ["Clear. "]),
        ("{findings?} {impression?}", {"findings": "", "impression": ""}, []),
        ("Question: {q} Answer: {a}", {"q": "Where?", "a": ""}, []),
        ("Question: {q} Answer: {a}", {"q": "How many?", "a": 2.0}, ["Question: How many? Answer: 2"]),
        ("{Answer|Anwser}", {"Anwser": "yes"}, ["yes"]),
        ("{Answer|Anwser}", {"Answer": "no", "Anwser": "yes"}, ["no"]),
        ("{turns.1.value}", {"turns": [{"value": "a"}, {"value": "b"}]}, ["b"]),
        ("{turns.2.value}", {"turns": [{"value": "a"}]}, []),
        ("{mentions.*.tokens}", {"mentions": [{"tokens": "a"}, {"tokens": ""}, {"tokens": "b"}]}, ["a", "b"]),
        ("{mentions.*.tokens}", {"mentions": None}, []),
        ("{ids.*}.png", {"ids": ["x", "y"]}, ["x.png", "y.png"]),
        ("{ids.*}.png", {"ids": "x"}, ["x.png"]),
        ("{keywords}", {"keywords": ["drusen", "atrophy"]}, ["drusen, atrophy"]),
        ("{a.b}", {"a.b": "a column with a dot"}, ["a column with a dot"]),
        ("{text#impression}", {"text": REPORT}, ["No acute process."]),
        ("{text#comparison?} {text#technique?}", {"text": REPORT}, ["None. "]),
    ],
)
def test_a_template_gives_the_texts_of_a_record(template: str, record: dict[str, Any], texts: list[str]) -> None:
    assert Template(template).fill(record) == texts


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("caption", "no field"),
        ("{caption", "no field"),
        ("{a} }", "brace"),
        ("{}", "no field;|is no field"),
        ("{*}", "begins with a column"),
        ("{a..b}", "no path"),
        ("{a.*} {b.*}", "one list at a time"),
    ],
)
def test_a_template_that_cannot_be_read_says_why(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Template(template)


def test_a_report_is_cut_at_its_headings_and_not_at_other_colons() -> None:
    found = sections(REPORT)
    assert clean(found["findings"]) == "The lungs are clear. There is no effusion: the sinuses are sharp."
    assert found["impression"] == "No acute process."
    assert set(found) == {"examination", "indication", "comparison", "findings", "impression", "notification"}


@pytest.mark.parametrize("heading", ["FINDINGS AND IMPRESSION", "Findings", "  FINDINGS "])
def test_headings_are_known_however_they_are_written(heading: str) -> None:
    assert sections(f"{heading}: Clear lungs.\n")["findings"] == "Clear lungs."


def test_a_heading_that_nobody_knows_ends_a_section() -> None:
    assert sections("FINDINGS: Clear.\nWET READ: VERSION 1\n")["findings"] == "Clear."


@given(st.text())
def test_clean_text_is_one_line_of_printable_characters_and_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert "\n" not in once
    assert "  " not in once
    assert once == once.strip() == clean(once)


@given(st.text(), st.text())
def test_no_record_makes_a_template_fail(key: str, value: str) -> None:
    for content in (value, [value], {key: value}, [{key: [value]}], 3, None, True):
        for template in ("{a}", "{a.b.*.c?}", "{a.0}", "{a#findings}"):
            assert isinstance(Template(template).fill({"a": content}), list)
