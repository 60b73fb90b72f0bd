"""The built-in writer: what it promises for any label information of any schema."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner import resources
from captioner.agreement import Checker
from captioner.schema import Anatomy, LabelSchema, Library, Modality, load_library, load_schema, parse_schema
from captioner.tables import read_samples
from captioner.triplets import Labels, Triplet, make_triplet
from captioner.writer import Writer, write_captions
from captioner.writer.grammar import article, guess_number, head, is_nominal, join


def schema(modality: str, anatomy: str, *classes: dict[str, Any], **more: Any) -> LabelSchema:
    return parse_schema(
        {
            "id": "example",
            "title": "Example",
            "modality": modality,
            "anatomy": anatomy,
            "tables": [{"layout": "folders"}],
            "classes": list(classes),
            **more,
        }
    )


CHEST = schema(
    "xray",
    "chest",
    {"code": "Atelectasis", "name": "atelectasis", "synonyms": ["lung ... collapsed", "plate-like atelectasis"]},
    {"code": "Cardiomegaly", "name": "cardiomegaly", "synonyms": ["enlarged heart", "heart ... enlarged"]},
    {"code": "Consolidation", "name": "consolidation"},
    {"code": "Edema", "name": "pulmonary edema", "synonyms": ["pulmonary oedema", "edematous"]},
    {"code": "Effusion", "name": "pleural effusion", "synonyms": ["small pleural effusion"]},
    {"code": "Mass", "name": "lung mass"},
    {"code": "Nodule", "name": "lung nodule"},
    {"code": "Pneumonia", "name": "pneumonia", "synonyms": ["viral pneumonia", "bronchopneumonia"]},
    {"code": "Pneumothorax", "name": "pneumothorax", "synonyms": ["tension pneumothorax"]},
    {"code": "Devices", "name": "support devices", "kind": "device"},
    {"code": "No Finding", "name": "no finding", "kind": "normal"},
    attributes={
        "view": {"column": "View", "details": ["view"]},
        "age": {"column": "Age", "details": ["age"]},
        "sex": {"column": "Sex", "details": ["sex"]},
    },
)
RETINA = schema(
    "fundus",
    "retina",
    {"code": "0", "name": "no diabetic retinopathy", "kind": "absence", "denies": "DR"},
    {
        "code": "2",
        "name": "moderate non-proliferative diabetic retinopathy",
        "kind": "grade",
        "abbreviations": ["NPDR"],
    },
    {"code": "DR", "name": "diabetic retinopathy", "synonyms": ["retinopathy"]},
    {"code": "G", "name": "glaucoma", "synonyms": ["glaucomatous"]},
    {"code": "D", "name": "drusen", "number": "plural"},
    {"code": "N", "name": "normal retina", "kind": "normal"},
)
KNEE = schema(
    "mri",
    "knee",
    {"code": "acl", "name": "anterior cruciate ligament pathology", "structure": ["anterior cruciate ligament", "ACL"]},
    {"code": "normal", "name": "normal knee", "kind": "normal"},
)
KIDNEY = schema("ultrasound", "kidney", {"code": "kidney", "name": "kidney", "kind": "organ"})
COLON = schema(
    "histology",
    "colon",
    {"code": "fat", "name": "adipose tissue", "kind": "tissue"},
    {"code": "benign", "name": "benign colonic tissue", "kind": "normal"},
    {"code": "cancer", "name": "colon adenocarcinoma"},
)
BREAST = schema("ultrasound", "breast", {"code": "malignant", "name": "malignant breast tumor"})

FINDINGS = [c for c in CHEST.codes if c != "No Finding"]
EVERY_KIND = [
    *((CHEST, (c,)) for c in CHEST.codes),
    *((RETINA, (c,)) for c in RETINA.codes),
    (RETINA, ("2", "G", "D")),
    (RETINA, ("0", "G")),
    (RETINA, ("0", "N")),
    *((KNEE, (c,)) for c in KNEE.codes),
    (KIDNEY, ("kidney",)),
    *((COLON, (c,)) for c in COLON.codes),
    (BREAST, ("malignant",)),
    (CHEST, tuple(FINDINGS[:9])),
]
PINNED = [
    "Anterior cruciate ligament pathology is demonstrated on this MRI of the knee.",
    "The MRI of the knee reveals anterior cruciate ligament pathology.",
    "This knee MRI shows that the ACL is abnormal.",
]
# What no label says, as words; a caption that holds one goes beyond its labels.
BEYOND = re.compile(
    r"\b(?:left|right|bilateral|unilateral|upper|lower|apical|basal|lobar?|small|large|mild|severe|acute|chronic|early|"
    r"cm|mm|patient|history|pain|cough|fever|treat\w*|recommend\w*|follow-up|biopsy|prior|previous|new|worsen\w*|"
    r"possibl\w*|probabl\w*|likely|suspect\w*|may|might|could|several|multiple|single|two|viral|tension|plate-like|"
    r"dataset|label\w*|class|AI|caption)\b",
    re.IGNORECASE,
)


def captions(
    dataset: LabelSchema,
    positive: tuple[str, ...],
    count: int = 10,
    *,
    negative: tuple[str, ...] = (),
    attributes: dict[str, str] | None = None,
    **more: Any,
) -> list[str]:
    return write_captions(dataset, triplet(dataset, positive, negative, attributes), count, **more)


def triplet(
    dataset: LabelSchema,
    positive: tuple[str, ...],
    negative: tuple[str, ...] = (),
    attributes: dict[str, str] | None = None,
) -> Triplet:
    return make_triplet(dataset, Labels(positive, negative), negatives=bool(negative), attributes=attributes or {})


def normalised(caption: str) -> str:
    return " ".join(re.findall(r"\w+", caption.casefold()))


def alike(a: str, b: str) -> float:
    one, other = set(normalised(a).split()), set(normalised(b).split())
    return len(one & other) / len(one | other)


class TestEverySet:
    @pytest.mark.parametrize(("dataset", "labels"), EVERY_KIND, ids=lambda v: v if isinstance(v, tuple) else None)
    def test_is_complete_distinct_and_varied(self, dataset: LabelSchema, labels: tuple[str, ...]):
        for seed in range(5):
            made = captions(dataset, labels, seed=seed)
            assert len(made) == 10
            assert len({normalised(c) for c in made}) == 10
            assert max(alike(a, b) for a, b in itertools.combinations(made, 2)) < 0.9
            openings = [tuple(normalised(c).split()[:3]) for c in made]
            assert max(openings.count(o) for o in openings) <= 3

    @pytest.mark.parametrize(("dataset", "labels"), EVERY_KIND, ids=lambda v: v if isinstance(v, tuple) else None)
    def test_can_hold_thirty(self, dataset: LabelSchema, labels: tuple[str, ...]):
        made = captions(dataset, labels, 30)
        assert len({normalised(c) for c in made}) == 30

    @given(
        labels=st.lists(st.sampled_from(FINDINGS), min_size=1, max_size=9, unique=True),
        denied=st.lists(st.sampled_from(FINDINGS), max_size=5, unique=True),
        seed=st.integers(0, 2**31),
    )
    @settings(max_examples=60, deadline=None)
    def test_asserts_every_finding_and_says_nothing_else(self, labels: list[str], denied: list[str], seed: int):
        negative = tuple(d for d in denied if d not in labels)
        made = captions(CHEST, tuple(labels), seed=seed, negative=negative)
        assert made == captions(CHEST, tuple(reversed(labels)), seed=seed, negative=negative)
        assert len({normalised(c) for c in made}) == 10
        for caption in made:
            affirmed = re.split(r"\b(?:no|without)\b", caption, flags=re.IGNORECASE)[0]
            for code in labels:
                wordings = [w for w in CHEST[code].wordings if "..." not in w]
                assert any(w.lower() in affirmed.lower() for w in wordings), (code, caption)
            for code in set(FINDINGS) - set(labels):
                assert not re.search(rf"\b{CHEST[code].name}\b", affirmed, re.IGNORECASE)
                assert code in negative or not re.search(rf"\b{CHEST[code].name}\b", caption, re.IGNORECASE)
            assert not BEYOND.search(caption), caption
            assert "normal" not in caption.lower()
            assert re.search(r"X-ray|radiograph", caption, re.IGNORECASE)
            assert "chest" in caption.lower()

    @pytest.mark.parametrize(("dataset", "labels"), EVERY_KIND, ids=lambda v: v if isinstance(v, tuple) else None)
    def test_is_written_in_whole_and_clean_english(self, dataset: LabelSchema, labels: tuple[str, ...]):
        for caption in itertools.chain.from_iterable(captions(dataset, labels, 20, seed=s) for s in range(3)):
            assert caption[0].isupper() or caption[0].isdigit()
            assert caption.endswith(".")
            assert not caption.endswith("..")
            assert not re.search(r"[{}|_]|  | [,.;:]", caption), caption
            assert not re.search(r"\b(\w+) \1\b", caption, re.IGNORECASE), caption
            assert not re.search(r"\b[Aa] (?:[aeio]|MR|X-|H&E)", caption), caption
            assert not re.search(r"\b[Aa]n (?:[bcdfghjklmnpqrstvw]|CT)", caption), caption
            assert not re.search(r"\ban? (?:drusen|atelectasis|glaucoma|pneumonia|support devices)", caption), caption
            if not re.search("evidence|sign", caption, re.IGNORECASE):
                assert not re.search(r"(?:drusen|devices) is\b", caption, re.IGNORECASE), caption
            assert caption.count("MRI") + caption.count("mri") <= 1


class TestTheSelection:
    def test_is_the_same_for_the_same_input(self):
        assert captions(CHEST, ("Effusion",), seed=7) == captions(CHEST, ("Effusion",), seed=7)

    def test_is_the_same_on_every_machine(self):
        library = Library(
            {},
            {"mri": Modality(name="MRI", view="MRI of the {anatomy}", views=("{adjective} MRI",))},
            {"knee": Anatomy(name="knee")},
        )
        assert captions(KNEE, ("acl",), 3, library=library) == PINNED, "other captions need another writer.VERSION"

    def test_differs_between_seeds_and_between_triplets(self):
        assert captions(CHEST, ("Effusion",), seed=1) != captions(CHEST, ("Effusion",), seed=2)
        frames = [c.replace("lung nodule", "X").replace("lung mass", "X") for c in captions(CHEST, ("Nodule",))]
        assert frames != [c.replace("lung mass", "X").replace("lung nodule", "X") for c in captions(CHEST, ("Mass",))]

    def test_does_not_repeat_captions_that_exist_already(self):
        first = captions(KIDNEY, ("kidney",))
        more = captions(KIDNEY, ("kidney",), avoid=first)
        assert len({normalised(c) for c in first + more}) == 20
        assert max(alike(a, b) for a in first for b in more) < 0.9

    def test_ends_early_rather_than_repeat_itself(self):
        made = captions(KIDNEY, ("kidney",), 2000)
        assert len(made) < 2000
        assert len({normalised(c) for c in made}) == len(made)


class TestKinds:
    def test_an_absence_is_denied_and_nothing_wider_than_it(self):
        for caption in captions(RETINA, ("0",), 30):
            assert re.search(r"\b(?:no|without|free of|negative for)\b", caption, re.IGNORECASE), caption
            assert "diabetic retinopathy" in caption.lower()

    def test_a_denial_does_not_reach_the_finding_beside_it(self):
        for caption in captions(RETINA, ("0", "G"), 30):
            before = re.split(r"\b(?:no|without)\b", caption, flags=re.IGNORECASE)[0]
            assert "glaucoma" in before.lower(), caption

    def test_an_organ_view_says_nothing_of_disease_or_health(self):
        for caption in captions(KIDNEY, ("kidney",), 30):
            assert re.search("kidney|renal", caption, re.IGNORECASE)
            assert not re.search("normal|abnormal|disease|evidence|finding|lesion|healthy", caption, re.IGNORECASE)

    def test_an_abnormal_structure_is_never_given_a_diagnosis(self):
        made = captions(KNEE, ("acl",), 30)
        assert not any(re.search("tear|rupture|sprain|injury", c) for c in made)
        assert any(re.search(r"(?:ligament|ACL) is abnormal", c) for c in made)
        assert any("ACL" in c for c in made)
        assert not any(re.search(r"(?:is|with|showing|shows|reveals|depicts) abnormal ACL", c) for c in made)

    def test_a_normal_image_is_called_normal_and_nothing_else(self):
        for caption in captions(CHEST, ("No Finding",), 30):
            assert re.search(r"normal|unremarkable|no (?:abnormal|evidence|signs)", caption, re.IGNORECASE), caption

    def test_benign_tissue_is_not_called_an_unremarkable_image(self):
        for caption in captions(COLON, ("benign",), 30):
            assert "benign" in caption.lower()

    def test_the_body_part_is_named_once(self):
        for caption in captions(BREAST, ("malignant",), 30):
            assert caption.lower().count("breast") == 1

    def test_a_triplet_that_names_nothing_gets_captions_of_the_view(self):
        nothing = Triplet("t0", "ultrasound", "kidney", ())
        assert all(re.search("kidney|renal", c, re.IGNORECASE) for c in write_captions(KIDNEY, nothing, 10))

    def test_a_name_with_template_or_markup_characters_is_written_as_it_is(self):
        dataset = schema("xray", "chest", {"code": "x", "name": "{{ evil }} {f} <b>sign</b>"})
        assert all("{{ evil }} {f} <b>sign</b>" in c for c in captions(dataset, ("x",)))

    def test_only_denied_classes_are_denied(self):
        made = captions(CHEST, ("Mass",), 30, negative=("Effusion", "Nodule"))
        assert any("no " in c or "without" in c for c in made)
        assert not any(re.search("pneumothorax|edema|atelectasis", c) for c in made)


class TestAttributes:
    def test_age_sex_and_projection_are_said_where_the_triplet_holds_them(self):
        made = captions(CHEST, ("Mass",), attributes={"age": "58", "sex": "female", "view": "posteroanterior"})
        assert all("a 58-year-old woman" in c and "posteroanterior" in c.lower() for c in made)

    @pytest.mark.parametrize(
        ("attributes", "said"),
        [
            ({"age": "8", "sex": "male"}, "an 8-year-old boy"),
            ({"age": "018Y"}, "an 18-year-old person"),
            ({"sex": "F"}, "a female patient"),
        ],
    )
    def test_people_are_named_as_far_as_they_are_known(self, attributes: dict[str, str], said: str):
        assert all(said in c for c in captions(CHEST, ("Mass",), attributes=attributes))

    @pytest.mark.parametrize("age", ["412", "0", "unknown", "-3", "{{ age }}"])
    def test_an_age_that_cannot_be_is_left_unsaid(self, age: str):
        made = captions(CHEST, ("Mass",), attributes={"age": age})
        assert not any(re.search(r"year|patient|\d|\{", c) for c in made)

    @pytest.mark.parametrize(
        ("dataset", "labels", "said"),
        [
            (RETINA, ("G",), r"of the left (?:eye|ocular fundus)"),
            (KNEE, ("acl",), r"of the left knee|[Ll]eft knee MRI"),
        ],
    )
    def test_the_side_is_said_where_the_triplet_holds_it(
        self, dataset: LabelSchema, labels: tuple[str, ...], said: str
    ):
        made = captions(dataset, labels, attributes={"laterality": "left"})
        assert all(re.search(said, c) for c in made)


class TestShippedSchemas:
    @pytest.mark.parametrize("name", resources.names("label_schemas"))
    def test_every_class_gets_ten_clean_captions(self, name: str):
        dataset = load_schema(name)
        writer = Writer(dataset, load_library())
        for item in dataset.classes:
            made = writer.write(triplet(dataset, (item.code,)), 10)
            assert len({normalised(c) for c in made}) == 10, item.code
            assert max(alike(a, b) for a, b in itertools.combinations(made, 2)) < 0.9, item.code
            for caption in made:
                assert caption[0].isupper() or caption[0].isdigit(), caption
                assert caption.endswith("."), caption
                assert not re.search(
                    r"[{}|_]|  |\b(\w+) \1\b|(?<!grade )\b[Aa] [aeio]\w|\b[Aa]n [bcdfgjklmnpqrstvwxyz]\w", caption
                ), caption


class TestAgreement:
    """The check that every caption must pass is a module of its own; the writer knows nothing of it."""

    @pytest.mark.parametrize("name", resources.names("label_schemas"))
    def test_every_caption_of_every_class_agrees_with_its_label(self, name: str):
        dataset = load_schema(name)
        writer, checker = Writer(dataset, load_library()), Checker(dataset)
        for item in dataset.classes:
            for caption in writer.write(triplet(dataset, (item.code,)), 10, seed=3):
                verdict = checker.check(caption, [item.code])
                assert verdict.agrees, (caption, verdict.issues)

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("chestxray14", "nih_chestxray14"),
            ("retina_flair", "retina/flair_tables"),
            ("idrid", "idrid"),
            ("rfmid", "rfmid"),
        ],
    )
    @pytest.mark.slow
    def test_every_caption_of_every_real_combination_agrees(self, real_data: Path, name: str, place: str):
        dataset = load_schema(name)
        writer, checker = Writer(dataset, load_library()), Checker(dataset)
        for labels in read_samples(dataset, real_data / place).combinations:
            for caption in writer.write(make_triplet(dataset, labels), 3):
                verdict = checker.check(caption, labels.positive)
                assert verdict.agrees, (caption, labels.positive, verdict.issues)

    @given(
        labels=st.lists(st.sampled_from(FINDINGS), min_size=1, max_size=4, unique=True),
        denied=st.lists(st.sampled_from(FINDINGS), max_size=5, unique=True),
        age=st.integers(1, 110),
        sex=st.sampled_from(["male", "female", ""]),
        view=st.sampled_from(["posteroanterior", "anteroposterior", ""]),
    )
    @settings(max_examples=25, deadline=None)
    def test_denials_and_attributes_agree_where_the_triplet_holds_them(
        self, labels: list[str], denied: list[str], age: int, sex: str, view: str
    ):
        negative = [d for d in denied if d not in labels]
        attributes = {"age": str(age), "sex": sex, "view": view}
        checker = Checker(CHEST)
        for caption in captions(CHEST, tuple(labels), negative=tuple(negative), attributes=attributes):
            verdict = checker.check(
                caption, labels, negatives=negative, attributes={k: v for k, v in attributes.items() if v}
            )
            assert verdict.agrees, (caption, verdict.issues)


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("MRI of the knee", "an"),
            ("X-ray", "an"),
            ("H&E-stained section", "an"),
            ("CT scan", "a"),
            ("ultrasound image", "an"),
            ("unilateral opacity", "a"),
            ("uterine fibroid", "a"),
            ("urinary stone", "a"),
            ("ulcer", "an"),
            ("MR image", "an"),
            ("PET scan", "a"),
            ("OCT scan", "an"),
            ("8-year-old boy", "an"),
            ("ACL tear", "an"),
            ("FLAIR hyperintensity", "a"),
        ],
    )
    def test_articles_follow_the_sound(self, text: str, expected: str):
        assert article(text) == expected

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("pleural effusion", "count"),
            ("atelectasis", "mass"),
            ("pulmonary edema", "mass"),
            ("hard exudates", "plural"),
            ("drusen", "plural"),
            ("pneumothorax", "count"),
            ("enlargement of the heart", "mass"),
            ("branch retinal vein occlusion", "count"),
            ("age-related macular degeneration", "mass"),
            ("meningioma", "count"),
            ("glaucoma", "mass"),
            ("intestinal metaplasia", "mass"),
            ("COVID-19", "mass"),
            ("zorbles", "plural"),
            ("quux", "count"),
        ],
    )
    def test_numbers_are_guessed_from_the_head(self, text: str, number: str):
        assert guess_number(text) == number

    @pytest.mark.parametrize(
        "text",
        ["glaucomatous", "lung ... collapsed", "no effusion", "heart is enlarged", "free of disease", "edematous", ""],
    )
    def test_what_is_no_noun_phrase_is_not_used_as_one(self, text: str):
        assert not is_nominal(text)

    def test_lists_have_a_comma_before_the_last_of_three(self):
        assert join(["a", "b", "c"]) == "a, b, and c"
        assert join(["a", "b"], "or") == "a or b"

    def test_the_head_stands_before_the_first_preposition(self):
        assert head("fluid in the pleural space") == "fluid"
