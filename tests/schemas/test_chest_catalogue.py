"""The catalogue's chest sets: CheXpert, MIMIC-CXR-JPG, PadChest, the VinDr family, and sets of one question."""

import ast
import csv
import os
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from captioner.agreement import Checker
from captioner.errors import TableError
from captioner.images import locate
from captioner.labels import Labels
from captioner.schema import LabelClass, LabelSchema, load_library, load_schema
from captioner.tables import SampleTable, read_samples
from captioner.triplets import make_triplet
from captioner.writer import write_captions
from tests.catalogue import class_counts, labels_by_image
from tests.conftest import REAL_DATA

SCHEMAS = (
    "chexpert",
    "covidx",
    "mimic_cxr_jpg",
    "ms_cxr",
    "object_cxr",
    "padchest",
    "rsna_pneumonia",
    "siim_pneumothorax",
    "tb_chest_xray",
    "vinbigdata_cxr",
    "vindr_cxr",
    "vindr_mammo",
    "vindr_pcxr",
    "vindr_spinexr",
)
XRV = Path(os.environ.get("CAPTIONER_XRV_DATA", REAL_DATA / "torchxrayvision"))
OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


@pytest.fixture(scope="module")
def xrv() -> Path:
    """The label tables that the torchxrayvision package ships in its folder ``data``."""
    if not XRV.is_dir():
        pytest.skip(f"needs the tables of torchxrayvision: set CAPTIONER_XRV_DATA (looked in {XRV})")
    return XRV


def rejects(table: SampleTable) -> dict[str, int]:
    return {str(code): int(count) for code, count in table.rejects["code"].value_counts().items()}


def write_csv(path: Path, header: str, *rows: str, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *rows] if header else rows
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(line.split("|") for line in lines)
    return path


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n")


# ---- what holds for every schema


def related(schema: LabelSchema, one: LabelClass, other: LabelClass) -> bool:
    """Say whether a caption of one class may be true of another: it implies it, or both are words for one thing."""
    concepts, seen, queue = load_library().concepts, set(), [one.code]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in schema:
            queue += [*schema[name].parents, *filter(None, [schema[name].concept])]
        elif name in concepts:
            queue += concepts[name].parents
    return other.code in seen or (other.concept is not None and other.concept in seen)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_caption_of_one_class_agrees_under_no_unrelated_class(name: str) -> None:
    schema = load_schema(name)
    checker = Checker(schema)
    step = max(1, len(schema.classes) // 30)  # of many classes, a spread
    for k, item in enumerate(schema.classes):
        caption = write_captions(schema, make_triplet(schema, Labels((item.code,))), 1, seed=k)[0]
        for other in schema.classes[k % step :: step]:
            if not related(schema, item, other) and not related(schema, other, item):
                assert not checker.check(caption, [other.code]).agrees, (item.code, other.code, caption)


# ---- CheXpert


def chexpert_row(path: str, view: str = "Frontal", **labels: str) -> str:
    return "|".join(
        [
            path,
            "Female",
            "68",
            view,
            "AP" if view == "Frontal" else "",
            *(labels.get(o.replace(" ", "_"), "") for o in OBSERVATIONS),
        ]
    )


CHEXPERT_HEADER = "|".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS))


def test_chexpert_has_the_published_counts(xrv: Path) -> None:
    schema = load_schema("chexpert")
    table = read_samples(schema, xrv / "chexpert_train.csv.gz")
    assert table.rows == 223_414
    assert rejects(table) == {"not_chosen": 32_387, "no_label": 7_766}
    assert table.rows - 32_387 == 191_027  # frontal images
    both = schema.model_copy(update={"tables": (schema.tables[0].model_copy(update={"where": {}}),)})
    everything = class_counts(read_samples(both, xrv / "chexpert_train.csv.gz"))
    published = {
        "No Finding": 22_381,
        "Cardiomegaly": 27_000,
        "Edema": 52_246,
        "Consolidation": 14_783,
        "Pneumonia": 6_039,
        "Atelectasis": 33_376,
        "Lung Lesion": 9_186,
    }
    assert {c: everything[c] for c in published} == published
    # Every 1 of a frontal row is a label of a sample: no row contradicts itself.
    raw = pd.read_csv(xrv / "chexpert_train.csv.gz")
    frontal = raw[raw["Frontal/Lateral"] == "Frontal"]
    assert class_counts(table) == {o: int((frontal[o] == 1).sum()) for o in OBSERVATIONS}


