"""Truth by construction: cue, finding, coordination and schema are put together, so that the right answer is known."""

import itertools

import pytest

from captioner.agreement import Checker
from captioner.schema import load_schema

FIELDS = {
    "chestxray14": ("chest X-ray", {"Pneumonia": "pneumonia", "Effusion": "pleural effusion", "Pneumothorax": "pneumothorax", "Emphysema": "emphysema"}),
    "odir5k": ("fundus photograph", {"G": "glaucoma", "C": "cataract", "M": "pathological myopia", "H": "hypertensive retinopathy"}),
    "radimagenet": ("abdominal CT", {"CT/abd/ascites": "ascites", "CT/abd/liver_lesion": "liver lesion", "CT/abd/splenic_lesion": "splenic lesion"}),
}  # fmt: skip

ASSERTED = [
    "The {image} shows {x}.", "{X} is present on this {image}.", "{X} can be seen on this {image}.",
    "There is {x} on this {image}.", "This {image} demonstrates {x}.", "{X} is evident on this {image}.",
    "A {image} in keeping with {x}.", "A {image} with findings suggestive of {x}.", "This {image} reveals {x}.",
    "The appearance of this {image} is typical of {x}.", "{X} is demonstrated on this {image}.",
    "There is no doubt about the {x} on this {image}.", "Apart from {x} nothing abnormal is seen on this {image}.",
    "On this {image}, {x} is the only abnormality.", "This {image} is abnormal because of {x}.",
    "A {image} with clear evidence of {x}.", "{X}, {image}.", "{X} is visible; this is a {image}.",
    "{X} is unmistakable on this {image}.", "This {image} is not normal: it shows {x}.",
]  # fmt: skip
DENIED = [
    "The {image} shows no {x}.", "{X} is absent on this {image}.", "There is no evidence of {x} on this {image}.",
    "{X} is not seen on this {image}.", "A {image} without {x}.", "A {image} negative for {x}.",
    "This {image} does not show {x}.", "{X} does not appear on this {image}.", "No {x} is identified on this {image}.", "{X} has been ruled out on this {image}.",
    "A {image} free of {x}.", "{X} cannot be seen on this {image}.", "{X} isn't visible on this {image}.",
    "There is neither {x} nor any other disease on this {image}.", "Nothing on this {image} suggests {x}.",
    "This {image} lacks {x}.", "{X}: absent. This is a {image}.", "This {image} fails to show {x}.",
    "There is an absence of {x} on this {image}.", "On this {image}, {x} is not apparent.",
    "The {image} is far from showing {x}.", "This {image} excludes {x}.", "{X} is excluded by this {image}.",
]  # fmt: skip
DOUBTED = [
    "Possible {x} on this {image}.", "{X} is suspected on this {image}.", "{X} cannot be excluded on this {image}.",
    "This {image} may represent {x}.", "A {image} suspicious for {x}.", "{X} is not ruled out on this {image}.",
    "A {image} taken to rule out {x}.", "Query {x} on this {image}.", "{X} is a possibility on this {image}.",
    "This {image} was requested to evaluate for {x}.", "There might be {x} on this {image}.",
    "A {image} with questionable {x}.", "It is uncertain whether {x} is present on this {image}.",
    "{X} remains in the differential diagnosis of this {image}.", "A {image} with probable {x}.",
]  # fmt: skip
PAIRS_BOTH = [
    "The {image} shows {x} and {y}.", "{X} with {y} on this {image}.", "This {image} demonstrates {x} as well as {y}.",
    "Both {x} and {y} are present on this {image}.", "There is {x}, and there is also {y}, on this {image}.",
    "This {image} shows not only {x} but also {y}.", "{X} is seen together with {y} on this {image}.",
]  # fmt: skip
PAIRS_FIRST = [
    "The {image} shows {x} but no {y}.", "{X} without {y} on this {image}.", "{X} is present, {y} is absent on this {image}.",
    "There is {x} rather than {y} on this {image}.", "This {image} demonstrates {x}; {y} is not seen.",
    "{X} is evident, whereas {y} is absent on this {image}.", "No {y} is seen, but there is {x} on this {image}.",
    "Without {y}, but with {x}: a {image}.", "There is no {y} on this {image}; {x} is present.",
    "On this {image} there is {x} and no {y}.", "Although there is no {y}, this {image} shows {x}.",
]  # fmt: skip
PAIRS_NEITHER = [
    "No {x} or {y} on this {image}.", "Neither {x} nor {y} is seen on this {image}.", "This {image} shows no {x}, {z} or {y}.",
    "{X} and {y} are both absent on this {image}.", "There is no evidence of {x}, {y} or {z} on this {image}.",
    "{X}, {y} and {z} are not seen on this {image}.", "This {image} is free of {x} and {y}.",
]  # fmt: skip


def fill(frame, image, *names):
    words = dict(zip("xyz", names, strict=False))
    text = frame.format(image=image, **words, **{k.upper(): v[0].upper() + v[1:] for k, v in words.items()})
    return text[0].upper() + text[1:]


def cases(frames, count):
    for schema, (image, classes) in FIELDS.items():
        for frame, labels in itertools.product(frames, itertools.permutations(classes, count)):
            yield schema, labels, fill(frame, image, *(classes[label] for label in labels))


@pytest.fixture(scope="module")
def errors():
    checkers = {name: Checker(load_schema(name)) for name in FIELDS}

    def judge(schema, labels, caption):
        return {i.code for i in checkers[schema].check(caption, labels).issues if i.level == "error"}

    return judge


def wrong(found, total):
    return f"{len(found)} of {total}:\n" + "\n".join(map(str, found[:20]))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(ASSERTED, None), (DENIED, "negated_label"), (DOUBTED, "hedged_label")],
    ids=["asserted", "denied", "doubted"],
)
def test_one_finding(errors, frames, expected):
    found = []
    total = 0
    for schema, labels, caption in cases(frames, 1):
        total += 1
        got = errors(schema, labels, caption)
        if (expected is None and got) or (expected and expected not in got):
            found.append((caption, got))
    assert not found, wrong(found, total)


def test_two_findings_that_are_both_there(errors):
    found = []
    for schema, (x, y), caption in cases(PAIRS_BOTH, 2):
        if errors(schema, [x, y], caption):
            found.append((caption, "both", errors(schema, [x, y], caption)))
        if "extra_label" not in errors(schema, [x], caption):
            found.append((caption, x))
    assert not found, wrong(found, "all")


def test_two_findings_of_which_only_one_is_there(errors):
    found = []
    for schema, (x, y), caption in cases(PAIRS_FIRST, 2):
        if errors(schema, [x], caption):
            found.append((caption, x, errors(schema, [x], caption)))
        if "negated_label" not in errors(schema, [x, y], caption):
            found.append((caption, "both"))
    assert not found, wrong(found, "all")


def test_lists_of_what_is_not_there(errors):
    found = []
    for schema, (x, y, _), caption in cases(PAIRS_NEITHER, 3):
        found += [(caption, label) for label in (x, y) if "negated_label" not in errors(schema, [label], caption)]
    assert not found, wrong(found, "all")


def test_or_leaves_both_open(errors):
    for schema, (x, y), caption in cases(["This {image} shows {x} or {y}.", "{X} versus {y} on this {image}."], 2):
        assert "hedged_label" in errors(schema, [x, y], caption), caption
        assert {"hedged_label", "extra_label"} <= errors(schema, [x], caption), caption
