"""Every code of the check, by example."""

import pickle

import pytest

from captioner.agreement import CODES, Checker, accepted_wordings, check_caption
from captioner.errors import SchemaError
from captioner.schema import load_schema, parse_schema
from tests.agreement.vocabularies import schema_of


def codes(caption, labels, schema, **more):
    verdict = check_caption(caption, labels, schema, **more)
    return {i.code for i in verdict.issues if i.level == "error"}


def details(caption, labels, schema, **more):
    return {i.detail for i in check_caption(caption, labels, schema, **more).issues if i.code == "invented_detail"}


@pytest.mark.parametrize(
    ("schema", "labels", "caption"),
    [
        ("chestxray14", ["Effusion"], "Chest X-ray showing a pleural effusion."),
        ("chestxray14", ["effusion"], "Fluid is present in the pleural space on this chest radiograph."),
        ("chestxray14", ["Cardiomegaly"], "The heart is enlarged on this chest film."),
        ("chestxray14", ["Cardiomegaly"], "The heart shadow is enlarged; otherwise the radiograph is unremarkable."),
        ("chestxray14", ["Pneumonia"], "This radiograph leaves no doubt about the pneumonia."),
        (
            "chestxray14",
            ["Atelectasis"],
            "Atelectatic change is seen on this chest X-ray, which can lead to pneumonia.",
        ),
        ("chestxray14", ["No Finding"], "The lungs are clear and the heart is of normal size on this chest X-ray."),
        ("chestxray14", ["No Finding"], "A chest radiograph without any pathological finding."),
        ("chestxray14", ["Mass", "Nodule"], "The two abnormalities on this chest film are a nodule and a mass."),
        (
            "aptos2019",
            ["Moderate"],
            "Diabetic retinopathy that is more than mild but less than severe, graded moderate.",
        ),
        ("aptos2019", ["Severe"], "ICDR grade 3 diabetic retinopathy on a fundus photograph."),
        (
            "aptos2019",
            ["Proliferative DR"],
            "Fundus photograph: diabetic retinopathy, beyond the non-proliferative stages, classed as proliferative.",
        ),
        ("aptos2019", ["No DR"], "There is no evidence of even mild diabetic retinopathy in this fundus image."),
        ("busi", ["benign"], "The mass on this breast ultrasound is benign, not malignant."),
        ("lc25000", ["lung_aca"], "Adenocarcinoma of the lung rather than squamous cell carcinoma, H&E stain."),
        (
            "radimagenet",
            ["MR/knee/acl_pathology"],
            "There is a tear of the ACL on this knee MRI; the menisci are intact.",
        ),
        ("radimagenet", ["CT/abd/renal_lesion"], "The kidney contains a lesion on this abdominal CT."),
        ("brain_mri_tumor", ["no"], "Brain MRI, negative for tumour."),
    ],
)
def test_a_caption_that_says_what_the_labels_say_agrees(schema, labels, caption):
    assert codes(caption, labels, load_schema(schema)) == set()


