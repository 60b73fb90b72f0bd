"""A finding that one sentence names and a later one takes back, doubts, or adds to."""

import pytest

from captioner.agreement import Checker
from captioner.schema import load_schema

CASES = {
    "chestxray14": ("Pneumonia", "Chest X-ray showing pneumonia."),
    "aptos2019": ("Moderate", "Fundus photograph with moderate diabetic retinopathy."),
    "busi": ("malignant", "Breast ultrasound showing a malignant mass."),
}
SUBJECTS = (
    "It",
    "This",
    "That",
    "The finding",
    "This diagnosis",
    "The abnormality",
    "However, it",
    "But the appearance",
)
DOUBTS = (
    "is uncertain",
    "is not certain",
    "remains questionable",
    "is doubtful",
    "may be something else",
    "could be an artifact",
    "is not definite",
)
DENIALS = ("is no longer seen", "has vanished", "is not visible", "has since resolved", "is not present")
HARMLESS = ("is clearly visible", "is well seen", "is evident", "is unmistakable", "appears clearly")


@pytest.fixture(scope="module", params=CASES)
def check(request):
    checker = Checker(load_schema(request.param))
    label, first = CASES[request.param]
    return lambda later: checker.check(f"{first} {later}", [label])


def codes(verdict):
    return {issue.code for issue in verdict.issues if issue.level == "error"}


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_later_sentence_that_doubts_what_was_named_leaves_it_open(check, subject, doubt):
    assert "hedged_label" in codes(check(f"{subject} {doubt}."))


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("denial", DENIALS)
def test_a_later_sentence_that_takes_back_what_was_named_denies_it(check, subject, denial):
    assert "negated_label" in codes(check(f"{subject} {denial}."))


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("harmless", HARMLESS)
def test_a_later_sentence_that_only_describes_what_was_named_lets_it_stand(check, subject, harmless):
    assert check(f"{subject} {harmless}.").agrees


@pytest.mark.parametrize(
    ("later", "detail"),
    [
        ("The patient is 60.", "history"),
        ("The age is 60.", "age"),
        ("There are two of them.", "count"),
        ("The culprit is a virus.", "history"),
        ("It was caused by a virus.", "history"),
        ("Its cause is unknown.", "history"),
        ("It has spread.", "prior_exam"),
        ("The other eye is spared.", "laterality"),
        ("A tube is in place.", "device"),
    ],
)
def test_what_a_later_sentence_adds_is_invented(check, later, detail):
    verdict = check(later)
    assert detail in {issue.detail for issue in verdict.issues if issue.level == "error"}


@pytest.mark.parametrize(
    "before",
    [
        "Here you go: ",
        "As requested, ",
        "Translation: ",
        "Error: rate limit exceeded. ",
        "Figure 1: ",
        "Panel A: ",
        "I think that the ",
    ],
)
def test_talk_before_a_caption_is_none(before):
    caption = f"{before}chest X-ray shows pneumonia."
    assert "not_a_caption" in codes(Checker(load_schema("chestxray14")).check(caption, ["Pneumonia"]))


@pytest.mark.parametrize(
    "caption",
    [
        "Chest X-ray showing pneumonia (10 words).",
        "Chest X-ray showing pneumonia (white arrow).",
        "Chest X-ray showing pneumonia \U0001fac1",
        "Chest X-ray showing pneumonia pneumonia pneumonia.",
        "Chest X-ray showing pneumonia. Chest X-ray showing pneumonia. Chest X-ray showing pneumonia.",
        "The image you provided shows pneumonia on a chest X-ray.",
        "Chest X-ray showing pneumonia. That is what an AI would say.",
        "The caption should mention pneumonia on a chest X-ray.",
    ],
)
def test_what_a_caption_brings_along_from_elsewhere_gives_it_away(caption):
    assert "not_a_caption" in codes(Checker(load_schema("chestxray14")).check(caption, ["Pneumonia"]))