def test_chexpert_no_finding_stands_beside_support_devices(xrv: Path) -> None:
    table = read_samples(load_schema("chexpert"), xrv / "chexpert_train.csv.gz")
    images = table.frame["labels"].value_counts()
    both = [i for i, c in enumerate(table.combinations) if c.positive == ("No Finding", "Support Devices")]
    raw = pd.read_csv(xrv / "chexpert_train.csv.gz")
    raw = raw[raw["Frontal/Lateral"] == "Frontal"]
    assert sum(int(images[i]) for i in both) == int(((raw["No Finding"] == 1) & (raw["Support Devices"] == 1)).sum())


def test_captions_of_a_normal_image_with_devices_name_both() -> None:
    for name, codes in (
        ("chexpert", ("No Finding", "Support Devices")),
        ("padchest", ("normal", "pacemaker", "NSG tube")),
    ):
        schema = load_schema(name)
        captions = write_captions(schema, make_triplet(schema, Labels(codes)), 10)
        assert len(set(captions)) == 10
        checker = Checker(schema)
        assert [c for c in captions if not checker.check(c, codes).agrees] == []
        assert not checker.check("Normal chest X-ray.", codes).agrees
        assert not checker.check(f"Chest X-ray with {schema[codes[1]].name}.", codes).agrees


def test_chexpert_one_zero_minus_one_and_blank_are_present_absent_open_and_unsaid(tmp_path: Path) -> None:
    path = "CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg"
    row = chexpert_row(path, Edema="1.0", Pneumonia="-1.0", Fracture="0.0")
    lateral = chexpert_row("CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg", "Lateral", Edema="1.0")
    write_csv(tmp_path / "train.csv", CHEXPERT_HEADER, row, lateral)
    table = read_samples(load_schema("chexpert"), tmp_path)
    assert table.combinations == (Labels(("Edema",), ("Fracture",), ("Pneumonia",)),)
    sample = table.frame.iloc[0]
    assert (sample["image"], sample["group"], sample["split"]) == (
        "train/patient00002/study1/view1_frontal.jpg",
        "patient00002",
        "train",
    )
    assert (sample["view"], sample["age"], sample["sex"]) == ("anteroposterior", "68", "female")
    assert rejects(table) == {"not_chosen": 1}


def test_chexpert_full_labels_of_radiologists_leave_no_denied_normal(tmp_path: Path) -> None:
    zeros = {o.replace(" ", "_"): "0.0" for o in OBSERVATIONS} | {"Edema": "1.0"}
    write_csv(
        tmp_path / "valid.csv",
        CHEXPERT_HEADER,
        chexpert_row("CheXpert-v1.0/valid/patient1/study1/view1_frontal.jpg", **zeros),
    )
    table = read_samples(load_schema("chexpert"), tmp_path)
    assert table.combinations[0].positive == ("Edema",)
    assert "No Finding" not in table.combinations[0].negative
    assert "Lung Opacity" not in table.combinations[0].negative  # an edema is one
    assert table.frame["split"].tolist() == ["valid"]


