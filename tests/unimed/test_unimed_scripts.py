"""UniMed's own scripts write the same bytes, where they work.

Needs a checkout of mbzuai-oryx/UniMed-CLIP (commit 6f09177 was used): set CAPTIONER_UNIMED to its folder.
"""

import ast
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.unimed import made
from tests.unimed.conftest import tars

CHECKOUT = Path(os.environ.get("CAPTIONER_UNIMED", ""))
SCRIPTS = CHECKOUT / "data_prepration_scripts"

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("CAPTIONER_UNIMED"),
        reason="needs a checkout of mbzuai-oryx/UniMed-CLIP: set CAPTIONER_UNIMED",
    ),
    pytest.mark.slow,
]

COMMANDS = {
    "chexpert": ("CheXpert/webdataset_chexpert.py", made.CHEXPERT, "CheXpert-v1.0-small"),
    "mimic_cxr": ("MIMIC-CXR/webdataset_mimic_cxr.py", made.MIMIC, "mimic-cxr-jpg"),
    "chestxray8": ("ChestX-ray8/chest-xray_8_webdataset.py", made.CHESTXRAY8, "chest_xray8/images"),
    "radimagenet": ("RadImageNet/radimagenet_webdataset.py", made.RADIMAGENET, "radimagenet"),
    "quilt_1m": ("Quilt-1M/quilt_1m_webdataset.py", made.QUILT, "Quilt/quilt_1m/"),
    "pmc_oa": (
        "PMC-OA/pmc_oa_webdataset.py",
        made.PMC,
        "pmc_oa/caption_T060_filtered_top4_sep_v0_subfigures/",
    ),
    "rocov2": ("ROCOV2/roco_webdataset.py", made.ROCO, "ROCOV2/train/"),
}
"""Scripts that work as their documentation calls them: annotations, then images. Open-i's takes other arguments."""


@pytest.fixture
def environment(tmp_path):
    """A progress bar that shows nothing, for the scripts to import."""
    package = tmp_path / "modules/tqdm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def tqdm(things): return things\n")
    (package / "contrib.py").write_text("tzip = zip\n")
    return tmp_path / "modules"


def run(script, environment, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(environment)},
    )


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_writes_the_same_bytes(name, size, data, built, *, tmp_path, environment):
    script, annotations, images = COMMANDS[name]
    flags = ("--csv_file", data / annotations, "--parent_dataset_path", f"{data}/{images}", "--tar_size", size)
    done = run(script, environment, *flags, "--output_dir", tmp_path / "theirs")
    assert done.returncode == 0, done.stderr
    assert tars(built(data, name, per_shard=size).folder) == tars(tmp_path / "theirs")


def test_open_is_script_writes_the_same_bytes_if_a_thousand_a_tar_are_asked_for(data, built, tmp_path, environment):
    done = run(
        "Openi/openi_webdataset.py",
        environment,
        *("--original_json_file_summarizations_path", data / made.OPENI[0]),
        *("--gpt_text_descriptions_path", data / made.OPENI[1]),
        *("--parent_dataset_path", data / "openi/image", "--output_dir", tmp_path / "theirs"),
    )
    assert done.returncode == 0, done.stderr
    assert tars(built(data, "openi").folder) == tars(tmp_path / "theirs")


def function(script, monkeypatch, environment):
    """Return a script's one function without the calls around it, which fail."""
    monkeypatch.syspath_prepend(environment)
    tree = ast.parse((SCRIPTS / script).read_text("utf-8"))
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    module = types.ModuleType("script")
    body = ast.Module([node for node in tree.body if isinstance(node, wanted)], [])
    exec(compile(body, script, "exec"), module.__dict__)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(name for name in listdir(path) if "_revised" not in name))
    return module.create_webdataset


REPAIRED = {
    "retina_part1": ("Retinal-Datasets/retina_webdataset_part1.py", f"{made.RETINA}/", "Retina-Datasets"),
    "retina_part2": ("Retinal-Datasets/retina_webdataset_part2.py", f"{made.RETINA}/", "Retina-Datasets"),
    "retina_part3": ("Retinal-Datasets/retina_webdataset_part3.py", f"{made.RETINA}/", "Retina-Datasets"),
    "llava_med_alignment": ("LLaVA-Med/llava_med_alignment_webdataset.py", made.ALIGNMENT, "llava_med/images"),
    "llava_med_instruct": ("LLaVA-Med/llava_med_instruct_webdataset.py", made.INSTRUCT, "llava_med/images"),
}
"""Scripts that fail as they are called, and whose function works."""


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("name", REPAIRED)
def test_a_script_whose_calls_are_put_right_writes_the_same_bytes(
    name, size, data, built, *, tmp_path, environment, monkeypatch
):
    script, annotations, images = REPAIRED[name]
    create = function(script, monkeypatch, environment)
    first, second = f"{data}/{annotations}", f"{data}/{images}"
    folders = (second, str(tmp_path / "theirs")) if "retina" in name else (str(tmp_path / "theirs"), second)
    create(first, *folders, tar_size=size)
    assert tars(built(data, name, per_shard=size).folder) == tars(tmp_path / "theirs")
