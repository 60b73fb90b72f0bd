"""Counting in bounded memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from captioner.audit.sketch import Clashes, Distinct, Frequent, Sample, hash64


@given(st.lists(st.integers(0, 400)), st.lists(st.integers(0, 400)))
def test_few_different_things_are_counted_exactly_in_one_part_or_two(first, second):
    one, two = Distinct(512), Distinct(512)
    one.add(hash64(str(x)) for x in first)
    two.add(hash64(str(x)) for x in second)
    one.merge(two)
    assert one.count() == len({*first, *second})


def test_many_different_things_are_estimated_within_a_few_standard_errors_however_they_are_split():
    whole, parts = Distinct(1024), Distinct(1024)
    for start in range(0, 50_000, 5_000):
        part = Distinct(1024)
        hashes = [hash64(str(x)) for x in range(start, start + 6_000)]
        part.add(hashes)
        whole.add(hashes)
        parts.merge(part)
    assert parts.count() == whole.count()
    assert abs(whole.count() / 51_000 - 1) < 4 / 1022**0.5


def test_a_sample_depends_on_the_items_alone_not_on_their_order_or_parts():
    items = list(range(1000))
    whole, reverse, merged = Sample(7), Sample(7), Sample(7)
    for x in items:
        whole.add(x % 3, hash64(str(x)), x)
    for x in reversed(items):
        reverse.add(x % 3, hash64(str(x)), x)
    for start in range(0, 1000, 100):
        part = Sample(7)
        for x in items[start : start + 100]:
            part.add(x % 3, hash64(str(x)), x)
        merged.merge(part)
    assert dict(whole.items()) == dict(reverse.items()) == dict(merged.items())
    assert {len(v) for v in dict(whole.items()).values()} == {7}


def test_frequent_things_are_found_among_ever_new_ones_in_little_memory():
    found = Frequent(50)
    for i in range(20_000):
        found.add("often" if i % 10 == 0 else f"once {i}")
    assert found.counts.most_common(1)[0][0] == "often"
    assert 2000 - found.lost <= found.counts["often"] <= 2000
    assert len(found.counts) <= 4 * 50


def test_texts_under_several_labels_are_found_with_all_their_labels():
    found = Clashes(10)
    for text, owner in [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("b", "x")]:
        found.add(hash64(text), owner, text)
    assert list(found.found.values()) == [("a", Counter(x=2, y=1))]
    assert found.complete
    assert found.followed == 2


def test_beyond_its_size_clashes_are_a_fair_share():
    found = Clashes(200)
    for owner in ("x", "y"):
        for i in range(5000):
            if owner == "x" or i % 4 == 0:
                found.add(hash64(str(i)), owner, str(i))
    assert not found.complete
    assert found.followed <= 400
    assert abs(len(found.found) / found.followed - 0.25) < 0.1