@pytest.mark.parametrize(
    ("code", "schema", "labels", "caption"),
    [
        ("missing_label", "chestxray14", ["Effusion"], "A frontal chest radiograph."),
        ("missing_label", "chestxray14", ["Effusion"], "Chest X-ray with an echogenic pericardial effusion."),
        ("missing_label", "chestxray14", ["Pneumonia"], "Pneumonia is an infection that inflames the air sacs."),
        ("missing_label", "chestxray14", ["No Finding"], "A frontal chest radiograph."),
        ("missing_label", "chestxray14", ["Mass"], "Chest X-ray with a massive pleural effusion."),
        ("missing_label", "aptos2019", ["Moderate"], "Fundus photograph with diabetic retinopathy."),
        (
            "negated_label",
            "chestxray14",
            ["Effusion"],
            "Chest X-ray: no consolidation, large pleural effusion, or pneumothorax.",
        ),
        ("negated_label", "chestxray14", ["Cardiomegaly"], "The heart isn't enlarged on this chest X-ray."),
        (
            "negated_label",
            "chestxray14",
            ["Cardiomegaly"],
            "The cardiac silhouette is within normal limits on this chest film.",
        ),
        ("negated_label", "chestxray14", ["Emphysema"], "Emphysema and fibrosis are both absent on this chest X-ray."),
        ("negated_label", "radimagenet", ["MR/knee/acl_pathology"], "Knee MRI with an intact ACL."),
        ("hedged_label", "chestxray14", ["Pneumonia"], "Pneumonia is not excluded on this chest X-ray."),
        ("hedged_label", "chestxray14", ["Pneumonia"], "Chest X-ray obtained to rule out pneumonia."),
        ("hedged_label", "chestxray14", ["Pneumonia"], "Chest X-ray: atelectasis versus pneumonia."),
        ("hedged_label", "chestxray14", ["Pneumonia"], "?pneumonia on this chest X-ray."),
        (
            "extra_label",
            "chestxray14",
            ["Pneumonia"],
            "Chest X-ray with not only pneumonia but also a pleural effusion.",
        ),
        ("extra_label", "chestxray14", ["Consolidation"], "Consolidation consistent with pneumonia on chest X-ray."),
        ("extra_label", "lc25000", ["lung_aca"], "Lung adenocarcinoma beside squamous cell carcinoma, H&E stain."),
        ("wrong_grade", "aptos2019", ["Moderate"], "Fundus photograph with moderate to severe diabetic retinopathy."),
        ("wrong_grade", "aptos2019", ["Mild"], "Stage 3 diabetic retinopathy on a fundus photograph."),
        ("wrong_grade", "busi", ["benign"], "Breast ultrasound of a malignant mass."),
        ("normal_conflict", "chestxray14", ["Pneumonia"], "Unremarkable chest X-ray. Pneumonia is present."),
        ("normal_conflict", "chestxray14", ["No Finding"], "A normal chest X-ray with pneumonia."),
        ("wrong_modality", "chestxray14", ["Edema"], "CT of the chest with pulmonary edema."),
        ("wrong_anatomy", "chestxray14", ["Nodule"], "X-ray of the knee with a nodule."),
        ("wrong_anatomy", "radimagenet", ["MR/hip/normal"], "No abnormality is seen on this MRI of the shoulder."),
        ("unsupported_finding", "chestxray14", ["Nodule"], "Chest X-ray with a nodule and tuberculosis."),
        (
            "unsupported_finding",
            "radimagenet",
            ["MR/af/lisfranc_pathology"],
            "MRI of a Lisfranc injury with atrial fibrillation.",
        ),
        ("not_a_caption", "chestxray14", ["Effusion"], "As an AI language model I cannot describe images."),
    ],
)
def test_each_code_is_found(code, schema, labels, caption):
    assert code in codes(caption, labels, load_schema(schema))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("size", "measuring 3 x 4 cm"),
        ("size", "of 12 mm"),
        ("laterality", "on the left"),
        ("location", "in the upper lobe"),
        ("age", "in a 65-year-old"),
        ("sex", "in a woman"),
        ("history", "with a history of smoking"),
        ("symptom", "with fever and cough"),
        ("prior_exam", "unchanged since the previous study"),
        ("device", "and a pacemaker"),
        ("stage", "of stage IIA"),
        ("biomarker", "with an EGFR mutation"),
        ("treatment", "after chemotherapy"),
        ("advice", ", follow-up is recommended"),
        ("dataset", "labelled so in the dataset"),
    ],
)
def test_each_kind_of_invented_detail_is_named(kind, words):
    schema = load_schema("chestxray14")
    assert details("Chest X-ray with a mass.", ["Mass"], schema) == set()
    assert kind in details(f"Chest X-ray with a mass {words}.", ["Mass"], schema)
    assert "invented_detail" in codes(f"Chest X-ray with a mass {words}.", ["Mass"], schema)


def test_several_of_one_finding_are_a_count_that_labels_do_not_hold():
    schema = load_schema("chestxray14")
    assert "count" in details("Two nodules on a chest X-ray.", ["Nodule"], schema)
    assert "count" not in details("Chest X-ray with two findings: a nodule and a mass.", ["Nodule", "Mass"], schema)


def test_metadata_supports_the_details_that_it_holds_and_no_others():
    schema = load_schema("chestxray14")
    caption = "Chest X-ray of a 65-year-old man with a mass."
    known = {"age": "65", "sex": "male"}
    assert codes(caption, ["Mass"], schema, attributes=known) == set()
    assert "invented_detail" in codes(caption, ["Mass"], schema, attributes={"age": "56", "sex": "male"})
    assert "invented_detail" in codes(caption, ["Mass"], schema, attributes={"age": "65", "sex": "female"})
    assert "invented_detail" in codes(caption, ["Mass"], schema, attributes={"age": "65"})


