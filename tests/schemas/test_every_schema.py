"""What holds for every label schema of the catalogue, whatever its dataset."""

import pytest

from captioner import resources
from captioner.agreement import lint
from captioner.pipeline import load_pipeline
from tests.catalogue import captions, confused, disagreeing, schema_of

SCHEMAS = tuple(resources.names("label_schemas"))
# Sets of many classes are compared class by class where their own tests are, by a spread or by other captions.
APART = {
    *("chexpert", "covidx", "mimic_cxr_jpg", "ms_cxr", "object_cxr", "padchest", "rsna_pneumonia", "siim_pneumothorax"),
    *("tb_chest_xray", "vinbigdata_cxr", "vindr_cxr", "vindr_mammo", "vindr_pcxr", "vindr_spinexr"),
    *("brain_mri_tumor", "busi", "chestxray14", "demo", "lc25000", "radimagenet"),
    *("aptos2019", "idrid", "odir5k", "retina_flair", "rfmid"),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_lint_finds_no_error_the_facts_have_a_source_and_a_pipeline_names_it(name: str) -> None:
    schema = schema_of(name)
    assert [p for p in lint(schema) if p.level == "error"] == []
    assert schema.verified
    assert schema.description
    if name != "demo":
        assert schema.sources
        assert schema.cite
        assert schema.terms
    assert load_pipeline(name).label_schema == name
    assert {str(c.concept).partition(".")[0] for c in schema.classes if c.concept} <= set(schema.fields)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_built_in_writer_has_ten_agreeing_captions_for_each_class(name: str) -> None:
    assert disagreeing(name) == []
    assert [code for code in schema_of(name).codes if len(set(captions(name, code))) != 10] == []


@pytest.mark.parametrize("name", sorted({*SCHEMAS} - APART))
def test_no_caption_of_a_class_agrees_under_an_unrelated_one(name: str) -> None:
    assert confused(name) == []
