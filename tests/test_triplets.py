"""Triplets: the distinct label information of samples, in an order that no row decides."""

import random

import pytest

from captioner.distinct import distinct
from captioner.errors import UsageError
from captioner.tables import read_samples
from captioner.triplets import Labels, make_triplet
from tests.test_tables import schema, write

ATTRIBUTES = {"view": {"column": "view"}, "sex": {"column": "sex"}}
ROWS = [
    ("1.png", "Pacemaker", "PA", "F"),
    ("2.png", "Opacity|Mass", "PA", "M"),
    ("3.png", "Mass", "AP", ""),
    ("4.png", "Mass", "PA", "M"),
    ("5.png", "Mass|Opacity", "AP", "M"),
]


def samples(tmp_path, rows=ROWS, **changes):
    made = schema(attributes=ATTRIBUTES, **changes)
    write(tmp_path / "labels.csv", ("image", "labels", "view", "sex"), *rows)
    return made, read_samples(made, tmp_path)


def test_images_with_the_same_labels_share_a_triplet(tmp_path):
    triplets, index = distinct(*samples(tmp_path))
    assert [t.findings for t in triplets] == [("Mass",), ("Mass", "Opacity"), ("Pacemaker",)]
    assert index.tolist() == [2, 1, 0, 0, 1]
    assert {(t.modality, t.anatomy) for t in triplets} == {("xray", "chest")}


def test_chosen_attributes_tell_images_apart_and_empty_ones_are_left_out(tmp_path):
    triplets, index = distinct(*samples(tmp_path), attributes=["view", "sex"])
    assert [(t.findings, t.attributes) for t in triplets] == [
        (("Mass",), (("sex", "M"), ("view", "PA"))),
        (("Mass",), (("view", "AP"),)),
        (("Mass", "Opacity"), (("sex", "M"), ("view", "AP"))),
        (("Mass", "Opacity"), (("sex", "M"), ("view", "PA"))),
        (("Pacemaker",), (("sex", "F"), ("view", "PA"))),
    ]
    assert index.tolist() == [4, 3, 1, 0, 2]


def test_denied_classes_tell_images_apart_only_where_they_are_asked_for(tmp_path):
    rules = {"uncertain": {"mass?": "Mass"}}
    rows = [("1.png", "Opacity", "", ""), ("2.png", "Opacity|mass?", "", "")]
    made, table = samples(tmp_path, rows, labels=rules, negatives="closed_world")
    assert len(distinct(made, table)[0]) == 1
    triplets, index = distinct(made, table, negatives=True)
    assert [t.negatives for t in triplets] == [("Mass", "Pneumonia", "Pacemaker"), ("Pneumonia", "Pacemaker")]
    assert index.tolist() == [0, 1]


def test_the_order_of_rows_changes_neither_triplets_nor_ids(tmp_path):
    expected = distinct(*samples(tmp_path), attributes=["view"])[0]
    for seed in range(5):
        rows = random.Random(seed).sample(ROWS, len(ROWS))
        triplets, index = distinct(*(found := samples(tmp_path, rows)), attributes=["view"])
        assert triplets == expected
        for row, position in zip(found[1].frame["image"], index, strict=True):
            source = next(r for r in ROWS if r[0] == row)
            assert set(source[1].split("|")) == set(triplets[position].findings)
            assert dict(triplets[position].attributes)["view"] == source[2]


def test_an_id_depends_on_what_is_said_and_on_the_dataset_and_on_nothing_else():
    one = make_triplet(schema(), Labels(("Opacity", "Mass"), negative=("Pneumonia",)))
    assert one == make_triplet(schema(title="Other title"), Labels(("Mass", "Opacity"), uncertain=("Pacemaker",)))
    assert one.id != make_triplet(schema(), Labels(("Mass",))).id
    assert one.id != make_triplet(schema(id="other"), Labels(("Mass", "Opacity"))).id
    assert one.id != make_triplet(schema(), Labels(("Mass", "Opacity"), negative=("Pneumonia",)), negatives=True).id
    assert one.id != make_triplet(schema(), Labels(("Mass", "Opacity")), attributes={"view": "PA"}).id
    assert one == make_triplet(schema(), Labels(("Mass", "Opacity")), attributes={"view": ""})


def test_an_attribute_that_the_schema_does_not_have_is_named_with_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match=r"no attribute 'veiw'; it has: view, sex. Did you mean 'view'\?"):
        distinct(*samples(tmp_path), attributes=["veiw"])


def test_no_samples_have_no_triplets(tmp_path):
    made, table = samples(tmp_path, [("1.png", "", "", "")])
    triplets, index = distinct(made, table, attributes=["view"])
    assert triplets == ()
    assert index.tolist() == []