@pytest.mark.parametrize("root", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_chexpert_images_are_found_in_either_release_and_from_inside_it(tmp_path: Path, root: str) -> None:
    view = "train/patient00001/study1/view1_frontal.jpg"
    make_files(tmp_path, f"{root}/{view}", f"{root}/train/patient00002/study1/view1_frontal.jpg")
    write_csv(tmp_path / root / "train.csv", CHEXPERT_HEADER, chexpert_row(f"{root}/{view}", Edema="1.0"))
    for place in (tmp_path, tmp_path / root):
        samples = locate(read_samples(load_schema("chexpert"), place), place)
        assert samples.frame["path"].str.endswith(view).all()
        assert samples.frame["key"].tolist() == ["chexpert-train-patient00001-study1-view1_frontal"]


# ---- MIMIC-CXR-JPG


def mimic(folder: Path) -> Path:
    labels = "subject_id|study_id|Atelectasis|Cardiomegaly|Consolidation|Edema|Enlarged Cardiomediastinum|Fracture|Lung Lesion|Lung Opacity|No Finding|Pleural Effusion|Pleural Other|Pneumonia|Pneumothorax|Support Devices"
    write_csv(
        folder / "mimic-cxr-2.0.0-chexpert.csv",
        labels,
        "10000032|50414267|||||||||1.0|||||",
        "10000764|57375967|||1.0||||||||||-1.0|",
    )
    write_csv(folder / "mimic-cxr-2.0.0-negbio.csv", labels, "10000032|50414267||||||||||1.0||||")
    write_csv(
        folder / "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id|subject_id|study_id|PerformedProcedureStepDescription|ViewPosition|Rows|Columns",
        "02aa804e-bde0afdd|10000032|50414267|CHEST (PA AND LAT)|PA|3056|2544",
        "174413ec-4ec4c1f7|10000032|50414267|CHEST (PA AND LAT)|LATERAL|3056|2544",
        "096052b7-d256dc40|10000764|57375967|CHEST (PORTABLE AP)|AP|3056|2544",
    )
    write_csv(
        folder / "mimic-cxr-2.0.0-split.csv",
        "dicom_id|study_id|subject_id|split",
        "02aa804e-bde0afdd|50414267|10000032|train",
        "174413ec-4ec4c1f7|50414267|10000032|train",
        "096052b7-d256dc40|57375967|10000764|test",
    )
    return folder


def test_mimic_labels_of_a_study_are_joined_to_its_frontal_images_and_their_splits(tmp_path: Path) -> None:
    make_files(
        mimic(tmp_path),
        "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg",
        "files/p10/p10000764/s57375967/096052b7-d256dc40.jpg",
    )
    table = locate(read_samples(load_schema("mimic_cxr_jpg"), tmp_path), tmp_path)
    assert labels_by_image(table) == {
        "p10000032/s50414267/02aa804e-bde0afdd.jpg": ("No Finding",),
        "p10000764/s57375967/096052b7-d256dc40.jpg": ("Consolidation",),
    }
    assert table.frame[["split", "group", "view"]].to_numpy().tolist() == [
        ["train", "10000032", "posteroanterior"],
        ["test", "10000764", "anteroposterior"],
    ]
    assert rejects(table) == {"not_chosen": 1}
    assert table.combinations[1].uncertain == ("Pneumothorax",)


def test_mimic_labels_of_the_other_labeler_are_read_where_they_are_named(tmp_path: Path) -> None:
    table = read_samples(load_schema("mimic_cxr_jpg"), mimic(tmp_path) / "mimic-cxr-2.0.0-negbio.csv")
    assert labels_by_image(table) == {"p10000032/s50414267/02aa804e-bde0afdd.jpg": ("Pleural Effusion",)}


def test_mimic_labels_of_radiologists_call_lung_opacity_airspace_opacity(tmp_path: Path) -> None:
    columns = ["Airspace Opacity" if o == "Lung Opacity" else o for o in OBSERVATIONS]
    row = ["57375967", *("1" if o == "Airspace Opacity" else "0" for o in columns)]
    path = write_csv(
        mimic(tmp_path) / "mimic-cxr-2.1.0-test-set-labeled.csv", "|".join(["study_id", *columns]), "|".join(row)
    )
    table = read_samples(load_schema("mimic_cxr_jpg"), path)
    assert labels_by_image(table) == {"p10000764/s57375967/096052b7-d256dc40.jpg": ("Lung Opacity",)}
    assert table.frame["split"].tolist() == ["test"]


@pytest.mark.parametrize("what", ["metadata", "split"])
def test_mimic_without_a_side_file_says_which_one(tmp_path: Path, what: str) -> None:
    (mimic(tmp_path) / f"mimic-cxr-2.0.0-{what}.csv").unlink()
    with pytest.raises(TableError, match=f"no file mimic-cxr-2.0.0-{what}"):
        read_samples(load_schema("mimic_cxr_jpg"), tmp_path)


# ---- PadChest

PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"


def test_padchest_has_the_published_counts(xrv: Path) -> None:
    schema = load_schema("padchest")
    table = read_samples(schema, xrv / PADCHEST)
    assert table.rows == 160_861
    assert rejects(table) == {
        "not_chosen": 649,  # COSTAL 630, EXCLUDE 11, UNK 8
        "refused_label": 1_301,
        "unknown_label": 103,  # no list of labels
        "no_label": 4_935,
        "contradiction": 199,
    }
    counts = class_counts(table)
    assert set(counts) == set(schema.codes)
    assert {c: counts[c] for c in ("COPD signs", "pneumonia", "dai", "round atelectasis")} == {
        "COPD signs": 23_214,
        "pneumonia": 7_931,
        "dai": 275,
        "round atelectasis": 6,
    }
    assert set(table.frame["view"].unique()) == {
        "posteroanterior",
        "anteroposterior",
        "supine anteroposterior",
        "lateral",
    }


def test_padchest_classes_and_rules_are_the_193_labels_of_the_table(xrv: Path) -> None:
    schema = load_schema("padchest")
    raw = pd.read_csv(xrv / PADCHEST, usecols=["Labels"], dtype=str, keep_default_na=False)["Labels"]
    labels = {x.strip() for cell in raw.unique() if cell.startswith("[") for x in ast.literal_eval(cell)} - {""}
    assert labels == {*schema.codes, *schema.labels.strings}
    assert len(labels) == 174 + 19


def padchest(tmp_path: Path, *rows: tuple[str, str]) -> SampleTable:
    header = "|ImageID|ImageDir|PatientID|PatientSex_DICOM|Projection|Report|Labels|Localizations"
    lines = [
        f"{i}|{i}.png|0|p{i}|M|{view}|dos \n lineas|{labels}|['loc right']" for i, (view, labels) in enumerate(rows)
    ]
    return read_samples(load_schema("padchest"), write_csv(tmp_path / PADCHEST.removesuffix(".gz"), header, *lines))


def test_padchest_what_is_no_finding_is_not_said(tmp_path: Path) -> None:
    table = padchest(
        tmp_path,
        ("PA", "['unchanged', ' pneumonia', '']"),
        ("PA", "['suboptimal study', 'nodule']"),
        ("PA", "['unchanged']"),
        ("PA", "['exclude', 'nodule']"),
        ("COSTAL", "['rib fracture']"),
        ("L", "['normal', 'pacemaker']"),
        ("PA", "['normal', 'nodule']"),
        ("PA", "['respiratory distress', 'infiltrates']"),
    )
    assert labels_by_image(table) == {
        "0.png": ("pneumonia",),
        "1.png": ("nodule",),
        "5.png": ("normal", "pacemaker"),
        "7.png": ("infiltrates",),
    }
    assert rejects(table) == {"no_label": 1, "refused_label": 1, "not_chosen": 1, "contradiction": 1}


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("consolidation", "alveolar pattern"),
        ("reticular interstitial pattern", "interstitial pattern"),
        ("laminar atelectasis", "atelectasis"),
        ("callus rib fracture", "rib fracture"),
        ("calcified granuloma", "granuloma"),
        ("dai", "electrical device"),
        ("pulmonary venous hypertension", "pulmonary hypertension"),
        ("hydropneumothorax", "pneumothorax"),
        ("hydropneumothorax", "pleural effusion"),
    ],
)
def test_padchest_labels_imply_those_above_them_and_not_the_reverse(child: str, parent: str) -> None:
    schema = load_schema("padchest")
    assert related(schema, schema[child], schema[parent])
    assert not related(schema, schema[parent], schema[child])
    checker = Checker(schema)
    assert not checker.check(f"Chest X-ray with {schema[child].name}.", [parent]).agrees


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("dai", "Chest X-ray with a cardiac pacemaker."),
        ("tuberculosis sequelae", "Chest X-ray showing pulmonary tuberculosis."),
        ("pseudonodule", "Chest X-ray with a lung nodule."),
        ("mass", "Chest X-ray with a lung mass."),
        ("infiltrates", "Chest X-ray with pneumonia."),
        ("supra aortic elongation", "Chest X-ray with an elongated aorta."),
        ("end on vessel", "Chest X-ray with a pulmonary nodule."),
        ("callus rib fracture", "Chest X-ray with a clavicle fracture."),
    ],
)
def test_padchest_labels_are_not_what_they_resemble(label: str, caption: str) -> None:
    assert not Checker(load_schema("padchest")).check(caption, [label]).agrees


