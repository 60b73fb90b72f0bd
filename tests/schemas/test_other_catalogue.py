"""Endoscopy, skin, retina collections, pathology and MedMNIST: what their tables say, and what captions may make of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from captioner.arrays import unpack
from captioner.errors import SchemaError
from captioner.schema import fold_label, load_library, load_schema, parse_schema
from captioner.tables import read_samples
from captioner.writer.wordings import views
from tests.catalogue import (
    class_counts,
    errors,
    labels_by_image,
    make_files,
    schema_of,
    write_csv,
)

# The labels of medmnist 3.0.2, in their order: the arrays hold positions in these lists.
ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)  # fmt: skip
MEDMNIST = {
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    ),
    "breastmnist": ("malignant", "normal, benign"),
    "chestmnist": (
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
        "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
        "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb",
    ),
}  # fmt: skip
RETINA = ("acrima", "deepdrid", "eyepacs", "fives", "jsiec1000", "lag", "messidor2", "mmac", "oia_ddr", "refuge")
SCHEMAS = (
    "embed",
    "fitzpatrick17k",
    "ham10000",
    "hyperkvasir",
    *RETINA,
    *(f"medmnist_{flag}" for flag in MEDMNIST),
    "patchgastric",
)


# ---- what holds for all of them


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_wording_of_a_class_is_heard_as_the_class(name: str) -> None:
    schema, library = schema_of(name), load_library()
    unheard = []
    for item in schema.classes:
        if item.kind in ("normal", "absence"):
            continue
        modality, anatomy = library.modalities[schema.modality_of(item)], library.anatomies[schema.anatomy_of(item)]
        view = views(modality, anatomy)[0].text
        for wording in item.wordings:
            caption = f"{view[0].upper()}{view[1:]} in which {wording} can be seen."
            if " ... " not in wording and errors(name, item.code, caption):
                unheard.append((item.code, wording))
    assert unheard == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_wording_belongs_to_two_classes_of_one_kind_of_image(name: str) -> None:
    schema = schema_of(name)
    owners: dict[tuple[str, str, str], str] = {}
    for item in schema.classes:
        for wording in item.wordings:
            place = (schema.modality_of(item), schema.anatomy_of(item), fold_label(wording))
            assert owners.setdefault(place, item.code) == item.code, wording


# ---- HyperKvasir

HYPERKVASIR = {
    "barretts": 41,
    "barretts-short-segment": 53,
    "bbps-0-1": 646,
    "bbps-2-3": 1_148,
    "cecum": 1_009,
    "dyed-lifted-polyps": 1_002,
    "dyed-resection-margins": 989,
    "esophagitis-a": 403,
    "esophagitis-b-d": 260,
    "hemorrhoids": 6,
    "ileum": 9,
    "impacted-stool": 131,
    "polyps": 1_028,
    "pylorus": 999,
    "retroflex-rectum": 391,
    "retroflex-stomach": 764,
    "ulcerative-colitis-grade-0-1": 35,
    "ulcerative-colitis-grade-1": 201,
    "ulcerative-colitis-grade-1-2": 11,
    "ulcerative-colitis-grade-2": 443,
    "ulcerative-colitis-grade-2-3": 28,
    "ulcerative-colitis-grade-3": 133,
    "z-line": 932,
}


def test_hyperkvasir_has_the_published_class_counts(real_data: Path) -> None:
    table = read_samples(schema_of("hyperkvasir"), real_data / "hyperkvasir")
    assert (table.rows, len(table.frame), len(table.rejects)) == (10_662, 10_662, 0)
    assert class_counts(table) == HYPERKVASIR
    assert set(table.frame["split"]) == {"0", "1"}


def test_hyperkvasir_reads_its_folders_its_table_and_both_files_of_splits(tmp_path: Path) -> None:
    schema = schema_of("hyperkvasir")
    assert sorted(schema.codes) == sorted(HYPERKVASIR)
    root = tmp_path / "folders"
    tree = {
        "z-line": "upper-gi-tract/anatomical-landmarks/z-line",
        "polyps": "lower-gi-tract/pathological-findings/polyps",
    }
    make_files(root, *(f"labeled-images/{folder}/{code}.jpg" for code, folder in tree.items()))
    make_files(root, "unlabeled-images/images/u.jpg", "segmented-images/images/s.jpg", "segmented-images/masks/s.jpg")
    assert set(labels_by_image(read_samples(schema, root)).values()) == {("z-line",), ("polyps",)}

    for name in ("2_fold_split.csv", "5_fold_split.csv"):
        header = ("file-name", "class-name", "split-index")
        write_csv(
            tmp_path / name / name, header, ("a.jpg", "normal-z-line", "0"), ("b.jpg", "hemorroids", "1"), delimiter=";"
        )
        table = read_samples(schema, tmp_path / name)
        assert labels_by_image(table) == {"a.jpg": ("z-line",), "b.jpg": ("hemorrhoids",)}

    write_csv(
        tmp_path / "table" / "image-labels.csv",
        ("Video file", "Organ", "Finding", "Classification"),
        ("0a1b", "Lower GI", "bbps-2-3", "quality-of-mucosal-views"),
    )
    assert labels_by_image(read_samples(schema, tmp_path / "table")) == {"0a1b": ("bbps-2-3",)}


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("oesophagitis-b-d", "esophagitis-b-d"),
        ("short-segment-barretts", "barretts-short-segment"),
        ("normal-cecum", "cecum"),
        ("ulcerative-colitis-0-1", "ulcerative-colitis-grade-0-1"),
        ("hemorroids", "hemorrhoids"),
        ("polyp", "polyps"),
    ],
)
def test_hyperkvasir_knows_the_three_spellings_of_its_classes(label: str, code: str) -> None:
    assert schema_of("hyperkvasir").resolve(label).code == code


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("esophagitis-a", "Endoscopic view of the oesophagus with oesophagitis, LA grade A, and mucosal breaks."),
        ("ulcerative-colitis-grade-2", "Colonoscopy image of ulcerative colitis, Mayo score 2, with loss of vascular pattern."),
        ("ulcerative-colitis-grade-1-2", "Colonoscopy image of ulcerative colitis, Mayo grade 1-2."),
        ("bbps-2-3", "Colonoscopy frame of a well-prepared bowel; Boston Bowel Preparation Scale score of 2-3."),
        ("cecum", "Endoscopic view of the cecum with the appendiceal orifice."),
        ("dyed-lifted-polyps", "Colonoscopic view of a polyp lifted with blue dye before resection."),
        ("retroflex-stomach", "Gastroscopy: the stomach seen in retroflexion."),
    ],
)  # fmt: skip
def test_hyperkvasir_takes_a_correct_caption_in_other_words(label: str, caption: str) -> None:
    assert errors("hyperkvasir", label, caption) == []


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("esophagitis-b-d", "Endoscopy showing esophagitis of Los Angeles grade C."),
        ("esophagitis-a", "Endoscopic image of grade B esophagitis."),
        ("ulcerative-colitis-grade-2", "Colonoscopy image of ulcerative colitis, Mayo grade 3."),
        ("ulcerative-colitis-grade-1", "Colonoscopy image of ulcerative colitis, Mayo grade 1-2."),
        ("bbps-2-3", "Colonoscopy frame with poor bowel preparation."),
        ("cecum", "Colonoscopy view of the cecum with a polyp."),
        ("z-line", "Gastroscopy image of the Z-line with Barrett's esophagus."),
        ("polyps", "Colonoscopy showing an adenomatous polyp."),
        ("polyps", "Colonoscopy showing a dyed and lifted polyp."),
        ("barretts", "Endoscopy shows short-segment Barrett's esophagus."),
        ("barretts-short-segment", "Endoscopy shows Barrett's esophagus."),
        ("retroflex-stomach", "Gastroscopic view of the stomach."),
        ("hemorrhoids", "Endoscopic image of internal hemorrhoids."),
        ("pylorus", "X-ray of the pylorus."),
    ],
)
def test_hyperkvasir_refuses_a_caption_that_says_something_else(label: str, caption: str) -> None:
    assert errors("hyperkvasir", label, caption) != []


# ---- HAM10000


def test_ham10000_reads_its_metadata_with_lesion_age_sex_and_site(tmp_path: Path) -> None:
    header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = [
        ("HAM_0000001", f"ISIC_{i:07d}", code, "histo", "80.0", "male", "scalp")
        for i, code in enumerate(("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"))
    ]
    write_csv(
        tmp_path / "HAM10000_metadata.csv",
        header,
        *rows,
        ("HAM_2", "ISIC_9", "nv", "follow_up", "0.0", "unknown", "unknown"),
    )
    table = read_samples(schema_of("ham10000"), tmp_path)
    assert class_counts(table) == {"akiec": 1, "bcc": 1, "bkl": 1, "df": 1, "mel": 1, "nv": 2, "vasc": 1}
    first, last = table.frame.iloc[0], table.frame.iloc[-1]
    assert (first["image"], first["group"]) == ("ISIC_0000000.jpg", "HAM_0000001")
    assert (first["age"], first["sex"], first["site"]) == ("80", "male", "scalp")
    assert (last["age"], last["sex"], last["site"]) == ("", "", "")


def test_ham10000_reads_the_ground_truth_of_the_challenge(tmp_path: Path) -> None:
    header = ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    row = ("0.0", "1.0", "0.0", "0.0", "0.0", "0.0", "0.0")
    write_csv(tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv", header, ("ISIC_0024306", *row))
    write_csv(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", header, ("ISIC_0034524", *row))
    table = read_samples(schema_of("ham10000"), tmp_path)
    assert labels_by_image(table) == {"ISIC_0024306.jpg": ("nv",), "ISIC_0034524.jpg": ("nv",)}
    assert sorted(table.frame["split"]) == ["test", "train"]


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("akiec", "Dermoscopic image showing actinic keratosis or intraepithelial carcinoma."),
        ("bkl", "Dermoscopy shows a benign keratosis-like lesion of the skin."),
        ("mel", "Dermoscopic view of a melanoma, a malignant skin tumor."),
        ("nv", "Dermoscopic image of a benign mole."),
    ],
)
def test_ham10000_takes_a_correct_caption_in_other_words(label: str, caption: str) -> None:
    assert errors("ham10000", label, caption) == []


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("akiec", "Dermoscopic image of an actinic keratosis."),
        ("bkl", "Dermoscopic image of a seborrheic keratosis."),
        ("vasc", "Dermoscopic image of a hemangioma."),
        ("mel", "Dermoscopic view of a nodular melanoma."),
        ("nv", "Dermoscopic image of a dysplastic nevus."),
    ],
)
def test_a_category_of_ham10000_is_not_one_of_the_diagnoses_that_it_joins(label: str, caption: str) -> None:
    assert errors("ham10000", label, caption) != []


# ---- more fundus photographs


@pytest.mark.parametrize(
    ("name", "counts", "refused"),
    [
        ("eyepacs", {"0": 2_450, "1": 235, "2": 542, "3": 85, "4": 63}, 0),
        ("lag", {"non_glaucoma": 3_143}, 1_711),
        ("oia_ddr", {"0": 6_266, "1": 630, "2": 4_477, "3": 236, "4": 913}, 1_151),
    ],
)
def test_a_retina_table_in_flair_format_has_the_published_counts(
    real_data: Path, name: str, counts: dict[str, int], refused: int
) -> None:
    table = read_samples(schema_of(name), real_data / "retina" / "flair_tables")
    assert class_counts(table) == counts
    assert (len(table.rejects), set(table.rejects["code"])) == (refused, {"no_label"} if refused else set())


@pytest.mark.parametrize("name", RETINA)
def test_no_retina_schema_calls_an_eye_normal_because_one_disease_is_absent(name: str) -> None:
    normal = {c.code for c in schema_of(name).classes if c.kind == "normal"}
    assert normal == {"fives": {"N"}, "jsiec1000": {"0.0.Normal"}}.get(name, set())


def test_eyepacs_reads_the_owners_tables_and_knows_the_patient_of_an_eye(tmp_path: Path) -> None:
    write_csv(tmp_path / "trainLabels.csv", ("image", "level"), ("10_left", "0"), ("10_right", "4"))
    write_csv(tmp_path / "retinopathy_solution.csv", ("image", "level", "Usage"), ("1_left", "2", "Private"))
    table = read_samples(schema_of("eyepacs"), tmp_path)
    assert labels_by_image(table) == {"10_left.jpeg": ("0",), "10_right.jpeg": ("4",), "1_left.jpeg": ("2",)}
    assert list(zip(table.frame["group"], table.frame["split"], strict=True)) == [
        ("10", "train"),
        ("10", "train"),
        ("1", "test"),
    ]


@pytest.mark.parametrize(("key", "grade"), [("image_id", "adjudicated_dr_grade"), ("id_code", "diagnosis")])
def test_messidor2_refuses_what_is_ungradable(tmp_path: Path, key: str, grade: str) -> None:
    header = (key, grade, "adjudicated_dme", "adjudicated_gradable")
    write_csv(
        tmp_path / "messidor_data.csv",
        header,
        ("a.jpg", "2", "1", "1"),
        ("b.png", "0", "0", "1"),
        ("c.png", "", "", "0"),
    )
    table = read_samples(schema_of("messidor2"), tmp_path)
    assert labels_by_image(table) == {"a.jpg": ("2", "DME1"), "b.png": ("0", "DME0")}
    assert len(table.rejects) == 1


def test_an_image_of_deepdrid_has_the_grade_of_its_own_eye(tmp_path: Path) -> None:
    header = (
        "patient_id",
        "image_id",
        "image_path",
        "quality",
        "left_eye_DR_Level",
        "right_eye_DR_Level",
        "patient_DR_Level",
        "Clarity",
    )
    rows = [
        ("1", "1_l1", "\\regular-fundus-training\\1\\1_l1.jpg", "1", "0.0", "", "3", "8"),
        ("1", "1_r1", "\\regular-fundus-training\\1\\1_r1.jpg", "0", "", "3.0", "3", "8"),
    ]
    write_csv(tmp_path / "regular-fundus-training" / "regular-fundus-training.csv", header, *rows)
    table = read_samples(schema_of("deepdrid"), tmp_path)
    folder = "regular-fundus-training/Images/1"
    assert labels_by_image(table) == {f"{folder}/1_l1.jpg": ("0",), f"{folder}/1_r1.jpg": ("3",)}
    assert set(table.frame["group"]) == {"1"}


def test_grade_5_of_an_ultra_widefield_image_is_ungradable(tmp_path: Path) -> None:
    header = ("patient_id", "image_id", "image_path", "DR_level", "position")
    write_csv(
        tmp_path / "ultra-widefield-training.csv",
        header,
        ("1", "1_l2", "", "4", "left_eye"),
        ("1", "1_r1", "", "5", "right_eye"),
    )
    table = read_samples(schema_of("deepdrid"), tmp_path)
    assert list(labels_by_image(table).values()) == [("4",)]
    assert list(table.rejects["code"]) == ["no_label"]


def test_oia_ddr_reads_lines_without_a_header_and_leaves_grade_5(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("007-0004-000.jpg 0\n007-0007-000.jpg 5\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("007-0004-000.jpg 3\n", encoding="utf-8")
    table = read_samples(schema_of("oia_ddr"), tmp_path)
    assert labels_by_image(table) == {"train/007-0004-000.jpg": ("0",), "test/007-0004-000.jpg": ("3",)}
    assert list(table.rejects["code"]) == ["no_label"]


def test_a_suspicious_image_of_lag_is_no_glaucoma_and_no_sample(tmp_path: Path) -> None:
    make_files(
        tmp_path, "non_glaucoma/image/1.jpg", "non_glaucoma/attention_map/1.jpg", "suspicious_glaucoma/image/2.jpg"
    )
    table = read_samples(schema_of("lag"), tmp_path)
    assert labels_by_image(table) == {"non_glaucoma/image/1.jpg": ("non_glaucoma",)}
    assert len(table.rejects) == 1


def test_refuge_reads_labels_from_names_and_from_the_workbook_of_the_testing_images(tmp_path: Path) -> None:
    make_files(
        tmp_path / "train", "Training400/Glaucoma/g0001.jpg", "Training400/Non-Glaucoma/n0001.jpg", "masks/g0001.bmp"
    )
    assert labels_by_image(read_samples(schema_of("refuge"), tmp_path / "train")) == {
        "Training400/Glaucoma/g0001.jpg": ("g",),
        "Training400/Non-Glaucoma/n0001.jpg": ("n",),
    }
    (tmp_path / "test").mkdir()
    rows = [
        {"ID": 1, "ImgName": "T0001.jpg", "Label(Glaucoma=1)": 1},
        {"ID": 2, "ImgName": "T0002.jpg", "Label(Glaucoma=1)": 0},
    ]
    pd.DataFrame(rows).to_excel(tmp_path / "test" / "Glaucoma_label_and_Fovea_location.xlsx", index=False)
    table = read_samples(schema_of("refuge"), tmp_path / "test")
    assert labels_by_image(table) == {"T0001.jpg": ("g",), "T0002.jpg": ("n",)}


def test_the_letter_in_the_name_of_an_image_of_fives_is_its_label(tmp_path: Path) -> None:
    names = [f"train/Original/{i}_{letter}.png" for i, letter in enumerate("ADGN", start=1)]
    make_files(tmp_path, *names, "test/Original/1_N.png", "test/Ground truth/1_N.png")
    table = read_samples(schema_of("fives"), tmp_path)
    assert labels_by_image(table) == {**{n: (n[-5],) for n in names}, "test/Original/1_N.png": ("N",)}
    assert Counter(table.frame["split"]) == {"train": 4, "test": 1}
    assert len(table.rejects) == 0


def test_acrima_reads_glaucoma_from_the_name(tmp_path: Path) -> None:
    make_files(tmp_path, "Im001_ACRIMA.jpg", "Im310_g_ACRIMA.jpg", "notes.jpg")
    table = read_samples(schema_of("acrima"), tmp_path)
    assert labels_by_image(table) == {"Im001_ACRIMA.jpg": ("ACRIMA",), "Im310_g_ACRIMA.jpg": ("g_ACRIMA",)}
    assert list(table.rejects["value"]) == ["notes.jpg"]


def test_a_pattern_on_paths_must_have_a_group_for_the_label() -> None:
    data = {
        "id": "x",
        "title": "x",
        "modality": "fundus",
        "anatomy": "retina",
        "classes": [{"code": "a", "name": "drusen"}],
    }
    with pytest.raises(SchemaError, match="label"):
        parse_schema(data | {"tables": [{"layout": "folders", "pattern": "[a-z]+"}]})


def test_jsiec_reads_its_folders_and_leaves_what_is_possible_suspected_or_blurred(tmp_path: Path) -> None:
    schema = schema_of("jsiec1000")
    left = ("10.0.Possible glaucoma", "29.0.Blur fundus without PDR", "29.1.Blur fundus with suspected PDR")
    folders = {*schema.codes, "1.1.DR3", *left}
    assert len(folders) == 39
    make_files(tmp_path, *(f"1000images/{folder}/{i}.JPG" for i, folder in enumerate(sorted(folders))))
    table = read_samples(schema, tmp_path)
    assert (table.rows, len(table.frame), len(table.rejects)) == (39, 36, 3)
    assert set(class_counts(table)) == set(schema.codes)


def test_mh_of_jsiec_is_a_macular_hole_and_a_large_cup_no_glaucoma() -> None:
    assert schema_of("jsiec1000")["8.MH"].name == "macular hole"
    assert load_schema("rfmid")["MH"].name == "media haze"
    assert errors("jsiec1000", "0.2.Large optic cup", "Fundus photograph showing a large optic cup.") == []
    assert (
        errors("jsiec1000", "0.2.Large optic cup", "Fundus photograph showing glaucoma with a large optic cup.") != []
    )


# ---- MedMNIST


@pytest.mark.parametrize("flag", MEDMNIST)
def test_a_digit_of_medmnist_is_the_label_of_that_place_in_the_owners_list(flag: str) -> None:
    schema = schema_of(f"medmnist_{flag}")
    assert [schema.resolve(label).code for label in MEDMNIST[flag]] == [str(i) for i in range(len(MEDMNIST[flag]))]
    assert len(schema.codes) == len(MEDMNIST[flag]) + (flag == "chestmnist")


@pytest.mark.parametrize("flag", MEDMNIST)
def test_an_archive_of_medmnist_is_unpacked_and_read(tmp_path: Path, flag: str) -> None:
    count = len(MEDMNIST[flag])
    several = flag == "chestmnist"
    labels = np.eye(count + 1, count, dtype=np.uint8) if several else np.arange(count, dtype=np.uint8)[:, None]
    images = np.zeros((len(labels), 28, 28, 3), np.uint8)
    np.savez(
        tmp_path / f"{flag}.npz", train_images=images, train_labels=labels, val_images=images[:1], val_labels=labels[:1]
    )
    unpack(tmp_path / f"{flag}.npz", tmp_path / "data")
    schema = schema_of(f"medmnist_{flag}")
    table = read_samples(schema, tmp_path / "data")
    assert class_counts(table) == {code: 2 if code == "0" else 1 for code in schema.codes}
    assert Counter(table.frame["split"]) == {"train": len(labels), "val": 1}
    assert len(table.rejects) == 0


@pytest.mark.parametrize(
    ("flag", "label", "caption"),
    [
        ("bloodmnist", "3", "Blood smear showing a myelocyte."),
        ("breastmnist", "1", "Breast ultrasound with a benign lesion."),
        ("dermamnist", "4", "Clinical photograph of a melanoma."),
        ("octmnist", "0", "OCT showing wet age-related macular degeneration."),
        ("octmnist", "2", "Fundus photograph with drusen."),
        ("organamnist", "4", "CT slice showing the right kidney."),
        ("organamnist", "4", "CT slice showing the kidney."),
        ("organamnist", "6", "CT slice showing the liver with a tumor."),
        ("pneumoniamnist", "1", "Chest X-ray of a child with pneumonia."),
        ("tissuemnist", "0", "Fluorescence micrograph of the kidney cortex showing a collecting duct cell."),
    ],
)
def test_a_caption_of_medmnist_says_no_more_and_no_less_than_the_label(flag: str, label: str, caption: str) -> None:
    assert errors(f"medmnist_{flag}", label, caption) != []


# ---- Fitzpatrick 17k


def fitzpatrick_table(folder: Path, *rows: tuple[str, str, str]) -> Path:
    """Write the owner's table, from the label, the skin type and the mark of quality of each image."""
    header = ("md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "qc", "url")
    made = [(f"{i:032x}", skin, skin, label, qc, "") for i, (label, skin, qc) in enumerate(rows)]
    path = folder / "fitzpatrick17k.csv"
    write_csv(path, header, *made)
    return path


def test_fitzpatrick17k_reads_its_table_with_the_skin_type(tmp_path: Path) -> None:
    rows = (("psoriasis", "5", ""), ("malignant melanoma", "-1", "1 Diagnostic"), ("melanoma", "1", ""))
    table = read_samples(schema_of("fitzpatrick17k"), fitzpatrick_table(tmp_path, *rows))
    assert list(labels_by_image(table).values()) == [("psoriasis",), ("melanoma",), ("melanoma",)]
    assert list(table.frame["skin_type"]) == ["V", "", "I"]
    assert table.frame["image"].iloc[1] == f"{1:032x}.jpg"


def test_fitzpatrick17k_leaves_what_is_wrongly_labelled_and_labels_whose_pages_are_of_something_else(
    tmp_path: Path,
) -> None:
    schema = schema_of("fitzpatrick17k")
    rows = [("scabies", "3", "3 Wrongly labelled"), ("scabies", "3", "5 Potentially")]
    rows += [(label, "3", "") for label in schema.labels.drop]
    table = read_samples(schema, fitzpatrick_table(tmp_path, *rows))
    assert len(table.frame) == 0
    assert Counter(table.rejects["code"]) == {"not_chosen": 2, "no_label": len(schema.labels.drop)}
    # 114 labels in the table, of which two name a disease a second time.
    assert len(schema.codes) + len(schema.labels.drop) + 2 == 114


@pytest.mark.parametrize(
    ("label", "caption", "passes"),
    [
        ("psoriasis", "Clinical photograph of the skin with lesions of psoriasis.", "yes"),
        ("psoriasis", "Clinical photograph of guttate psoriasis.", "no"),
        ("acne", "Clinical photograph of acne vulgaris.", "no"),
        ("eczema", "Clinical photograph of the skin with atopic dermatitis.", "no"),
        ("neutrophilic dermatoses", "Clinical photograph of pyoderma gangrenosum.", "no"),
        ("pediculosis lids", "Clinical photograph showing an infestation with lice.", "yes"),
        ("lentigo maligna", "Clinical photograph of a melanoma.", "no"),
    ],
)
def test_a_caption_of_fitzpatrick17k_names_the_disease_and_no_kind_of_it(label: str, caption: str, passes: str) -> None:
    assert ("yes" if errors("fitzpatrick17k", label, caption) == [] else "no") == passes


# ---- EMBED


@pytest.mark.parametrize("release", ["", "_reduced"])
def test_embed_gives_each_image_the_density_of_its_examination(tmp_path: Path, release: str) -> None:
    header = (
        "empi_anon",
        "acc_anon",
        "anon_dicom_path",
        "ImageLateralityFinal",
        "ViewPosition",
        "FinalImageType",
        "spot_mag",
    )
    place = "/mnt/NAS2/mammo/anon_dicom/cohort_1/10/200"
    write_csv(
        tmp_path / f"EMBED_OpenData_metadata{release}.csv",
        header,
        ("10", "200", f"{place}/a.dcm", "L", "CC", "2D", ""),
        ("10", "200", f"{place}/b.dcm", "R", "MLO", "cview", ""),
        ("10", "200", f"{place}/spot.dcm", "R", "CC", "2D", "1.0"),
        ("11", "201", "/mnt/NAS2/mammo/anon_dicom/cohort_2/11/201/c.dcm", "L", "CC", "2D", ""),
        ("12", "202", "/mnt/NAS2/mammo/anon_dicom/cohort_2/12/202/d.dcm", "L", "CC", "2D", ""),
    )
    write_csv(
        tmp_path / f"EMBED_OpenData_clinical{release}.csv",
        ("empi_anon", "acc_anon", "side", "asses", "tissueden", "massshape"),
        ("10", "200", "L", "A", "3.0", "G"),
        ("10", "200", "R", "N", "3.0", ""),
        ("11", "201", "", "N", "5.0", ""),
        ("12", "202", "L", "N", "1.0", ""),
        ("12", "202", "R", "N", "2.0", ""),
    )
    table = read_samples(schema_of("embed"), tmp_path)
    assert labels_by_image(table) == {"cohort_1/10/200/a.dcm": ("C",), "cohort_1/10/200/b.dcm": ("C",)}
    assert list(zip(table.frame["side"], table.frame["view"], table.frame["group"], strict=True)) == [
        ("left", "craniocaudal", "10"),
        ("right", "mediolateral oblique", "10"),
    ]
    codes = Counter(table.rejects["code"])
    assert codes["not_chosen"] == 2  # the spot view, once for each finding of its examination
    assert codes["no_label"] == 1  # a man's breast
    assert codes["contradiction"] == 1  # two densities of one examination


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("C", "Mammogram with extremely dense breast tissue."),
        ("B", "Mammogram with scattered fibroglandular densities and a suspicious mass."),
        ("D", "Mammogram, BI-RADS 4, extremely dense breast."),
        ("D", "Dense breast tissue on mammography."),
    ],
)
def test_a_caption_of_embed_says_the_density_and_nothing_of_findings(label: str, caption: str) -> None:
    assert errors("embed", label, caption) != []


