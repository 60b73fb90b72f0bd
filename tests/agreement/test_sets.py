"""The captions of one set beside each other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.agreement.sets import opening, overlap, self_similarity, twin_of, words_of

CAPTIONS = st.lists(st.text(alphabet="abc ,.A\u00c9", max_size=20), max_size=8)


def standing(*captions):
    return {words: frozenset(words) for words in map(words_of, captions)}


def test_case_and_punctuation_do_not_tell_captions_apart():
    assert words_of("Chest X-ray, showing an EFFUSION.") == words_of("chest x ray showing an effusion")
    assert twin_of(words_of("A cat."), standing("a CAT")) == "duplicate"


def test_captions_that_share_nearly_all_words_are_near_duplicates():
    ten = "chest x ray of a lung with one round nodule"
    assert twin_of(words_of(ten), standing(f"{ten} seen")) == "near_duplicate"
    assert twin_of(words_of(ten), standing("a nodule")) is None
    assert twin_of(words_of("b a"), standing("a b")) == "near_duplicate"
    assert twin_of(words_of("a b c"), standing("a b d"), near=0.5) == "near_duplicate"


def test_texts_without_words_are_duplicates_and_alike_to_nothing_else():
    assert twin_of((), standing("")) == "duplicate"
    assert twin_of((), standing("a")) is None
    assert overlap(frozenset(), frozenset()) == 0


def test_an_opening_is_the_first_three_words_whatever_their_case():
    assert opening(words_of("The scan shows a cyst.")) == opening(words_of("THE SCAN, shows nothing"))
    assert opening(words_of("A cyst")) == ("a", "cyst")
    assert opening(words_of("The scan shows a cyst."), 5) == ("the", "scan", "shows", "a", "cyst")


def test_ten_times_the_same_is_one_and_ten_different_are_ten():
    assert self_similarity([frozenset(words_of("Fundus photograph of a cataract."))] * 10) == 1
    assert self_similarity([frozenset(words_of(f"{w} {w}{w} {w}{w}{w}")) for w in "abcdefghij"]) == 0


def test_where_there_is_nothing_to_compare_similarity_is_not_a_number():
    for captions in ([], [""], ["", "..."]):
        assert math.isnan(self_similarity([frozenset(words_of(c)) for c in captions]))


@given(CAPTIONS)
def test_similarity_lies_between_nothing_and_all_and_does_not_depend_on_the_order(captions):
    words = [frozenset(words_of(c)) for c in captions]
    found = self_similarity(words)
    assert math.isnan(found) or 0 <= found <= 1
    assert found == pytest.approx(self_similarity(words[::-1]), nan_ok=True)


@given(CAPTIONS, st.floats(0.1, 1))
def test_a_caption_is_always_the_twin_of_itself(captions, near):
    words = standing(*captions)
    assert all(twin_of(w, words, near) == "duplicate" for w in words)


@given(CAPTIONS, st.text(alphabet="abc ,.A\u00c9", max_size=20), st.floats(0.1, 1))
def test_a_near_duplicate_is_what_shares_the_given_part_of_its_words(captions, caption, near):
    words, others = words_of(caption), standing(*captions)
    close = any(overlap(frozenset(words), other) >= near for other in others.values())
    assert twin_of(words, others, near) == ("duplicate" if words in others else "near_duplicate" if close else None)
