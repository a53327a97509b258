"""Confidence intervals: of one proportion (test sample) and of a mean over few seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence limits, all in the unit of the data."""

    mean: float
    low: float
    high: float


def wilson(share: float, n: int, level: float = LEVEL) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927, JASA 22:209).

    Exact enough at the ends (0 % and 100 %) and for small n, where mean ± 1.96 σ is not. For a
    mean of shares (ARC: a task with two test inputs can be half solved) it is conservative, as
    the variance of values in [0, 1] is at most p(1-p).

    Args:
        share: observed proportion, 0..1.
        n: number of examples it was observed on, at least 1.

    Raises:
        ValueError: an argument is out of range.
    """
    if n < 1 or not 0.0 <= share <= 1.0:
        raise ValueError(f"wilson needs a share in 0..1 of n >= 1 examples, got {share} of {n}")
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # Rounding alone could push the limits a hair past the estimate at 0 and 1.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def mean_over_seeds(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of independent runs with Student's t-interval, mean ± t · s/√n.

    Args:
        values: one value per seed, at least 2.

    Raises:
        ValueError: fewer than 2 values; one run says nothing about the spread of runs.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval over seeds needs at least 2 runs, got {n}")
    mean = fmean(values)
    half = t_quantile(0.5 + level / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t for whole degrees of freedom, 0.5 <= probability < 1.

    Bisection on the closed-form distribution; saves the library a dependency on SciPy.
    """
    if degrees < 1 or not 0.5 <= probability < 1.0:
        raise ValueError(f"no t quantile for probability {probability}, {degrees} degrees")
    # In θ = arctan(t/√ν) the whole half-line is [0, π/2), so that bisection needs no bracket.
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # the width is then below float64's resolution
        middle = (low + high) / 2
        if 0.5 + _central_t(middle, degrees) / 2 < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _central_t(theta: float, degrees: int) -> float:
    """P(|t| < √ν tan θ), Abramowitz & Stegun 26.7.3 (odd ν) and 26.7.4 (even ν)."""
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