# ---- PatchGastric


def test_a_row_of_patchgastric_is_a_slide_and_stands_for_all_its_patches(tmp_path: Path) -> None:
    schema = schema_of("patchgastric")
    ids = [f"{i:032x}" for i in range(len(schema.codes) + 2)]
    mixed = "Poorly differentiated adenocarcinoma, solid type. Moderately differentiated tubular adenocarcinoma."
    labels = [*schema.codes, mixed, "Mucinous adenocarcinoma"]
    write_csv(
        tmp_path / "captions.csv", ("id", "subtype", "text"), *((i, s, "") for i, s in zip(ids, labels, strict=True))
    )
    make_files(tmp_path, *(f"patches/{i}_{k}e1.jpg" for i in ids[:-1] for k in range(3)), "patches/unrelated.jpg")
    table = read_samples(schema, tmp_path)
    assert class_counts(table) == dict.fromkeys(schema.codes, 3)
    assert Counter(table.frame["group"]) == dict.fromkeys(ids[:-2], 3)
    # Three patches of the slide with two subtypes, and a slide without patches.
    assert Counter(table.rejects["code"]) == {"no_label": 3, "bad_image_reference": 1}


@pytest.mark.parametrize(
    ("join", "message"),
    [
        ({"by": ["id"]}, "either"),
        ({"by": ["id"], "match": "a.csv", "images": "(?P<id>a)"}, "either"),
        ({"by": ["id"], "images": "a"}, "no group"),
    ],
)  # fmt: skip
def test_a_join_has_one_source_that_holds_its_key(join: dict[str, object], message: str) -> None:
    data = {
        "id": "x",
        "title": "x",
        "modality": "fundus",
        "anatomy": "retina",
        "classes": [{"code": "a", "name": "drusen"}],
    }
    with pytest.raises(SchemaError, match=message):
        parse_schema(data | {"tables": [{"layout": "names", "column": "a", "image": "image", "join": [join]}]})


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("Well differentiated tubular adenocarcinoma", "Section of the stomach with gastric adenocarcinoma."),
        (
            "Well differentiated tubular adenocarcinoma",
            "H&E section showing well to moderately differentiated tubular adenocarcinoma.",
        ),
        (
            "Poorly differentiated adenocarcinoma, solid type",
            "H&E section showing poorly differentiated adenocarcinoma, non-solid type.",
        ),
    ],
)
def test_a_subtype_of_patchgastric_is_no_neighbour(label: str, caption: str) -> None:
    assert errors("patchgastric", label, caption) != []


