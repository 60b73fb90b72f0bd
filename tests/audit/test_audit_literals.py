"""Captions that stand as dictionaries in a Python file: read as data, never run."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.audit import Columns, audit
from captioner.audit.literals import class_of, dictionaries
from captioner.errors import UsageError
from captioner.schema import load_schema
from tests.audit.makers import DENIED, GOOD, NODULE
from tests.small import small_schema

SCHEMA = small_schema()
FILE = f"""
import os
os.abort()
SIZE = "\\d"
published = {{
    "pleural effusion": [{GOOD!r},
                         {DENIED!r}],
    "lung nodule": {NODULE!r},
    "last": ["Goodbye."],
    "Cardiomegaly": os.environ,
    "no abnormal finding": ["Normal chest X-ray."],
    **{{}},
}}
skin: dict = {{"melanoma": ["A dark lesion."], "nevus": ["A mole."]}}
pieces = {{"Nodule": {{"severity": ["mild"]}}}}
numbers = {{1: ["one"]}}
"""


@pytest.fixture
def constants(tmp_path):
    path = tmp_path / "constants.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_dictionary_of_captions_by_class_is_audited_and_the_file_is_not_run(constants):
    found = audit(constants, SCHEMA)
    assert (found.kind, found.captions, found.agreement.hits) == ("Python dictionaries", 4, 3)
    assert found.by_group["value"].tolist() == ["published"]
    assert [(b.place, b.code) for b in found.bad] == [("row 9", "unknown_label"), ("row 10", "bad_row")]


def test_dictionaries_of_other_classes_or_of_no_captions_are_left_out_unless_they_are_named(constants):
    assert list(dictionaries(constants)) == ["published", "skin", "pieces"]
    found = audit(constants, SCHEMA, columns=Columns(where=(("source", "skin"),)))
    assert found.problems == {"unknown_label": 2}
    with pytest.raises(UsageError, match=r"no dictionary 'published_'; there are: published, skin, pieces. Did you"):
        audit(constants, SCHEMA, columns=Columns(where=(("source", "published_"),)))
    with pytest.raises(UsageError, match="--where source=NAME alone"):
        audit(constants, SCHEMA, columns=Columns(where=(("split", "x"),)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = {", "not Python"),
        ("\0", "not Python"),
        ("x = 1", "there are: none"),
        ("x = {'a': ['b']}", "has classes of schema"),
    ],
)
def test_a_file_without_such_a_dictionary_is_refused_in_words(tmp_path, content, message):
    path = tmp_path / "constants.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        audit(path, SCHEMA)


@pytest.mark.parametrize(
    ("description", "code"),
    [
        ("MRI photo, knee, fracture", "MR/knee/fracture"),
        ("ultrasound image, liver, liver", "US/liver"),
        ("MR/knee/fracture", "MR/knee/fracture"),
        ("last", None),
    ],
)
def test_unimeds_descriptions_of_classes_are_understood(description, code):
    found = class_of(load_schema("radimagenet"), description)
    assert (found.code if found else None) == code


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["Effusion", "lung nodule", "x"]) | st.text(), values, max_size=5))
def test_whatever_a_dictionary_holds_gives_rows_or_reasons(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "constants.py"
    path.write_bytes(f"found = {content!r}".encode())
    with contextlib.suppress(UsageError):
        found = audit(path, SCHEMA, processes=1)
        assert found.rows + sum(found.problems.values()) >= len(content)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_is_read_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "constants.py"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        dictionaries(path)
