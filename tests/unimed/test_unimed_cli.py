"""The command: what it builds, what it says, and its exit codes."""

import json

import pytest

from captioner.unimed import OUTPUTS
from tests.unimed import made
from tests.unimed.conftest import tars
from tests.unimed.test_unimed_runs import make_run


def test_everything_is_built_that_there_are_files_for(captioner, data):
    code, out, _ = captioner(data, "--out", "out", "--json")
    assert code == 1  # some rows have no image or no caption
    built = json.loads(out)
    assert [each["name"] for each in built["outputs"]] == list(OUTPUTS)
    assert built["not_built"] == {}
    assert all(tars(data.parent / each["folder"]) for each in built["outputs"])


def test_what_is_complete_ends_well_and_says_where_the_tars_are(captioner, data):
    code, out, _ = captioner(data, "--out", "out", "--only", "rocov2", "--only", "pmc_oa", "--size", 3)
    assert code == 0
    assert "out/pmc_oa_webdataset/dataset-{000001..000003}.tar" in out
    assert "14 samples in all, for --train-num-samples" in out


def test_rows_that_are_left_out_are_counted_and_end_with_code_1(captioner, data):
    code, out, _ = captioner(data, "--out", "out", "--only", "quilt_1m")
    assert code == 1
    assert "quilt_1m: left out: missing_image 1, no_caption 2; see out/quilt_1m_webdataset/rejected_rows.csv" in out


def test_what_cannot_be_built_is_named_and_ends_with_code_1(captioner, data):
    (data / made.CHESTXRAY8).unlink()
    code, out, err = captioner(data, "--out", "out")
    assert code == 1
    assert "not built: chestxray8." in err
    assert "chest_xray8_webdataset" not in out


def test_what_is_asked_for_and_cannot_be_built_stops_before_anything_is_written(captioner, data):
    (data / made.CHESTXRAY8).unlink()
    code, _, err = captioner(data, "--out", "out", "--only", "rocov2", "--only", "chestxray8")
    assert code == 2
    assert "Chest-Xray8_with_captions.csv" in err
    assert "--captions chestxray8=OUT" in err
    assert not (data.parent / "out").exists()


def test_a_table_that_cannot_be_read_keeps_no_other_output_from_being_built(captioner, data):
    (data / "ROCOV2" / "train_captions.csv").write_text("")
    code, out, err = captioner(data, "--out", "out", "--only", "rocov2", "--only", "pmc_oa")
    assert code == 2
    assert "out/pmc_oa_webdataset/dataset-{000001..000001}.tar" in out
    assert "error: rocov2: " in err
    code, out, err = captioner(data, "--out", "out", "--only", "rocov2")
    assert (code, out) == (2, "")
    assert "train_captions.csv" in err


def test_captions_of_a_run_take_the_place_of_annotations(captioner, data, tmp_path):
    (data / made.CHESTXRAY8).unlink()
    run = make_run(tmp_path / "nih")
    code, out, _ = captioner(data, "--out", "out", "--only", "chestxray8", "--captions", f"chestxray8={run}", "--json")
    assert code == 0
    assert json.loads(out)["outputs"][0]["samples"] == 5


def test_the_list_says_what_can_be_built_and_what_is_missing(captioner, data, tmp_path):
    (data / made.CHESTXRAY8).unlink()
    (data / "Quilt/quilt_1M_lookup.csv").unlink()
    (data / "openi").rename(data / "OpenI")
    run = make_run(tmp_path / "quilt")
    code, out, _ = captioner(data, "--list")
    assert code == 0
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if line.split()[0] in OUTPUTS}
    assert rows == {name: "no" if name in ("chestxray8", "quilt_1m") else "yes" for name in OUTPUTS}
    assert f"{data / made.CHESTXRAY8} is not there" in out
    code, out, _ = captioner(data, "--list", "--captions", f"quilt_1m={run}", "--json")
    states = {state["name"]: state for state in json.loads(out)}
    assert states["quilt_1m"]["ready"]
    assert states["openi"]["annotations"] == ["OpenI/filter_cap.json", "OpenI/openai_refined_concepts.json"]
    assert not states["chestxray8"]["ready"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--out", "out"], "nowhere: no such folder"),
        (["DATA"], "where should the outputs go"),
        (["DATA", "--out", "out", "--only", "chestxray-8"], "Did you mean 'chestxray8'"),
        (["DATA", "--out", "out", "--captions", "chestxray8"], "is not NAME=FOLDER"),
        (["DATA", "--out", "out", "--captions", "nih=x"], "--captions: no output 'nih'"),
        (["DATA", "--out", "out", "--only", "rocov2", "--captions", "openi=x"], "openi is not among the outputs"),
        (["DATA", "--out", "out", "--captions", "openi=x"], "x holds no run"),
        (["empty", "--out", "out"], "nothing can be built from it"),
    ],
)
@pytest.mark.usefixtures("data")
def test_a_wrong_call_says_what_is_wrong(captioner, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    code, _, err = captioner(*arguments)
    assert code == 2
    assert message in err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_finished_outputs_are_left_as_they_are(captioner, data):
    captioner(data, "--out", "out", "--only", "rocov2")
    _, out, _ = captioner(data, "--out", "out", "--only", "rocov2", "--json")
    assert (json.loads(out)["outputs"][0]["samples"], json.loads(out)["outputs"][0]["written"]) == (made.COUNT, 0)
