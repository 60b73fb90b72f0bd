"""The captions of one set beside each other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.agreement.sets import overlap, report, self_similarity, twin_of, words_of

CAPTIONS = st.lists(st.text(alphabet="abc ,.A\u00c9", max_size=20), max_size=8)


def test_case_and_punctuation_do_not_tell_captions_apart():
    assert words_of("Chest X-ray, showing an EFFUSION.") == words_of("chest x ray showing an effusion")
    assert twin_of(words_of("A cat."), [words_of("a CAT")]) == "duplicate"


def test_captions_that_share_nearly_all_words_are_near_duplicates():
    ten = "chest x ray of a lung with one round nodule"
    assert twin_of(words_of(ten), [words_of(f"{ten} seen")]) == "near_duplicate"
    assert twin_of(words_of(ten), [words_of("a nodule")]) is None
    assert twin_of(words_of("b a"), [words_of("a b")]) == "near_duplicate"
    assert twin_of(words_of("a b c"), [words_of("a b d")], near=0.5) == "near_duplicate"


def test_texts_without_words_are_duplicates_and_alike_to_nothing_else():
    assert twin_of((), [()]) == "duplicate"
    assert twin_of((), [("a",)]) is None
    assert overlap(frozenset(), frozenset()) == 0


def test_a_report_counts_what_is_said_twice_and_how_captions_open():
    found = report(["The scan shows a cyst.", "The scan shows a cyst!", "A cyst is seen.", "The scan shows one cyst."])
    assert found.captions == 4
    assert found.words == (5, 5, 4, 5)
    assert found.duplicates == (1,)
    assert found.near_duplicates == ()
    assert found.opening == "the scan shows"
    assert found.opening_share == 3 / 4
    assert found.distinct_1 == 8 / 19
    assert found.distinct_2 == 8 / 15


def test_ten_times_the_same_is_one_and_ten_different_are_ten():
    same = report(["Fundus photograph of a cataract."] * 10)
    assert same.self_similarity == 1
    assert len(same.duplicates) == 9
    other = report([f"{w} {w}{w} {w}{w}{w}" for w in "abcdefghij"])
    assert other.self_similarity == 0
    assert other.distinct_1 == 1
    assert other.opening_share == 0.1


def test_where_there_is_nothing_to_count_shares_are_not_numbers():
    for captions in ([], [""], ["", "..."]):
        found = report(captions)
        assert all(map(math.isnan, (found.distinct_1, found.distinct_2, found.self_similarity)))
        assert found.opening == ""


@given(CAPTIONS)
def test_shares_lie_between_nothing_and_all(captions):
    found = report(captions)
    for share in (found.distinct_1, found.distinct_2, found.self_similarity, found.opening_share):
        assert math.isnan(share) or 0 <= share <= 1
    assert len(found.words) == len(captions)
    assert not set(found.duplicates) & set(found.near_duplicates)


@given(CAPTIONS)
def test_similarity_does_not_depend_on_the_order(captions):
    words = [frozenset(words_of(c)) for c in captions]
    assert self_similarity(words) == pytest.approx(self_similarity(words[::-1]), nan_ok=True)


@given(CAPTIONS, st.floats(0.1, 1))
def test_the_first_of_twins_is_never_the_twin(captions, near):
    found = report(captions, near)
    assert 0 not in {*found.duplicates, *found.near_duplicates}
