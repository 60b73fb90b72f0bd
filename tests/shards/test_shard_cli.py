"""Shards from the command line: the options reach the shards, and exports are those of the library."""

import json
import subprocess
import sys
import tarfile

import pyarrow.parquet as pq
import pytest
from PIL import Image

from captioner.cli import main
from captioner.demo import make_dataset
from captioner.schema import load_schema
from captioner.shards import export_tars, export_unimed, load_captions, read_manifest
from tests.shards.shard_helpers import contents


@pytest.fixture
def captioner(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["captioner", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def out(captioner, tmp_path):
    """The output folder of a finished run."""
    make_dataset(tmp_path / "data")
    assert captioner("run", "demo", "--data", "data", "--out", "out")[0] == 0
    return tmp_path / "out"


def only_run(out):
    (run,) = (out / "runs").iterdir()
    return run


@pytest.mark.parametrize("name", ["parquet", "csv", "llava", "card", "wids"])
def test_each_export_writes_its_file(captioner, out, name):
    code, printed, _ = captioner("shards", "export", name, "out", "--out", "export")
    assert code == 0
    assert "wrote export" in printed
    assert (out.parent / "export").stat().st_size > 200


def test_the_card_has_the_name_of_the_dataset_for_its_title(captioner, out):
    assert captioner("shards", "export", "card", "out", "--out", "README.md")[0] == 0
    title = load_schema("demo").title
    assert f"\n# {title}\n" in (out.parent / "README.md").read_text(encoding="utf-8")
    (only_run(out) / "pipeline.yaml").unlink()
    assert captioner("shards", "export", "card", "out", "--out", "README.md")[0] == 0
    assert "\n# demo\n" in (out.parent / "README.md").read_text(encoding="utf-8")


def test_another_size_of_shards_is_said_to_come_too_late(captioner, out):
    arguments = ("run", "demo", "--data", "data", "--out", "out")
    code, printed, err = captioner(*arguments, "--set", "shards.size=5")
    assert code == 0
    made = read_manifest(out / "images").per_shard
    said = f"shards.size=5: the image shards that are there stay as they are, made for {made:,} images each"
    assert said in printed + err
    code, printed, err = captioner(*arguments)
    assert "shards.size" not in printed + err


def test_tars_are_those_of_the_library(captioner, out):
    images, captions = out / "images", only_run(out) / "captions"
    assert captioner("shards", "export", "tars:flat", "out", "--out", "flat")[0] == 0
    export_tars(images, captions, out.parent / "flat2", form="flat")
    assert contents(out.parent / "flat") == contents(out.parent / "flat2")
    assert captioner("shards", "export", "unimed:demo", "out", "--out", "unimed")[0] == 0
    export_unimed(images, captions, out.parent / "unimed2", tag="demo")
    assert contents(out.parent / "unimed") == contents(out.parent / "unimed2")


def test_a_croissant_file_comes_with_its_table_and_needs_a_licence(captioner, out):
    arguments = ("shards", "export", "croissant", "out", "--out", "croissant.json")
    code, _, err = captioner(*arguments)
    assert (code, "licence" in err) == (2, True)
    assert captioner(*arguments, "--license", "https://example.org/l", "--url", "https://example.org")[0] == 0
    assert json.loads((out.parent / "croissant.json").read_text())["license"] == "https://example.org/l"
    assert pq.read_metadata(out.parent / "croissant.parquet").num_rows == 18


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("parqet",), "Did you mean 'parquet'?"),
        (("tars",), "tars:one"),
        (("tars:txt",), "Use 'one' instead"),
        (("csv", "--run", "nothing"), "no caption shards of a run 'nothing'"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(captioner, out, arguments, says):
    code, _, err = captioner("shards", "export", arguments[0], "out", "--out", "x", *arguments[1:])
    assert code == 2
    assert says in err
    assert not (out.parent / "x").exists()


def test_of_several_runs_one_has_to_be_named(captioner, out):
    name = only_run(out).name
    assert captioner("run", "demo", "--data", "data", "--out", "out", "--set", "prompt=plain")[0] == 0
    code, _, err = captioner("shards", "export", "csv", "out", "--out", "x.csv")
    assert code == 2
    assert name in err
    assert captioner("shards", "export", "csv", "out", "--out", "x.csv", "--run", name)[0] == 0


def test_a_pipe_gives_images_and_captions_as_one_tar(out):
    run = only_run(out)
    shard = min((out / "images").glob("*.tar"))
    command = [sys.executable, "-m", "captioner", "shards", "join", f"captioner:{shard}?run={run.name}&form=one"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            found = {member.name: archive.extractfile(member).read() for member in archive}
        process.stdout.read()
    assert process.returncode == 0
    captions = load_captions(run / "captions" / shard.name)
    for key, record in captions.items():
        assert found[f"{key}.txt"].decode() in record["captions"]
    assert len(found) == 2 * len(captions)


def test_captions_are_written_again(captioner, out):
    run = only_run(out)
    before = contents(run / "captions")
    for path in (run / "captions").glob("*.tar"):
        path.unlink()
    code, printed, _ = captioner("shards", "captions", run)
    assert code == 0
    assert "18 images" in printed
    assert contents(run / "captions") == before


def test_options_say_what_is_changed_in_images(captioner, tmp_path):
    make_dataset(tmp_path / "data")
    first = min((tmp_path / "data/images/chest").glob("*.png"))
    Image.effect_noise((400, 300), 50).save(first)
    build = ("shards", "build", "demo", "--data", "data", "--out", "out", "--types", "--window", "0,80", "--orient")
    captioner(*build, "--max-side", "100", "--type", "jpg")
    manifest = read_manifest(tmp_path / "out" / "images")
    assert manifest.conversion == {
        "types": True,
        "window": [0.0, 80.0],
        "max_side": 100,
        "orient": True,
        "type": "jpg",
    }
    sizes = {source: (width, height) for source, width, height in manifest.rows("source", "width", "height")}
    assert sizes[str(first.relative_to(tmp_path / "data"))] == (100, 75)
    assert {image.type for image in manifest.images()} == {"jpg"}


def test_a_run_with_the_same_settings_goes_into_the_folder_and_another_is_refused(captioner, tmp_path):
    make_dataset(tmp_path / "data")
    captioner("shards", "build", "demo", "--data", "data", "--out", "out", "--max-side", "50")
    run = ("run", "demo", "--data", "data", "--out", "out")
    code, _, err = captioner(*run)
    assert code == 2
    assert "max_side" in err
    assert captioner(*run, "--set", "shards.max_side=50")[0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--window", "80,0"), "from a smaller to a larger"),
        (("--window", "wide"), "window"),
        (("--type", "gif"), "type"),
        (("--max-side", "0"), "max-side"),
    ],
)
def test_settings_that_make_no_sense_are_refused(captioner, tmp_path, options, says):
    make_dataset(tmp_path / "data")
    code, _, err = captioner("shards", "build", "demo", "--data", "data", "--out", "out", *options)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()