# ---- VinDr


def test_vinbigdata_has_the_published_images_without_a_finding(xrv: Path) -> None:
    table = read_samples(load_schema("vinbigdata_cxr"), xrv / "vinbigdata-train.csv.gz")
    assert table.rows == 67_914
    assert len(table.frame) + len(table.rejects) == 15_000
    counts = class_counts(table)
    assert counts["No finding"] == 10_606
    # Of all readers, counted with pandas: images on which at least two of the three drew the label.
    raw = pd.read_csv(xrv / "vinbigdata-train.csv.gz")
    voices = raw.drop_duplicates(["image_id", "class_name", "rad_id"]).groupby(["class_name", "image_id"]).size()
    majority = (voices >= 2).groupby(level=0).sum()
    assert counts == {c: int(majority[c]) for c in load_schema("vinbigdata_cxr").codes}
    assert (raw.groupby("image_id")["rad_id"].nunique() == 3).all()


def test_vindr_cxr_is_what_most_of_its_readers_say_and_the_consensus_of_its_test_set(tmp_path: Path) -> None:
    schema = load_schema("vindr_cxr")
    columns = [*schema.codes[:-1], "Other lesion", "Other diseases", "No finding"]

    def row(*positive: str, names: list[str] = columns) -> list[str]:
        return ["1" if c in positive else "0" for c in names]

    train = [
        ["a", "R1", *row("Cardiomegaly", "Other lesion")],
        ["a", "R2", *row("Cardiomegaly", "Pleural effusion")],
        ["a", "R3", *row("No finding")],
        *(["b", f"R{i}", *row("No finding")] for i in (4, 5, 6)),
        *(["c", f"R{i}", *row("Other diseases")] for i in (4, 5, 6)),
    ]
    write_csv(
        tmp_path / "annotations/image_labels_train.csv",
        "|".join(["image_id", "rad_id", *columns]),
        *map("|".join, train),
    )
    names = ["Other disease" if c == "Other diseases" else c for c in columns]
    test = ["d", *row("Enlarged PA", "COPD", names=names)]
    write_csv(tmp_path / "annotations/image_labels_test.csv", "|".join(["image_id", *names]), "|".join(test))
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {"a": ("Cardiomegaly",), "b": ("No finding",), "d": ("Enlarged PA", "COPD")}
    assert table.combinations[table.frame["labels"][0]].uncertain == ("Pleural effusion",)
    assert table.frame["split"].tolist() == ["train", "train", "test"]
    assert rejects(table) == {"no_label": 1}


