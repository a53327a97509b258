"""Intervals against published tables and against their own definition."""

from __future__ import annotations

from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.scoring.intervals import mean_over_seeds, t_quantile, wilson

# Student's t, two-sided 95 %, as printed in every table.
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize("degrees", T_975)
def test_t_quantile_matches_the_table(degrees):
    assert t_quantile(0.975, degrees) == pytest.approx(T_975[degrees], abs=5e-4)


def test_t_quantile_of_many_degrees_is_the_normal_one():
    assert t_quantile(0.975, 10_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-3)
    assert t_quantile(0.5, 7) == pytest.approx(0.0, abs=1e-12)


# Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: r of n -> limits.
NEWCOMBE = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611)}


@pytest.mark.parametrize("case", NEWCOMBE)
def test_wilson_matches_newcombe(case):
    right, n = case
    interval = wilson(right / n, n)
    assert (interval.low, interval.high) == pytest.approx(NEWCOMBE[case], abs=5e-5)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_holds_the_share_and_stays_on_the_scale(n, share):
    interval = wilson(share, n)
    assert 0.0 <= interval.low <= share <= interval.high <= 1.0


@given(st.integers(1, 10_000), st.floats(0.05, 0.95))
def test_wilson_limits_solve_their_equation(n, share):
    z = NormalDist().inv_cdf(0.975)
    for limit in (wilson(share, n).low, wilson(share, n).high):
        assert abs(share - limit) == pytest.approx(z * (limit * (1 - limit) / n) ** 0.5, rel=1e-6)


def test_mean_over_seeds_is_students_interval():
    interval = mean_over_seeds([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    half = 4.302653 / 3**0.5  # s = 1
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_one_run_has_no_interval_over_seeds():
    with pytest.raises(ValueError, match="at least 2"):
        mean_over_seeds([0.5])


@pytest.mark.parametrize(("share", "n"), [(1.1, 5), (-0.1, 5), (0.5, 0), (float("nan"), 3)])
def test_wilson_refuses_what_is_no_proportion(share, n):
    with pytest.raises(ValueError, match="wilson"):
        wilson(share, n)
