"""Label schemas: what is valid, and how an invalid one says what is wrong with it."""

import json

import pytest
import yaml

from captioner import resources
from captioner.errors import SchemaError, UsageError
from captioner.schema import json_schema, load_library, load_schema, parse_schema, read_yaml
from tests.small import CHEST, small_schema


def test_a_label_is_found_by_code_alias_or_name_in_any_case():
    schema = small_schema(classes=[{"code": "x1", "name": "pleural effusion", "aliases": ["Eff."]}])
    for label in ("x1", "X1", "eff.", "Pleural  Effusion"):
        assert schema.resolve(label).code == "x1"
    with pytest.raises(
        SchemaError, match=r"label 'pleural efusion' is not in schema 'small'\. Did you mean 'pleural effusion'"
    ):
        schema.resolve("pleural efusion")


def test_a_class_takes_its_meaning_from_a_concept_and_may_add_to_it():
    schema = small_schema(classes=[{"code": "H", "concept": "chest.cardiomegaly", "synonyms": ["big heart"]}])
    concept = load_library().concepts["chest.cardiomegaly"]
    assert schema["H"].name == concept.name
    assert set(concept.synonyms) < set(schema["H"].synonyms)
    assert "big heart" in schema["H"].synonyms


def test_the_hash_changes_with_a_concept_and_not_with_the_order_of_keys():
    assert small_schema().hash == parse_schema(dict(reversed(CHEST.items()))).hash
    assert small_schema().hash != small_schema(title="Another").hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "classes"),
        ({"classes": [{"code": "a", "name": "x"}, {"code": "a", "name": "y"}]}, "class code 'a' stands twice"),
        (
            {"classes": [{"code": "a", "name": "x", "aliases": ["b"]}, {"code": "b", "name": "y"}]},
            "label 'b' is claimed by 'a' and by 'b'",
        ),
        ({"classes": [{"code": "a", "concept": "chest.cardiomegally"}]}, "Did you mean 'chest.cardiomegaly'"),
        ({"classes": [{"code": "a", "name": "x", "kind": "absence"}]}, "'denies' must say of what"),
        (
            {"classes": [{"code": "a", "name": "x", "parents": ["nothing"]}]},
            "'nothing' is neither a class code nor a concept",
        ),
        ({"classes": [{"code": "a", "name": "x", "synonims": ["y"]}]}, r"classes\.0\.synonims: unknown key"),
        ({"classes": [{"code": "a"}]}, r"classes\.0\.name: is missing"),
        ({"modality": "xry"}, "Did you mean 'xray'"),
        ({"modality": None}, "has no modality"),
        ({"tables": [{"layout": "nmes"}]}, "tables.0"),
        (
            {"tables": [{"layout": "codes", "image": "i", "codes": {"grade": {"0": "nothing"}}}]},
            "a table names class 'nothing', which is not in classes",
        ),
        ({"labels": {"map": {"a,b": ["Effusion", "nothing"]}}}, "'a,b' stands for 'nothing'"),
        ({"labels": {"drop": {"effusion": "says nothing"}}}, "'effusion' is also a class"),
        ({"id": "../x"}, "id: String should match pattern"),
    ],
)
def test_a_schema_that_is_not_valid_says_what_is_wrong(changes, message):
    with pytest.raises(SchemaError, match=message):
        small_schema(**changes)


def test_labels_that_yaml_takes_for_something_else_stay_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("codes: [no, yes, on, off, 1e5, 2019-01-01, 1.0]\n")
    assert read_yaml(path) == {"codes": ["no", "yes", "on", "off", "1e5", "2019-01-01", "1.0"]}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [", "!!python/object/apply:os.system [echo]", "\t- x"])
def test_yaml_that_is_not_safe_or_not_valid_is_refused_with_the_place(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError, match=r"x\.yaml:\d+:\d+: not valid YAML"):
        read_yaml(path)


@pytest.mark.parametrize("name", resources.names("label_schemas"))
def test_every_shipped_schema_follows_the_json_schema_that_editors_get(name):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(
        yaml.safe_load(resources.find("label_schemas", name).read_text(encoding="utf-8")), json_schema()
    )


def test_the_json_schema_is_json():
    assert json.loads(json.dumps(json_schema()))["title"] == "LabelSchema"


def test_a_user_schema_in_the_working_directory_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "label_schemas").mkdir()
    (tmp_path / "label_schemas" / "mine.yaml").write_text(yaml.safe_dump(CHEST | {"id": "mine"}))
    monkeypatch.chdir(tmp_path)
    assert load_schema("mine").id == "mine"
    assert "busi" in resources.names("label_schemas")


def test_an_unknown_schema_names_the_nearest():
    with pytest.raises(UsageError, match=r"no label schema 'chestxray'.*Did you mean 'chestxray14'"):
        load_schema("chestxray")
