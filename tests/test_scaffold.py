"""Drafting a schema from a table that nobody has described."""

import pytest
import yaml

from captioner.errors import SchemaError, TableError
from captioner.scaffold import draft
from captioner.schema import parse_schema
from captioner.tables import read_samples


def drafted(table, **changes):
    text = draft(table, **({"schema_id": "mine", "modality": "xray", "anatomy": "chest"} | changes))
    return parse_schema(yaml.safe_load(text)), text


TABLES = {
    "names": "image,view,labels\na.png,PA,Effusion|Mass\nb.png,AP,Effusion\nc.png,PA,Mass\nd.png,AP,No Finding\n",
    "literals": "image,labels\na.png,\"['Effusion', 'Mass']\"\nb.png,['Effusion']\nc.png,['Mass']\nd.png,['Mass']\n",
    "one_hot": "ID,Effusion,Mass,age\na,1,0,50\nb,0,1,61\nc,1,1,33\nd,0,0,70\n",
    "semicolons": "file-name;class-name\na.jpg;Effusion\nb.jpg;Mass\nc.jpg;Effusion\nd.jpg;Mass\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_the_draft_of_a_table_is_a_valid_schema_that_reads_the_table(tmp_path, name):
    table = tmp_path / "labels.csv"
    table.write_text(TABLES[name])
    schema, _ = drafted(table)
    samples = read_samples(schema, table)
    assert len(samples.frame) >= 3
    assert {"Effusion", "Mass"} <= {code for labels in samples.combinations for code in labels.positive}


def test_a_folder_of_folders_is_a_table_too(tmp_path):
    for name in ("yes/a.jpg", "no/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    schema, _ = drafted(tmp_path, modality="mri", anatomy="brain")
    assert schema.codes == ("no", "yes")
    assert len(read_samples(schema, tmp_path).frame) == 2


def test_a_known_name_takes_its_concept_and_an_unknown_one_asks_for_a_look(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\na.png,Cardiomegaly\nb.png,Zorgitis\nc.png,Cardiomegaly\nd.png,Zorgitis\n")
    schema, text = drafted(table)
    assert schema["Cardiomegaly"].concept == "chest.cardiomegaly"
    assert "name: zorgitis  # look" in text


def test_a_concept_of_another_field_is_only_suggested(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\na.png,glaucoma\nb.png,Cardiomegaly\nc.png,glaucoma\nd.png,Cardiomegaly\n")
    schema, text = drafted(table)
    assert schema["glaucoma"].concept is None
    assert "retina.glaucoma" in text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("a,b\n1,2\n", TableError, "no column looks like labels"),
        ("", TableError, "empty"),
    ],
)
def test_a_table_that_cannot_be_guessed_says_what_is_in_it(tmp_path, content, error, message):
    table = tmp_path / "labels.csv"
    table.write_text(content)
    with pytest.raises(error, match=message):
        drafted(table)


def test_an_unknown_modality_names_the_known_ones(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(TABLES["names"])
    with pytest.raises(SchemaError, match=r"no modality 'x-ray'\. Did you mean 'xray'.*fundus"):
        drafted(table, modality="x-ray")


def test_labels_that_differ_in_case_are_one_class(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\na.png,Mass\nb.png,mass\nc.png,Effusion\nd.png,Mass\n")
    schema, _ = drafted(table)
    assert schema.codes == ("Effusion", "Mass")
    assert len(read_samples(schema, table).frame) == 4


@pytest.mark.parametrize(
    ("label", "concept"),
    [
        ("bbps-2-3", "endoscopy.bowel_adequate"),
        ("dyed-lifted-polyps", "endoscopy.dyed_lifted_polyp"),
        ("Ulcerative_Colitis_grade_0-1", "endoscopy.ulcerative_colitis_mayo_0_1"),
        ("polyp", "endoscopy.polyp"),
    ],
)
def test_spelling_number_and_order_of_words_do_not_keep_a_label_from_its_concept(tmp_path, label, concept):
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\na.png,{label}\nb.png,Zorgitis\nc.png,{label}\nd.png,Zorgitis\n")
    schema, _ = drafted(table, modality="endoscopy", anatomy="gi_tract")
    assert schema[label].concept == concept


@pytest.mark.parametrize(
    ("label", "concept"),
    [
        ("hemorroids", "endoscopy.hemorrhoids"),
        ("short-segment-barretts", "endoscopy.barretts_short_segment"),
        ("oesophagitis-b-d", "endoscopy.esophagitis_la_b_d"),
        ("normal-pylorus", "endoscopy.pylorus"),
    ],
)
def test_what_a_label_could_be_is_proposed_and_not_taken(tmp_path, label, concept):
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\na.png,{label}\nb.png,Zorgitis\nc.png,{label}\nd.png,Zorgitis\n")
    schema, text = drafted(table, modality="endoscopy", anatomy="gi_tract")
    assert schema[label].concept is None
    assert f"# or, in its place: concept: {concept}" in text
    assert schema[label].kind == ("normal" if label.startswith("normal") else "finding")


@pytest.mark.parametrize("label", ["normal", "Healthy", "No Finding"])
def test_a_label_that_says_normal_is_the_normal_of_what_the_images_show(tmp_path, label):
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\na.png,{label}\nb.png,glaucoma\nc.png,{label}\nd.png,glaucoma\n")
    schema, _ = drafted(table, modality="fundus", anatomy="retina")
    assert schema[label].concept == "retina.normal"
