"""Draw the curves of several runs in one figure.

    trm plot results/sudoku-extreme/mlp/seed-0 results/sudoku-extreme/att/seed-0
    trm plot checkpoints/P/ONE checkpoints/P/OTHER --metric loss --against elapsed_s \\
        --out compare.svg

A folder is a result's, or a run's of checkpoints/, also of one that still trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from trm.arguments import Parser
from trm.errors import TrmError, suggest
from trm.report.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    STYLE,
    VERMILLION,
    new_figure,
    save_figure,
)
from trm.report.learning_curve import read_history, thin
from trm.scoring.metrics import Form, entry_of
from trm.study.files import ResultFile

Against = Literal["step", "elapsed_s"]
DEFAULT_METRICS = ("ARC/pass@2", "exact_accuracy", "accuracy", "loss")  # the most telling first
NO_METRICS = ("step", "split", "elapsed_s", "train_flop", "count")
SPLITS = ("test", "train", "test-raw")  # the first that a run has values for is drawn

# Each run differs in colour, in line and in marker.
_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, INK, GREY)
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "X", "P")
_MARKERS_PER_CURVE = 12


@dataclass(frozen=True)
class RunCurve:
    """One run's values of one metric."""

    label: str
    split: str
    points: np.ndarray  # [n, 2]: step or hours, value; ascending

    @property
    def last(self) -> float:
        return float(self.points[-1, 1])


@dataclass(frozen=True)
class Comparison:
    """The curves of several runs that are drawn into one picture."""

    metric: str
    against: Against
    curves: tuple[RunCurve, ...]

    @property
    def is_share(self) -> bool:
        return entry_of(self.metric).form is Form.SHARE


def compare(
    folders: Sequence[Path],
    metric: str | None = None,
    against: Against = "step",
    split: str | None = None,
) -> Comparison:
    """Read the history of each folder.

    Args:
        folders: result or run folders, at least one.
        metric: a column of history.csv; by default the first of DEFAULT_METRICS that all have.
        against: what the x axis shows; `elapsed_s` is drawn in hours.
        split: whose rows; by default the first of SPLITS that a run has values for.

    Raises:
        TrmError: a folder has no history, or its history no such metric or split.
    """
    histories = {folder: _history_of(folder) for folder in dict.fromkeys(map(Path, folders))}
    if metric is None:
        metric = _default_metric(histories)
    labels = _labels(list(histories))
    curves = tuple(
        _curve(folder, history, labels[folder], metric, against, split)
        for folder, history in histories.items()
    )
    return Comparison(metric, against, curves)


def draw_comparison(comparison: Comparison) -> Figure:
    """All curves on one axis, each distinguished by colour, line and marker."""
    with mpl.rc_context(STYLE):
        figure = new_figure(7.2, 4.2)
        axes = figure.add_subplot()
        for i, curve in enumerate(comparison.curves):
            points = thin(curve.points)
            axes.plot(
                *points.T,
                label=f"{curve.label}, {curve.split}",
                color=_COLOURS[i % len(_COLOURS)],
                linestyle=_LINES[i % len(_LINES)],
                marker=_MARKERS[i % len(_MARKERS)],
                markevery=max(1, len(points) // _MARKERS_PER_CURVE),
                markersize=4.5,
                linewidth=1.6,
            )
        if comparison.is_share:
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylabel(comparison.metric)
        if comparison.against == "step":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axes.set_xlim(left=0)
        axes.set_xlabel("optimiser step" if comparison.against == "step" else "hours of training")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8, handlelength=4)
    return figure


def describe_comparison(comparison: Comparison) -> str:
    """The picture in one sentence."""
    as_text = "{:.1%}" if comparison.is_share else "{:.4g}"
    ends = "; ".join(
        f"{as_text.format(curve.last)} for {curve.label} ({curve.split})"
        for curve in comparison.curves
    )
    return f"{comparison.metric} at the last record: {ends}."


def _history_of(folder: Path) -> pd.DataFrame:
    path = folder / ResultFile.HISTORY
    if not path.is_file():
        raise TrmError(
            f"{folder} has no {path.name}: give a result folder (results/BENCHMARK/VARIANT/seed-N) "
            "or, while it trains, its run folder under checkpoints/"
        )
    return read_history(path)


def _metrics_of(history: pd.DataFrame) -> list[str]:
    """Columns that hold values to draw."""
    return [
        name
        for name in history
        if name not in NO_METRICS and pd.to_numeric(history[name], errors="coerce").notna().any()
    ]


def _default_metric(histories: dict[Path, pd.DataFrame]) -> str:
    shared = set.intersection(*(set(_metrics_of(history)) for history in histories.values()))
    found = next((name for name in DEFAULT_METRICS if name in shared), None)
    if found is None:
        raise TrmError(f"the runs share none of {', '.join(DEFAULT_METRICS)}: give --metric")
    return found


def _curve(
    folder: Path,
    history: pd.DataFrame,
    label: str,
    metric: str,
    against: Against,
    split: str | None,
) -> RunCurve:
    known, path = _metrics_of(history), folder / ResultFile.HISTORY
    if metric not in known:
        raise TrmError(
            f"{path} has no metric {metric!r}{suggest(metric, known)}; there are {', '.join(known)}"
        )
    if against not in history:
        raise TrmError(f"{path} has no column {against!r}: train the run again")
    numbers = history[[against, metric]].apply(pd.to_numeric, errors="coerce")
    values = pd.concat([history["split"], numbers], axis=1).dropna()
    having = list(values["split"].unique())
    chosen = split or next((name for name in (*SPLITS, *having) if name in having), "")
    if chosen not in having:
        raise TrmError(f"{path} has no {metric} of {chosen!r}, only of {', '.join(having)}")
    points = values[values["split"] == chosen].sort_values(against)[[against, metric]]
    scale = (1.0 if against == "step" else 1 / 3600, 1.0)
    return RunCurve(label, chosen, points.to_numpy(float) * scale)


def _labels(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of the paths that tell all folders apart, none of them a bare seed-N, and
    all with their benchmark where they are of several."""
    parts = {folder: folder.resolve().parts for folder in folders}
    of_seeds = all(len(p) > 2 and p[-1].startswith("seed-") for p in parts.values())
    shortest = 3 if of_seeds and len({p[-3] for p in parts.values()}) > 1 else 1
    for length in range(shortest, max(map(len, parts.values())) + 1):
        ends = {folder: "/".join(p[-length:]) for folder, p in parts.items()}
        alike = Counter(ends.values())
        if max(alike.values()) == 1 and not any(e.startswith("seed-") for e in ends.values()):
            return ends
    return {folder: str(folder) for folder in folders}


def parser() -> Parser:
    parser = Parser("plot", __doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_OR_RESULT_FOLDER")
    parser.add_argument(
        "--metric", help=f"of history.csv; default: the first of {', '.join(DEFAULT_METRICS)}"
    )
    parser.add_argument("--against", choices=("step", "elapsed_s"), default="step")
    parser.add_argument(
        "--split", help=f"whose rows; default: the first there is of {', '.join(SPLITS)}"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.svg"), help=".svg or .png (default: compare.svg)"
    )
    return parser


def main(words: Sequence[str]) -> None:
    args = parser().parse_intermixed_args(words)
    comparison = compare(args.folders, args.metric, args.against, args.split)
    description = describe_comparison(comparison)
    save_figure(draw_comparison(comparison), args.out, description)
    print(f"{args.out}: {description}")
