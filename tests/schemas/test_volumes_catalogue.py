"""Volumes: the six three-dimensional sets of MedMNIST, and the predicted findings of CT-RATE."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from captioner.arrays import unpack
from captioner.images import locate
from captioner.schema import load_schema
from captioner.tables import read_samples
from tests.catalogue import (
    class_counts,
    errors,
    labels_by_image,
    schema_of,
    write_csv,
)

# The labels of medmnist 3.0.2, in their order, and how many volumes there are.
MEDMNIST: dict[str, tuple[int, tuple[str, ...]]] = {
    "organmnist3d": (
        971 + 161 + 610,
        (
            "liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder", "heart", "lung-right",
            "lung-left", "spleen", "pancreas",
        ),
    ),
    "nodulemnist3d": (1_158 + 165 + 310, ("benign", "malignant")),
    "adrenalmnist3d": (1_188 + 98 + 298, ("normal", "hyperplasia")),
    "fracturemnist3d": (
        1_027 + 103 + 240,
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
    ),
    "vesselmnist3d": (1_335 + 191 + 382, ("vessel", "aneurysm")),
    "synapsemnist3d": (1_230 + 177 + 352, ("inhibitory synapse", "excitatory synapse")),
}  # fmt: skip


@pytest.mark.parametrize("flag", MEDMNIST)
def test_a_digit_is_the_label_of_that_place_in_the_owners_list(flag: str) -> None:
    images, labels = MEDMNIST[flag]
    schema = schema_of(f"medmnist_{flag}")
    assert schema.images == images
    assert [schema.resolve(label).code for label in labels] == [str(i) for i in range(len(labels))]
    assert len(schema.codes) == len(labels)


def test_the_order_of_organs_is_not_that_of_the_slices() -> None:
    flat, volumes = load_schema("medmnist_organamnist"), schema_of("medmnist_organmnist3d")
    assert {c.name for c in flat.classes} == {c.name for c in volumes.classes}
    assert flat["0"].name == "urinary bladder"
    assert volumes["0"].name == "liver"


@pytest.mark.parametrize("flag", MEDMNIST)
def test_an_archive_of_volumes_is_unpacked_and_read_with_its_images(tmp_path: Path, flag: str) -> None:
    count = len(MEDMNIST[flag][1])
    labels = np.arange(count, dtype=np.uint8)[:, None]
    volumes = np.zeros((count, 28, 28, 28), np.uint8)
    np.savez(
        tmp_path / f"{flag}.npz", train_images=volumes, train_labels=labels, test_images=volumes[:1], test_labels=labels[:1]
    )  # fmt: skip
    unpack(tmp_path / f"{flag}.npz", tmp_path / "data")
    schema = schema_of(f"medmnist_{flag}")
    table = read_samples(schema, tmp_path / "data")
    assert class_counts(table) == {code: 2 if code == "0" else 1 for code in schema.codes}
    assert Counter(table.frame["split"]) == {"train": count, "test": 1}
    assert len(table.rejects) == 0
    assert table.frame["image"].iloc[0] == "train/000000.npy"
    located = locate(table, tmp_path / "data")
    assert list(located.frame["path"]) == list(table.frame["image"])


@pytest.mark.parametrize(
    ("flag", "label", "caption"),
    [
        ("nodulemnist3d", "1", "CT scan of the lung showing a lung nodule rated as malignant."),
        ("adrenalmnist3d", "0", "3D shape model showing a normal adrenal gland."),
        ("adrenalmnist3d", "1", "Voxel model of an adrenal gland with hyperplasia."),
        ("fracturemnist3d", "0", "Chest CT volume with a buckle fracture of a rib."),
        ("vesselmnist3d", "0", "3D shape of a healthy vessel segment of the brain, without an aneurysm."),
        ("synapsemnist3d", "1", "Electron microscopy volume with an excitatory synapse."),
        ("organmnist3d", "1", "CT volume of the right kidney."),
    ],
)
def test_a_caption_that_says_what_the_label_says_agrees(flag: str, label: str, caption: str) -> None:
    assert errors(f"medmnist_{flag}", label, caption) == []


@pytest.mark.parametrize(
    ("flag", "label", "caption"),
    [
        ("nodulemnist3d", "1", "CT scan of the lung with lung cancer."),
        ("nodulemnist3d", "1", "CT scan of the lung with a malignant lung nodule."),
        ("nodulemnist3d", "0", "CT scan of the lung with a lung nodule rated as malignant."),
        ("adrenalmnist3d", "1", "CT scan of the abdomen with adrenal hyperplasia."),
        ("adrenalmnist3d", "1", "3D shape of an adrenal gland with an adrenal mass."),
        ("fracturemnist3d", "2", "Chest CT with a nondisplaced rib fracture."),
        ("fracturemnist3d", "1", "Chest CT with a displaced rib fracture."),
        ("fracturemnist3d", "1", "Chest CT with a rib fracture."),
        ("fracturemnist3d", "0", "Chest CT with a buckle fracture of the left fifth rib."),
        ("vesselmnist3d", "1", "MR angiogram with an intracranial aneurysm."),
        ("synapsemnist3d", "0", "Electron microscopy volume with an excitatory synapse."),
        ("synapsemnist3d", "0", "H&E-stained section with an inhibitory synapse."),
        ("organmnist3d", "1", "CT volume of the left kidney."),
        ("organmnist3d", "0", "CT volume of the liver with a tumor."),
    ],
)
def test_a_caption_that_says_more_or_something_else_does_not(flag: str, label: str, caption: str) -> None:
    assert errors(f"medmnist_{flag}", label, caption) != []


# ---- CT-RATE


def test_ct_rate_reads_the_predicted_findings_of_volumes_as_stack_names_them(tmp_path: Path) -> None:
    schema = schema_of("ct_rate_labels")
    assert len(schema.codes) == 18
    zeros = dict.fromkeys(schema.codes, "0")

    def row(name: str, *present: str) -> tuple[str, ...]:
        return (name, *(zeros | dict.fromkeys(present, "1")).values())

    header = ("VolumeName", *schema.codes)
    both = ("Lung nodule", "Hiatal hernia")
    write_csv(
        tmp_path / "train_predicted_labels.csv",
        header,
        row("train_1_a_1.nii.gz", *both),
        row("train_1_a_2.nii.gz", *both),
        row("train_2_a_1.nii.gz"),
    )
    write_csv(tmp_path / "valid_predicted_labels.csv", header, row("valid_1_a_1.nii.gz", "Emphysema"))
    np.save(tmp_path / "train_1_a_1.npy", np.zeros((2, 4, 4), np.int16))
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {
        "train_1_a_1": ("Hiatal hernia", "Lung nodule"),
        "train_1_a_2": ("Hiatal hernia", "Lung nodule"),
        "valid_1_a_1": ("Emphysema",),
    }
    assert list(table.frame["group"]) == ["train_1", "train_1", "valid_1"]
    assert list(table.frame["split"]) == ["train", "train", "valid"]
    # Zeros are what a classifier did not find, and no normal chest.
    assert list(table.rejects["code"]) == ["no_label"]
    assert list(locate(table, tmp_path).frame["path"]) == ["train_1_a_1.npy"]


@pytest.mark.parametrize(
    ("labels", "caption"),
    [
        ("Mosaic attenuation pattern", "Chest CT with ground-glass opacities."),
        ("Arterial wall calcification", "Chest CT with coronary artery calcification."),
        ("Coronary artery wall calcification", "Chest X-ray with coronary artery wall calcification."),
        ("Lung nodule", "Chest CT with a lung nodule and lymphadenopathy."),
        ("Pulmonary fibrotic sequela", "Chest CT with idiopathic pulmonary fibrosis."),
    ],
)
def test_a_caption_of_ct_rate_says_the_findings_and_no_others(labels: str, caption: str) -> None:
    assert errors("ct_rate_labels", labels, caption) != []
