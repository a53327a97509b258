"""What the halting head knows: how well its probability separates right answers from wrong."""

from __future__ import annotations

import numpy as np

BINS = 10


def halting_probability(q_halt_logits: np.ndarray) -> np.ndarray:
    """The probability, sigmoid(q_halt) in float64, with which the model takes its answers to be
    right (0..1): by logits of any shape."""
    # The clip only silences exp's overflow (below 1e-300).
    return 1.0 / (1.0 + np.exp(-np.clip(np.float64(q_halt_logits), -700.0, 700.0)))


def halting_statistics(q_halt_logits: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Metrics of the last supervision step's q_halt against exactness, by flat name.

    - halting/mean_probability: mean of sigmoid(q_halt), 0..1.
    - halting/calibration_error: `calibration_error`, 0..1.
    - halting/auroc: `auroc`, 0..1; left out where all rows are exact, or none is.

    Empty without rows, or where a logit is NaN: a diverged model has no statistics.

    Args:
        q_halt_logits: float [N].
        exact: bool [N], whether the row's answer is right in full.

    Raises:
        ValueError: not one flag per logit.
    """
    if q_halt_logits.shape != exact.shape or exact.ndim != 1:
        raise ValueError(f"{q_halt_logits.shape} logits for {exact.shape} answers")
    logits, right = q_halt_logits.astype(np.float64), exact.astype(bool)
    if not len(logits) or np.isnan(logits).any():
        return {}
    probabilities = halting_probability(logits)
    metrics = {
        "halting/mean_probability": float(probabilities.mean()),
        "halting/calibration_error": calibration_error(probabilities, right),
    }
    if right.any() and not right.all():
        # Of the logits: float64's probabilities are all 1 above 37, whatever their order.
        metrics["halting/auroc"] = auroc(logits, right)
    return metrics


def calibration_error(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Expected calibration error over BINS equally wide bins (Guo et al. 2017, arXiv 1706.04599):
    Σ_bins |its rows| / N · |share of its outcomes - mean of its probabilities|.

    Args:
        probabilities: float [N] in 0..1, N >= 1.
        outcomes: bool [N].
    """
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=outcomes - probabilities, minlength=BINS)
    return float(np.abs(gaps).sum() / len(probabilities))


def auroc(scores: np.ndarray, outcomes: np.ndarray) -> float:
    """Probability that a random positive has a higher score than a random negative, ties one half
    (Hanley & McNeil 1982, Radiology 143:29), from the ranks.

    Args:
        scores: float [N].
        outcomes: bool [N], at least one of either kind.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1; ties share their mean
    positives = np.count_nonzero(outcomes)
    negatives = len(outcomes) - positives
    wins = ranks[outcomes].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))
