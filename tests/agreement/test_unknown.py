"""Words that nobody has listed: noted, whatever they are, and never where they are known."""

import csv
from pathlib import Path

import pytest

from captioner.agreement import Checker
from captioner.schema import Library, load_library, load_schema
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions

CHEST = Checker(load_schema("chestxray14"))


def strange(caption: str, labels: list[str], checker: Checker = CHEST, **more: object) -> list[str | None]:
    issues = checker.check(caption, labels, **more).issues  # type: ignore[arg-type]
    return [i.text for i in issues if i.code == "unknown_word"]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A Zorbax chest film with pulmonary fibrosis.", ["Zorbax"]),
        ("Chest X-ray with pulmonary fibrosis and a zorbax quintalon.", ["zorbax quintalon"]),
        ("Chest X-ray with pulmonary fibrosis, Zx9 to Zx11.", ["Zx9", "Zx11"]),
        ("Chest X-ray showing pulmonary fibrosis, in a beautifully balanced view.", []),
        ("The chest radiograph delineates pulmonary fibrosis vividly.", []),
        ("CHEST X-RAY SHOWING PULMONARY FIBROSIS.", []),
        ("Chest X-ray showing pulmonary fibrosis; 12 3.5 4,000.", []),
    ],
)
def test_each_run_of_unknown_words_is_noted_with_its_place(caption: str, words: list[str]) -> None:
    assert strange(caption, ["Fibrosis"]) == words


def test_it_is_a_warning_unless_a_schema_says_otherwise() -> None:
    caption = "A Zorbax chest film with pulmonary fibrosis."
    assert CHEST.check(caption, ["Fibrosis"]).agrees
    strict = Checker(load_schema("chestxray14").with_levels({"unknown_word": "error"}))
    assert not strict.check(caption, ["Fibrosis"]).agrees
    assert strict.check("Chest film with pulmonary fibrosis.", ["Fibrosis"]).agrees


def test_what_is_wrong_already_is_not_noted_twice() -> None:
    issues = CHEST.check("Chest X-ray with fibrosis due to Trichophyton rubrum.", ["Fibrosis"]).issues
    spans = [i.span for i in issues]
    assert len(spans) == len(set(spans))


def test_what_the_image_s_metadata_says_may_be_said() -> None:
    caption = "A Zorbax chest film with pulmonary fibrosis."
    assert strange(caption, ["Fibrosis"]) == ["Zorbax"]
    assert strange(caption, ["Fibrosis"], attributes={"scanner": "Zorbax 3000"}) == []


def test_the_user_s_own_words_are_known() -> None:
    library = load_library()
    more = Library(library.concepts, library.modalities, library.anatomies, library.ordinary + " zorbax")
    checker = Checker(load_schema("chestxray14"), more)
    assert strange("A Zorbax chest film with pulmonary fibrosis.", ["Fibrosis"], checker) == []
    assert checker.version != CHEST.version


@pytest.mark.parametrize(
    "name", ["chestxray14", "retina_flair", "radimagenet", "fitzpatrick17k", "hyperkvasir", "lc25000"]
)
def test_the_built_in_writer_uses_no_unknown_word(name: str) -> None:
    schema = load_schema(name)
    checker = Checker(schema)
    for item in schema.classes:
        for caption in write_captions(schema, make_triplet(schema, Labels((item.code,))), 10):
            assert strange(caption, [item.code], checker) == [], caption


def test_hardly_any_good_caption_of_a_reader_has_one() -> None:
    path = Path(__file__).parent / "blind.tsv"
    checkers: dict[str, Checker] = {}
    noted = count = 0
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["verdict"] == "agree":
                name = row["schema"]
                checker = checkers.setdefault(name, Checker(load_schema(name)))
                noted += bool(strange(row["caption"], row["labels"].split("|"), checker))
                count += 1
    assert count > 500
    assert noted / count <= 0.05