@pytest.mark.parametrize(
    ("caption", "age", "agrees"),
    [
        ("Chest X-ray of a 58-year-old patient with a mass.", "58", True),
        ("Chest X-ray of a 58 year old patient with a mass.", "058Y", True),
        ("Chest X-ray of a patient aged 58 with a mass.", "58", True),
        ("Chest X-ray of a patient aged 57 with a mass.", "58", False),
        ("Chest X-ray of a 58-year-old diabetic patient with a mass.", "58", False),
        ("Chest X-ray of an elderly patient with a mass.", "81", True),
        ("Chest X-ray of an elderly patient with a mass.", "30", False),
        ("Chest X-ray of a child with a mass.", "7", True),
        ("Chest X-ray of a child with a mass.", "40", False),
        ("Chest X-ray of an infant with a mass.", "006M", True),
        ("Chest X-ray of an adult with a mass.", "3", False),
    ],
)
def test_an_age_may_be_said_in_figures_or_words_but_only_the_one_that_is_known(caption, age, agrees):
    assert check_caption(caption, ["Mass"], "chestxray14", attributes={"age": age}).agrees is agrees


@pytest.mark.parametrize(
    ("caption", "code"),
    [
        ("Ultrasound of the pancreas.", None),
        ("Sonographic view that displays the pancreas clearly.", None),
        ("Ultrasound showing a normal pancreas.", "normal_conflict"),
        ("Unremarkable ultrasound of the pancreas.", "normal_conflict"),
        ("Ultrasound of the pancreas without abnormality.", "normal_conflict"),
        ("Ultrasound showing an abnormal pancreas.", "unsupported_finding"),
        ("Ultrasound of the pancreas with signs of disease.", "unsupported_finding"),
        ("Ultrasound of the pancreas, which is enlarged.", "unsupported_finding"),
        ("Ultrasound of the pancreas; possible inflammation.", "unsupported_finding"),
    ],
)
def test_a_label_that_names_only_an_organ_supports_no_word_on_its_health(caption, code):
    assert codes(caption, ["US/pancreas"], load_schema("radimagenet")) == ({code} if code else set())


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("MR/knee/acl_pathology", "A tear in the ACL of the knee is seen on MRI."),
        ("MR/knee/acl_pathology", "MRI shows a tear in the knee ACL."),
        ("MR/knee/mcl_pathology", "Degeneration in the medial collateral ligament (MCL) of the knee on MRI."),
        ("MR/knee/mcl_pathology", "Medial collateral ligament (MCL) degeneration in the knee, as shown by MRI."),
        ("MR/knee/fcl_pathology", "Knee MRI exhibiting problems with the fibular collateral ligament."),
        ("MR/hip/abductor_pathology_", "Abductor muscle pathology in the hip, MRI."),
        ("MR/mriabd/gallbladder_pathology", "Abdominal MRI with a gallbladder condition."),
        ("MR/mriabd/gallbladder_pathology", "Abdominal MRI with a condition affecting the gallbladder."),
        ("MR/knee/intra", "Knee MRI with an intra-articular disturbance."),
        ("MR/knee/post_operative_acl", "Knee MRI with postoperative changes in the ACL."),
        ("MR/knee/soft_tissue_edema", "Edematous changes detected in the knee soft tissues via MRI."),
        ("CT/abd/abnormal_entire_organ", "Abdominal CT on which the entire organ shows abnormalities."),
        ("MR/hip/normal", "No deviation from normal anatomy is seen on this MRI of the hip."),
        ("MR/hip/normal", "MRI of the hip shows typical anatomy."),
        ("MR/hip/normal", "MRI of the hip showing healthy structural integrity."),
        ("US/liver", "Ultrasound used to assess the liver."),
    ],
)
def test_a_word_of_state_speaks_of_the_structure_that_can_have_it(label, caption):
    assert codes(caption, [label], load_schema("radimagenet")) == set()


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("MR/mriabd/gallbladder_pathology", "Abdominal MRI that shows the condition of the gallbladder."),
        ("MR/mriabd/gallbladder_pathology", "Abdominal MRI on which the gallbladder condition is normal."),
        ("MR/knee/acl_pathology", "MRI of the knee with a tear of the PCL."),
        ("MR/knee/acl_pathology", "No tear in the knee ACL on MRI."),
        ("MR/hip/normal", "This hip MRI shows a deviation from normal anatomy."),
        ("MR/hip/normal", "This hip MRI shows anatomy other than normal."),
        ("MR/hip/normal", "MRI of the hip shows atypical anatomy."),
        ("CT/abd/liver_lesion", "Abdominal CT with a liver abnormality."),
        ("CT/abd/urolithiasis", "Abdominal CT with kidney stones."),
        ("MR/brain/intra", "Brain MRI with intracranial pathology."),
    ],
)
def test_a_word_of_state_says_no_more_than_it_says(label, caption):
    assert codes(caption, [label], load_schema("radimagenet"))


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("Pneumonia", "Chest X-ray on which there is no focal opacity to suggest a pneumonia."),
        ("Pneumonia", "There is no focal consolidation to suggest pneumonia on this chest X-ray."),
        ("Effusion", "No focal consolidation, pneumothorax or definite pleural effusion on this chest X-ray."),
        ("Effusion", "No infiltrate, suspicious opacity, pneumothorax or certain pleural effusion on this chest film."),
        ("Effusion", "Chest X-ray with no blunting to suggest a large pleural effusion."),
        ("Nodule", "No opacity to indicate pneumonia, or definite nodule, on this chest X-ray."),
    ],
)
def test_a_denial_passes_through_an_infinitive_and_a_word_of_certainty(label, caption):
    assert "negated_label" in codes(caption, [label], load_schema("chestxray14"))


