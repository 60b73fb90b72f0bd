"""Images of evaluation sets and test splits can be left out of any output."""

import pytest

from captioner.errors import OutputError, UsageError
from captioner.unimed import OUTPUTS, Excluding, build, from_files, from_runs
from tests.unimed import made
from tests.unimed.conftest import rejected
from tests.unimed.test_unimed_runs import make_run


def without(data, name, *lists):
    output = OUTPUTS[name]
    return build(output, Excluding(from_files(data, output), lists), data.parent / "out")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("chestxray8", ["00000001_000.png", "00000005_000.png"]),
        ("chestxray8", ["images_003/images/00000001_000.png", "./00000005_000.png"]),
        ("chestxray8", ["00000001_000", "00000005_000", "", "00000099_000"]),
        ("mimic_cxr", ["00000001", "p10/p10000005/s50000005/00000005"]),
        ("rocov2", ["ROCOv2_2023_train_000001", "train/ROCOv2_2023_train_000005.jpg"]),
    ],
)
def test_a_list_has_a_name_a_line_as_short_or_long_as_it_may_be(data, name, lines):
    (data.parent / "list.txt").write_text("\n".join(lines))
    done = without(data, name, data.parent / "list.txt")
    assert (done.samples, done.rejected, done.complete) == (made.COUNT - 2, {"excluded": 2}, True)


def test_of_a_csv_the_cells_count_that_end_like_an_image(data):
    path = data.parent / "list.csv"
    name = "CheXpert-v1.0-small/train/patient0000{}/study1/view1_frontal.jpg"
    made.table(path, ["", "imgpath", "Report"], [[i, name.format(i), "view1_frontal"] for i in (2, 4)])
    done = without(data, "chexpert", path)
    assert [row["row"] for row in rejected(done.folder)] == ["4", "6"]


def test_a_name_that_only_ends_in_the_same_letters_is_another(data):
    (data.parent / "list.txt").write_text("0001_000.png\n000.png\nxview1_frontal.jpg")
    assert without(data, "chestxray8", data.parent / "list.txt").samples == made.COUNT


def test_images_of_a_run_are_left_out_too(tmp_path):
    run = make_run(tmp_path / "nih")
    (tmp_path / "list.txt").write_text("3.png\n")
    source = Excluding(from_runs(OUTPUTS["chestxray8"], [run]), [tmp_path / "list.txt"])
    assert build(OUTPUTS["chestxray8"], source, tmp_path / "out").rejected == {"excluded": 1}


def test_with_another_list_it_is_another_output(data, built):
    (data.parent / "list.txt").write_text("00000001_000.png")
    without(data, "chestxray8", data.parent / "list.txt")
    with pytest.raises(OutputError, match=r"built from something else \(exclude differ"):
        built(data, "chestxray8")


@pytest.mark.parametrize("content", ["", "\n\n", None])
def test_a_list_that_names_nothing_is_a_mistake(data, content):
    path = data.parent / "list.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"list\.txt: (names no image|no such list)"):
        without(data, "chestxray8", path)


def test_what_was_to_be_left_out_ends_well(captioner, data):
    (data.parent / "list.txt").write_text("00000001_000.png")
    code, out, _ = captioner(data, "--out", "out", "--only", "chestxray8", "--exclude", "list.txt")
    assert code == 0
    assert "left out: excluded 1" in out
