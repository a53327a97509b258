"""What several rollouts at test time buy: accuracy against their number, from search-1000.csv."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from trm.report.curves import Line, TableKind, describe_curves, draw_curves
from trm.report.drawing import Drawn, Source
from trm.report.figures import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION
from trm.scoring.arc import ATTEMPTS
from trm.scoring.ballots import attempt_column
from trm.scoring.choices import BY_RULES, PASS
from trm.study.files import ResultFile

PUZZLES = TableKind(
    against="rollouts",
    axis="rollouts of a puzzle; below: their FLOP and seconds",
    what="rollout",
    whats="rollouts",
    lines=(
        Line(BY_RULES, INK, "*", name="first valid answer"),
        Line("best_halting_logit", BLUE, "o", name="best halting logit"),
        Line("most_frequent", GREEN, "^", name="most frequent"),
        Line("smallest_residual", ORANGE, "s", name="smallest residual"),
        Line("first_to_halt", VERMILLION, "v", name="first to halt"),
        Line(PASS, GREY, "x", "--", name="any rollout right"),
    ),
    n="count",
    of_what="test puzzles",
    remedy="search for answers again",
)
TASKS = replace(
    PUZZLES,
    axis="rollouts of each version of a task; below: FLOP and seconds of the task",
    lines=tuple(
        line if line.metric == PASS else replace(line, metric=attempt_column(line.metric, ATTEMPTS))
        for line in PUZZLES.lines
    ),
    of_what="tasks in two attempts",
)
"""ARC's: its versions vote, and the answer may be any of two attempts."""
PREFIXES = ("", "k", "M", "G", "T", "P")


def draw(source: Source) -> Drawn:
    """TrmError as `draw_curves`."""
    csv = source.result / ResultFile.SEARCH
    kind = _kind_of(csv)
    figure = draw_curves(csv, kind)
    (axes,) = figure.axes
    costs = _costs(csv)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    marked = [
        f"{text}\n{costs[int(at)]}" if text else ""
        for at, text in zip(axes.get_xticks(), labels, strict=True)
    ]
    axes.set_xticks(axes.get_xticks(), marked)
    return Drawn(figure, describe_curves(csv, kind))


def _kind_of(csv: Path) -> TableKind:
    """Which of the two tables a file holds; that of puzzles where it cannot be read."""
    try:
        columns = {*pd.read_csv(csv, nrows=0).columns}
    except (OSError, ValueError):
        return PUZZLES
    own = {line.column for line in TASKS.lines} - {PASS}
    return TASKS if own & columns else PUZZLES


def _costs(csv: Path) -> dict[int, str]:
    """What a puzzle or task costs, in two lines, by the number of rollouts."""
    table = pd.read_csv(csv).set_index("rollouts")
    return {
        int(number): f"{with_prefix(row['flop'])}\n{row['seconds']:.2g} s"
        for number, row in table.iterrows()
    }


def with_prefix(value: float) -> str:
    """A number with two or three digits and the prefix of its thousands: `1.2 T`."""
    power = 0
    while value >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    digits = f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
    return f"{digits} {PREFIXES[power]}".strip()