# ---- SCIN


def test_scin_takes_a_diagnosis_that_stands_alone_and_leaves_a_differential_open(tmp_path: Path) -> None:
    cells = {
        "1": "{'Eczema': 1.0}",
        "2": "{'Eczema': 0.6, 'Allergic Contact Dermatitis': 0.4}",
        "3": "{'Acute dermatitis, NOS': 1.0}",
        "4": "{'Some rare condition': 1.0}",
        "5": "{}",
        "6": "{'SCC/SCCIS': 1.0}",
        "7": "Eczema",
    }
    write_csv(tmp_path / "scin_labels.csv", ("case_id", "weighted_skin_condition_label"), *cells.items())
    header = (
        "case_id",
        "age_group",
        "sex_at_birth",
        "fitzpatrick_skin_type",
        "image_1_path",
        "image_2_path",
        "image_3_path",
    )
    facts = ("AGE_30_TO_39", "FEMALE", "FST3")
    write_csv(
        tmp_path / "scin_cases.csv",
        header,
        *((case, *facts, f"dataset/images/{case}a.png", f"dataset/images/{case}b.png", "") for case in cells),
    )
    table = read_samples(schema_of("scin"), tmp_path)
    assert labels_by_image(table) == {
        "dataset/images/1a.png": ("Eczema",),
        "dataset/images/1b.png": ("Eczema",),
        "dataset/images/3a.png": ("Acute dermatitis, NOS",),
        "dataset/images/3b.png": ("Acute dermatitis, NOS",),
    }
    row = table.frame.iloc[0]
    assert (row["group"], row["age"], row["sex"], row["skin_type"]) == ("1", "30 to 39 years", "female", "III")
    why = dict(zip(table.rejects["value"], table.rejects["reason"], strict=True))
    assert "left open" in why[cells["2"]]
    assert "Some rare condition" in why["Some rare condition"]
    assert "in situ" in why[cells["6"]]
    assert "weights" in why["Eczema"]


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("Eczema", "Clinical photograph of the skin with atopic dermatitis."),
        ("CD - Contact dermatitis", "Clinical photograph of allergic contact dermatitis."),
        ("Lichen planus/lichenoid eruption", "Clinical photograph of lichen planus."),
        ("Tinea", "Clinical photograph of tinea versicolor."),
        ("Tinea", "Clinical photograph of tinea corporis."),
        ("Urticaria", "Clinical photograph of urticaria with itching for three weeks in a young woman."),
    ],
)
def test_a_caption_of_scin_says_no_more_than_the_diagnosis(label: str, caption: str) -> None:
    assert errors("scin", label, caption) != []