def test_vindr_pcxr_spells_out_what_its_tables_misspell(tmp_path: Path) -> None:
    schema = load_schema("vindr_pcxr")
    assert [
        schema[c].name for c in ("Brocho-pneumonia", "Diagphramatic hernia", "Bronchectasis", "Paraveterbral mass")
    ] == [
        "bronchopneumonia",
        "diaphragmatic hernia",
        "bronchiectasis",
        "paravertebral mass",
    ]
    columns = [*schema.tables[0].columns_needed, "Other disease"]
    rows = [["a", "R1", *("1.0" if c == "Brocho-pneumonia" else "0.0" for c in columns)]]
    rows += [["b", "R2", *("1.0" if c == "Other disease" else "0.0" for c in columns)]]
    write_csv(tmp_path / "image_labels_train.csv", "|".join(["image_id", "rad_ID", *columns]), *map("|".join, rows))
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {"a": ("Brocho-pneumonia",)}
    assert "Pneumonia" not in table.combinations[0].negative
    assert rejects(table) == {"no_label": 1}


def test_vindr_pcxr_an_image_without_boxes_is_not_called_normal(tmp_path: Path) -> None:
    header = "image_id|rad_ID|class_name|x_min|y_min|x_max|y_max"
    path = write_csv(
        tmp_path / "annotations_train.csv",
        header,
        "a|R1|Boot-shaped heart|1|2|3|4",
        "a|R1|Diffuse aveolar opacity|1|2|3|4",
        "b|R1|No finding||||",
        "c|R1|Other lesion|1|2|3|4",
    )
    table = read_samples(load_schema("vindr_pcxr"), path)
    assert labels_by_image(table) == {"a": ("Boot-shaped heart", "Diffuse aveolar opacity")}
    assert rejects(table) == {"no_label": 2}


