"""What more thinking and more votes at test time buy: two curves, each from a small table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from trm.errors import TrmError
from trm.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILLION, new_figure
from trm.scoring.metrics import entry_of

_MIN_LABEL_GAP = 0.045  # of the axis; labels of ticks closer than this would touch


@dataclass(frozen=True)
class _Line:
    metric: str
    colour: str
    marker: str
    linestyle: str = "-"

    @property
    def column(self) -> str:
        return self.metric.removeprefix("ARC/")

    @property
    def label(self) -> str:
        return entry_of(self.metric).in_figures


_STEPS_LINES = (
    _Line("ARC/pass@2", GREEN, "^"),
    _Line("exact_accuracy", BLUE, "o"),
    _Line("accuracy", ORANGE, "s"),
    _Line("q_halt_accuracy", GREY, "x", "--"),
)
_VOTES_LINES = (
    _Line("ARC/pass@2", GREEN, "^"),
    _Line("ARC/pass@1", VERMILLION, "v", "--"),
)


@dataclass(frozen=True)
class _Kind:
    """One of the two kinds of table: what it is drawn against, and how it is made."""

    against: str  # its first column
    what: str  # one unit of it
    lines: tuple[_Line, ...]
    n: str  # column of the number of test examples
    of_what: str
    remedy: str


_STEPS = _Kind(
    "supervision_steps",
    "supervision step",
    _STEPS_LINES,
    "count",
    "test examples",
    "evaluate the run after each number of supervision steps again",
)
_VOTES = _Kind(
    "n_augmentations",
    "vote per test input",
    _VOTES_LINES,
    "n_tasks",
    "tasks",
    "write it with python workflow/scripts/votes.py",
)


def draw_steps_curve(csv: Path) -> Figure:
    """Accuracies against the number of supervision steps at test.

    Args:
        csv: columns `supervision_steps`, `count` and, as shares 0..1, at least one of
            `exact_accuracy`, `accuracy`, `q_halt_accuracy`, `pass@2` (also as `ARC/pass@2`).

    Raises:
        TrmError: the file is missing, no CSV, or lacks a column or rows.
    """
    return _draw(csv, _STEPS, "supervision steps at test")


def describe_steps_curve(csv: Path) -> str:
    """The steps curve in one sentence; TrmError as `draw_steps_curve`."""
    return _describe(csv, _STEPS)


def draw_votes_curve(csv: Path) -> Figure:
    """pass@1 and pass@2 against the number of voting puzzles of each task.

    Args:
        csv: columns `n_augmentations` (voting puzzles, the plain one included), `n_tasks` and, as
            shares 0..1, at least one of `pass@1`, `pass@2`.

    Raises:
        TrmError: the file is missing, no CSV, or lacks a column or rows.
    """
    return _draw(csv, _VOTES, "votes per test input (1: the plain puzzle alone)")


def describe_votes_curve(csv: Path) -> str:
    """The votes curve in one sentence; TrmError as `draw_votes_curve`."""
    return _describe(csv, _VOTES)


def _draw(csv: Path, kind: _Kind, x_label: str) -> Figure:
    table = _read(csv, kind)
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6, 3.6)
        axes = figure.add_subplot()
        for line in _present(kind, table):
            axes.plot(
                table[kind.against],
                table[line.column],
                label=line.label,
                color=line.colour,
                marker=line.marker,
                markersize=5,
                linestyle=line.linestyle,
                linewidth=1.6,
            )
        _log_axis(axes, table[kind.against].to_numpy(float))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel(x_label)
        axes.set_ylabel(f"right, of {_range_of(table[kind.n])} {kind.of_what}")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure


def _log_axis(axes: Axes, values: np.ndarray) -> None:
    """Logarithmic, with a tick at each measured value."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(values, _tick_labels(values))


def _tick_labels(values: np.ndarray) -> list[str]:
    """One per ascending value; empty where it would touch its right neighbour."""
    places = np.log(values)
    gap = _MIN_LABEL_GAP * (places[-1] - places[0])
    labels: list[str] = []
    right = np.inf
    for value, place in zip(values[::-1], places[::-1], strict=True):
        fits = right - place >= gap
        labels.append(f"{value:,.0f}" if fits else "")
        right = place if fits else right
    return labels[::-1]


def _describe(csv: Path, kind: _Kind) -> str:
    table = _read(csv, kind)
    line = _present(kind, table)[0]
    first, last, best = table.iloc[0], table.iloc[-1], table.loc[table[line.column].idxmax()]
    return (
        f"{line.label} is {first[line.column]:.1%} with {_units(first, kind)}, "
        f"{last[line.column]:.1%} with {_units(last, kind)}, "
        f"{best[line.column]:.1%} at best, with {_units(best, kind)}; "
        f"of {_range_of(table[kind.n])} {kind.of_what}."
    )


def _units(row: pd.Series, kind: _Kind) -> str:
    n = row[kind.against]
    unit = kind.what if n == 1 else kind.what.replace("step", "steps").replace("vote", "votes")
    return f"{n:,.0f} {unit}"


def _range_of(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _present(kind: _Kind, table: pd.DataFrame) -> list[_Line]:
    """The lines that the table has values for, the most telling first."""
    return [
        line for line in kind.lines if line.column in table and table[line.column].notna().any()
    ]


def _read(csv: Path, kind: _Kind) -> pd.DataFrame:
    """The table, ascending."""
    try:
        table = pd.read_csv(csv)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        raise TrmError(f"{csv} is missing or empty: {kind.remedy}") from None
    except pd.errors.ParserError as error:
        raise TrmError(f"{csv} is not a CSV ({error}): {kind.remedy}") from None
    table = table.rename(columns=lambda name: name.removeprefix("ARC/"))
    for column in (kind.against, kind.n):
        if column not in table:
            raise TrmError(f"{csv} has no column {column!r}: {kind.remedy}")
    if not _present(kind, table) or not (table[kind.against] >= 1).all():
        names = ", ".join(line.column for line in kind.lines)
        raise TrmError(f"{csv} has no values of {names} at 1 or more: {kind.remedy}")
    return table.sort_values(kind.against, ignore_index=True)
