"""The metrics of an evaluation: what each is called, how it is written, and what it averages over.

Where a metric is computed it has its name; whatever shows or checks it finds the rest here.
docs/reference.md says what each measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from trm.data.specs import Kind

EXAMPLES, TASKS = "count", "ARC/tasks"  # the metrics that count what others average over
PASS_KS = (1, 2, 5, 10, 100, 1000)


class Form(Enum):
    """How a value is written."""

    SHARE = auto()  # 0..1, in percent
    COUNT = auto()
    STEPS = auto()
    VALUE = auto()  # a number with four significant digits


@dataclass(frozen=True)
class Metric:
    """One entry of metrics.json."""

    name: str
    label: str  # on the page
    form: Form = Form.VALUE
    short: str = ""  # in figures; default: the label
    kinds: tuple[Kind, ...] | None = None  # of puzzles; None: all
    over: str = EXAMPLES
    needs_solutions: bool = True

    @property
    def in_figures(self) -> str:
        return self.short or self.label

    def is_score_of(self, kind: Kind) -> bool:
        """Whether `metric:` of a benchmark may name it."""
        return self.form is Form.SHARE and (self.kinds is None or kind in self.kinds)


def _votes(k: int | str) -> Metric:
    """Of ARC; `evaluators` may ask for any K."""
    return Metric(f"ARC/pass@{k}", f"pass@{k}", Form.SHARE, kinds=("arc",), over=TASKS)


METRICS = {
    entry.name: entry
    for entry in (
        *map(_votes, PASS_KS),
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
        Metric("valid_path", "any shortest path found", Form.SHARE, kinds=("maze",)),
        Metric(TASKS, "tasks", Form.COUNT, kinds=("arc",)),
        Metric(
            *("tasks_without_solution", "tasks, their solutions unknown", Form.COUNT),
            kinds=("arc",),
            needs_solutions=False,
        ),
        Metric(
            *("reinitialised_embeddings", "puzzles with a reinitialised embedding", Form.COUNT),
            needs_solutions=False,
        ),
    )
}
"""By name, in the order of the page."""


def entry_of(name: str) -> Metric:
    """The entry of a metric; for one without an entry, one that shows it under its name."""
    if name in METRICS:
        return METRICS[name]
    votes, at, k = name.partition("@")
    return _votes(k) if (votes, at) == ("ARC/pass", "@") else Metric(name, name)


def scores_of(kind: Kind) -> list[str]:
    """The metrics that a benchmark of this kind may be judged by."""
    return [name for name, entry in METRICS.items() if entry.is_score_of(kind)]