@pytest.mark.parametrize(
    "caption",
    [
        "Chest X-ray with no mass but findings to suggest pneumonia.",
        "Chest X-ray with no effusion; there is an opacity to suggest pneumonia.",
        "Chest X-ray with definite pneumonia and no pleural effusion.",
        "No effusion, but definite pneumonia, on this chest X-ray.",
    ],
)
def test_what_follows_a_denial_in_a_statement_of_its_own_is_not_denied(caption):
    assert codes(caption, ["Pneumonia"], load_schema("chestxray14")) == set()


@pytest.mark.parametrize(
    ("caption", "open_"),
    [
        ("Chest X-ray with pneumothorax or skin fold.", True),
        ("Chest X-ray with a pneumothorax or a skin fold.", True),
        ("A skin fold or a pneumothorax is seen on this chest X-ray.", True),
        ("Chest radiograph or plain film with pneumothorax.", False),
        ("Chest X-ray with pneumothorax or air in the pleural space.", False),
        ("Chest X-ray with pneumothorax, without effusion or consolidation.", False),
        ("Pneumothorax is shown on this X-ray or film of the chest.", False),
    ],
)
def test_an_or_between_a_finding_and_any_other_thing_leaves_the_finding_open(caption, open_):
    assert codes(caption, ["Pneumothorax"], load_schema("chestxray14")) == ({"hedged_label"} if open_ else set())


@pytest.mark.parametrize(
    ("schema", "label", "caption"),
    [
        (
            "radimagenet",
            "MR/shoulder/acj_oa",
            "On this MRI of the shoulder, acromioclavicular joint osteoarthritis is visible.",
        ),
        ("brain_mri_tumor", "no", "In this MR image of the brain, no intracranial tumor is seen."),
    ],
)
def test_a_place_before_a_comma_is_no_part_of_the_finding_after_it(schema, label, caption):
    assert codes(caption, [label], load_schema(schema)) == set()


def test_a_garbled_disease_of_another_organ_is_given_away_by_its_place():
    caption = "MRI reveals a hematoma in an area affected by atrial fibraille."
    assert "wrong_anatomy" in codes(caption, ["MR/af/hematoma"], load_schema("radimagenet"))


@pytest.mark.parametrize(
    ("kind", "caption"),
    [
        ("empty", ""),
        ("empty", " \n\t"),
        ("empty", "..."),
        ("too_short", "Effusion"),
        ("too_long", "Chest X-ray with effusion. " * 400),
        ("refusal", "I'm sorry, but I can't help with medical images."),
        ("prompt_echo", "Here is a caption: Chest X-ray with pleural effusion."),
        ("prompt_echo", "Write one caption for a chest X-ray with effusion."),
        ("prompt_echo", "Chest X-ray of the {anatomy} with effusion."),
        ("json", '{"caption": "Chest X-ray with pleural effusion."}'),
        ("json", '["Chest X-ray with pleural effusion."]'),
        ("markup", "**Chest X-ray** with pleural effusion."),
        ("markup", "<p>Chest X-ray with pleural effusion.</p>"),
        ("list", "1. Chest X-ray with effusion. 2. Chest film with pleural fluid."),
        ("list", "- Chest X-ray with effusion\n- Chest film with pleural fluid"),
        ("list", "Chest X-ray with effusion.\nChest film with pleural fluid."),
        ("language", "Radiographie thoracique avec un épanchement pleural et sans pneumothorax."),
        ("language", "Röntgenbild des Thorax mit einem Pleuraerguss."),
        ("language", "胸部X光片显示胸腔积液。"),
        ("question", "Does this chest X-ray show a pleural effusion?"),
        ("cut_off", "Chest X-ray showing a pleural effusion and the"),
        ("cut_off", "Chest X-ray showing a pleural effusion and the."),
        ("cut_off", "Chest X-ray showing a pleural effusion,"),
        ("repetition", "Chest X-ray with effusion and effusion and effusion and effusion and effusion and effusion."),
        ("encoding", "Chest X-ray with pleural effusion \ufffd."),
    ],
)
def test_what_is_no_caption_is_told_by_its_kind(kind, caption):
    verdict = check_caption(caption, ["Effusion"], load_schema("chestxray14"))
    assert kind in {i.detail for i in verdict.issues if i.code == "not_a_caption"}
    assert not verdict.agrees


