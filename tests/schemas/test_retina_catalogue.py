"""The retina sets one by one: as their owners publish them, and as tables in FLAIR format."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from captioner.tables import read_samples
from tests.catalogue import (
    class_counts,
    errors,
    labels_by_image,
    make_files,
    schema_of,
    write_csv,
)

# The counts of the tables in FLAIR format; where they are fewer than the owner's images, the table has fewer.
REAL: dict[str, tuple[str, int, dict[str, int]]] = {
    "papila": ("09_PAPILA", 141, {"healthy": 95}),
    "paraguay": (
        "10_PARAGUAY",
        757,
        {
            "1. No DR signs": 187,
            "2. Mild (or early) NPDR": 4,
            "3. Moderate NPDR": 80,
            "4. Severe NPDR": 176 + 108,
            "6. PDR": 88 + 114,
        },
    ),
    "aria": ("12_ARIA", 129, {"a": 20, "c": 57}),
    "agar300": ("14_AGAR300", 28, {"diabetic retinopathy": 28, "microaneurysms": 28}),
    "fund_oct": ("16_FUND-OCT", 179, {"Macula/AMD": 21, "Macula/CSR": 10, "Macula/ME": 20, "OD/Glaucoma": 48}),
    "diaretdb1": (
        "17_DiaRetDB1",
        86,
        {
            "red small dots": 80,
            "haemorrhages": 54,
            "hard exudates": 48,
            "soft exudates": 36,
            "intraretinal microvascular abnormalities": 21,
            "neovascularisation": 6,
        },
    ),
    "drishti_gs1": ("19_Drishti-GS1", 101, {"Glaucomatous": 70, "Normal": 31}),
    "eophtha": ("20_E-ophta", 463, {"EX/EX": 47, "MA/MA": 148}),
    "g1020": ("21_G1020", 1_020, {"0": 724, "1": 296}),
    "hrf": ("23_HRF", 45, {"h": 15, "dr": 15, "g": 15}),
    "origa": ("24_ORIGA", 650, {"0": 482, "1": 168}),
    "sustech_sysu": ("30_SUSTech-SYSU", 1_219, {"0": 631, "1": 24, "2": 346, "3": 142, "4": 76}),
    "jichi": ("31_JICHI", 9_939, {"ndr": 6_561, "sdr": 2_113, "ppdr": 460, "pdr": 805}),
    "chaksu": ("32_CHAKSU", 1_344, {"NORMAL": 1_156}),
    "dr1_2": (
        "33_DR1-2",
        2_013,
        # Of the owner's 895 normal images, 189 with drusen and so on, without the four that are both normal and not.
        {
            "Normal Images": 891,
            "Cotton-wool Spots": 90,
            "Deep Hemorrhages": 146,
            "Drusen": 187,
            "Hard Exudates": 312,
            "Red Lesions": 276,
            "Superficial Hemorrhages": 102,
        },
    ),
    "cataract_retina": ("34_Cataract", 601, {"1_normal": 300, "2_cataract": 100, "2_glaucoma": 101}),
    "scardat": ("35_ScarDat", 997, {"positive": 95, "negative": 902}),
}


@pytest.mark.parametrize("name", REAL)
def test_the_table_in_flair_format_has_the_published_counts(real_data: Path, name: str) -> None:
    file, rows, counts = REAL[name]
    table = read_samples(schema_of(name), real_data / "retina" / "flair_tables" / f"{file}.csv")
    assert (table.rows, class_counts(table)) == (rows, counts)
    assert not set(table.rejects["code"]) - {"no_label", "contradiction"}


def test_stare_has_the_diagnoses_of_its_397_images(real_data: Path) -> None:
    table = read_samples(schema_of("stare"), real_data / "retina" / "flair_tables" / "11_STARE.csv")
    counts = class_counts(table)
    assert (table.rows, len(table.frame)) == (397, 373)
    assert Counter(table.rejects["code"]) == {"no_label": 21, "contradiction": 3}
    assert counts["background diabetic retinopathy"] == 69
    assert counts["choroidal neovascularization"] == 61
    assert counts["age-related macular degeneration"] == 45 + 2
    assert set(counts) == set(schema_of("stare").codes) - {"high myopia"}  # stands beside 'normal', and is refused


# ---- glaucoma: a suspect is not glaucoma, and its absence no normal eye


@pytest.mark.parametrize("name", ["papila", "drishti_gs1", "g1020", "origa", "chaksu", "airogs"])
def test_a_set_of_glaucoma_has_no_normal_eye(name: str) -> None:
    assert "normal" not in {c.kind for c in schema_of(name).classes}
    absent = next(c.code for c in schema_of(name).classes if c.kind == "absence")
    assert errors(name, absent, "Fundus photograph of a normal retina.") != []


def test_papila_is_read_from_its_two_workbooks_with_three_rows_of_names(tmp_path: Path) -> None:
    width = 13
    names = [
        "",
        "Age",
        "Gender",
        "Diagnosis",
        "Refractive_Defect",
        "",
        "",
        "Phakic/Pseudophakic",
        "IOP",
        "",
        "Pachymetry",
    ]
    for eye, rows in (
        ("od", [("#002", 47, 0, 2), ("#004", 58, 1, 1)]),
        ("os", [("#002", 47, 0, 0), ("#004", 58, 1, 0)]),
    ):
        cells = [names, ["", "", "", "", "dioptre_1", "dioptre_2", "astigmatism", "", "Pneumatic", "Perkins"], ["ID"]]
        frame = pd.DataFrame([[*row, *[""] * (width - len(row))] for row in [*cells, *map(list, rows)]])
        path = tmp_path / "ClinicalData" / f"patient_data_{eye}.xlsx"
        path.parent.mkdir(exist_ok=True)
        frame.to_excel(path, header=False, index=False)
    table = read_samples(schema_of("papila"), tmp_path)
    assert labels_by_image(table) == {
        "RET004OD": ("glaucoma",),
        "RET002OS": ("healthy",),
        "RET004OS": ("healthy",),
    }
    row = table.frame.iloc[0]
    assert (row["group"], row["age"], row["sex"]) == ("#004", "58", "female")
    assert "nothing is certain: 'glaucoma' is left open" in set(table.rejects["reason"])
    assert len(table.rejects) == 1 + 2 * 2  # the suspect, and two rows of names in each workbook


def test_drishti_is_read_below_three_lines_and_its_ids_lose_their_last_letter(tmp_path: Path) -> None:
    cells = [
        ["Drishti-GS1 diagnosis", "", ""],
        ["", "", ""],
        ["four experts", "", ""],
        ["Drishti-GS File", "Marking 1", "Total"],
        ["", "", ""],
        ["drishtiGS_001'", "Normal", "Normal"],
        ["drishtiGS_002'", "Glaucomatous", "Glaucomatous"],
    ]
    pd.DataFrame(cells).to_excel(tmp_path / "Drishti-GS1_diagnosis.xlsx", header=False, index=False)
    table = read_samples(schema_of("drishti_gs1"), tmp_path)
    assert labels_by_image(table) == {"drishtiGS_001": ("Normal",), "drishtiGS_002": ("Glaucomatous",)}
    assert list(table.frame["row"]) == [6, 7]


def test_g1020_and_origa_are_read_from_their_tables(tmp_path: Path) -> None:
    write_csv(tmp_path / "g" / "G1020.csv", ("imageID", "binaryLabels"), ("image_0.jpg", "0"), ("image_1.jpg", "1"))
    assert labels_by_image(read_samples(schema_of("g1020"), tmp_path / "g")) == {
        "image_0.jpg": ("0",),
        "image_1.jpg": ("1",),
    }
    write_csv(
        tmp_path / "o" / "OrigaList.csv",
        ("Eye", "Filename", "ExpCDR", "Set", "Glaucoma"),
        ("OD", "001.jpg", "0.7097", "A", "0"),
        ("OS", "002.jpg", "0.6953", "B", "1"),
    )
    table = read_samples(schema_of("origa"), tmp_path / "o")
    assert labels_by_image(table) == {"001.jpg": ("0",), "002.jpg": ("1",)}
    assert list(table.frame["side"]) == ["right", "left"]


def test_airogs_denies_referable_glaucoma_and_nothing_more(tmp_path: Path) -> None:
    write_csv(tmp_path / "train_labels.csv", ("challenge_id", "class"), ("TRAIN000000", "NRG"), ("TRAIN000001", "RG"))
    table = read_samples(schema_of("airogs"), tmp_path)
    assert labels_by_image(table) == {"TRAIN000000": ("NRG",), "TRAIN000001": ("RG",)}
    assert errors("airogs", "RG", "Fundus photograph with referable glaucoma.") == []
    assert errors("airogs", "RG", "Fundus photograph with glaucoma.") != []
    assert errors("airogs", "NRG", "Fundus photograph without glaucoma.") != []
    assert errors("airogs", "NRG", "Fundus photograph with glaucoma.") != []


def test_chaksu_has_two_names_for_its_column_and_the_same_file_name_in_both_splits(tmp_path: Path) -> None:
    for split, column, answers in (
        ("Train", "Majority Decision", ("NORMAL", "GLAUCOMA SUSPECT")),
        ("Test", "Glaucoma Decision", ("NORMAL", "NORMAL")),
    ):
        for camera in ("Bosch", "Forus", "Remidio"):
            name = f"{split}/6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_{camera}_majority.csv"
            write_csv(tmp_path / name, ("Images", column), *((f"Image10{i}.jpg", a) for i, a in enumerate(answers)))
    table = read_samples(schema_of("chaksu"), tmp_path)
    assert (table.rows, class_counts(table)) == (12, {"NORMAL": 9})
    assert Counter(table.frame["split"]) == {"train": 3, "test": 6}
    assert "Train/1.0_Original_Fundus_Images/Forus/Image100" in set(table.frame["image"])
    assert set(table.rejects["reason"]) == {"nothing is certain: 'glaucoma' is left open"}


# ---- diabetic retinopathy


def test_paraguay_keeps_seven_steps_where_its_folders_are(tmp_path: Path) -> None:
    schema = schema_of("paraguay")
    make_files(tmp_path, *(f"{folder}/{i}.jpg" for i, folder in enumerate(schema.codes)))
    assert class_counts(read_samples(schema, tmp_path)) == dict.fromkeys(schema.codes, 1)
    severe, very = "4. Severe NPDR", "5. Very Severe NPDR"
    assert errors("paraguay", severe, "Fundus photograph with very severe NPDR.") != []
    assert errors("paraguay", very, "Fundus photograph with severe NPDR.") != []


def test_grade_5_of_sustech_is_laser_and_neither_nothing_nor_proliferative(tmp_path: Path) -> None:
    grades = (
        "International_Clinical_DR_Severity_Scale",
        "American_Academy_of_Ophthalmology",
        "Scottish_DR_grading_protocol",
    )
    header = ("Fundus_images", "left_versus_right_eye(left_0_right_1)", *(f"DR_grade({g})" for g in grades))
    rows = [(f"{i:04d}.jpg", "1", str(i), "0", "0") for i in range(6)]
    write_csv(tmp_path / "dr" / "drLabels.csv", header, *rows)
    table = read_samples(schema_of("sustech_sysu"), tmp_path / "dr")
    assert list(labels_by_image(table).values()) == [(str(i),) for i in range(6)]
    assert schema_of("sustech_sysu")["5"].concept == "retina.laser_scars"
    assert set(table.frame["side"]) == {"right"}
    assert errors("sustech_sysu", "5", "Fundus photograph with proliferative diabetic retinopathy.") != []

    write_csv(tmp_path / "other" / "Labels.csv", ("Fundus_images", f"DR_grade_{grades[1]}"), ("0001.jpg", "5"))
    assert labels_by_image(read_samples(schema_of("sustech_sysu"), tmp_path / "other")) == {"0001.jpg": ("5",)}


def test_jichi_reads_the_grade_of_the_photograph_and_not_of_the_montage(tmp_path: Path) -> None:
    header = ("Image", "Davis_grading_of_concatenated_figures", "Davis_grading_of_one_figure")
    rows = [(f"{i}_1_R.jpg", "pdr", grade) for i, grade in enumerate(("ndr", "sdr", "ppdr", "pdr"))]
    write_csv(tmp_path / "list.csv", header, *rows)
    table = read_samples(schema_of("jichi"), tmp_path)
    assert list(labels_by_image(table).values()) == [("ndr",), ("sdr",), ("ppdr",), ("pdr",)]
    assert list(table.frame["group"]) == ["0", "1", "2", "3"]
    assert (
        errors("jichi", "pdr", "Fundus photograph with proliferative diabetic retinopathy and retinal detachment.")
        != []
    )


def test_brset_gives_findings_a_grade_and_no_normal_eye(tmp_path: Path) -> None:
    findings = [c for c in schema_of("brset").codes if not c.startswith(("DR", "abnormal"))]
    header = (
        "image_id",
        "patient_id",
        "patient_age",
        "patient_sex",
        "exam_eye",
        "optic_disc",
        "vessels",
        "macula",
        "DR_SDRG",
    )
    header += ("DR_ICDR", *findings, "other", "quality")

    def row(number: int, disc: str, grade: str, *present: str) -> tuple[str, ...]:
        flags = ("1" if f in present else "0" for f in (*findings, "other"))
        return (f"img{number:05d}", "7", "48", "1", "2", disc, "1", "1", grade, grade, *flags, "Adequate")

    write_csv(
        tmp_path / "labels.csv",
        header,
        row(1, "1", "0"),
        row(2, "2", "0", "increased_cup_disc", "other"),
        row(3, "bv", "4", "diabetic_retinopathy", "macular_edema"),
        row(4, "1", "0", "diabetic_retinopathy"),
    )
    table = read_samples(schema_of("brset"), tmp_path)
    assert labels_by_image(table) == {
        "img00001.jpg": ("DR0",),
        "img00002.jpg": ("DR0", "increased_cup_disc", "abnormal optic disc"),
        "img00003.jpg": ("DR4", "diabetic_retinopathy", "macular_edema"),
    }
    assert list(table.rejects["code"]) == ["contradiction"]
    first = table.frame.iloc[0]
    assert (first["group"], first["age"], first["sex"], first["side"]) == ("7", "48", "male", "left")
    assert "normal" not in {c.kind for c in schema_of("brset").classes}
    assert errors("brset", "DR4", "Fundus photograph with proliferative diabetic retinopathy.") != []
    assert (
        errors("brset", "increased_cup_disc", "Fundus photograph with glaucoma and an increased cup-to-disc ratio.")
        != []
    )


# ---- lesions


def test_healthy_of_eophtha_is_free_of_one_lesion_and_no_normal_eye(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        "e_optha_EX/EX/E1/a.jpg",
        "e_optha_EX/healthy/E2/b.jpg",
        "e_optha_EX/Annotation_EX/E1/a_EX.png",
        "e_optha_MA/MA/E3/c.jpg",
        "e_optha_MA/healthy/E4/d.jpg",
    )
    table = read_samples(schema_of("eophtha"), tmp_path)
    assert class_counts(table) == {"EX/EX": 1, "EX/healthy": 1, "MA/MA": 1, "MA/healthy": 1}
    assert list(table.rejects["value"]) == ["e_optha_EX/Annotation_EX/E1/a_EX.png"]
    assert errors("eophtha", "EX/healthy", "Fundus photograph without exudates.") == []
    assert errors("eophtha", "EX/healthy", "Fundus photograph of a normal retina.") != []
    assert errors("eophtha", "MA/MA", "Fundus photograph with retinal microaneurysms.") != []


def test_an_image_of_dr1_2_that_is_in_several_folders_is_one_image(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        "DR1-images-by-lesions/Drusen/IMG0001 (2).TIF",
        "DR1-images-by-lesions/Hard Exudates/IMG0001 (2).TIF",
        "DR1-images-by-lesions/Normal Images/IMG0001.TIF",
        "DR2-images-by-lesions/Red Lesions/IM000977.JPG",
        "DR2-images-by-lesions/Normal Images/IM000977.JPG",
    )
    table = read_samples(schema_of("dr1_2"), tmp_path)
    assert labels_by_image(table) == {
        "DR1-images-by-lesions/Drusen/IMG0001 (2).TIF": ("Drusen", "Hard Exudates"),
        "DR1-images-by-lesions/Normal Images/IMG0001.TIF": ("Normal Images",),
    }
    assert list(table.rejects["code"]) == ["contradiction"]
    assert "5 rows are 3 images" in table.notes


# ---- labels in folders and names


def test_aria_takes_the_group_from_the_name_and_leaves_people_with_diabetes_open(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        "aria_a_markups/aria_a_2_1.tif",
        "aria_c_markups/aria_c_1_7.tif",
        "aria_d_markups/aria_d_23_1.tif",
        "aria_a_markup_vessel/aria_a_2_1_BDP.tif",
        "aria_a_markupdiscfovea/aria_a_2_1_dfs.tif",
    )
    table = read_samples(schema_of("aria"), tmp_path)
    assert class_counts(table) == {"a": 1, "c": 1}
    assert list(table.rejects["reason"]) == ["nothing is certain: 'diabetic retinopathy' is left open"]


def test_every_image_of_agar300_has_both_labels(tmp_path: Path) -> None:
    make_files(tmp_path, "2 (3) - Copy.JPG", "a.jpeg", "b.png")
    assert class_counts(read_samples(schema_of("agar300"), tmp_path)) == {
        "diabetic retinopathy": 3,
        "microaneurysms": 3,
    }


def test_the_name_of_a_file_of_fund_oct_says_how_the_image_was_made(tmp_path: Path) -> None:
    place = "Macula/acute CSR/P_5/Left Eye"
    make_files(
        tmp_path,
        f"{place}/1_20140909_Color_L_001.jpg",
        f"{place}/1_20140909_Red-free_L_001.jpg",
        f"{place}/1_20140909_B-scan_L_001.jpg",
        f"{place}/VolumeFrames/1_001.jpg",
        "Macula/ci-DME/P_1/Right Eye/2_Normal_Color_R_001.jpg",
        "OD/Healthy/P_3/Right Eye/3_Color_R_001#1.jpg",
    )
    photographs = read_samples(schema_of("fund_oct"), tmp_path)
    assert class_counts(photographs) == {"Macula/acute CSR": 1, "Macula/ci-DME": 1, "OD/Healthy": 1}
    assert labels_by_image(read_samples(schema_of("fund_oct_bscan"), tmp_path)) == {
        f"{place}/1_20140909_B-scan_L_001.jpg": ("Macula/acute CSR",)
    }
    assert schema_of("fund_oct")["OD/Healthy"].concept == "retina.no_glaucoma"
    assert errors("fund_oct_bscan", "Macula/Healthy", "Fundus photograph of a normal retina.") != []


def test_hrf_takes_the_label_from_the_name_and_no_mask(tmp_path: Path) -> None:
    make_files(
        tmp_path, "images/03_dr.JPG", "images/01_g.jpg", "images/01_h.jpg", "mask/03_dr_mask.tif", "manual1/03_dr.tif"
    )
    table = read_samples(schema_of("hrf"), tmp_path)
    assert labels_by_image(table) == {
        "images/01_g.jpg": ("g",),
        "images/01_h.jpg": ("h",),
        "images/03_dr.JPG": ("dr",),
    }
    assert len(table.rejects) == 0


def test_an_unspecified_disease_is_no_retinitis(tmp_path: Path) -> None:
    make_files(
        tmp_path, "1_normal/NL_001.png", "2_cataract/c.png", "2_glaucoma/g.png", "3_retina_disease/Retina_052.png"
    )
    table = read_samples(schema_of("cataract_retina"), tmp_path)
    assert class_counts(table) == {"1_normal": 1, "2_cataract": 1, "2_glaucoma": 1}
    assert "names no disease" in table.rejects["reason"].iloc[0]


def test_scardat_reads_its_folders_with_their_split(tmp_path: Path) -> None:
    make_files(tmp_path, "set/train/positive/1.jpg", "set/val/negative/2.jpg", "set/test/test80/3.jpg")
    write_csv(tmp_path / "set" / "train" / "kaggle_label.csv", ("image_id", "label"), ("1", "0"))
    table = read_samples(schema_of("scardat"), tmp_path)
    assert class_counts(table) == {"positive": 1, "negative": 1}
    assert sorted(table.frame["split"]) == ["train", "val"]
    assert errors("scardat", "negative", "Fundus photograph of a normal retina.") != []
