"""A metric is one entry, from which the table, the page and the figures take what they need."""

from __future__ import annotations

import pytest

from trm.puzzles.arc import PASS_KS
from trm.puzzles.kinds import kind_named
from trm.puzzles.metric import Form, Metric
from trm.report.compare import Comparison
from trm.report.page import format_metric
from trm.scoring.metrics import entry_of, scores_of


def test_a_new_metric_is_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the line that computes it."""
    new = Metric("two_right", "two cells right", Form.SHARE, "two right", "ARC/tasks")
    assert new.name not in scores_of("boards")
    assert format_metric(new.name, 0.5) == "0.5"
    monkeypatch.setattr(type(kind_named("boards")), "metrics", (new,))
    assert new.name in scores_of("boards") and new.name not in scores_of("maze")
    assert format_metric(new.name, 0.5).startswith("50.00")
    assert entry_of(new.name).over == "ARC/tasks"
    assert Comparison(new.name, "step", ()).is_share


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("sudoku", ["exact_accuracy", "accuracy", "q_halt_accuracy"]),
        ("maze", ["valid_path", "exact_accuracy", "accuracy", "q_halt_accuracy"]),
        (
            "arc",
            [*(f"ARC/pass@{k}" for k in PASS_KS), "exact_accuracy", "accuracy", "q_halt_accuracy"],
        ),
    ],
)
def test_what_a_benchmark_may_be_judged_by(kind: str, names: list[str]) -> None:
    assert scores_of(kind) == names


def test_an_average_is_over_what_its_metric_counts() -> None:
    assert entry_of("ARC/pass@2").over == "ARC/tasks"
    assert entry_of("exact_accuracy").over == "count"


def test_votes_of_any_number_are_known() -> None:
    assert (entry_of("ARC/pass@3").label, entry_of("ARC/pass@3").form) == ("pass@3", Form.SHARE)
    assert entry_of("lr").label == "lr"
