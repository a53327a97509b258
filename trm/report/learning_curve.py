"""The learning curve: accuracies and loss against the step, from history.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from trm.errors import TrmError
from trm.report.drawing import Drawn, Source
from trm.report.figures import BLUE, GREEN, INK, ORANGE, STYLE, new_figure
from trm.scoring.metrics import entry_of
from trm.study.files import ResultFile

MAX_CURVE_POINTS = 400  # a curve of 65,000 logged steps must not become a 10 MB picture


@dataclass(frozen=True)
class _Curve:
    column: str
    colour: str
    marker: str

    @property
    def label(self) -> str:
        return entry_of(self.column).in_figures


_EXACT = _Curve("exact_accuracy", BLUE, "o")
_CELLS = _Curve("accuracy", ORANGE, "s")
_VOTES = _Curve("ARC/pass@2", GREEN, "^")
_LOSS = _Curve("loss", INK, "o")

# Rows of history.csv and their lines: `test` is of the averaged weights where there are any.
_SPLITS = {"train": "--", "test": "-", "test-raw": ":"}
_NAMES = {"test-raw": "raw weights"}  # on the test set too


def draw(source: Source) -> Drawn:
    """TrmError as `read_history`."""
    history = source.result / ResultFile.HISTORY
    return Drawn(draw_learning_curve(history), describe_learning_curve(history))


def read_history(history_csv: Path) -> pd.DataFrame:
    """Read history.csv: one row per logged step and split, columns `step`, `split`, metrics.

    Raises:
        TrmError: the file is missing, empty or lacks `step`, `split` or `loss`.
    """
    try:
        history = pd.read_csv(history_csv)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        raise TrmError(f"{history_csv} is missing or empty: train the run first") from None
    except pd.errors.ParserError as error:
        raise TrmError(f"{history_csv} is not a CSV ({error}): train the run again") from None
    lacking = {"step", "split", "loss"} - set(history.columns)
    if lacking or history.empty:
        what = f"no column {sorted(lacking)[0]!r}" if lacking else "no rows"
        raise TrmError(f"{history_csv} has {what}: train the run again")
    return history


def draw_learning_curve(history_csv: Path) -> Figure:
    """Accuracies of train and test against the step, and the loss below on its own axis.

    Raises:
        TrmError: as `read_history`.
    """
    history = read_history(history_csv)
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6, 4.6)
        shares, loss = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for curve in (_EXACT, _CELLS, _VOTES):
            _draw_curve(shares, history, curve)
        _draw_curve(loss, history, _LOSS)
        shares.set_ylim(-0.02, 1.02)
        shares.yaxis.set_major_formatter(PercentFormatter(1.0))
        shares.set_ylabel("right answers")
        loss.set_ylim(bottom=0)
        loss.set_ylabel("loss per example")
        loss.set_xlabel("optimiser step")
        loss.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        loss.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        for axes in (shares, loss):
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            _legend_above(axes)
    return figure


def describe_learning_curve(history_csv: Path) -> str:
    """The curve in one sentence, for readers who cannot see it."""
    history = read_history(history_csv)
    steps = f"Learning curve over {history['step'].max():,.0f} steps"
    test = history[history["split"] == "test"].sort_values("step")
    for curve in (_VOTES, _EXACT, _CELLS):  # the most telling that there is
        if curve.column in test and test[curve.column].notna().any():
            values = test[curve.column].dropna()
            return (
                f"{steps}: test {curve.label} {values.iloc[0]:.1%} at the first evaluation, "
                f"{values.iloc[-1]:.1%} at the last, {values.max():.1%} at best."
            )
    return f"{steps}, without an evaluation."


def _draw_curve(axes: Axes, history: pd.DataFrame, curve: _Curve) -> None:
    if curve.column not in history:
        return
    for split, style in _SPLITS.items():
        rows = history[history["split"] == split].dropna(subset=[curve.column])
        if rows.empty:
            continue
        points = thin(rows.sort_values("step")[["step", curve.column]].to_numpy(float))
        few = len(points) <= 40
        axes.plot(
            *points.T,
            linestyle=style,
            linewidth=1.8 if split == "test" else 1.0,
            color=curve.colour,
            marker=curve.marker if few and split != "train" else None,
            markerfacecolor="none" if split == "test-raw" else None,
            markersize=4,
            label=f"{curve.label}, {_NAMES.get(split, split)}",
        )


def thin(points: np.ndarray) -> np.ndarray:
    """Average neighbours so that at most MAX_CURVE_POINTS points [n, 2] remain."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    return np.array([part.mean(axis=0) for part in np.array_split(points, MAX_CURVE_POINTS)])


def _legend_above(axes: Axes) -> None:
    # Filled column by column: the splits of one curve below each other, where that is not too wide.
    lines = axes.get_lines()
    splits = len({line.get_linestyle() for line in lines})
    columns = 2 if splits > 2 else max(2, -(-len(lines) // 2))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=8)
