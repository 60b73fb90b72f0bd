"""Captions made from a grammar, so that the truth is known by construction: forms of words and classes and schemas."""

import functools
import itertools

import pytest

from captioner.agreement import Checker
from captioner.schema import load_schema


@functools.cache
def checker(name):
    return Checker(load_schema(name))


def issues(schema, labels, caption):
    found = checker(schema).check(caption, [labels] if isinstance(labels, str) else list(labels)).issues
    return [i for i in found if i.level == "error"]


def codes(schema, labels, caption):
    return {i.code for i in issues(schema, labels, caption)}


def details(schema, labels, caption):
    return {i.detail for i in issues(schema, labels, caption) if i.code == "invented_detail"}


# schema, label, how the picture is called, place, state as a noun, state as an adjective
STATES = [
    ("chestxray14", "Cardiomegaly", "chest X-ray", "heart", "enlargement", "enlarged"),
    ("chestxray14", "Pleural_Thickening", "chest film", "pleura", "thickening", "thickened"),
    ("chexpert", "Enlarged Cardiomediastinum", "chest radiograph", "mediastinum", "widening", "widened"),
    ("vindr_cxr", "Clavicle fracture", "chest radiograph", "clavicle", "fracture", "fractured"),
    ("rfmid", "ODE", "fundus photograph", "optic disc", "swelling", "swollen"),
    ("vindr_spinexr", "Vertebral collapse", "spine radiograph", "vertebra", "collapse", "collapsed"),
]
FORMS = [
    ("The {view} shows {noun} of the {place}.", True),
    ("The {place} is {adjective} on this {view}.", True),
    ("On this {view} the {place} appears {adjective}.", True),
    ("{View} in which the {place}, however, is {adjective}.", True),
    ("The {view} shows no {noun} of the {place}.", False),
    ("The {place} is not {adjective} on this {view}.", False),
    ("It is not the case that the {place} is {adjective} on this {view}.", False),
    ("The {place} is neither {adjective} nor displaced on this {view}.", False),
    ("It is unclear whether the {place} is {adjective} on this {view}.", False),
]


@pytest.mark.parametrize(("case", "form"), list(itertools.product(STATES, FORMS)))
def test_a_state_of_a_structure_is_heard_as_noun_and_as_adjective_and_so_is_its_denial(case, form):
    schema, label, view, place, noun, adjective = case
    template, holds = form
    words = {"view": view, "View": view.capitalize(), "place": place, "noun": noun, "adjective": adjective}
    caption = template.format(**words)
    assert (codes(schema, label, caption[0].upper() + caption[1:]) == set()) is holds


@pytest.mark.parametrize(
    ("schema", "label", "caption"),
    [
        ("ham10000", "vasc", "The lesion on this dermoscopic image is of vascular type."),
        ("odir5k", "myelinated nerve fibers", "Fundus photograph with nerve fibres that are myelinated."),
        ("odir5k", "dry age-related macular degeneration", "Dry, i.e. non-exudative, age-related macular degeneration on a fundus image."),
        ("retina_flair", "wet age-related macular degeneration", "Exudative (neovascular) age-related macular degeneration on a fundus image."),
        ("hyperkvasir", "ulcerative-colitis-grade-2", "Endoscopic image of ulcerative colitis (Mayo grade 2)."),
        ("chestxray14", ["Effusion", "Atelectasis"], "Pleural effusion with atelectasis is what this chest radiograph depicts."),
        ("chestxray14", "Effusion", "No pneumothorax is evident on this chest X-ray, yet a pleural effusion is."),
        ("chestxray14", "Nodule", "What this chest radiograph shows is a lung nodule."),
        ("messidor2", ["0", "DME0"], "The fundus shows no diabetic retinopathy, and no macular edema either."),
        ("lc25000", "lung_n", "Section with thin alveolar walls, as expected in benign lung tissue."),
    ],
)  # fmt: skip
def test_insertions_and_turned_round_sentences_are_read_through(schema, label, caption):
    assert codes(schema, label, caption) == set()


@pytest.mark.parametrize(
    "subject", ["Neither lung", "Neither the lung nor the pleura", "No part of the lung", "None of the lobes"]
)
@pytest.mark.parametrize("verb", ["shows", "demonstrates", "contains", "has"])
def test_what_a_denied_subject_shows_is_denied(subject, verb):
    assert "negated_label" in codes(
        "chestxray14", "Consolidation", f"{subject} {verb} consolidation on this chest X-ray."
    )