def test_vindr_spinexr_reads_boxes_and_knows_an_implant_for_a_device(tmp_path: Path) -> None:
    schema = load_schema("vindr_spinexr")
    header = "study_id|series_id|image_id|rad_id|lesion_type|xmin|ymin|xmax|ymax"
    write_csv(
        tmp_path / "annotations/train.csv",
        header,
        "s1|e1|a|rad1|Osteophytes|1|2|3|4",
        "s1|e1|a|rad1|Osteophytes|5|6|7|8",
        "s1|e1|a|rad1|Spondylolysthesis|5|6|7|8",
        "s2|e2|b|rad2|No finding||||",
        "s3|e3|c|rad2|Other lesions|1|2|3|4",
    )
    write_csv(tmp_path / "annotations/test.csv", header, "s4|e4|d|rad1|Surgical implant|1|2|3|4")
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {
        "a": ("Osteophytes", "Spondylolysthesis"),
        "b": ("No finding",),
        "d": ("Surgical implant",),
    }
    assert schema["Surgical implant"].kind == "device"
    assert schema["Spondylolysthesis"].name == "spondylolisthesis"
    assert table.frame["group"].tolist() == ["s1", "s2", "s4"]


def test_vindr_mammo_findings_are_labels_and_assessment_and_density_are_not(tmp_path: Path) -> None:
    header = "study_id|series_id|image_id|laterality|view_position|height|width|breast_birads|breast_density|finding_categories|finding_birads|xmin|ymin|xmax|ymax|split"
    write_csv(
        tmp_path / "finding_annotations.csv",
        header,
        "s1|e1|a|L|CC|1|1|BI-RADS 4|DENSITY C|['Mass', 'Skin Retraction']|BI-RADS 4|1|2|3|4|training",
        "s1|e1|a|L|CC|1|1|BI-RADS 4|DENSITY C|['Suspicious Calcification']|BI-RADS 4|1|2|3|4|training",
        "s1|e1|b|R|MLO|1|1|BI-RADS 2|DENSITY C|['No Finding']||||||test",
    )
    schema = load_schema("vindr_mammo")
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {
        "s1/a": ("Mass", "Suspicious Calcification", "Skin Retraction"),
        "s1/b": ("No Finding",),
    }
    assert table.frame[["assessment", "density", "side", "view", "split"]].to_numpy().tolist() == [
        ["BI-RADS 4", "heterogeneously dense", "left", "craniocaudal", "training"],
        ["BI-RADS 2", "heterogeneously dense", "right", "mediolateral oblique", "test"],
    ]
    assert schema["No Finding"].kind == "absence"


# ---- sets of one question


