"""A finished run's caption shards can be written again, and nothing unchecked gets into them."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captioner import run as running
from captioner.demo import make_dataset
from captioner.errors import CaptionerError, OutputError, ShardError
from captioner.pipeline import load_pipeline
from captioner.recaption import rewrite_captions
from tests.shards.shard_helpers import contents, stamps


def make_run(folder, *settings):
    """Return a finished run's folder."""
    make_dataset(folder / "data")
    places = (f"data.root={folder / 'data'}", f"out={folder / 'out'}")
    plan = running.prepare(load_pipeline("demo", [*places, *settings]))
    running.execute(plan)
    return plan.out / "runs" / plan.run


@pytest.fixture
def run(tmp_path):
    """A finished run's folder."""
    return make_run(tmp_path)


def change_a_caption(run, caption):
    table = pq.read_table(run / "support_sets.parquet")
    rows = table.to_pylist()
    rows[0]["captions"][0] = caption
    pq.write_table(pa.Table.from_pylist(rows, table.schema), run / "support_sets.parquet")


def test_deleted_caption_shards_come_back_with_the_same_bytes(run):
    before = contents(run / "captions")
    shutil.rmtree(run / "captions")
    report = rewrite_captions(run)
    assert contents(run / "captions") == before
    assert (report.captioned, report.missing) == (18, 0)


def test_caption_shards_that_are_as_they_should_be_are_not_touched(run):
    before = stamps(run / "captions")
    assert rewrite_captions(run).written == 0
    assert stamps(run / "captions") == before


def test_neither_images_nor_engine_nor_prompt_are_needed(run, tmp_path):
    shutil.rmtree(tmp_path / "data" / "images")
    shutil.rmtree(run / "captions")
    path = run / "pipeline.yaml"
    text = path.read_text().replace("prompt: template", "prompt: gone").replace("name: rules", "name: gone")
    assert text.count("gone") == 2
    path.write_text(text)
    assert rewrite_captions(run).captioned == 18


@pytest.mark.parametrize(
    "setting", ["loop.unknown_words=accept", "judge.engine={model: tiny, base_url: http://127.0.0.1:9/v1}"]
)
def test_a_run_in_which_unknown_words_passed_is_no_changed_schema(tmp_path, monkeypatch, setting):
    async def here(self):
        """The judge's server is not asked."""

    monkeypatch.setattr("captioner.engines.openai.OpenAIEngine.check", here)
    run = make_run(tmp_path, setting)
    before = contents(run / "captions")
    shutil.rmtree(run / "captions")
    assert rewrite_captions(run).captioned == 18
    assert contents(run / "captions") == before


def test_the_dataset_may_have_moved(run, tmp_path):
    shutil.rmtree(run / "captions")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(CaptionerError, match="data"):
        rewrite_captions(run)
    assert rewrite_captions(run, data=tmp_path / "elsewhere").captioned == 18


def test_a_caption_that_was_put_in_by_hand_is_refused_if_it_does_not_agree(run):
    before = contents(run / "captions")
    change_a_caption(run, "Frontal chest radiograph without any abnormality of a normal patient.")
    with pytest.raises(OutputError, match="does not agree with the labels"):
        rewrite_captions(run)
    assert contents(run / "captions") == before


def test_a_folder_that_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(OutputError, match="no run's folder"):
        rewrite_captions(tmp_path)
    (run / "support_sets.parquet").unlink()
    with pytest.raises(OutputError, match="no finished run"):
        rewrite_captions(run)


def test_damaged_support_sets_are_refused(run):
    (run / "support_sets.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(OutputError, match="cannot be read"):
        rewrite_captions(run)


def test_a_run_whose_schema_has_changed_is_refused(run):
    path = run / "pipeline.yaml"
    lines = path.read_text().splitlines()
    place = lines.index("hashes:") + 2
    assert lines[place].startswith("  schema: ")
    lines[place] = "  schema: 0123456789abcdef"
    path.write_text("\n".join(lines))
    with pytest.raises(OutputError, match="has changed since"):
        rewrite_captions(run)


def test_a_run_without_image_shards_is_refused(run, tmp_path):
    shutil.rmtree(tmp_path / "out" / "images")
    with pytest.raises(ShardError, match="Build the image shards first"):
        rewrite_captions(run)
