"""Datasets that come as arrays: images written once, labels beside them, and what is refused."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from captioner.arrays import unpack
from captioner.errors import UsageError


def archive(path: Path, **arrays: npt.ArrayLike) -> Path:
    np.savez_compressed(path, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return path


def pictures(count: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def whole(**changes: npt.ArrayLike | None) -> dict[str, npt.ArrayLike]:
    arrays: dict[str, npt.ArrayLike | None] = {"train_images": pictures(2, 4, 5), "train_labels": [[1], [0]]}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize("shape", [(28, 28), (64, 64, 3)])
def test_every_image_is_a_png_of_the_same_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = pictures(3, *shape)
    labels = np.array([[2], [0], [1]], dtype=np.uint8)
    path = archive(
        tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images[:1], test_labels=labels[:1]
    )
    done = unpack(path, tmp_path / "out")
    assert done.images == {"train": 3, "test": 1}
    assert rows(done.table) == [
        ["image", "split", "label"],
        ["train/000000.png", "train", "2"],
        ["train/000001.png", "train", "0"],
        ["train/000002.png", "train", "1"],
        ["test/000000.png", "test", "2"],
    ]
    for number in range(3):
        with Image.open(tmp_path / "out" / "train" / f"{number:06d}.png") as image:
            assert np.array_equal(np.asarray(image), images[number])


def test_a_volume_is_an_array_of_its_own(tmp_path: Path) -> None:
    images = pictures(2, 4, 5, 6)
    done = unpack(archive(tmp_path / "a.npz", train_images=images, train_labels=[[1], [0]]), tmp_path / "out")
    assert rows(done.table)[1:] == [["train/000000.npy", "train", "1"], ["train/000001.npy", "train", "0"]]
    assert np.array_equal(np.load(tmp_path / "out/train/000001.npy"), images[1])


def test_several_labels_an_image_are_a_column_for_each_class(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", val_images=pictures(2, 4, 4), val_labels=[[0, 1, 1], [0, 0, 0]])
    assert rows(unpack(path, tmp_path / "out").table) == [
        ["image", "split", "0", "1", "2"],
        ["val/000000.png", "val", "0", "1", "1"],
        ["val/000001.png", "val", "0", "0", "0"],
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None, "x": [1]}, "no array is called SPLIT_images.*train_labels, x"),
        ({"train_labels": None}, "no train_labels"),
        ({"train_labels": [[1], [0], [1]]}, "2 images, but train_labels 3 labels"),
        ({"train_labels": [[0.5], [0.1]]}, "whole numbers"),
        ({"train_labels": [[0, 2], [1, 0]]}, "0 or 1"),
        ({"test_images": np.zeros((1, 4, 4, 4), np.uint8), "test_labels": [[0]]}, "others volumes"),
        ({"train_images": np.zeros((2, 4, 4, 4, 4), np.uint8)}, "but holds uint8"),
        ({"train_images": np.zeros((2, 4, 4), np.float32)}, "float32"),
        ({"test_images": pictures(1, 4, 4), "test_labels": [[0, 1]]}, "different widths"),
    ],
)  # fmt: skip
def test_an_archive_of_another_kind_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, npt.ArrayLike | None], message: str
) -> None:
    path = archive(tmp_path / "a.npz", **whole(**changes))
    with pytest.raises(UsageError, match=message):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, train_images=pictures(1, 4, 4), train_labels=np.array([[print]], dtype=object))
    with pytest.raises(UsageError, match="no plain array of numbers"):
        unpack(path, tmp_path / "out")


def test_a_damaged_archive_leaves_no_label_table(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **whole(train_images=pictures(50, 28, 28), train_labels=np.zeros((50, 1), np.int64)))  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    content[20_000] ^= 255
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out" / "labels.csv").exists()


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UsageError, match="npz archive, or damaged"):
        unpack(tmp_path / "a.npz", tmp_path / "out")
    with pytest.raises(UsageError, match="no such file"):
        unpack(tmp_path / "b.npz", tmp_path / "out")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    path = archive(tmp_path / "a.npz", **whole())
    with pytest.raises(UsageError, match="not empty"):
        unpack(path, tmp_path)
