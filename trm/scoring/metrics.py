"""The metrics of an evaluation: those that every kind of puzzle has, and those of each kind.

Where a metric is computed it has its name; whatever shows or checks it finds the rest here.
docs/reference.md says what each measures.
"""

from __future__ import annotations

from trm.puzzles.arc import votes_metric
from trm.puzzles.kinds import kind_named, kinds
from trm.puzzles.metric import EXAMPLES, Form, Metric

OF_EVERY_KIND = {
    entry.name: entry
    for entry in (
        Metric("exact_accuracy", "puzzles solved exactly", Form.SHARE, "exact accuracy"),
        Metric("accuracy", "cells right", Form.SHARE, "cell accuracy"),
        Metric("q_halt_accuracy", "halting decisions right", Form.SHARE, "halting decision right"),
        Metric("steps", "supervision steps", Form.STEPS, needs_solutions=False),
        Metric(EXAMPLES, "test examples", Form.COUNT, needs_solutions=False),
        Metric("lm_loss", "loss"),
        Metric("q_halt_loss", "halting loss"),
        Metric("q_continue_loss", "continuing loss"),
        Metric("halting/mean_probability", "mean halting probability", needs_solutions=False),
        Metric("halting/calibration_error", "its calibration error"),
        Metric("halting/auroc", "its AUROC for being right"),
        Metric(
            "reinitialised_embeddings",
            "puzzles with a reinitialised embedding",
            Form.COUNT,
            needs_solutions=False,
        ),
    )
}


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name, in the order of the page."""
    of_kinds = (entry for kind in kinds().values() for entry in kind.metrics)
    return OF_EVERY_KIND | {entry.name: entry for entry in of_kinds}


def entry_of(name: str) -> Metric:
    """The entry of a metric; for one without an entry, one that shows it under its name."""
    if name in (known := all_metrics()):
        return known[name]
    votes, at, k = name.partition("@")
    return votes_metric(k) if (votes, at) == ("ARC/pass", "@") else Metric(name, name)


def scores_of(kind: str) -> list[str]:
    """The metrics that a benchmark of this kind may be judged by, its own first."""
    entries = (*kind_named(kind).metrics, *OF_EVERY_KIND.values())
    return [entry.name for entry in entries if entry.form is Form.SHARE]