def test_rsna_has_the_published_counts_and_calls_no_zero_normal(xrv: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(xrv / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extractall(tmp_path)
    schema = load_schema("rsna_pneumonia")
    table = read_samples(schema, tmp_path)
    assert (table.rows, len(table.frame), len(table.rejects)) == (30_227, 26_684, 0)
    assert class_counts(table) == {"Lung Opacity": 6_012, "Target 0": 20_672}
    assert schema["Target 0"].kind == "absence"


def test_rsna_tells_normal_from_abnormal_where_the_file_does(tmp_path: Path) -> None:
    rows = ["a|Lung Opacity", "a|Lung Opacity", "b|No Lung Opacity / Not Normal", "c|Normal"]
    write_csv(tmp_path / "stage_2_detailed_class_info.csv", "patientId|class", *rows)
    write_csv(tmp_path / "stage_2_train_labels.csv", "patientId|x|y|width|height|Target", "a|1|2|3|4|1", "b|||||0")
    table = read_samples(load_schema("rsna_pneumonia"), tmp_path)
    assert labels_by_image(table) == {"a": ("Lung Opacity",), "b": ("No Lung Opacity / Not Normal",), "c": ("Normal",)}


def test_rsna_a_suspicion_is_no_pneumonia() -> None:
    checker = Checker(load_schema("rsna_pneumonia"))
    assert not checker.check("Chest X-ray showing pneumonia.", ["Lung Opacity"]).agrees
    assert checker.check("Chest X-ray showing a lung opacity.", ["Lung Opacity"]).agrees
    assert not checker.check("Chest X-ray showing a lung opacity.", ["Normal"]).agrees


def test_siim_has_the_published_counts(xrv: Path) -> None:
    table = read_samples(load_schema("siim_pneumothorax"), xrv / "siim-pneumothorax-train-rle.csv.gz")
    assert (table.rows, len(table.rejects)) == (12_954, 0)
    assert class_counts(table) == {"Pneumothorax": 2_669, "No pneumothorax": 9_378}


def test_siim_several_masks_are_one_image(tmp_path: Path) -> None:
    write_csv(tmp_path / "stage_2_train.csv", "ImageId|EncodedPixels", "1.2.3|1 2 3", "1.2.3|4 5 6", "1.2.4|-1")
    table = read_samples(load_schema("siim_pneumothorax"), tmp_path)
    assert labels_by_image(table) == {"1.2.3": ("Pneumothorax",), "1.2.4": ("No pneumothorax",)}


@pytest.mark.parametrize("column", ["image_name", "image_path"])
def test_object_cxr_an_empty_annotation_denies_foreign_objects_and_nothing_else(tmp_path: Path, column: str) -> None:
    write_csv(tmp_path / "train.csv", f"{column}|annotation", "00001.jpg|0 1 2 3 4;2 5 6 7 8", "00002.jpg|")
    write_csv(tmp_path / "dev.csv", f"{column}|annotation", "08001.jpg|")
    schema = load_schema("object_cxr")
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {
        "00001.jpg": ("foreign object",),
        "00002.jpg": ("no foreign object",),
        "08001.jpg": ("no foreign object",),
    }
    assert table.frame["split"].tolist() == ["train", "train", "validation"]
    assert schema["no foreign object"].kind == "absence"


def test_covidx_negative_is_not_normal(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.txt", "", "4|a.png|positive|cohen", "5|b.png|negative|rsna", delimiter=" ")
    write_csv(tmp_path / "test.txt", "", "6|c.png|negative|rsna", delimiter=" ")
    schema = load_schema("covidx")
    table = read_samples(schema, tmp_path)
    assert labels_by_image(table) == {
        "train/a.png": ("positive",),
        "train/b.png": ("negative",),
        "test/c.png": ("negative",),
    }
    assert table.frame["group"].tolist() == ["4", "5", "6"]
    assert schema["negative"].kind == "absence"
    assert not any("normal" in w for w in schema["negative"].wordings)
    assert not Checker(schema).check("Chest X-ray with pneumonia.", ["positive"]).agrees


@pytest.mark.parametrize(
    ("variant", "classes"),
    [("A", ("positive", "pneumonia", "normal")), ("B", ("positive", "negative", "negative"))],
)
def test_covidx_reads_the_lists_of_three_classes_and_of_two(
    tmp_path: Path, variant: str, classes: tuple[str, ...]
) -> None:
    words = ("COVID-19", "pneumonia", "normal") if variant == "A" else classes
    rows = [f"{i}|{i}.png|{word}|rsna" for i, word in enumerate(words)]
    write_csv(tmp_path / f"train_COVIDx9{variant}.txt", "", *rows, delimiter=" ")
    table = read_samples(load_schema("covidx"), tmp_path)
    assert [table.combinations[i].positive[0] for i in table.frame["labels"]] == list(classes)


def test_tb_chest_xray_reads_its_two_folders(tmp_path: Path) -> None:
    root = tmp_path / "TB_Chest_Radiography_Database"
    make_files(root, "Normal/Normal-1.png", "Tuberculosis/Tuberculosis-1.png")
    (root / "Normal.metadata.xlsx").write_bytes(b"PK")
    assert sorted(labels_by_image(read_samples(load_schema("tb_chest_xray"), tmp_path)).values()) == [
        ("Normal",),
        ("Tuberculosis",),
    ]


def test_the_boxes_of_ms_cxr_are_put_together_and_deny_nothing(tmp_path: Path) -> None:
    paths = [f"files/p10/p1000003{i}/s1/{i}.jpg" for i in range(2)]
    write_csv(
        tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv",
        "category_name|label_text|path|x|y|w|h|split",
        f"Pneumonia|right basal pneumonia|{paths[0]}|1|2|3|4|train",
        f"Pleural Effusion|small left effusion|{paths[0]}|5|6|7|8|train",
        f"Edema|interstitial edema|{paths[1]}|1|2|3|4|test",
    )
    table = read_samples(load_schema("ms_cxr"), tmp_path)
    assert labels_by_image(table) == {paths[0]: ("Pleural Effusion", "Pneumonia"), paths[1]: ("Edema",)}
    assert all(not labels.negative for labels in table.combinations)
    assert list(table.frame["split"]) == ["train", "test"]
