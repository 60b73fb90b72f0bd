"""The statistics that audits quote: intervals, paired tests, agreement between people. Sources stand at each function."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution: for two-sided intervals of 95 %."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval.

    Attributes:
        hits: how many of them.
        total: of how many; with 0, the share is not a number and the interval is everything.
        low, high: bounds of the interval.
    """

    hits: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share itself."""
        return self.hits / self.total if self.total else math.nan


def wilson(hits: int, total: int) -> Rate:
    """Return a share with its Wilson score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    It holds its level for shares near 0 and 1 and for few cases, where the textbook interval does not (Brown, Cai and
    DasGupta 2001, Statistical Science 16:101-133).
    """
    if not total:
        return Rate(hits, total, 0.0, 1.0)
    return Rate(hits, total, *_wilson(hits / total, total))


def _wilson(share: float, total: float) -> tuple[float, float]:
    square = Z95 * Z95
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    # Rounding must not put the bound beside a share of exactly 0 or 1.
    return 0.0 if share == 0 else max(0.0, middle - half), 1.0 if share == 1 else min(1.0, middle + half)


def weighted(cases: Sequence[tuple[bool, float]]) -> tuple[float, float, float]:
    """Return a weighted share with its 95 % interval: Wilson's, for as many cases as the weighted ones are worth.

    That number is (Σw)² / Σw² (Kish 1965, Survey Sampling, 11.7). What drawing in strata gains is left out, so that the
    interval is rather too wide than too narrow, and holds where a stratum has one case.

    Args:
        cases: whether it is a hit, and how many cases it stands for.

    Returns:
        Share, low, high; not a number, 0 and 1 if there are no cases.
    """
    total = sum(weight for _, weight in cases)
    if not total:
        return math.nan, 0.0, 1.0
    hits = sum(weight for hit, weight in cases if hit)
    share = 1.0 if all(hit for hit, _ in cases) else hits / total
    return share, *_wilson(share, total * total / sum(weight * weight for _, weight in cases))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947, Psychometrika 12:153-157; exact: binomial).

    Args:
        only_first: pairs in which the first succeeds and the second does not.
        only_second: pairs the other way round.
    """
    total = only_first + only_second
    if not total:
        return 1.0
    tail = sum(math.exp(_log_choose(total, i) - total * math.log(2)) for i in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Return Cohen's kappa of two people's verdicts on the same items (Cohen 1960, Educ. Psychol. Meas. 20:37-46).

    Returns:
        1 for the same verdicts, 0 for what chance would give; not a number where both give one and the same verdict
        throughout, or there are no items.
    """
    total = len(first)
    if not total:
        return math.nan
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / total
    expected = sum(first.count(v) / total * (second.count(v) / total) for v in {*first, *second})
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def kappa_of(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return Cohen's kappa of two people who say yes or no, from how often which of them says yes."""
    total = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    expected = (first * second + (total - first) * (total - second)) / (total * total) if total else 1.0
    return math.nan if expected == 1 else ((both + neither) / total - expected) / (1 - expected)


def sample_size(error: float, population: int, share: float = 0.5) -> int:
    """Return how many cases give a 95 % interval of ± ``error`` on a share (Cochran 1977, Sampling Techniques, 4.4).

    Args:
        error: half the interval's width, such as 0.05.
        population: all cases there are; few cases need a smaller sample.
        share: the share that is expected; 0.5 is the most careful guess.
    """
    needed = Z95 * Z95 * share * (1 - share) / (error * error)
    return min(population, math.ceil(needed / (1 + (needed - 1) / population))) if population else 0


def bootstrap(
    strata: Sequence[Sequence[object]], statistic: Callable[[Sequence[Sequence[object]]], float], rounds: int = 1000
) -> tuple[float, float]:
    """Return a 95 % percentile interval, drawing anew within each stratum (Efron and Tibshirani 1993, chapter 13).

    The draws are the same at each call. Values that are not a number are left out.
    """
    draw = random.Random(0)  # noqa: S311 - statistics, not secrets
    values = sorted(
        v
        for _ in range(rounds)
        if not math.isnan(v := statistic([draw.choices(s, k=len(s)) if s else s for s in strata]))
    )
    if not values:
        return math.nan, math.nan
    return values[int(0.025 * (len(values) - 1))], values[math.ceil(0.975 * (len(values) - 1))]
