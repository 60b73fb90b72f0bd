"""The wordings of the retina concepts, as the agreement check hears them: what passes for a label, and what does not."""

import functools

import pytest

from captioner.agreement import Checker
from captioner.schema import LabelSchema, load_library, load_schema

SCHEMAS = ("aptos2019", "idrid", "odir5k", "retina_flair", "rfmid")


@functools.cache
def schema_of(name: str) -> LabelSchema:
    return load_schema(name)


@functools.cache
def checker(name: str) -> Checker:
    return Checker(schema_of(name))


def codes_of_errors(name: str, labels: str, caption: str) -> list[str]:
    schema = schema_of(name)
    verdict = checker(name).check(caption, [schema.resolve(label).code for label in labels.split(";")])
    return [issue.code for issue in verdict.issues if issue.level == "error"]


def implied(schema: LabelSchema, code: str) -> set[str]:
    found: set[str] = set()
    todo = [code]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            if name in schema:
                todo += [*schema[name].parents, *([schema[name].concept] if schema[name].concept else [])]
            else:
                todo += load_library().concepts[name].parents
    return {c.code for c in schema.classes if c.code in found or c.concept in found}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_wording_of_a_class_is_heard_as_the_class(name: str) -> None:
    unheard = [
        (item.code, wording)
        for item in schema_of(name).classes
        if item.kind in ("finding", "grade")
        for wording in item.wordings
        if " ... " not in wording and codes_of_errors(name, item.code, f"Fundus photograph showing {wording}.")
    ]
    assert unheard == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_caption_of_one_class_does_not_pass_for_another(name: str) -> None:
    schema = schema_of(name)
    confused = []
    for item in schema.classes:
        if item.kind not in ("finding", "grade"):
            continue
        caption = f"Fundus photograph showing {item.name}."
        others = {c.code for c in schema.classes} - implied(schema, item.code)
        confused += [(item.code, other) for other in others if checker(name).check(caption, [other]).agrees]
    assert confused == []


@pytest.mark.parametrize("name", ["odir5k", "rfmid"])
def test_a_retinal_disease_that_is_not_labelled_is_found_beside_one_that_is(name: str) -> None:
    schema = schema_of(name)
    label = schema.resolve("tessellated fundus").code
    passed = [
        key
        for key, concept in load_library().field("retina")
        if concept.kind not in ("normal", "absence") and key != "retina.tessellated_fundus"
        if checker(name).check(f"Retinal photograph with a tessellated fundus and {concept.name}.", [label]).agrees
    ]
    assert passed == []