def test_an_issue_shows_where_it_is_and_which_word_decided_it():
    caption = "Chest X-ray; there is no sign of a pleural effusion."
    issue = check_caption(caption, ["Effusion"], "chestxray14").issues[0]
    assert issue.code == "negated_label"
    assert issue.label == "Effusion"
    assert caption[slice(*issue.span)] == issue.text == "pleural effusion"
    assert caption[slice(*issue.cue)] == "no sign of"
    assert "pleural effusion" in issue.accept
    assert issue.fix


def test_spans_are_of_the_original_text_whatever_its_characters():
    caption = "Chest\u00a0X\u2011ray \u2014 the patient\u2019s \u200b\ufb01lm \u2014 with cafe\u0301 and pleural e\u0308ffusion, no pneumonia."
    for issue in check_caption(caption, ["Pneumonia"], "chestxray14").issues:
        if issue.span:
            assert caption[slice(*issue.span)] == issue.text


def test_labels_may_be_codes_names_or_aliases_in_any_case():
    schema = load_schema("lc25000")
    for label in ("lung_aca", "LUNG_ACA", "lung adenocarcinoma"):
        assert codes("H&E section of lung adenocarcinoma.", [label], schema) == set()


def test_an_unknown_label_is_an_error_that_names_the_nearest():
    with pytest.raises(SchemaError, match="Effusion"):
        check_caption("Chest X-ray.", ["Efusion"], "chestxray14")


def test_a_schema_sets_the_level_of_a_code_and_of_one_kind_of_detail():
    base = schema_of("cxr").model_dump(exclude_defaults=True)
    loose = parse_schema({**base, "levels": {"invented_detail.laterality": "warning", "wrong_modality": "off"}})
    caption = "CT of the chest with pneumonia on the left."
    assert {"invented_detail", "wrong_modality"} <= codes(caption, ["pneumonia"], schema_of("cxr"))
    verdict = check_caption(caption, ["pneumonia"], loose)
    assert verdict.agrees
    assert {(i.code, i.level) for i in verdict.issues} >= {("invented_detail", "warning")}


def test_a_denied_class_is_noted_only_where_the_labels_do_not_deny_it():
    schema = load_schema("chestxray14")
    caption = "Chest X-ray with a mass, without pneumothorax."
    assert [i.level for i in check_caption(caption, ["Mass"], schema).issues if i.code == "denied_class"] == ["info"]
    known = check_caption(caption, ["Mass"], schema, negatives=["Pneumothorax"])
    assert "denied_class" not in {i.code for i in known.issues}


def test_a_checker_survives_pickling_with_its_version():
    checker = Checker(load_schema("busi"))
    copy = pickle.loads(pickle.dumps(checker))
    caption = "Breast ultrasound of a benign mass."
    assert copy.version == checker.version
    assert copy.check(caption, ["benign"]) == checker.check(caption, ["benign"])


def test_the_version_follows_the_vocabulary():
    assert Checker(load_schema("busi")).version != Checker(load_schema("lc25000")).version
    base = load_schema("busi").model_dump(exclude_defaults=True)
    base["classes"][0]["synonyms"] = [*base["classes"][0].get("synonyms", ()), "harmless lump"]
    assert Checker(parse_schema(base)).version != Checker(load_schema("busi")).version


def test_accepted_wordings_begin_with_the_name():
    assert accepted_wordings("chestxray14", "effusion")[0] == "pleural effusion"


def test_every_issue_has_a_known_code():
    verdict = check_caption("CT of the left knee with pneumonia?", ["Effusion"], "chestxray14")
    assert {i.code for i in verdict.issues} <= set(CODES)
    assert verdict.to_dict()["verdict"] == "disagree"