BASES = [
    ("chestxray14", "Mass", "Chest X-ray with a lung mass"),
    ("odir5k", "Glaucoma", "Fundus photograph with glaucoma"),
    ("busi", "malignant", "Breast ultrasound with a malignant mass"),
    ("hyperkvasir", "polyps", "Endoscopic image of a polyp"),
    ("ham10000", "mel", "Dermoscopic image of a melanoma"),
    ("brain_mri_tumor", "yes", "Brain MRI with a tumour"),
]
CIRCUMSTANCES = [
    (" in an intubated patient", "history"),
    (" in a septic patient", "history"),
    (" of an asbestos worker", "history"),
    (" after a motorcycle crash", "history"),
    (" that has been present for six months", "history"),
    (", first seen in 2015", "history"),
    (" of stage T2N0", "stage"),
    (", 1.5 in diameter", "size"),
    (" with a blood pressure of 210/120", "symptom"),
    (" that has doubled in size since last year", "prior_exam"),
    (", scheduled for surgery", "treatment"),
]


@pytest.mark.parametrize(("base", "circumstance"), list(itertools.product(BASES, CIRCUMSTANCES)))
def test_circumstances_that_no_label_holds_are_named_by_kind(base, circumstance):
    schema, label, caption = base
    words, kind = circumstance
    assert codes(schema, label, f"{caption}.") == set()
    assert kind in details(schema, label, f"{caption}{words}.")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    "disease", ["arteritis", "cardiomyopathy", "amyloidosis", "leukaemia", "vasculitis", "carcinoma of another organ"]
)
def test_a_disease_that_nobody_listed_is_no_sign_of_the_label(base, disease):
    schema, label, caption = base
    if schema in ("busi", "ham10000") and "carcinoma" in disease:
        return  # there a cancer is the label, or says no more than it
    assert "unsupported_finding" in codes(schema, label, f"{caption} and {disease}.") | codes(
        schema, label, f"{caption} caused by {disease}."
    )


def test_a_verb_that_ends_like_a_disease_is_a_verb():
    assert codes("radimagenet", "CT/abd/bowel_mass", "Abdominal CT exposes a bowel mass.") == set()


@pytest.mark.parametrize(("said", "agrees"), [("severe", True), ("mild", False), ("moderate", False)])
def test_a_degree_in_a_label_without_a_scale_is_held_against_the_caption(said, agrees):
    caption = f"Fundus photograph with {said} hypertensive retinopathy."
    assert (codes("jsiec1000", "11.Severe hypertensive retinopathy", caption) == set()) is agrees


@pytest.mark.parametrize(
    ("number", "agrees"), [("a few", True), ("multiple", True), ("scattered", True), ("three", False), ("12", False)]
)
def test_nobody_counts_signs_but_nobody_need_say_that_there_is_one(number, agrees):
    caption = f"Fundus photograph with mild non-proliferative diabetic retinopathy and {number} microaneurysms."
    assert (codes("aptos2019", "Mild", caption) == set()) is agrees


@pytest.mark.parametrize("state", ["an occluded", "a dilated", "a thrombosed", "a narrowed"])
def test_a_label_that_is_an_organ_supports_no_state_of_it(state):
    assert codes("radimagenet", "US/portal_vein", f"Ultrasound image with {state} portal vein.")


def test_a_device_that_is_named_says_more_than_the_label_and_is_worth_a_warning():
    verdict = checker("chexpert").check("Chest X-ray with a pacemaker.", ["Support Devices"])
    assert verdict.agrees
    assert [(i.code, i.detail, i.level) for i in verdict.issues] == [("invented_detail", "device", "warning")]


@pytest.mark.parametrize(
    ("schema", "label", "caption", "agrees"),
    [
        ("radimagenet", "MR/hip/soft_tissue_mass", "MRI of the {}abdomen with a soft tissue mass.", False),
        ("radimagenet", "MR/mriabd/soft_tissue_mass", "MRI of the {}hip with a soft tissue mass.", False),
        ("radimagenet", "MR/hip/soft_tissue_mass", "MRI of the {}hip with a soft tissue mass.", True),
        ("radimagenet", "MR/hip/soft_tissue_mass", "MRI of the {}pelvis with a soft tissue mass.", True),
        ("medmnist_bloodmnist", "5", "Blood smear with a monocyte that has a {}kidney-shaped nucleus.", True),
        ("chestxray14", "Effusion", "Chest X-ray in which a {}meniscus-shaped density is a pleural effusion.", True),
    ],
)
def test_a_picture_is_named_after_its_own_region_and_a_shape_is_no_region(schema, label, caption, agrees):
    assert (codes(schema, label, caption.format("")) == set()) is agrees


@pytest.mark.parametrize(
    "asked", ["MRI of the knee for", "Knee MRI for", "Examination of the knee for", "Knee MRI, a scan for"]
)
def test_what_an_image_was_made_for_is_not_what_it_shows(asked):
    assert codes("radimagenet", "MR/knee/acl_pathology", f"{asked} a tear of the anterior cruciate ligament.") == {
        "hedged_label"
    }


