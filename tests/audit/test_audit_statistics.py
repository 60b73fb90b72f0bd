"""Intervals and tests, against values from the literature and from definitions."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.audit.statistics import bootstrap, kappa, kappa_of, mcnemar, sample_size, weighted, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_the_literature(hits, total, low, high):
    rate = wilson(hits, total)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_the_share_and_stays_between_0_and_1(hits, misses):
    rate = wilson(hits, hits + misses)
    assert 0 <= rate.low <= rate.high <= 1
    if hits + misses:
        assert rate.low <= rate.share <= rate.high


def test_of_no_cases_nothing_is_known():
    rate = wilson(0, 0)
    assert math.isnan(rate.share)
    assert (rate.low, rate.high) == (0, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.5, 1000))
def test_cases_that_weigh_the_same_have_the_interval_of_plain_ones(hits, weight):
    rate = wilson(sum(hits), len(hits))
    expected = pytest.approx((rate.share, rate.low, rate.high))
    assert weighted([(hit, weight) for hit in hits]) == expected


@given(st.lists(st.tuples(st.booleans(), st.floats(0.5, 1000)), max_size=60))
def test_a_weighted_interval_holds_the_share_and_is_never_narrower_than_that_of_as_many_cases(cases):
    share, low, high = weighted(cases)
    assert 0 <= low <= high <= 1
    if cases:
        assert low <= share <= high
        if share in (0, 1):
            plain = wilson(len(cases) if share else 0, len(cases))
            assert high - low >= plain.high - plain.low - 1e-9


def test_mcnemar_is_the_two_sided_binomial_test_of_the_pairs_that_differ():
    for first, second in product(range(12), repeat=2):
        total = first + second
        tail = sum(math.comb(total, k) for k in range(min(first, second) + 1)) / 2**total
        assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(400, 0) == pytest.approx(2 * 0.5**400)
    assert mcnemar(5000, 5000) == 1


def test_kappa_is_that_of_the_textbook_example():
    # Two readers, 50 cases: 20 both yes, 15 both no, 5 only the first, 10 only the second.
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert kappa(first, second) == pytest.approx(0.4)
    assert kappa_of(20, 5, 10, 15) == pytest.approx(0.4)
    assert math.isnan(kappa_of(0, 0, 0, 0))
    assert kappa(first, first) == 1
    assert math.isnan(kappa(["y"], ["y"]))
    assert math.isnan(kappa([], []))


def test_the_sample_for_five_points_of_error_is_385_and_less_of_few_captions():
    assert sample_size(0.05, 10**9) == 385
    assert sample_size(0.05, 1000) == 278
    assert sample_size(0.05, 0) == 0


def test_a_bootstrap_interval_holds_the_mean_and_is_the_same_each_time():
    data = [[0, 1] * 50, [1] * 10]

    def share(strata):
        values = [v for s in strata for v in s]
        return sum(values) / len(values)

    low, high = bootstrap(data, share, rounds=200)
    assert low < share(data) < high
    assert (low, high) == bootstrap(data, share, rounds=200)
