"""An output is whole or not there, goes on where it stopped, and is never mixed with anything else."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from captioner.errors import OutputError
from captioner.folder import lock
from captioner.unimed import OUTPUTS, build, from_files
from tests.unimed import made
from tests.unimed.conftest import rejected, tars


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_beside_the_tars_lies_what_is_in_them(data, built):
    folder = built(data, "quilt_1m", per_shard=3).folder
    names = ["dataset-000001.tar", "dataset-000002.tar"]
    assert [p.name for p in sorted(folder.iterdir())] == [
        ".lock",
        "SHA256SUMS",
        *names,
        "rejected_rows.csv",
        "unimed.json",
    ]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    record = json.loads((folder / "unimed.json").read_text())
    assert (record["samples"], [shard["samples"] for shard in record["shards"]]) == (4, [3, 1])
    assert record["rejected"] == {"missing_image": 1, "no_caption": 2}
    assert list(record["settings"]["files"]) == [made.QUILT]


def test_there_is_no_list_of_sizes_which_would_count_equal_names_of_several_folders_once(data, built):
    # The loader looks such a list up in the folder of the first tar, by name, for the tars of all folders.
    assert not (built(data, "quilt_1m").folder / "sizes.json").exists()


def test_an_output_that_is_finished_is_not_touched(data, built):
    folder = built(data, "pmc_oa", per_shard=3).folder
    stamps = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    again = built(data, "pmc_oa", per_shard=3)
    assert (again.samples, again.shards, again.written) == (made.COUNT, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == stamps


@pytest.mark.parametrize("name", ["llava_med_instruct", "mimic_cxr"])
@pytest.mark.parametrize("after", range(1, 13, 2))
def test_a_build_that_is_killed_goes_on_and_ends_with_the_same_bytes(name, after, data, built, *, tmp_path):
    """Killed while it handles each row in turn, as far as there are so many."""
    (data / "mimic-cxr-jpg/2.0.0/files/p10/p10000002/s50000002/00000002.jpg").unlink()
    code = f"""
import os
from pathlib import Path
from captioner.unimed import OUTPUTS, build, from_files
from captioner.unimed import build as building
import captioner.unimed.build as module
module._PROGRESS = 1
output = OUTPUTS[{name!r}]
build(output, from_files(Path({str(data)!r}), output), Path({str(tmp_path / "killed")!r}), per_shard=2,
      progress=lambda done: os._exit(9) if done == {after} else None)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode in (0, 9)
    output = OUTPUTS[name]
    resumed = build(output, from_files(data, output), tmp_path / "killed", per_shard=2)
    undisturbed = built(data, name, per_shard=2)
    assert contents(resumed.folder).keys() == contents(undisturbed.folder).keys()
    assert {k: v for k, v in contents(resumed.folder).items() if k != ".lock"} == {
        k: v for k, v in contents(undisturbed.folder).items() if k != ".lock"
    }
    assert resumed.rejected == undisturbed.rejected
    assert not list(resumed.folder.glob("*.tmp"))


