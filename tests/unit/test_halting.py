"""Statistics of the halting head against slow readings of their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.scoring.halting import auroc, calibration_error, halting_statistics

# Thirds as logits: enough different ones to fill ten bins, few enough to tie.
PAIRS = st.lists(st.tuples(st.integers(-12, 12), st.booleans()), min_size=1, max_size=30)


def arrays(pairs):
    thirds, exact = zip(*pairs, strict=True)
    return np.array(thirds, dtype=np.float32) / 3, np.array(exact)


def test_a_worked_case():
    logits = np.array([math.log(3), math.log(3), -math.log(3), 0.0])  # 0.75, 0.75, 0.25, 0.5
    found = halting_statistics(logits, np.array([True, False, False, True]))
    assert found == pytest.approx(
        {
            "halting/mean_probability": 0.5625,
            "halting/calibration_error": (abs(1 - 1.5) + 0.25 + 0.5) / 4,
            "halting/auroc": 2.5 / 4,
        }
    )


@given(PAIRS)
def test_the_statistics_are_those_of_their_definitions(pairs):
    logits, exact = arrays(pairs)
    found = halting_statistics(logits, exact)
    probabilities = [1 / (1 + math.exp(-q)) for q in logits.tolist()]
    assert found["halting/mean_probability"] == pytest.approx(np.mean(probabilities))

    error = 0.0
    for low in range(10):
        inside = [
            (p, e)
            for p, (_, e) in zip(probabilities, pairs, strict=True)
            if low <= p * 10 < low + 1
        ]
        if inside:
            p, e = np.mean(inside, axis=0)
            error += len(inside) / len(pairs) * abs(p - e)
    assert found["halting/calibration_error"] == pytest.approx(error)

    duels = [(q > r) + (q == r) / 2 for q, e in pairs if e for r, f in pairs if not f]
    if duels:
        assert found["halting/auroc"] == pytest.approx(np.mean(duels))
    else:
        assert "halting/auroc" not in found


def test_a_certain_probability_belongs_to_the_last_bin():
    error = calibration_error(np.array([0.95, 1.0]), np.array([True, False]))
    assert error == pytest.approx(0.475)  # of one bin; of two it would be 0.525


def test_huge_logits_neither_overflow_nor_tie():
    logits = np.array([-1e4, 50.0, 60.0, 1e4], dtype=np.float32)
    with np.errstate(all="raise"):
        found = halting_statistics(logits, np.array([False, False, True, True]))
    assert found["halting/auroc"] == 1.0
    assert found["halting/mean_probability"] == 0.75


def test_scores_the_wrong_way_round():
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([True, False, False])) == 0.0


@pytest.mark.parametrize("logits", [[], [0.0, math.nan]])
def test_no_statistics_of_nothing_or_of_a_diverged_model(logits):
    assert halting_statistics(np.array(logits), np.ones(len(logits), dtype=bool)) == {}


def test_a_flag_per_logit_is_needed():
    with pytest.raises(ValueError, match="logits for"):
        halting_statistics(np.zeros(3), np.zeros(2, dtype=bool))
