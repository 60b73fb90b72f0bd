"""All thirteen outputs are byte for byte what UniMed's rules say, where those say something sensible."""

import pytest

from captioner.unimed import OUTPUTS
from tests.conftest import REPOSITORY
from tests.unimed.conftest import rejected, tars
from tests.unimed.rules import SAMPLES, write_tars

DOCUMENTED = [
    "chexpert_webdataset",
    "mimic_cxr_webdataset",
    "openi_webdataset",
    "chest_xray8_webdataset",
    "radimagenet_webdataset",
    "retina_part1_webdataset",
    "retina_part2_webdataset",
    "retina_part3_webdataset",
    "quilt_1m_webdataset",
    "pmc_oa_webdataset",
    "rocov2_webdataset",
    "llava_med_alignment_webdataset",
    "llava_med_instruct_webdataset",
]

LEFT_OUT = {
    "mimic_cxr": [],
    "retina_part3": ["no_caption"],
    "quilt_1m": ["missing_image", *["no_caption"] * 2],
    "llava_med_alignment": ["missing_image"],
    "llava_med_instruct": ["missing_image", "missing_image", "no_caption"],
}


def test_the_outputs_are_those_of_its_documentation():
    assert [output.folder for output in OUTPUTS.values()] == DOCUMENTED
    assert set(SAMPLES) == set(OUTPUTS)


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_has_the_bytes_that_its_rules_say(name, size, whole_data, built, tmp_path):
    write_tars(SAMPLES[name](whole_data), tmp_path / "theirs", size)
    done = built(whole_data, name, per_shard=size)
    assert tars(done.folder) == tars(tmp_path / "theirs")
    assert done.samples > 3
    assert sorted(row["code"] for row in rejected(done.folder)) == LEFT_OUT.get(name, [])


def test_the_page_on_unimed_names_every_output_with_its_folders_and_files():
    page = (REPOSITORY / "docs/unimed.md").read_text("utf-8").splitlines()
    for output in OUTPUTS.values():
        row = next(line for line in page if line.startswith(f"| `{output.name}` | `{output.dataset[0]}`"))
        files = [place.rpartition("/")[2] for places in output.annotations for place in places]
        assert all(name in row for name in files)
        assert f"| {output.tars:,} |" in row
        assert output.tag is None or f"_{output.tag}_" in "\n".join(page) or output.name.startswith("retina")
    for output in OUTPUTS.values():
        for name in output.passed_over:
            assert name in "\n".join(page)