@pytest.mark.parametrize(
    ("caption", "code"),
    [
        ("Chest X-ray bereft of pneumonia.", "negated_label"),
        ("Pneumonia has vanished from this chest X-ray.", "negated_label"),
        ("Pneumonia does not feature on this chest X-ray.", "negated_label"),
        ("Chest X-ray that fails to support pneumonia.", "negated_label"),
        ("Under no circumstances does this chest X-ray show pneumonia.", "negated_label"),
        ("Pneumonia can safely be dismissed on this chest X-ray.", "negated_label"),
        ("Chest X-ray with would-be pneumonia.", "hedged_label"),
        ("Pneumonia is entertained on this chest X-ray.", "hedged_label"),
        ("Pneumonia is plausible on this chest X-ray.", "hedged_label"),
        ("Pneumonia comes to mind on this chest X-ray.", "hedged_label"),
        ("Chest X-ray: pneumonia pending confirmation.", "hedged_label"),
        ("Chest X-ray with doubt about pneumonia.", "hedged_label"),
        ("Chest X-ray with features that overlap with pneumonia.", "hedged_label"),
        ("The chest X-ray can be read as pneumonia or as a skin fold.", "hedged_label"),
    ],
)
def test_rarer_words_that_deny_or_doubt_are_known(caption, code):
    assert code in codes(Checker(load_schema("chestxray14")).check(caption, ["Pneumonia"]))


@pytest.mark.parametrize(
    ("schema", "label", "caption", "detail"),
    [
        ("vindr_spinexr", "Vertebral collapse", "Collapse of two vertebrae is seen on this spine radiograph.", "count"),
        ("vindr_spinexr", "Osteophytes", "Osteophytes at T11 are seen on this spine radiograph.", "location"),
        ("padchest", "rib fracture", "Fracture of rib 5 on a chest radiograph.", "location"),
        ("chestxray14", "Nodule", "Chest film with a nodule behind the heart.", "location"),
        ("scin", "Insect Bite", "An insect bite from a bedbug is seen in this skin photograph.", "history"),
        ("scin", "Allergic Contact Dermatitis", "Photograph of allergic contact dermatitis from nickel.", "history"),
        ("scin", "Herpes Zoster", "Herpes zoster along a dermatome is seen in this photograph.", "location"),
        ("hyperkvasir", "polyps", "Endoscopic image of a polyp in the sigmoid colon.", "location"),
        ("medmnist_pathmnist", "8", "Colon adenocarcinoma, stage T3, on an H&E-stained patch.", "stage"),
        ("chestxray14", "Effusion", "Chest X-ray with a pleural effusion larger than at the last visit.", "prior_exam"),
    ],
)
def test_places_numbers_and_causes_are_invented_however_they_are_worded(schema, label, caption, detail):
    verdict = Checker(load_schema(schema)).check(caption, [label])
    assert detail in {issue.detail for issue in verdict.issues if issue.level == "error"}


@pytest.mark.parametrize(
    ("schema", "label", "caption"),
    [
        ("chestxray14", "Hernia", "A hernia is projected behind the heart on this chest radiograph."),
        ("chestxray14", "Pneumonia", "Pneumonia, seen from its opacity, on a chest X-ray."),
        ("lc25000", "colon_aca", "An adenocarcinoma from the colon on an H&E-stained section."),
        ("vindr_spinexr", "Osteophytes", "On the spine X-ray, osteophyte formation is evident."),
    ],
)
def test_places_and_sources_that_a_label_holds_are_not(schema, label, caption):
    assert Checker(load_schema(schema)).check(caption, [label]).agrees


@pytest.mark.parametrize("doubt", ["likely", "probably", "possibly", "presumed"])
@pytest.mark.parametrize(
    ("schema", "label", "frame"),
    [
        ("medmnist_breastmnist", "0", "Breast ultrasound with a lesion that is {} malignant."),
        ("busi", "malignant", "Breast ultrasound of a mass that is {} malignant."),
    ],
)
def test_a_doubted_predicate_leaves_the_whole_finding_open(schema, label, frame, doubt):
    assert "hedged_label" in codes(Checker(load_schema(schema)).check(frame.format(doubt), [label]))


@pytest.mark.parametrize("which", ["leading", "main", "top"])
@pytest.mark.parametrize("what", ["consideration", "possibility", "differential", "candidate"])
def test_a_finding_that_only_leads_the_list_of_what_it_may_be_is_open(which, what):
    caption = f"Chest radiograph on which pneumonia is the {which} {what}."
    assert "hedged_label" in codes(Checker(load_schema("chestxray14")).check(caption, ["Pneumonia"]))
