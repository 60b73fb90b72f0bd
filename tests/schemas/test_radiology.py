"""Chest X-rays, breast ultrasound, brain MRI, lung and colon sections, RadImageNet, and the findings they name."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from captioner.agreement import Checker
from captioner.schema import LabelSchema, load_library, load_schema
from captioner.tables import SampleTable, read_samples

FIELDS = ("abdomen", "brain", "breast", "chest", "general", "histology", "musculoskeletal")
SCHEMAS = ("brain_mri_tumor", "busi", "chestxray14", "demo", "lc25000", "radimagenet")

# Words of at most four letters that are no abbreviation; any other in a name is a code that nobody has spelt out.
SHORT_WORDS = frozenset({
    "and", "bile", "bone", "cava", "cord", "disc", "duct", "fat", "foot", "hip", "knee", "lung", "mass", "of", "an", "or",
    "soft", "tear", "the", "vein", "vena",
})  # fmt: skip

# A sequence of magnetic resonance imaging that goes by this name alone.
PROPER = frozenset({"FLAIR"})


@pytest.fixture(scope="module")
def radimagenet() -> LabelSchema:
    return load_schema("radimagenet")


def class_counts(table: SampleTable) -> dict[str, int]:
    """Count the images of each class."""
    images = table.frame["labels"].value_counts()
    counts: Counter[str] = Counter()
    for position, labels in enumerate(table.combinations):
        counts.update(dict.fromkeys(labels.positive, int(images.get(position, 0))))
    return dict(counts)


def labels_by_image(table: SampleTable) -> dict[str, tuple[str, ...]]:
    return {
        image: table.combinations[position].positive
        for image, position in zip(table.frame["image"], table.frame["labels"], strict=True)
    }


def make_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n")


def write_csv(path: Path, *rows: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


# ---- what holds for every schema and concept


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_two_classes_of_one_kind_of_image_share_a_wording(name: str) -> None:
    schema = load_schema(name)
    owners: dict[tuple[str, str, str], str] = {}
    for item in schema.classes:
        for wording in (*item.wordings, *(f"abnormal {s}" for s in item.structure)):
            place = (schema.modality_of(item), schema.anatomy_of(item), wording.casefold())
            assert owners.setdefault(place, item.code) == item.code, wording


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fields_of_a_schema_hold_every_concept_that_its_classes_use(name: str) -> None:
    schema = load_schema(name)
    assert {str(c.concept).partition(".")[0] for c in schema.classes} <= set(schema.fields)


def test_concepts_relate_only_to_concepts_that_exist() -> None:
    library = load_library()
    for field in FIELDS:
        for key, concept in library.field(field):
            ids = [s for s in concept.signs if "." in s and " " not in s]
            for target in (*concept.parents, *concept.supports, *ids, *filter(None, [concept.denies])):
                assert target in library.concepts, f"{key}: {target}"


def test_no_concept_is_its_own_ancestor() -> None:
    concepts = load_library().concepts
    for key in concepts:
        above, queue = set(), [*concepts[key].parents]
        while queue:
            parent = queue.pop()
            if parent not in above:
                above.add(parent)
                queue += concepts[parent].parents
        assert key not in above


def test_a_wording_stands_once_in_its_concept_and_is_never_its_own_blocker() -> None:
    library = load_library()
    for field in FIELDS:
        for key, concept in library.field(field):
            wordings = [w.casefold() for w in (concept.name, *concept.synonyms, *concept.abbreviations)]
            assert len(wordings) == len(set(wordings)), key
            assert not set(wordings) & {b.casefold() for b in concept.blockers}, key


def test_a_disease_that_a_dataset_does_not_label_is_known_all_the_same() -> None:
    known = {w for c in load_library().concepts.values() for w in (c.name, *c.synonyms)}
    assert known >= {
        "tuberculosis", "COVID-19", "lung cancer", "pulmonary embolism", "rib fracture", "heart failure", "pacemaker",
        "bronchiectasis", "glioblastoma", "subdural hematoma", "hydrocephalus", "fibroadenoma", "ductal carcinoma in situ",
        "pancreatitis", "splenomegaly", "portal vein thrombosis", "cystitis", "atrial fibrillation", "osteomyelitis",
        "disc herniation", "atypical adenomatous hyperplasia", "tubular adenoma",
    }  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_caption_that_says_a_class_by_its_name_agrees_with_that_class_alone(name: str) -> None:
    schema, library = load_schema(name), load_library()
    checker = Checker(schema)
    for item in schema.classes:
        if item.kind not in ("finding", "grade"):
            continue
        modality, anatomy = (
            library.modalities[schema.modality_of(item)].name,
            library.anatomies[schema.anatomy_of(item)].name,
        )
        caption = f"{modality} of the {anatomy} showing {item.name}."
        for other in schema.classes:
            if (schema.modality_of(other), schema.anatomy_of(other)) == (
                schema.modality_of(item),
                schema.anatomy_of(item),
            ):
                assert checker.check(caption, [other.code]).agrees == (other is item), f"{other.code}: {caption}"


# ---- NIH ChestX-ray14


def test_chestxray14_has_the_published_class_counts(real_data: Path) -> None:
    table = read_samples(load_schema("chestxray14"), real_data / "nih_chestxray14" / "Data_Entry_2017_v2020.csv.gz")
    assert (table.rows, len(table.combinations), len(table.rejects)) == (
        112_120,
        801,
        0,
    )  # 836 strings: some differ in order alone
    assert class_counts(table) == {
        "No Finding": 60_361,
        "Infiltration": 19_894,
        "Effusion": 13_317,
        "Atelectasis": 11_559,
        "Nodule": 6_331,
        "Mass": 5_782,
        "Pneumothorax": 5_302,
        "Consolidation": 4_667,
        "Pleural_Thickening": 3_385,
        "Cardiomegaly": 2_776,
        "Emphysema": 2_516,
        "Edema": 2_303,
        "Fibrosis": 1_686,
        "Pneumonia": 1_431,
        "Hernia": 227,
    }
    assert table.frame["group"].nunique() == 30_805
    assert set(table.frame["view"]) == {"posteroanterior", "anteroposterior"}


@pytest.mark.parametrize("sex", ["Patient Sex", "Patient Gender"])
def test_chestxray14_reads_both_releases_of_its_table(tmp_path: Path, sex: str) -> None:
    header = (
        f"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,{sex},View Position,OriginalImage[Width,Height]"
    )
    lines = f"{header},OriginalImagePixelSpacing[x,y]\n00000001_000.png,Mass|Nodule,0,1,57,M,PA,2682,2749,0.143,0.143\n"
    with gzip.open(tmp_path / "Data_Entry_2017.csv.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    table = read_samples(load_schema("chestxray14"), tmp_path)
    assert labels_by_image(table) == {"00000001_000.png": ("Mass", "Nodule")}
    row = table.frame.iloc[0]
    assert (row["view"], row["age"], row["sex"], row["group"]) == ("posteroanterior", "57", "male", "1")


def test_chestxray14_no_finding_is_a_normal_that_excludes_the_fourteen_findings(tmp_path: Path) -> None:
    schema = load_schema("chestxray14")
    assert schema["No Finding"].kind == "normal"
    assert [c.kind for c in schema.classes].count("finding") == 14
    header = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Sex", "View Position")
    write_csv(tmp_path / "Data_Entry_2017_v2020.csv", header, ("a.png", "No Finding|Mass", "1", "50", "F", "AP"))
    table = read_samples(schema, tmp_path)
    assert (len(table.frame), len(table.rejects)) == (0, 1)


def test_chestxray14_effusion_is_pleural_and_hernia_is_no_more_than_a_hernia() -> None:
    schema = load_schema("chestxray14")
    assert schema["Effusion"].name == "pleural effusion"
    assert "pericardial effusion" in schema["Effusion"].blockers
    assert not any("hiat" in wording for wording in schema["Hernia"].wordings)
    assert schema.resolve("Infiltrate").code == "Infiltration"


def test_pneumonia_supports_consolidation_and_not_the_reverse() -> None:
    schema = load_schema("chestxray14")
    assert "chest.consolidation" in schema["Pneumonia"].supports
    consolidation = schema["Consolidation"]
    assert "chest.pneumonia" not in (*consolidation.supports, *consolidation.parents, *consolidation.signs)


# ---- folder trees


def test_busi_reads_its_three_folders_and_leaves_the_masks(tmp_path: Path) -> None:
    root = tmp_path / "Dataset_BUSI_with_GT"
    make_files(
        root,
        "benign/benign (1).png",
        "benign/benign (1)_mask.png",
        "benign/benign (1)_mask_1.png",
        "malignant/malignant (1).png",
        "normal/normal (1).png",
        "normal/normal (1)_mask.png",
    )
    assert sorted(labels_by_image(read_samples(load_schema("busi"), root)).items()) == [
        ("benign/benign (1).png", ("benign",)),
        ("malignant/malignant (1).png", ("malignant",)),
        ("normal/normal (1).png", ("normal",)),
    ]


def test_busi_classes_exclude_each_other() -> None:
    schema = load_schema("busi")
    assert len({c.group for c in schema.classes}) == 1
    assert [schema[c].level for c in ("normal", "benign", "malignant")] == [0, 1, 2]


def test_busi_reads_real_images(real_data: Path) -> None:
    table = read_samples(load_schema("busi"), real_data / "busi" / "images")
    assert (len(table.frame), len(table.rejects)) == (90, 0)
    assert set(class_counts(table)) == {"benign", "malignant", "normal"}


def test_brain_mri_no_says_that_there_is_no_tumor_and_nothing_else(real_data: Path) -> None:
    schema = load_schema("brain_mri_tumor")
    assert (schema["no"].kind, schema["no"].denies) == ("absence", "brain.tumor")
    assert not any("normal" in wording or "healthy" in wording for wording in schema["no"].wordings)
    table = read_samples(schema, real_data / "brain_mri" / "images")
    assert class_counts(table) == {"yes": 155, "no": 98}


def test_lc25000_reads_its_tree_and_knows_the_organ_of_each_class(tmp_path: Path) -> None:
    root = tmp_path / "lung_colon_image_set"
    make_files(
        root,
        "lung_image_sets/lung_aca/lungaca1.jpeg",
        "lung_image_sets/lung_n/lungn1.jpeg",
        "lung_image_sets/lung_scc/lungscc1.jpeg",
        "colon_image_sets/colon_aca/colonca1.jpeg",
        "colon_image_sets/colon_n/colonn1.jpeg",
    )
    schema = load_schema("lc25000")
    table = read_samples(schema, tmp_path)
    assert sorted(labels_by_image(table).values()) == [(c,) for c in sorted(schema.codes)]
    assert {c.code: schema.anatomy_of(c) for c in schema.classes} == {
        "lung_aca": "lung",
        "lung_n": "lung",
        "lung_scc": "lung",
        "colon_aca": "colon",
        "colon_n": "colon",
    }


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("lung adenocarcinoma", "lung_aca"),
        ("Benign Lung Tissue", "lung_n"),
        ("lung squamous cell carcinoma", "lung_scc"),
        ("colon adenocarcinoma", "colon_aca"),
        ("benign colonic tissue", "colon_n"),
        ("benign colon tissue", "colon_n"),
    ],
)
def test_lc25000_takes_the_clinical_names_for_labels(label: str, code: str) -> None:
    assert load_schema("lc25000").resolve(label).code == code


# ---- RadImageNet


def test_radimagenet_has_165_classes_of_three_modalities(radimagenet: LabelSchema) -> None:
    assert len(radimagenet.codes) == 165
    modalities = Counter(radimagenet.modality_of(c) for c in radimagenet.classes)
    assert modalities == {"mri": 116, "ct": 34, "ultrasound": 15}
    regions = Counter(c.code.rsplit("/", 1)[0] for c in radimagenet.classes)
    assert regions == {
        "MR/knee": 18,
        "MR/shoulder": 14,
        "MR/hip": 14,
        "MR/spine": 9,
        "MR/brain": 10,
        "MR/mriabd": 26,
        "MR/af": 25,
        "CT/abd": 28,
        "CT/lung": 6,
        "US": 15,
    }


def test_radimagenet_modality_and_region_are_those_of_the_folder(radimagenet: LabelSchema) -> None:
    modalities = {"MR": "mri", "CT": "ct", "US": "ultrasound"}
    anatomies = {"af": "ankle_foot", "mriabd": "abdomen", "abd": "abdomen", "gb": "gallbladder", "cbd": "bile_duct"}
    anatomies |= {"fibroid": "uterus", "thyroid_nodule": "thyroid"}
    for item in radimagenet.classes:
        modality, region, *_ = item.code.split("/")
        assert radimagenet.modality_of(item) == modalities[modality]
        assert radimagenet.anatomy_of(item) == anatomies.get(region, region), item.code


def test_radimagenet_spells_out_every_abbreviation(radimagenet: LabelSchema) -> None:
    for item in radimagenet.classes:
        for word in item.name.replace("-", " ").split():
            if len(word) <= 4:
                assert word in SHORT_WORDS, f"{item.code}: {item.name}"
            assert word in PROPER or not word.isupper(), f"{item.code}: {item.name}"


def test_radimagenet_af_is_ankle_and_foot(radimagenet: LabelSchema) -> None:
    for item in radimagenet.classes:
        if item.code.startswith("MR/af/"):
            said = " ".join((*item.wordings, *item.structure, *item.signs)).casefold()
            assert "fibrillation" not in said
            assert "atrial" not in said
            assert "forearm" not in said
            assert radimagenet.anatomy_of(item) == "ankle_foot"


def test_radimagenet_ultrasound_classes_name_an_organ_and_no_disease(radimagenet: LabelSchema) -> None:
    ultrasound = [c for c in radimagenet.classes if c.code.startswith("US/")]
    assert sorted(c.code for c in ultrasound if c.kind != "organ") == ["US/fibroid", "US/thyroid_nodule"]
    findings = {w for c in load_library().concepts.values() if c.kind == "finding" for w in (c.name, *c.synonyms)}
    for item in ultrasound:
        if item.kind == "organ":
            assert not {*item.wordings, *item.signs} & findings, item.code
            assert not item.parents
            assert not item.supports


def test_radimagenet_has_a_normal_for_each_region_of_ct_and_mri(radimagenet: LabelSchema) -> None:
    normal = [c for c in radimagenet.classes if c.kind == "normal"]
    assert {c.code for c in normal} == {c for c in radimagenet.codes if c.endswith("/normal")}
    assert len(normal) == 9


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("MR/knee/intra", "intra-articular abnormality"),
        ("MR/af/intra", "intra-articular abnormality"),
        ("MR/brain/intra", "intra-axial abnormality"),
        ("MR/brain/extra", "extra-axial abnormality"),
    ],
)
def test_radimagenet_says_of_a_truncated_name_only_what_is_certain(
    radimagenet: LabelSchema, code: str, name: str
) -> None:
    item = radimagenet[code]
    assert item.name == name
    assert item.note is not None
    assert not any(word in w for w in item.wordings for word in ("mass", "tumor", "loose body", "hematoma", "cancer"))


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("knee-meniscal abnormality", "MR/knee/meniscal_abnormality"),
        ("shoulder-soft tissue edema", "MR/shoulder/soft_tissue_edema"),
        ("shoulder-ca++ tendinosis", "MR/shoulder/ca++_tendinosis"),
        ("spine-dural/epidural abn", "MR/spine/dural_epidural_abn"),
        ("spine-foraminal pathlogy", "MR/spine/foraminal_pathlogy"),
        ("brain-pituatary lesion", "MR/brain/pituatary_lesion"),
        ("mriabd-normal", "MR/mriabd/normal"),
        ("abd-renal lesion", "CT/abd/renal_lesion"),
        ("af-soft tissue fluid", "MR/af/soft_tissue_fluid"),
        ("af-achilles pathology", "MR/af/achilles_pathology_"),
        ("lung-Airspace_opacity", "CT/lung/Airspace_opacity"),
        ("US-gb", "US/gb"),
        ("US-portal_vein", "US/portal_vein"),
        ("thyroid-nodule", "US/thyroid_nodule"),
    ],
)
def test_radimagenet_knows_the_labels_of_the_owners_table(radimagenet: LabelSchema, label: str, code: str) -> None:
    assert radimagenet.resolve(label).code == code


def test_radimagenet_reads_the_owners_tables(tmp_path: Path, radimagenet: LabelSchema) -> None:
    header = ("filename", "label")
    foot = "radiology_ai/MR/af/soft_tissue_fluid/foot009413.png"
    liver = "radiology_ai/US/liver/usn371594.png"
    write_csv(tmp_path / "RadiologyAI_train.csv", header, (foot, "af-soft tissue fluid"))
    write_csv(tmp_path / "RadiologyAI_test.csv", header, (liver, "US-liver"))
    table = read_samples(radimagenet, tmp_path)
    assert labels_by_image(table) == {foot: ("MR/af/soft_tissue_fluid",), liver: ("US/liver",)}
    assert dict(zip(table.frame["image"], table.frame["split"], strict=True)) == {foot: "train", liver: "test"}


def test_radimagenet_reads_its_folder_tree(tmp_path: Path, radimagenet: LabelSchema) -> None:
    names = {f"radiology_ai/{code}/slice{i:06d}.png": code for i, code in enumerate(radimagenet.codes)}
    make_files(tmp_path, *names)
    table = read_samples(radimagenet, tmp_path)
    assert labels_by_image(table) == {image: (code,) for image, code in names.items()}
    assert len(table.rejects) == 0


@pytest.mark.parametrize(
    ("code", "caption", "reason"),
    [
        (
            "MR/af/osseous_disruption",
            "Osseous disruption in atrial fibrillation on MRI of the ankle.",
            "unsupported_finding",
        ),
        ("MR/af/hematoma", "MRI of the forearm with a hematoma.", "wrong_anatomy"),
        ("US/pancreas", "Ultrasound of the pancreas with pancreatitis.", "unsupported_finding"),
        ("US/spleen", "Ultrasound of an enlarged spleen.", "unsupported_finding"),
        ("US/portal_vein", "Ultrasound with thrombosis of the portal vein.", "unsupported_finding"),
        ("US/bladder", "Ultrasound of an inflamed bladder.", "unsupported_finding"),
        ("US/cbd", "Ultrasound of a dilated common bile duct.", "unsupported_finding"),
        ("MR/brain/extra", "Brain MRI with a meningioma, an extra-axial abnormality.", "unsupported_finding"),
        ("CT/abd/ascites", "Abdominal CT with ascites from cirrhosis.", "unsupported_finding"),
    ],
)
def test_radimagenet_refuses_what_published_captions_made_of_its_labels(
    radimagenet: LabelSchema, code: str, caption: str, reason: str
) -> None:
    verdict = Checker(radimagenet).check(caption, [code])
    assert not verdict.agrees
    assert reason in {issue.code for issue in verdict.issues}


# ---- the demo's dataset


def test_demo_joins_findings_and_grades_exclude_each_other(tmp_path: Path) -> None:
    header = ("image", "labels", "view")
    rows = [
        ("chest/a.png", "cxr_cardiomegaly|cxr_effusion", "AP"),
        ("fundus/b.jpg", "dr_2", ""),
        ("fundus/c.jpg", "dr_1|dr_2", ""),
        ("chest/d.png", "cxr_normal|cxr_nodule", "PA"),
    ]
    write_csv(tmp_path / "labels.csv", header, *rows)
    table = read_samples(load_schema("demo"), tmp_path)
    assert labels_by_image(table) == {
        "chest/a.png": ("cxr_cardiomegaly", "cxr_effusion"),
        "fundus/b.jpg": ("dr_2",),
    }
    assert len(table.rejects) == 2
    assert list(table.frame["view"]) == ["anteroposterior", ""]


def test_demo_covers_the_kinds_of_class() -> None:
    schema = load_schema("demo")
    assert {c.kind for c in schema.classes} == {"finding", "grade", "normal", "absence"}
    assert len({(schema.modality_of(c), schema.anatomy_of(c)) for c in schema.classes}) == 4
