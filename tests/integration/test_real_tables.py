"""The real label tables: how many rows, samples, combinations and rejects each of them has, and where its images are."""

import csv
import gzip
from pathlib import Path

import pytest

from captioner.distinct import distinct
from captioner.images import locate
from captioner.schema import load_schema
from captioner.tables import SampleTable, read_samples

pytestmark = pytest.mark.usefixtures("real_data")


def codes(samples: SampleTable) -> dict[str, int]:
    counts: dict[str, int] = samples.rejects["code"].value_counts().to_dict()
    return counts


def labels_of(samples: SampleTable) -> dict[str, tuple[str, ...]]:
    frame = samples.frame
    return {i: samples.combinations[n].positive for i, n in zip(frame["image"], frame["labels"], strict=True)}


@pytest.fixture(scope="module")
def nih(real_data: Path) -> SampleTable:
    folder = real_data / "nih_chestxray14"
    return read_samples(load_schema("chestxray14"), folder, table=folder / "Data_Entry_2017_v2020.csv.gz")


def test_every_row_of_the_large_table_is_a_sample(nih):
    assert nih.rows == len(nih.frame) == 112_120
    assert nih.rejects.empty
    assert nih.frame["row"].tolist() == list(range(2, 112_122))
    assert nih.frame["key"].is_unique
    assert nih.frame["group"].nunique() == 30_805


def test_the_large_table_agrees_cell_by_cell_with_a_plain_reading_of_it(nih, real_data):
    with gzip.open(real_data / "nih_chestxray14" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        plain = {row["Image Index"]: frozenset(row["Finding Labels"].split("|")) for row in csv.DictReader(file)}
    schema = load_schema("chestxray14")
    code_of = {label: schema.resolve(label).code for cell in plain.values() for label in cell}
    assert {k: frozenset(v) for k, v in labels_of(nih).items()} == {
        k: frozenset(code_of[label] for label in v) for k, v in plain.items()
    }


def test_the_836_label_cells_of_the_large_table_are_801_sets_of_labels(nih, real_data):
    """The owner writes one set in different orders: 35 cells repeat the set of another one."""
    with gzip.open(real_data / "nih_chestxray14" / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        assert len({row["Finding Labels"] for row in csv.DictReader(file)}) == 836
    assert len(nih.combinations) == 801
    triplets, index = distinct(load_schema("chestxray14"), nih)
    assert len(triplets) == 801
    assert sorted(set(index.tolist())) == list(range(801))


def test_the_75_images_at_hand_are_found_and_112045_rows_are_listed_as_missing(nih, real_data):
    located = locate(nih, real_data / "nih_chestxray14")
    assert len(located.frame) == 75
    assert codes(located) == {"missing_image": 112_045}
    assert located.frame["path"].str.startswith("images/").all()


def test_the_table_beside_the_images_repeats_rows_of_the_large_one(real_data):
    samples = read_samples(
        load_schema("chestxray14"),
        real_data / "nih_chestxray14",
        table=real_data / "nih_chestxray14" / "images_labels.csv",
    )
    assert len(samples.frame) == 75


@pytest.mark.parametrize(
    ("schema", "folder", "images", "classes"),
    [
        ("busi", "busi", {"benign": 30, "malignant": 30, "normal": 30}, 3),
        ("brain_mri_tumor", "brain_mri", {"yes": 155, "no": 98}, 2),
    ],
)
def test_folders_of_real_images_are_complete_wherever_the_root_is(real_data, schema, folder, images, classes):
    for root in (real_data / folder, real_data / folder / "images"):
        samples = locate(read_samples(load_schema(schema), root), root)
        assert len(samples.frame) == sum(images.values())
        assert samples.rejects.empty
        assert samples.frame["key"].is_unique
        assert (samples.frame["path"] == samples.frame["image"]).all()
        assert len(distinct(load_schema(schema), samples)[0]) == classes
        folders = samples.frame["image"].str.split("/").str[-2].value_counts().to_dict()
        assert folders == images


def test_the_two_grading_tables_with_empty_columns_give_every_image_two_grades(real_data):
    samples = read_samples(load_schema("idrid"), real_data / "idrid")
    assert samples.frame["split"].value_counts().to_dict() == {"train": 413, "test": 103}
    assert samples.rejects.empty
    assert all(len(labels.positive) == 2 for labels in samples.combinations)
    labels = labels_of(samples)
    assert labels["1. Original Images/a. Training Set/IDRiD_001.jpg"] == ("DR3", "DME2")
    assert labels["1. Original Images/b. Testing Set/IDRiD_001.jpg"] == ("DR4", "DME0")


def test_the_one_hot_table_gives_every_image_its_columns_or_normal(real_data):
    samples = read_samples(load_schema("rfmid"), real_data / "rfmid")
    assert len(samples.frame) == 1920
    assert samples.rejects.empty
    with (real_data / "rfmid" / "RFMiD_Training_Labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    plain = [tuple(k for k, v in row.items() if v == "1" and k not in ("ID", "Disease_Risk")) for row in rows]
    read = [samples.combinations[n].positive for n in samples.frame["labels"]]
    assert [frozenset(r) for r in read] == [frozenset(p) or frozenset({"NORMAL"}) for p in plain]
    assert sum(r == ("NORMAL",) for r in read) == sum(row["Disease_Risk"] == "0" for row in rows)


def test_every_row_of_the_27_retina_tables_is_a_sample_or_a_reject(real_data):
    samples = read_samples(load_schema("retina_flair"), real_data / "retina" / "flair_tables")
    assert len({*samples.frame["file"], *samples.rejects["file"]}) == 27
    assert samples.rows == 59_603
    assert len(samples.frame) + len(samples.rejects) == 59_603
    assert set(codes(samples)) <= {"no_label", "contradiction", "duplicate_row"}
    assert codes(samples)["duplicate_row"] > 4_000
    assert samples.frame["key"].is_unique
    assert samples.frame["image"].is_unique


def test_the_two_retina_tables_that_hold_text_are_not_read(real_data):
    samples = read_samples(load_schema("retina_flair"), real_data / "retina" / "flair_tables")
    assert not {"06_DEN.csv", "39_MM_Retinal_dataset.csv"} & set(samples.frame["file"])


@pytest.mark.parametrize(("schema", "file"), [("odir5k", "08_ODIR.csv"), ("aptos2019", "15_APTOS.csv")])
def test_a_dataset_may_be_read_from_its_own_table_of_the_family(real_data, schema, file):
    samples = read_samples(load_schema(schema), real_data / "retina" / "flair_tables")
    assert set(samples.frame["file"]) == {file}
    assert len(samples.frame) + len(samples.rejects) == samples.rows
    assert "unknown_label" not in codes(samples)