# ---- MMAC


def test_mmac_reads_both_tables_of_its_categories(tmp_path: Path) -> None:
    header = ("image", "myopic_maculopathy_grade", "age", "sex", "height", "weight", "data_center")
    for number, split, grades in ((1, "Training", "01234"), (2, "Validation", "3")):
        name = f"{number}. MMAC2023_Myopic_Maculopathy_Classification_{split}_Labels.csv"
        rows = [
            (f"mmac_task_1_{split.lower()}_{i:04d}.png", grade, "50", "", "", "", "1") for i, grade in enumerate(grades)
        ]
        write_csv(tmp_path / "2. Groundtruths" / name, header, *rows)
    table = read_samples(schema_of("mmac"), tmp_path)
    assert class_counts(table) == {"0": 1, "1": 1, "2": 1, "3": 2, "4": 1}
    assert Counter(table.frame["split"]) == {"train": 5, "valid": 1}


def test_a_tessellated_fundus_of_mmac_is_no_pathological_myopia() -> None:
    assert errors("mmac", "1", "Fundus photograph with pathological myopia and a tessellated fundus.") != []
    assert errors("mmac", "3", "Fundus photograph with chorioretinal atrophy.") != []


@pytest.mark.parametrize(
    ("name", "label", "caption"),
    [
        ("acrima", "ACRIMA", "Fundus photograph of a normal retina."),
        ("lag", "non_glaucoma", "Fundus photograph of a healthy eye."),
        ("refuge", "n", "Fundus photograph of a normal retina without glaucoma."),
        ("medmnist_breastmnist", "1", "Ultrasound image of a normal breast."),
    ],
)
def test_an_image_without_one_disease_is_not_called_normal(name: str, label: str, caption: str) -> None:
    assert "normal_conflict" in errors(name, label, caption)
