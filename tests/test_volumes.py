"""Folders of slices and NIfTI files become volumes; what is no whole series is refused and named."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from captioner.errors import UsageError
from captioner.volumes import stack


def slices(folder: Path, numbers: range | list[int], *, suffix: str = "png", shape: tuple[int, int] = (6, 8)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(np.full(shape, number % 256, np.uint8)).save(folder / f"{number}.{suffix}")
    return folder


def test_a_folder_of_slices_is_one_volume_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    slices(tmp_path / "data/ct_case/000012/Axial_bone_window", range(1, 13))
    (tmp_path / "data/ct_case/000012/text.txt").write_text("A report.", encoding="utf-8")
    done = stack(tmp_path / "data", tmp_path / "out")
    assert (done.volumes, done.written, done.problems) == (1, 1, {})
    volume = np.load(tmp_path / "out/ct_case/000012/Axial_bone_window.npy", allow_pickle=False)
    assert volume.dtype == np.uint8
    assert volume.shape == (12, 6, 8)
    assert volume[:, 0, 0].tolist() == list(range(1, 13))


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    slices(tmp_path / "data/a", range(3))
    stack(tmp_path / "data", tmp_path / "out")
    slices(tmp_path / "data/b", range(3))
    done = stack(tmp_path / "data", tmp_path / "out")
    assert (done.volumes, done.written) == (2, 1)


def test_a_series_with_a_slice_missing_is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    slices(tmp_path / "data/good", range(5))
    slices(tmp_path / "data/holey", [0, 1, 3, 4])
    done = stack(tmp_path / "data", tmp_path / "out")
    assert done.volumes == 1
    assert done.problems["holey"].code == "missing_slice"
    assert "slice 2 is missing between 0 and 4" in done.problems["holey"].reason
    assert not (tmp_path / "out/holey.npy").exists()


def test_slices_of_different_sizes_without_numbers_or_damaged_are_refused(tmp_path: Path) -> None:
    slices(tmp_path / "data/sizes", range(2))
    slices(tmp_path / "data/sizes", [2], shape=(4, 4))
    slices(tmp_path / "data/twice", [1, 2], suffix="png")
    slices(tmp_path / "data/twice", [2], suffix="jpg")
    (tmp_path / "data/names").mkdir()
    for name in ("front", "back"):
        Image.new("L", (4, 4)).save(tmp_path / f"data/names/{name}.png")
    slices(tmp_path / "data/damaged", range(2))
    (tmp_path / "data/damaged/1.png").write_bytes((tmp_path / "data/damaged/0.png").read_bytes()[:40])
    problems = stack(tmp_path / "data", tmp_path / "out").problems
    assert {name: p.code for name, p in problems.items()} == {
        "sizes": "not_a_series",
        "twice": "not_a_series",
        "names": "not_a_series",
        "damaged": "corrupt_image",
    }


def test_scaling_gives_what_m3d_trains_on(tmp_path: Path) -> None:
    slices(tmp_path / "data/a", range(10, 50))
    stack(tmp_path / "data", tmp_path / "out", size=(32, 16, 16))
    volume = np.load(tmp_path / "out/a.npy")
    assert volume.dtype == np.float32
    assert volume.shape == (1, 32, 16, 16)
    assert (volume.min(), volume.max()) == (0.0, 1.0)
    assert (np.diff(volume[0, :, 0, 0]) > 0).all()


def test_a_nifti_file_is_turned_so_that_slices_go_up_with_the_front_on_top_and_the_right_side_on_the_left(
    tmp_path: Path,
) -> None:
    array = np.zeros((3, 4, 5), np.int16)
    array[2, 3, 4] = 1000  # right, front, top
    (tmp_path / "data/train_1").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "data/train_1/train_1_a_1.nii.gz")  # type: ignore[no-untyped-call]
    stack(tmp_path / "data", tmp_path / "out")
    volume = np.load(tmp_path / "out/train_1/train_1_a_1.npy")
    assert volume.shape == (5, 4, 3)
    assert volume.dtype == np.int16
    assert np.argwhere(volume == 1000).tolist() == [[4, 0, 0]]


def test_a_window_turns_hounsfield_units_into_eight_bits(tmp_path: Path) -> None:
    array = np.array([-2000, -1000, 400, 3000], np.int16).reshape(4, 1, 1)
    (tmp_path / "data").mkdir()
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "data/a.nii")  # type: ignore[no-untyped-call]
    stack(tmp_path / "data", tmp_path / "out", window=(-1000, 400))
    assert np.load(tmp_path / "out/a.npy").ravel().tolist() == [255, 255, 0, 0]


def test_a_folder_without_series_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "data/one.png")
    with pytest.raises(UsageError, match="neither a folder of slices"):
        stack(tmp_path / "data", tmp_path / "out")


def test_a_damaged_nifti_file_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.nii").write_bytes(b"no nifti")
    assert stack(tmp_path / "data", tmp_path / "out").problems["a"].code == "corrupt_image"
