"""What more thinking at test time buys: accuracy against supervision steps, from steps.csv."""

from __future__ import annotations

from trm.report.curves import Line, TableKind, describe_curves, draw_curves
from trm.report.drawing import Drawn, Source
from trm.report.figures import BLUE, GREEN, GREY, ORANGE
from trm.study.files import ResultFile

STEPS = TableKind(
    against="supervision_steps",
    axis="supervision steps at test",
    what="supervision step",
    lines=(
        Line("ARC/pass@2", GREEN, "^"),
        Line("exact_accuracy", BLUE, "o"),
        Line("accuracy", ORANGE, "s"),
        Line("q_halt_accuracy", GREY, "x", "--"),
    ),
    n="count",
    of_what="test examples",
    remedy="evaluate the run after each number of supervision steps again",
)


def draw(source: Source) -> Drawn:
    """TrmError as `draw_curves`."""
    csv = source.result / ResultFile.STEPS
    return Drawn(draw_curves(csv, STEPS), describe_curves(csv, STEPS))
