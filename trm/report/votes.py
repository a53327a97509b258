"""What more votes at test time buy: pass@K against the number of voting puzzles, from votes.csv."""

from __future__ import annotations

from trm.report.curves import Line, TableKind, describe_curves, draw_curves
from trm.report.drawing import Drawn, Source
from trm.report.figures import GREEN, VERMILLION
from trm.study.files import ResultFile

VOTES = TableKind(
    against="n_augmentations",
    axis="votes per test input (1: the plain puzzle alone)",
    what="vote per test input",
    lines=(
        Line("ARC/pass@2", GREEN, "^"),
        Line("ARC/pass@1", VERMILLION, "v", "--"),
    ),
    n="n_tasks",
    of_what="tasks",
    remedy="write it with python workflow/scripts/votes.py",
)


def draw(source: Source) -> Drawn:
    """TrmError as `draw_curves`."""
    csv = source.result / ResultFile.VOTES
    return Drawn(draw_curves(csv, VOTES), describe_curves(csv, VOTES))
