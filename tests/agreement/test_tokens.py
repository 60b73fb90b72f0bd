"""Words in the form in which captions and vocabularies meet."""

import pytest

from captioner.agreement.tokens import phrase, tokenize


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("oedema", "edema"),
        ("haemorrhages", "hemorrhage"),
        ("tumours", "tumor"),
        ("colour", "color"),
        ("localised", "localized"),
        ("pneumothoraces", "pneumothorax"),
        ("atelectases", "atelectasis"),
        ("metastases", "metastasis"),
        ("diverticula", "diverticulum"),
        ("menisci", "meniscus"),
        ("opacities", "opacity"),
        ("calculi", "calculus"),
        ("nonproliferative", "non-proliferative"),
        ("non proliferative", "non-proliferative"),
        ("X\u2011ray", "X-ray"),
        ("isn't", "is not"),
        ("isn\u2019t", "is not"),
        ("cannot", "can not"),
        ("patient's", "patient"),
        ("\ufb01brosis", "fibrosis"),
        ("optic disk", "optic disc"),
    ],
)
def test_two_spellings_are_one_word(one, other):
    assert phrase(one) == phrase(other)


@pytest.mark.parametrize(
    "word", ["pancreas", "diabetes", "meniscus", "stenosis", "disease", "otherwise", "mass", "this", "has", "gas"]
)
def test_words_that_only_look_inflected_stay_as_they_are(word):
    assert phrase(word) == (word,)


def test_numbers_stay_whole_and_units_stand_apart():
    assert phrase("1.5cm, 12mm") == ("1.5", "cm", ",", "12", "mm")


def test_offsets_point_into_the_original_text():
    text = "A\u200b caf\u0065\u0301 \u2014 \ufb01brosis isn\u2019t seen."
    tokens = tokenize(text)
    assert [text[s:e] for s, e in zip(tokens.starts, tokens.ends, strict=True)] == [
        "A", "caf\u0065\u0301", "\u2014", "\ufb01brosis", "isn\u2019t", "isn\u2019t", "seen", ".",
    ]  # fmt: skip
