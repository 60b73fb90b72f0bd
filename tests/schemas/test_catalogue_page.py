"""The table of every dataset of the field says of each what the repository has."""

import re

import pytest

from captioner import resources
from captioner.schema import load_schema
from captioner.texts.schema import load_text_schema
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "schemas" / "catalogue.md").read_text(encoding="utf-8")
ROWS = [row for row in re.findall(r"^\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE) if row[1] not in ("state", "it means")]
ROWS = ROWS[6:]  # after the six states and what they mean
STATES = (
    "label schema `",
    "texts `",
    "labels and texts: ",
    "needs code: ",
    "nothing to caption: ",
    "facts not sourced: ",
    "`captioner unimed`",
    "the same schemas",
    "a model and the collection",
    "never trained on",
)
NAMED = re.findall(r"(label schema|texts) `(\w+)`, ([a-z ]+?)(?= and |[|;]| \|)", PAGE)


def test_each_dataset_has_one_line_and_a_state() -> None:
    assert len({name for name, _ in ROWS}) == len(ROWS)
    assert [state for _, state in ROWS if not state.startswith(STATES)] == []


def test_every_schema_of_the_repository_stands_in_the_table() -> None:
    assert sorted(n for what, n, _ in NAMED if what == "label schema") == sorted(resources.names("label_schemas"))
    assert sorted(n for what, n, _ in NAMED if what == "texts") == sorted(resources.names("text_schemas"))


@pytest.mark.parametrize(("what", "name", "table"), NAMED, ids=str)
def test_a_table_is_real_only_where_the_schema_says_so(what: str, name: str, table: str) -> None:
    verified = str((load_schema if what == "label schema" else load_text_schema)(name).verified)
    assert table in ("real table", "made table", "real images", "class list", "drawn by the demo")
    assert (table == "real table") == ("real table" in verified)
    assert ("real" in table) == ("real" in verified)