def test_a_full_disk_is_an_error_and_no_tar_is_cut_off(data, built, tmp_path):
    code = f"""
import resource
from pathlib import Path
from captioner.errors import StorageError
from captioner.unimed import OUTPUTS, build, from_files
output = OUTPUTS["pmc_oa"]
source = from_files(Path({str(data)!r}), output)
resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, resource.RLIM_INFINITY))
try:
    build(output, source, Path({str(tmp_path / "full")!r}), per_shard=4)
except StorageError as error:
    print(error)
"""
    Image.effect_noise((100, 200), 50).save(
        data / "pmc_oa/caption_T060_filtered_top4_sep_v0_subfigures/PMC5_Fig5_1.jpg", "PNG"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "cannot write" in done.stdout
    folder = tmp_path / "full/pmc_oa_webdataset"
    assert [path.name for path in folder.glob("*.t*")] == ["dataset-000001.tar"]
    resumed = build(OUTPUTS["pmc_oa"], from_files(data, OUTPUTS["pmc_oa"]), tmp_path / "full", per_shard=4)
    assert resumed.written == 1
    assert tars(resumed.folder) == tars(built(data, "pmc_oa", per_shard=4).folder)


def test_two_builds_do_not_write_one_output_at_a_time(data, built, tmp_path):
    with lock(tmp_path / "out/pmc_oa_webdataset"), pytest.raises(OutputError, match="another run is at work"):
        built(data, "pmc_oa")
    assert built(data, "pmc_oa").samples == made.COUNT


def test_an_interrupted_build_is_not_finished_with_other_annotations(data, tmp_path):
    output = OUTPUTS["pmc_oa"]

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(output, from_files(data, output), tmp_path / "out", per_shard=2, progress=stop)
    with (data / made.PMC).open("a") as file:
        file.write('{"image": "PMC1_Fig1_1.jpg", "caption": "One more."}\n')
    with pytest.raises(OutputError, match="interrupted build from other annotations"):
        build(output, from_files(data, output), tmp_path / "out", per_shard=2)


def test_a_build_that_finished_no_tar_starts_anew(data, built):
    broken = (data / made.OPENI[1]).read_bytes()
    (data / made.OPENI[1]).write_bytes(broken[:-40])
    with pytest.raises(Exception, match="cut off"):
        built(data, "openi")
    (data / made.OPENI[1]).write_bytes(broken)
    assert built(data, "openi").samples == made.COUNT


@pytest.mark.parametrize("change", ["annotations", "size"])
def test_a_folder_with_another_build_is_refused(data, built, change):
    built(data, "pmc_oa")
    if change == "annotations":
        with (data / made.PMC).open("a") as file:
            file.write("\n\n")
    with pytest.raises(OutputError, match="built from something else"):
        built(data, "pmc_oa", per_shard=1000 if change == "annotations" else 5)


def test_tars_of_somebody_else_are_never_taken_for_ours(data, built, tmp_path):
    folder = tmp_path / "out/pmc_oa_webdataset"
    folder.mkdir(parents=True)
    (folder / "dataset-000009.tar").write_bytes(b"")
    with pytest.raises(OutputError, match=r"holds dataset-000009\.tar"):
        built(data, "pmc_oa")
    assert [path.name for path in folder.glob("[!.]*")] == ["dataset-000009.tar"]


@pytest.mark.parametrize("damage", ["missing", "cut off", "one more"])
def test_a_finished_output_that_was_damaged_is_an_error(data, built, damage):
    folder = built(data, "pmc_oa", per_shard=3).folder
    if damage == "missing":
        (folder / "dataset-000002.tar").unlink()
    elif damage == "cut off":
        os.truncate(folder / "dataset-000002.tar", 512)
    else:
        (folder / "dataset-000004.tar").write_bytes(b"")
    with pytest.raises(OutputError, match=r"dataset-00000[24]\.tar"):
        built(data, "pmc_oa", per_shard=3)


def test_rows_of_which_none_can_be_used_leave_no_output_but_the_list_of_them(data, built):
    for path in (data / "ROCOV2/train").iterdir():
        path.unlink()
    done = built(data, "rocov2")
    assert (done.samples, done.shards, done.rejected) == (0, 0, {"missing_image": made.COUNT})
    assert len(rejected(done.folder)) == made.COUNT
    assert not (done.folder / "unimed.json").exists()
    for i in range(made.COUNT):
        made.picture(data / f"ROCOV2/train/ROCOv2_2023_train_{i:06d}.jpg", i)
    assert built(data, "rocov2").samples == made.COUNT


def test_many_rejected_rows_are_not_held_in_memory_until_the_end(data, built):
    lines = (data / made.PMC).read_text("utf-8")
    (data / made.PMC).write_text('{"image": "gone.jpg", "caption": "x"}\n' * 2500 + lines, "utf-8")
    done = built(data, "pmc_oa")
    assert (done.samples, done.rejected) == (made.COUNT, {"missing_image": 2500})
    assert len(rejected(done.folder)) == 2500
    assert tars(done.folder)