def test_whatever_the_doubt_is_about_is_doubted_with_its_cause():
    for doubt in ("It is unclear whether", "It is uncertain if", "It remains unclear whether"):
        assert codes(
            "odir5k", "Diabetes", f"{doubt} the findings on this fundus photograph are due to diabetic retinopathy."
        )


def test_an_image_that_shows_none_of_many_things_or_any_other_is_normal():
    for caption in (
        "There is nothing on this chest radiograph to suggest pneumonia, effusion or any other abnormality.",
        "No effusion, pneumothorax or other abnormality is seen on this chest X-ray.",
        "No acute or chronic abnormality is detectable on this film of the chest.",
        "The heart, lungs, pleura and mediastinum all appear unremarkable on this chest X-ray.",
    ):
        assert codes("chestxray14", "No Finding", caption) == set()
    assert (
        codes(
            "chestxray14",
            "Pneumonia",
            "Pneumonia is seen; no effusion or other abnormality is present on this chest X-ray.",
        )
        == set()
    )


def test_the_stain_of_a_stained_section_is_no_invention():
    verdict = checker("lc25000").check("Lung adenocarcinoma, stained with haematoxylin and eosin.", ["lung_aca"])
    assert verdict.issues == ()


def test_a_string_of_keywords_is_no_caption():
    assert "not_a_caption" in codes(
        "chestxray14", "Fibrosis", "Chest X-ray, fibrosis, lung, radiology, thorax, medical image"
    )


FINDINGS = [
    ("chestxray14", "Pneumonia", "pneumonia", "chest X-ray"),
    ("odir5k", "Glaucoma", "glaucoma", "fundus photograph"),
    ("ham10000", "mel", "melanoma", "dermoscopic image"),
]
DENIALS = [
    "{View} lacking {x}.",
    "{X} fails to show on this {view}.",
    "The {view} disproves {x}.",
    "One looks in vain for {x} on this {view}.",
    "{X} has disappeared on this {view}.",
    "{View}: {x} (absent).",
    "{X} is hardly present on this {view}.",
    "The diagnosis of {x} is rejected on this {view}.",
    "The diagnosis of {x} does not apply to this {view}.",
    "{X} is conspicuous by its absence on this {view}.",
]
HEDGES = [
    "{View}: DDx includes {x}.",
    "{X} is not unlikely on this {view}.",
    "{X} is hard to rule out on this {view}.",
    "{View} of what could pass for {x}.",
    "{View} performed for {x}.",
    "{View} with a low probability of {x}.",
    "Alleged {x} on this {view}.",
    "{View} with a finding that could well be {x}.",
    "On this {view} one wonders about {x}.",
    "{X} is one of the differentials on this {view}.",
]
ASSERTIONS = [
    "Look closely at this {view}: {x} is there.",
    "A clear-cut {x} on this {view}.",
    "This {view} leaves no doubt about the {x}.",
    "{View} with hallmark features of {x}.",
]


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize(
    ("template", "code"),
    [
        *((t, {"negated_label"}) for t in DENIALS),
        *((t, {"hedged_label"}) for t in HEDGES),
        *((t, set()) for t in ASSERTIONS),
    ],
)
def test_ways_to_deny_and_to_doubt_are_told_from_ways_to_assert(template, code, finding):
    schema, label, x, view = finding
    caption = template.format(view=view, View=view[0].upper() + view[1:], x=x, X=x.capitalize())
    found = codes(schema, label, caption)
    assert found >= code
    assert bool(found) is bool(code)


def test_what_is_only_unlikely_is_not_known_to_be_absent():
    assert "negated_label" in codes("brain_mri_tumor", "yes", "Brain MRI in which a tumour is unlikely.")
    assert codes("brain_mri_tumor", "no", "Brain MRI in which a tumour is unlikely.")
    assert codes("brain_mri_tumor", "no", "Brain MRI in which no tumour is seen.") == set()


UNHEARD_OF = ["in a stonemason", "in a diver", "on warfarin", "under infliximab", "due to silica", "despite doxycycline", "after vaccination", "on mechanical ventilation", "with a necklace", "for months"]  # fmt: skip
HEARD_OF = ["on this image", "in a typical pattern", "in a classic distribution", "under magnification", "due to increased density", "with ill-defined margins", "of high density"]  # fmt: skip


@pytest.mark.parametrize("base", BASES[:3])
@pytest.mark.parametrize("words", UNHEARD_OF)
def test_whatever_stands_after_a_word_of_circumstance_and_is_no_picture_place_or_appearance_was_invented(words, base):
    schema, label, caption = base
    assert details(schema, label, f"{caption} {words}.")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("words", HEARD_OF)
def test_pictures_places_and_appearances_are_no_circumstances(words, base):
    schema, label, caption = base
    assert "history" not in details(schema, label, f"{caption} {words}.")


