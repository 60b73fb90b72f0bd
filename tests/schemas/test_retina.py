"""The retina concepts and schemas: what each label string means, on made-up tables and on the real ones."""

import ast
import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from captioner.schema import LabelClass, LabelSchema, fold_label, load_library, load_schema
from captioner.tables import SampleTable, read_samples

SCHEMAS = ("aptos2019", "idrid", "odir5k", "retina_flair", "rfmid")
TEXT_TABLES = ("06_DEN", "39_MM_Retinal")


def flair_tables(real_data: Path) -> list[Path]:
    found = sorted((real_data / "retina" / "flair_tables").glob("*.csv"))
    return [p for p in found if not p.name.startswith(TEXT_TABLES)]


def categories(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield ast.literal_eval(row["categories"])


def count(table: SampleTable) -> Counter[str]:
    """Usable images of each class."""
    counts: Counter[str] = Counter()
    for position, images in table.frame["labels"].value_counts().items():
        for code in table.combinations[int(position)].positive:
            counts[code] += int(images)
    return counts


def positives(schema: LabelSchema, table: SampleTable) -> dict[str, tuple[str, ...]]:
    """Image → codes."""
    rows = zip(table.frame["image"], table.frame["labels"], strict=True)
    return {image: table.combinations[int(position)].positive for image, position in rows}


def flair_file(folder: Path, name: str, *cells: list[str]) -> Path:
    frame = pd.DataFrame(
        {"image": [f"{i}.png" for i in range(len(cells))], "atributes": "[]", "categories": map(str, cells)}
    )
    frame.to_csv(folder / name)
    return folder / name


@functools.cache
def real_table(name: str, folder: Path) -> SampleTable:
    return read_samples(load_schema(name), folder)


# ---- concepts


def ancestors(start: str) -> set[str]:
    concepts = load_library().concepts
    found: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += concepts[name].parents
    return found


def test_every_relation_of_a_concept_leads_to_a_concept() -> None:
    library = load_library()
    for name, concept in library.field("retina"):
        signs = [s for s in concept.signs if s.startswith("retina.")]
        targets = [*concept.parents, *concept.supports, *signs, *([concept.denies] if concept.denies else [])]
        assert [t for t in targets if t not in library.concepts] == [], name


def test_no_concept_implies_itself() -> None:
    for name, concept in load_library().field("retina"):
        assert all(name not in ancestors(parent) for parent in concept.parents), name


def test_names_are_expanded_and_in_lower_case_unless_they_hold_a_persons_name() -> None:
    people = re.compile(
        r"\b(Coats|Hollenhorst|Fuchs|Stargardt|Best|Bietti|Leber|Purtscher|Valsalva|Eales|Vogt-Koyanagi-Harada)\b"
    )
    for name, concept in load_library().field("retina"):
        rest = people.sub("", concept.name)
        assert rest == rest.lower(), f"{name}: {concept.name!r}"
        assert len(concept.name) > 5, f"{name}: {concept.name!r}"


def test_every_grade_has_a_place_on_its_scale_and_no_two_share_it() -> None:
    places = Counter(
        (c.group, c.level) for _, c in load_library().field("retina") if c.group is not None and c.level is not None
    )
    assert set(places.values()) == {1}
    assert [level for group, level in sorted(places) if group == "icdr"] == [0, 1, 2, 3, 4]
    assert [level for group, level in sorted(places) if group == "dme_risk"] == [0, 1, 2]


def test_every_step_of_a_scale_of_diabetic_retinopathy_implies_diabetic_retinopathy_except_none() -> None:
    steps = [k for k, c in load_library().field("retina") if c.group == "icdr" and c.kind == "grade"]
    steps += ["retina.background_dr", "retina.preproliferative_dr", "retina.nonproliferative_dr"]
    assert len(steps) == 7
    assert all("retina.diabetic_retinopathy" in ancestors(s) for s in steps)
    assert "retina.diabetic_retinopathy" not in ancestors("retina.no_diabetic_retinopathy")


def test_no_wording_belongs_to_two_unrelated_concepts() -> None:
    owners: dict[str, set[str]] = {}
    for name, concept in load_library().field("retina"):
        for wording in (concept.name, *concept.synonyms, *concept.abbreviations):
            owners.setdefault(fold_label(wording), set()).add(name)
    shared = {w: o for w, o in owners.items() if len(o) > 1}
    unrelated = {w: o for w, o in shared.items() if not any(o <= ancestors(one) for one in o)}
    assert unrelated == {}


def test_abbreviations_stay_short_and_are_no_names() -> None:
    for name, concept in load_library().field("retina"):
        assert all(len(a) <= 7 for a in concept.abbreviations), name
        assert concept.name not in concept.abbreviations, name


# ---- schemas


def implied(schema: LabelSchema, item: LabelClass) -> set[str]:
    """Codes and concepts that a class stands for."""
    found: set[str] = set()
    todo = [item.code, *([item.concept] if item.concept else []), *item.parents]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        if name in schema:
            todo += [*schema[name].parents, *([schema[name].concept] if schema[name].concept else [])]
        else:
            todo += load_library().concepts[name].parents
            todo += [c.code for c in schema.classes if c.concept == name]
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_wording_is_owned_by_two_classes_unless_one_implies_the_other(name: str) -> None:
    schema = load_schema(name)
    owners: dict[str, list[LabelClass]] = {}
    for item in schema.classes:
        for wording in item.wordings:
            owners.setdefault(fold_label(wording), []).append(item)
    for wording, items in owners.items():
        if len({i.code for i in items}) > 1:
            codes = {i.code for i in items}
            assert any(codes <= implied(schema, i) for i in items), f"{wording!r}: {codes}"


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_class_is_named_by_its_abbreviation(name: str) -> None:
    for item in load_schema(name).classes:
        assert item.name not in item.abbreviations
        assert not re.search(r"\b[A-Z]{2,}\b", item.name), item.name


@pytest.mark.parametrize("name", SCHEMAS)
def test_everything_is_a_fundus_photograph_of_the_retina_and_checked_against_all_retinal_diseases(name: str) -> None:
    schema = load_schema(name)
    assert (schema.modality, schema.anatomy, schema.fields) == ("fundus", "retina", ("retina",))
    assert schema.sources


def test_the_grades_of_aptos_are_found_by_all_the_names_people_use() -> None:
    schema = load_schema("aptos2019")
    for label, name in (
        ("No DR", "no diabetic retinopathy"),
        ("Mild", "mild non-proliferative diabetic retinopathy"),
        ("moderate", "moderate non-proliferative diabetic retinopathy"),
        ("Severe", "severe non-proliferative diabetic retinopathy"),
        ("Proliferative DR", "proliferative diabetic retinopathy"),
        ("4", "proliferative diabetic retinopathy"),
    ):
        assert schema.resolve(label).name == name
    assert schema["No DR"].kind == "absence"


def test_the_official_aptos_table_is_read_by_its_codes(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id_code,diagnosis\n000c,2\n001a,4\n002b,0\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("id_code\n003d\n", encoding="utf-8")
    (tmp_path / "sample_submission.csv").write_text("id_code,diagnosis\n003d,0\n", encoding="utf-8")
    schema = load_schema("aptos2019")
    assert positives(schema, read_samples(schema, tmp_path)) == {
        "000c.png": ("Moderate",),
        "001a.png": ("Proliferative DR",),
        "002b.png": ("No DR",),
    }


def test_grade_0_of_idrid_denies_retinopathy_and_does_not_call_the_eye_normal() -> None:
    schema = load_schema("idrid")
    assert {schema["DR0"].kind, schema["DME0"].kind} == {"absence"}
    assert not [c for c in schema.classes if c.kind == "normal"]


def test_rfmid_acronyms_mean_what_the_paper_says() -> None:
    schema = load_schema("rfmid")
    names = {c.code: c.name for c in schema.classes}
    assert len(names) == 46
    assert "Disease_Risk" not in names
    for code, name in {
        "MH": "media haze",
        "MHL": "macular hole",
        "TD": "tilted optic disc",
        "MCA": "retinal artery macroaneurysm",
        "VS": "retinal vasculitis",
        "ST": "optociliary shunt vessels",
        "PT": "parafoveal telangiectasia",
        "RT": "retinal traction",
        "RS": "retinitis",
        "CRS": "chorioretinitis",
        "CF": "choroidal folds",
        "CL": "retinal collateral vessels",
        "HR": "hemorrhagic retinopathy",
        "MNF": "myelinated retinal nerve fibers",
        "EDN": "retinal exudates",
        "PLQ": "retinal plaque",
    }.items():
        assert names[code] == name


def test_the_splits_of_rfmid_share_numbers_and_no_keys(tmp_path: Path) -> None:
    codes = [c.code for c in load_schema("rfmid").classes if c.code != "NORMAL"]
    for split, positive in (("Training", "DR"), ("Validation", "CL"), ("Testing", None)):
        row = {"ID": 1, "Disease_Risk": int(positive is not None)} | {c: int(c == positive) for c in codes}
        pd.DataFrame([row]).to_csv(tmp_path / f"RFMiD_{split}_Labels.csv", index=False)
    table = read_samples(load_schema("rfmid"), tmp_path)
    assert positives(load_schema("rfmid"), table) == {
        "1. Original Images/a. Training Set/1.png": ("DR",),
        "1. Original Images/b. Validation Set/1.png": ("CL",),
        "1. Original Images/c. Testing Set/1.png": ("NORMAL",),
    }
    assert table.frame["key"].is_unique
    assert list(table.frame["split"]) == ["train", "valid", "test"]


def test_an_eye_of_odir_is_described_by_its_own_keywords_and_not_by_the_patients_letters(tmp_path: Path) -> None:
    rows = [
        {
            "ID": 7,
            "Patient Age": 57,
            "Patient Sex": "Male",
            "Left-Fundus": "7_left.jpg",
            "Right-Fundus": "7_right.jpg",
            "Left-Diagnostic Keywords": "cataract\uff0clens dust\uff0cmacular epiretinal membrane",
            "Right-Diagnostic Keywords": "normal fundus",
            **dict.fromkeys("NDGAHM", 0),
            **dict.fromkeys("CO", 1),
        }
    ]
    pd.DataFrame(rows).to_excel(tmp_path / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", index=False)
    schema = load_schema("odir5k")
    assert positives(schema, read_samples(schema, tmp_path)) == {
        "7_left.jpg": ("Cataract", "epiretinal membrane"),
        "7_right.jpg": ("Normal",),
    }


def test_a_keyword_of_odir_implies_the_letter_that_the_challenge_gives_it() -> None:
    schema = load_schema("odir5k")
    letters = ("Normal", "Diabetes", "Glaucoma", "Cataract", "AMD", "Hypertension", "Myopia", "Other")
    assert [schema.resolve(x).code for x in "NDGCAHMO"] == list(letters)
    for item in schema.classes:
        assert len(implied(schema, item) & set(letters)) == 1, item.code
    for keyword, letter in (
        ("mild nonproliferative retinopathy", "Diabetes"),
        ("severe proliferative diabetic retinopathy", "Diabetes"),
        ("wet age-related macular degeneration", "AMD"),
        ("myopia retinopathy", "Myopia"),
        ("drusen", "Other"),
    ):
        assert letter in implied(schema, schema.resolve(keyword))


def test_what_odir_only_suspects_is_left_open(tmp_path: Path) -> None:
    path = flair_file(tmp_path, "08_ODIR.csv", ["suspected glaucoma"], ["drusen", "suspected glaucoma"], ["lens dust"])
    table = read_samples(load_schema("odir5k"), path)
    assert [(c.positive, c.uncertain) for c in table.combinations] == [(("drusen",), ("Glaucoma",))]
    assert list(table.rejects["code"]) == ["no_label", "no_label"]


# ---- one collection, many files: a string means what the file's owner meant


@pytest.mark.parametrize(
    ("file", "label", "meaning"),
    [
        ("21_G1020.csv", "normal", "no glaucoma"),
        ("19_Drishti-GS1.csv", "normal", "no glaucoma"),
        ("09_PAPILA.csv", "normal", "no glaucoma"),
        ("33_DR1-2.csv", "normal", "normal"),
        ("33_DR1-2.csv", "red small dots", "red lesions"),
        ("17_DiaRetDB1.csv", "red small dots", "microaneurysms"),
        ("16_FUND-OCT.csv", "cystoid macular edema", "diabetic macular edema"),
        ("04_RFMid.csv", "cystoid macular edema", "cystoid macular edema"),
        ("04_RFMid.csv", "retinitis", "retinitis"),
        ("04_RFMid.csv", "edudates", "exudates"),
        ("11_STARE.csv", "coats', not isolated telangestasia", "Coats disease"),
        ("11_STARE.csv", "rd", "retinal detachment"),
        ("11_STARE.csv", "htr", "hypertensive retinopathy"),
        ("11_STARE.csv", "asr", "arteriosclerotic retinopathy"),
        ("11_STARE.csv", "    hemi-central retinal vein occlusion", "hemi-central retinal vein occlusion"),
        ("24_ORIGA.csv", "glaucoma", "glaucoma"),
    ],
)
def test_a_string_means_what_the_owner_of_the_file_meant(tmp_path: Path, file: str, label: str, meaning: str) -> None:
    table = read_samples(load_schema("retina_flair"), flair_file(tmp_path, file, [label]))
    assert [c.positive for c in table.combinations] == [(meaning,)]


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("07_LAG.csv", "glaucoma"),
        ("09_PAPILA.csv", "glaucoma"),
        ("32_CHAKSU.csv", "glaucoma"),
        ("12_ARIA.csv", "diabetic retinopathy"),
        ("26_ROC.csv", "microaneurysms"),
        ("20_E-ophta.csv", "normal"),
        ("34_Cataract.csv", "retinitis"),
        ("28_OIA-DDR.csv", ""),
        ("18_DRIONS-DB.csv", "a disease"),
    ],
)
def test_a_string_that_says_more_than_its_owner_gives_no_sample(tmp_path: Path, file: str, label: str) -> None:
    table = read_samples(load_schema("retina_flair"), flair_file(tmp_path, file, [label]))
    assert len(table.frame) == 0
    assert list(table.rejects["code"]) == ["no_label"]


@pytest.mark.parametrize(
    ("strings", "grade"),
    [
        (
            [
                "microaneurysm",
                "retinal hemorrhage",
                "hard exudate",
                "retinal edema",
                "more than three small soft exudates",
            ],
            "background diabetic retinopathy",
        ),
        (
            [
                "soft exudate",
                "varicose veins",
                "intraretinal microvascular abnormality",
                "non-perfusion area over one disc area",
            ],
            "pre-proliferative diabetic retinopathy",
        ),
        (
            [
                "neovascularization",
                "preretinal haemorrhage",
                "fibrovascular proliferativemembrane",
                "tractionalretinaldetachment",
            ],
            "proliferative diabetic retinopathy",
        ),
        (["no diabetic retinopathy"], "no diabetic retinopathy"),
    ],
)
def test_the_criteria_of_a_davis_grade_are_read_as_the_grade_and_as_no_lesion(
    tmp_path: Path, strings: list[str], grade: str
) -> None:
    table = read_samples(load_schema("retina_flair"), flair_file(tmp_path, "31_JICHI.csv", strings))
    assert [c.positive for c in table.combinations] == [(grade,)]


def test_a_lesion_mask_file_is_no_lesion_and_the_grade_stays(tmp_path: Path) -> None:
    strings = ["moderate diabetic retinopathy", "hard exudates", "haemorrhages", "microaneurysms", "soft exudates"]
    table = read_samples(load_schema("retina_flair"), flair_file(tmp_path, "28_OIA-DDR.csv", strings))
    assert [c.positive for c in table.combinations] == [("moderate diabetic retinopathy",)]


def test_one_string_may_mean_different_things_in_two_files_of_one_run(tmp_path: Path) -> None:
    flair_file(tmp_path, "21_G1020.csv", ["normal"])
    second = flair_file(tmp_path, "33_DR1-2.csv", ["normal"])
    second.write_text(second.read_text(encoding="utf-8").replace("0.png", "other.png"), encoding="utf-8")
    schema = load_schema("retina_flair")
    assert positives(schema, read_samples(schema, tmp_path)) == {"0.png": ("no glaucoma",), "other.png": ("normal",)}


# ---- the real tables


def test_every_string_of_the_27_label_tables_is_a_class_or_has_a_rule(real_data: Path) -> None:
    schema = load_schema("retina_flair")
    rules = {fold_label(k) for k in (*schema.labels.map, *schema.labels.drop, *schema.labels.uncertain)}
    strings = {s for path in flair_tables(real_data) for labels in categories(path) for s in labels}
    assert len(strings) == 216
    assert [s for s in strings if schema.find(s) is None and fold_label(s) not in rules] == []


def test_the_collection_is_read_whole_and_every_row_is_a_sample_or_a_reject(real_data: Path) -> None:
    schema = load_schema("retina_flair")
    table = real_table(schema.id, real_data / "retina" / "flair_tables")
    assert table.rows == 59_603
    assert len(table.frame) + len(table.rejects) == table.rows
    assert set(table.rejects["code"]) == {"duplicate_row", "no_label", "contradiction"}
    assert set(table.frame["file"]) == {p.name for p in flair_tables(real_data)} - {"26_ROC.csv"}
    empty = table.rejects["value"] == "['']"
    assert empty.sum() == 1_152


def test_every_row_with_a_string_that_stands_for_a_class_keeps_the_class(real_data: Path) -> None:
    schema = load_schema("retina_flair")
    table = real_table(schema.id, real_data / "retina" / "flair_tables")
    kept = {
        (f, int(r)): p for f, r, p in zip(table.frame["file"], table.frame["row"], table.frame["labels"], strict=True)
    }
    own = {fold_label(k) for t in schema.tables for f in t.files for k in f.labels}
    for path in flair_tables(real_data):
        for row, labels in enumerate(categories(path), start=2):
            if (path.name, row) not in kept:
                continue
            expected = {schema.resolve(s).code for s in labels if fold_label(s) not in own and schema.find(s)}
            assert expected <= set(table.combinations[int(kept[path.name, row])].positive), (path.name, row)


def test_the_grades_of_aptos_are_as_frequent_as_its_owner_says(real_data: Path) -> None:
    table = read_samples(load_schema("aptos2019"), real_data / "retina" / "flair_tables")
    assert count(table) == {"No DR": 1805, "Mild": 370, "Moderate": 999, "Severe": 193, "Proliferative DR": 295}


def test_idrid_has_516_images_in_two_splits_that_share_names(real_data: Path) -> None:
    table = read_samples(load_schema("idrid"), real_data / "idrid")
    assert Counter(table.frame["split"]) == {"train": 413, "test": 103}
    assert len(table.rejects) == 0
    assert table.frame["key"].is_unique
    counts = count(table)
    assert sum(counts[f"DR{i}"] for i in range(5)) == 516
    assert sum(counts[f"DME{i}"] for i in range(3)) == 516


def test_rfmid_has_1920_training_images_of_which_401_are_normal(real_data: Path) -> None:
    table = read_samples(load_schema("rfmid"), real_data / "rfmid")
    assert len(table.frame) == 1_920
    assert len(table.rejects) == 0
    counts = count(table)
    assert (counts["NORMAL"], counts["DR"], counts["MH"], counts["ODPM"]) == (401, 376, 317, 0)


def test_the_eyes_of_odir_are_read_once_each(real_data: Path) -> None:
    table = read_samples(load_schema("odir5k"), real_data / "retina" / "flair_tables")
    codes = Counter(table.rejects["code"])
    assert table.rows == 10_053
    assert len(table.frame) + codes["no_label"] + codes["contradiction"] + codes["duplicate_row"] == 10_053
    assert codes["duplicate_row"] == 10_053 - 5_460 - 18  # repeats of refused rows are refused for the same reason
