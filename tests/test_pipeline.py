"""Pipeline files: what they may say, and how overrides change them."""

import pytest

from captioner import resources
from captioner.errors import PipelineError, UsageError
from captioner.pipeline import load_pipeline


@pytest.mark.parametrize("name", resources.names("pipelines"))
def test_every_shipped_pipeline_is_valid_and_its_schema_and_prompt_are_there(name):
    spec = load_pipeline(name)
    assert resources.find("label_schemas", spec.label_schema)
    assert resources.find("prompts", spec.prompt)


def test_every_schema_has_a_pipeline():
    assert set(resources.names("label_schemas")) == set(resources.names("pipelines"))


def test_an_override_changes_a_setting_and_keeps_its_neighbours():
    spec = load_pipeline(
        {"schema": "busi", "loop": {"repairs": 5}}, ["loop.fill=none", "engine.model=gpt-5", "captions=3"]
    )
    assert (spec.loop.repairs, spec.loop.fill, spec.captions) == (5, "none", 3)
    assert spec.engine == {"model": "gpt-5"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["captons=3"], r"captons: unknown key\. Did you mean 'captions'"),
        (["loop.repair=3"], r"loop\.repair: unknown key\. Did you mean 'loop\.repairs'"),
        (["captions=none"], "captions: Input should be a valid integer"),
        (["captions=0"], "greater than or equal to 1"),
        (["captions"], "write it as --set section.key=value"),
        (["engine.name=opnai"], "Did you mean 'openai'"),
        (["name=../evil"], "name: String should match pattern"),
    ],
)
def test_a_setting_that_is_not_valid_is_named(overrides, message):
    with pytest.raises(PipelineError, match=message):
        load_pipeline({"schema": "busi"}, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a pipeline is a mapping"),
        ("- a", "a pipeline is a mapping"),
        ("captions: 3", "schema: is missing"),
        ("schema: [", r"mine\.yaml:\d+:\d+: not valid YAML"),
        ("schema: a\nschema: b", "'schema' stands twice"),
        ("!!python/object/apply:os.system [echo]", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_pipeline_says_where_and_why(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError, match=message):
        load_pipeline(str(path))


def test_an_unknown_pipeline_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'chestxray14'"):
        load_pipeline("chestxray")


@pytest.mark.parametrize("window", ["1,2,3", "a,b", "fil", "[1]", "7"])
def test_a_window_that_is_none_says_what_one_is(window):
    with pytest.raises(PipelineError, match=r"shards\.window: .*: give two numbers, such as 0,80, or file or range\.$"):
        load_pipeline({"schema": "busi"}, [f"shards.window={window}"])