# schema, label, how the picture is called, the label's finding, another class's
FINDINGS = [
    ("busi", "malignant", "breast ultrasound image", "a malignant breast lesion", "a benign breast lesion"),
    ("lc25000", "lung_scc", "histology slide", "lung squamous cell carcinoma", "lung adenocarcinoma"),
    ("ham10000", "mel", "dermoscopic image", "a melanoma", "a dermatofibroma"),
    ("padchest", "pneumothorax", "chest radiograph", "a pneumothorax", "a lung nodule"),
    ("hyperkvasir", "polyps", "endoscopic image", "a polyp", "haemorrhoids"),
]
NOT_SAID = [
    "It is not true that this {view} shows {x}.",
    "It cannot be said that this {view} shows {x}.",
    "It would be wrong to say that this {view} shows {x}.",
    "It is doubtful that this {view} shows {x}.",
    "It is not certain that this {view} shows {x}.",
    "It is clear that {x} is absent from this {view}.",
    "It is hard to believe that this {view} shows {x}.",
    "There is no reason to think that this {view} shows {x}.",
    "There is little on this {view} that speaks for {x}.",
    "The claim that this {view} shows {x} is false.",
    "To call this {view} one of {x} would be a mistake.",
    "Nowhere on this {view} is {x} seen.",
    "Never does this {view} show {x}.",
    "In no part of this {view} is {x} seen.",
    "If this {view} shows {x}, it is subtle.",
    "Supposedly, this {view} shows {x}.",
    "The {view} shows everything except {x}.",
    "The {view} hardly shows {x}.",
    "The {view} will show {x}.",
    "The {view} used to show {x}.",
    "The {view} shows {x}, if anything.",
    "The {view} shows {x}, though the evidence is thin.",
    "The {view} borders on {x}.",
    "The {view} shows {x}. This is a guess.",
]
SAID_AS_WELL = [
    "A {view} with {x} bordering on {y}.",
    "A {view} with {x}. It is not true that this image is free from {y}.",
    "A {view} with {x}. It is not true that {y} is absent.",
    "A {view} with {x}. It is false that there is no {y}.",
    "A {view} with {x}. Nor is {y} absent.",
    "A {view} with {x}. It is doubtful that {y} is absent.",
    "A {view} with {x}. It would be wrong to deny {y}.",
    "A {view} with {x}. There is no denying {y}.",
    "A {view} with {x}, in no way free of {y}.",
    "A {view} with {x}, to say nothing of {y}.",
    "A {view} with {x}, if not {y}.",
]
PLAINLY_SAID = [
    "It is true that this {view} shows {x}.",
    "It is clear that this {view} shows {x}.",
    "It cannot be denied that this {view} shows {x}.",
    "There is no doubt that this {view} shows {x}.",
    "There is little doubt that this {view} shows {x}.",
    "Nobody would miss {x} on this {view}.",
    "{X} is what this {view} shows.",
    "This {view} leaves no doubt about {x}.",
]


def spoken(template, view, x, y=""):
    bare = y.removeprefix("a ") if "no {y}" in template else y
    return template.format(view=view, x=x, X=x[0].upper() + x[1:], y=bare)


@pytest.mark.parametrize(("case", "template"), list(itertools.product(FINDINGS, NOT_SAID)))
def test_what_is_denied_doubted_or_supposed_of_a_whole_clause_is_not_said(case, template):
    schema, label, view, x, _ = case
    assert codes(schema, label, spoken(template, view, x))


@pytest.mark.parametrize(("case", "template"), list(itertools.product(FINDINGS, SAID_AS_WELL)))
def test_another_class_is_said_by_a_denied_denial_and_by_closeness_to_it(case, template):
    schema, label, view, x, y = case
    assert codes(schema, label, spoken(template, view, x, y)) & {"extra_label", "wrong_grade"}


@pytest.mark.parametrize(("case", "template"), list(itertools.product(FINDINGS, PLAINLY_SAID)))
def test_a_clause_that_is_called_true_is_said(case, template):
    schema, label, view, x, _ = case
    assert codes(schema, label, spoken(template, view, x)) == set()


@pytest.mark.parametrize("case", FINDINGS)
@pytest.mark.parametrize(
    "count",
    [
        "They number three.",
        "They are three in number.",
        "There are four.",
        "One counts three.",
        "Three are visible.",
        "Half a dozen are visible.",
        "The count is three.",
        "Another one lies beside it.",
    ],
)
def test_a_number_that_stands_alone_counts_what_was_named_before_it(case, count):
    schema, label, view, x, _ = case
    assert "count" in details(schema, label, f"A {view} with {x}. {count}")


def test_the_number_of_a_grade_counts_nothing():
    assert codes("aptos2019", "Moderate", "Fundus photograph with diabetic retinopathy. The grade is two.") == set()
