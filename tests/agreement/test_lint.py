"""What the lint finds in a schema, one rule at a time."""

import pytest

from captioner import resources
from captioner.agreement import lint
from captioner.schema import load_schema, parse_schema


def problems(*classes, level="error", **more):
    schema = parse_schema(
        {
            "id": "small",
            "title": "Small",
            "modality": "mri",
            "anatomy": "ankle_foot",
            "fields": ["musculoskeletal"],
            "tables": [{"layout": "folders"}],
            "classes": list(classes),
            **more,
        }
    )
    return [(p.where, p.message) for p in lint(schema) if p.level == level]


def text(found):
    return " ".join(f"{where} {message}" for where, message in found)


@pytest.mark.parametrize("name", resources.names("label_schemas"))
def test_the_schemas_that_ship_have_no_errors(name):
    assert [p for p in lint(load_schema(name)) if p.level == "error"] == []


def test_a_clean_schema_has_no_problems():
    assert problems({"code": "a", "name": "fracture"}, {"code": "b", "name": "joint effusion"}) == []


@pytest.mark.parametrize("name", ["af", "OA", "dr", "IVC"])
def test_a_short_form_without_its_expansion_is_an_error(name):
    assert "abbreviation" in text(problems({"code": "x", "name": name}))


def test_a_name_in_capitals_is_a_code():
    assert "capitals" in text(problems({"code": "x", "name": "STRIATUM"}))


@pytest.mark.parametrize("name", ["soft tissue fluid of", "Lisfranc pathology,", "post operative -"])
def test_a_name_that_is_cut_off_is_an_error(name):
    assert "cut off" in text(problems({"code": "x", "name": name}))


@pytest.mark.parametrize("name", ["bone_inflammation", "jointEffusion"])
def test_a_code_is_no_wording(name):
    assert "code" in text(problems({"code": "x", "name": name}))


def test_a_misspelt_name_is_an_error_that_gives_the_word():
    found = lint(parse_schema({"id": "s", "title": "S", "modality": "mri", "anatomy": "brain", "fields": ["brain"], "tables": [{"layout": "folders"}], "classes": [{"code": "x", "name": "pituatary lesion"}]}))  # fmt: skip
    assert [p.fix for p in found if "misspelt" in p.message] == ["did you mean 'pituitary'?"]


def test_one_wording_of_two_classes_is_an_error():
    found = problems(
        {"code": "a", "name": "joint effusion"},
        {"code": "b", "name": "fluid collection", "synonyms": ["joint effusion"]},
    )
    assert "belongs to both" in text(found)


def test_a_wording_that_a_parent_shares_is_none():
    found = problems(
        {"code": "a", "name": "effusion"},
        {"code": "b", "name": "joint effusion", "synonyms": ["effusion"], "parents": ["a"]},
    )
    assert found == []


def test_one_name_inside_another_is_worth_a_look():
    classes = ({"code": "a", "name": "effusion"}, {"code": "b", "name": "joint effusion"})
    assert "stands inside" in text(problems(*classes, level="warning"))


def test_a_name_that_denies_needs_a_kind_that_does():
    assert "absence" in text(problems({"code": "a", "name": "no fracture"}))
    assert "normal" in text(problems({"code": "a", "name": "normal ankle"}))
    assert (
        problems(
            {"code": "f", "name": "fracture"}, {"code": "a", "name": "no fracture", "kind": "absence", "denies": "f"}
        )
        == []
    )


def test_two_normals_of_one_place_are_an_error():
    found = problems(
        {"code": "a", "name": "normal ankle", "kind": "normal"}, {"code": "b", "name": "healthy foot", "kind": "normal"}
    )
    assert "more than one class is normal" in text(found)


def test_parents_may_not_go_round_in_a_circle():
    found = problems(
        {"code": "a", "name": "effusion", "parents": ["b"]}, {"code": "b", "name": "swelling", "parents": ["a"]}
    )
    assert "circle" in text(found)


def test_a_grade_needs_a_scale_and_a_level_of_its_own():
    grade = {"kind": "grade", "group": "oa", "level": 1}
    assert "no group" in text(problems({"code": "a", "name": "mild osteoarthritis", "kind": "grade"}))
    found = problems(
        {"code": "a", "name": "mild osteoarthritis", **grade}, {"code": "b", "name": "severe osteoarthritis", **grade}
    )
    assert "level 1 stands 2 times" in text(found)


def test_a_sign_that_is_an_unknown_concept_is_an_error():
    assert "no concept" in text(problems({"code": "a", "name": "fracture", "signs": ["general.no_such_thing"]}))


def test_unknown_fields_levels_and_details_are_errors():
    one = {"code": "a", "name": "fracture"}
    assert "no concept field" in text(problems(one, fields=["nonsense"]))
    assert "no code" in text(problems(one, levels={"missing_lable": "warning"}))
    assert "no kind of detail" in text(problems(one, attributes={"age": {"column": "Age", "details": ["years"]}}))


def test_a_short_synonym_is_worth_a_look():
    assert "short" in text(problems({"code": "a", "name": "fracture", "synonyms": ["fx"]}, level="warning"))