@pytest.mark.parametrize(
    ("name", "labels", "caption"),
    [
        ("rfmid", "MH", "The view of the retina is clouded by hazy media."),
        ("rfmid", "BRVO", "One of the branch retinal veins is occluded, with haemorrhages along its course."),
        ("rfmid", "ERM", "A macular pucker wrinkles the retinal surface in this fundus image."),
        ("rfmid", "LS", "Scars from laser treatment are scattered across the retina."),
        ("rfmid", "ODC", "The optic disc appears cupped, with an enlarged cup-to-disc ratio."),
        ("rfmid", "ODP", "The optic disc is pale in this fundus photograph."),
        ("rfmid", "ODE", "The optic disc is swollen with blurred margins in this retinal image."),
        ("rfmid", "TV", "The retinal vessels look tortuous in this image of the fundus."),
        ("rfmid", "MHL", "The macula has a hole."),
        ("rfmid", "RP", "Retinal photograph with bone-spicule pigmentation, indicating retinitis pigmentosa."),
        ("rfmid", "MNF", "Myelinated nerve fibres radiate from the optic disc."),
        ("rfmid", "CME", "Cystoid macular oedema on colour fundus photography."),
        ("rfmid", "DR;ODC", "Diabetic retinopathy accompanied by cupping of the optic disc on a colour fundus image."),
        ("idrid", "DR0;DME0", "The retina shows neither diabetic retinopathy nor diabetic macular edema."),
        ("idrid", "DR0;DME0", "There is no diabetic retinopathy; the macula is free of oedema."),
        ("idrid", "DR1;DME0", "Mild NPDR without macular edema."),
        ("idrid", "DR2;DME1", "Moderate NPDR with macular oedema that is not clinically significant."),
        ("idrid", "DR3;DME2", "Fundus photograph graded as severe NPDR, with a high risk of macular edema."),
        ("aptos2019", "No DR", "There are no signs of retinopathy."),
        ("aptos2019", "Moderate", "Moderate NPDR with retinal haemorrhages and hard exudates."),
        ("aptos2019", "Mild", "Mild NPDR with microaneurysms."),
        (
            "aptos2019",
            "Proliferative DR",
            "New vessel growth marks proliferative diabetic retinopathy on this photograph.",
        ),
        ("odir5k", "AMD", "The macula shows age-related degenerative changes."),
        ("odir5k", "Cataract", "The fundus is blurred by a cataractous lens."),
        ("odir5k", "Myopia", "The retina shows myopic degeneration."),
        ("odir5k", "Hypertension", "Narrowed arterioles in keeping with hypertensive retinopathy are seen."),
        ("retina_flair", "no glaucoma", "The optic disc does not appear glaucomatous on this fundus photograph."),
        (
            "retina_flair",
            "pre-proliferative diabetic retinopathy",
            "Pre-proliferative diabetic retinopathy is present.",
        ),
        ("retina_flair", "Coats disease", "Coats' disease with telangiectatic vessels and exudation."),
        ("retina_flair", "cotton wool spots", "Soft exudates are noted on the fundus photograph."),
    ],
)
def test_a_correct_caption_in_other_words_passes(name: str, labels: str, caption: str) -> None:
    assert codes_of_errors(name, labels, caption) == []


@pytest.mark.parametrize(
    ("name", "labels", "caption"),
    [
        ("rfmid", "MH", "A macular hole is seen on this fundus photograph."),
        ("rfmid", "MCA", "Microaneurysms are visible on this fundus photograph."),
        ("rfmid", "TD", "Tractional retinal detachment on fundus photography."),
        ("rfmid", "ODC", "Glaucoma is present on this fundus photograph."),
        ("rfmid", "RS", "Retinitis pigmentosa is seen on this fundus photograph."),
        ("rfmid", "ODE", "Papilledema is seen on this fundus photograph."),
        ("rfmid", "DN", "Age-related macular degeneration is present on this fundus photograph."),
        ("rfmid", "NORMAL", "There is no diabetic retinopathy."),
        ("idrid", "DR2;DME0", "Moderate NPDR with clinically significant macular edema."),
        ("idrid", "DR2;DME2", "Moderate NPDR without macular edema."),
        ("aptos2019", "Mild", "Mild NPDR with cotton wool spots."),
        ("aptos2019", "Severe", "Severe NPDR with vitreous haemorrhage."),
        ("aptos2019", "Proliferative DR", "Non-proliferative diabetic retinopathy on fundus photography."),
        ("aptos2019", "No DR", "Retina with drusen and no diabetic retinopathy."),
        ("odir5k", "Diabetes", "Diabetic retinopathy with cotton wool spots."),
        ("odir5k", "wet age-related macular degeneration", "Non-neovascular age-related macular degeneration."),
        ("odir5k", "Myopia", "Low myopia without degenerative change."),
        ("retina_flair", "background diabetic retinopathy", "Mild non-proliferative diabetic retinopathy."),
        ("retina_flair", "drusen", "Optic disc drusen are seen on the fundus photograph."),
        ("retina_flair", "choroidal folds", "Retinal folds on fundus photography."),
        ("retina_flair", "no glaucoma", "Glaucoma is present on this fundus photograph."),
    ],
)
def test_a_caption_that_says_something_else_does_not_pass(name: str, labels: str, caption: str) -> None:
    assert codes_of_errors(name, labels, caption) != []
