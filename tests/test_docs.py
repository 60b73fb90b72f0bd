"""The documentation: settings and commands that it names exist, and none is left out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from captioner.agreement import lint
from captioner.engines import make
from captioner.engines.batch import BatchSettings
from captioner.engines.settings import EndpointSettings, OpenAISettings
from captioner.engines.vllm import VLLMSettings
from captioner.pipeline import PipelineSpec, setting_names
from captioner.prices import find_price
from captioner.schema import Join, LabelClass, json_schema, load_schema, parse_schema
from captioner.texts.schema import TextFile, TextSchema, TextTable, load_text_schema
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def test_the_page_on_pipelines_names_every_setting_and_no_other():
    text = (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([a-z_.]+)`", cell)}
    sections = {n.rpartition(".")[0] for n in setting_names(PipelineSpec) if "." in n}
    assert named == set(setting_names(PipelineSpec)) - sections


@pytest.mark.parametrize(
    "settings", [OpenAISettings, EndpointSettings, BatchSettings, VLLMSettings], ids=lambda s: s.__name__
)
def test_the_page_on_engines_names_every_setting(settings):
    text = (REPOSITORY / "docs" / "engines.md").read_text(encoding="utf-8")
    named = {name for cell in re.findall(r"`([a-z_, ]+)`", text) for name in cell.split(", ")}
    assert set(settings.model_fields) <= named


BLOCKS = re.findall(
    r"^```yaml\n(.*?)^```", (REPOSITORY / "docs" / "engines.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.startswith("engine:")])
def test_every_example_of_an_engine_is_one(block):
    assert make(yaml.safe_load(block)["engine"], load_schema("demo")).model


def test_the_example_of_a_table_of_prices_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [b for b in BLOCKS if b.startswith("- ")]
    Path("prices.yaml").write_text(block)
    assert find_price("Qwen/Qwen3-32B", "http://localhost:8000/v1").output == 0.40
    assert find_price("my-deployment", "https://RESOURCE.openai.azure.com/openai/v1", batch=True).input == 0.125


def commands(page):
    """Every captioner command of a page's code blocks, with its options."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if match := re.match(r"(?:\$ )?captioner ((?:[a-z-]+ ?)+)(.*)", line.split("#")[0]):
                yield match[1].split(), re.findall(r"(?<!\S)(--[a-z-]+)", match[2])


CALLS = sorted({(tuple(words), tuple(options)) for page in PAGES for words, options in commands(page)})


@pytest.mark.parametrize(("words", "options"), CALLS, ids=" ".join)
def test_every_command_in_the_documentation_exists_with_its_options(words, options):
    groups = {"engine", "prompt", "schema", "shards"}
    command = words[:2] if words and words[0] in groups else words[:1]
    done = subprocess.run(
        [sys.executable, "-m", "captioner", *command, "--help"],
        check=False,
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    for option in options:
        assert option in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_the_example_of_a_schema_file_is_a_schema_that_lints_clean():
    text = (REPOSITORY / "docs" / "schema-files.md").read_text(encoding="utf-8")
    example = re.search(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    assert lint(parse_schema(yaml.safe_load(example))) == []


def test_the_page_on_schema_files_names_every_key_of_a_class_and_of_a_layout():
    text = (REPOSITORY / "docs" / "schema-files.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert set(LabelClass.model_fields) - {"note"} <= named
    layouts = json_schema()["$defs"]
    keys = {k for name, model in layouts.items() if name.endswith("Table") for k in model["properties"]}
    assert keys - {"layout"} <= named


def test_the_list_of_datasets_names_every_schema_with_its_number_of_classes():
    text = (REPOSITORY / "docs" / "schemas" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (\d+) \| ([\d,]*) ?\| .+? \| (.+?) \|", text, re.MULTILINE)
    shipped = REPOSITORY / "label_schemas"
    schemas = [load_schema(path.stem) for path in sorted(shipped.glob("*.yaml"))]
    assert sorted(rows) == [
        (s.id, str(len(s.classes)), f"{s.images:,}" if s.images else "", s.verified) for s in schemas
    ]


def test_the_page_on_texts_names_every_dataset_that_has_texts_and_every_key_of_its_schema():
    text = (REPOSITORY / "docs" / "texts.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .+? \| .+? \| (.+?) \|$", text, re.MULTILINE))
    schemas = [load_text_schema(path.stem) for path in (REPOSITORY / "text_schemas").glob("*.yaml")]
    assert {s.id: s.verified for s in schemas} == rows
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert {*TextTable.model_fields, *TextFile.model_fields, *Join.model_fields} <= named
    assert {*TextSchema.model_fields} - {"id", "title", "modality", "anatomy", "tables"} <= named
