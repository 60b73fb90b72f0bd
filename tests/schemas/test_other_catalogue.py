"""Endoscopy, skin, retina collections, pathology and MedMNIST: what their tables say, and what captions may make of it."""

import csv
import functools
from collections import Counter
from pathlib import Path

import pytest

from captioner.agreement import Checker, lint
from captioner.labels import Labels
from captioner.schema import LabelSchema, fold_label, load_library, load_schema
from captioner.tables import SampleTable, read_samples
from captioner.triplets import make_triplet
from captioner.writer import write_captions
from captioner.writer.wordings import views

SCHEMAS = ("ham10000", "hyperkvasir")


@functools.cache
def schema_of(name: str) -> LabelSchema:
    return load_schema(name)


@functools.cache
def checker(name: str) -> Checker:
    return Checker(schema_of(name))


@functools.cache
def captions(name: str, code: str) -> tuple[str, ...]:
    schema = schema_of(name)
    return tuple(write_captions(schema, make_triplet(schema, Labels((code,))), 10))


def errors(name: str, labels: str, caption: str) -> list[str]:
    verdict = checker(name).check(caption, labels.split(";"))
    return [issue.code for issue in verdict.issues if issue.level == "error"]


def implied(schema: LabelSchema, code: str) -> set[str]:
    """Return the codes and concepts that a class stands for."""
    found: set[str] = set()
    todo = [code]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        if name in schema:
            todo += [*schema[name].parents, *filter(None, [schema[name].concept])]
        else:
            todo += load_library().concepts[name].parents
    return found


def class_counts(table: SampleTable) -> dict[str, int]:
    """Count the images of each class."""
    images = table.frame["labels"].value_counts()
    counts: Counter[str] = Counter()
    for position, labels in enumerate(table.combinations):
        counts.update(dict.fromkeys(labels.positive, int(images.get(position, 0))))
    return dict(counts)


def labels_by_image(table: SampleTable) -> dict[str, tuple[str, ...]]:
    rows = zip(table.frame["image"], table.frame["labels"], strict=True)
    return {image: table.combinations[int(position)].positive for image, position in rows}


def write_csv(path: Path, *rows: tuple[str, ...], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n")


# ---- what holds for every schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_lint_finds_no_error(name: str) -> None:
    assert [p for p in lint(schema_of(name)) if p.level == "error"] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_facts_have_a_source_and_diseases_of_the_field_are_known(name: str) -> None:
    schema = schema_of(name)
    assert schema.sources
    assert schema.cite
    assert schema.terms
    assert {str(c.concept).partition(".")[0] for c in schema.classes if c.concept} <= set(schema.fields)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_built_in_writer_has_ten_agreeing_captions_for_each_class(name: str) -> None:
    wrong = [
        (code, caption)
        for code in schema_of(name).codes
        for caption in captions(name, code)
        if not checker(name).check(caption, [code]).agrees
    ]
    assert wrong == []
    assert [code for code in schema_of(name).codes if len(set(captions(name, code))) != 10] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_caption_of_a_class_agrees_under_an_unrelated_one(name: str) -> None:
    schema = schema_of(name)
    confused = []
    for item in schema.classes:
        own = implied(schema, item.code)
        for other in schema.classes:
            if other.code in own or other.concept in own:
                continue
            confused += [
                (item.code, other.code, caption)
                for caption in captions(name, item.code)[::4]
                if checker(name).check(caption, [other.code]).agrees
            ]
    assert confused == []


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
