"""Curves of accuracies against what was spent at test time, each drawn from a small table."""

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
from trm.report.figures import STYLE, new_figure
from trm.scoring.metrics import entry_of

_MIN_LABEL_GAP = 0.045  # of the axis; labels of ticks closer than this would touch


@dataclass(frozen=True)
class Line:
    """One metric of the table."""

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


@dataclass(frozen=True)
class TableKind:
    """A kind of table: what it is drawn against, and how it is made.

    Its CSV has the columns `against`, `n` and, as shares 0..1, at least one of `lines` (also with
    ARC/ before its name).
    """

    against: str  # its first column
    axis: str  # how the axis of that is called
    what: str  # one unit of it
    lines: tuple[Line, ...]
    n: str  # column of the number of test examples
    of_what: str
    remedy: str


def draw_curves(csv: Path, kind: TableKind) -> Figure:
    """TrmError where the file is missing, is not a CSV, or lacks a column or rows."""
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
        axes.set_xlabel(kind.axis)
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


def describe_curves(csv: Path, kind: TableKind) -> str:
    """The curves in one sentence; TrmError as `draw_curves`."""
    table = _read(csv, kind)
    line = _present(kind, table)[0]
    first, last, best = table.iloc[0], table.iloc[-1], table.loc[table[line.column].idxmax()]
    return (
        f"{line.label} is {first[line.column]:.1%} with {_units(first, kind)}, "
        f"{last[line.column]:.1%} with {_units(last, kind)}, "
        f"{best[line.column]:.1%} at best, with {_units(best, kind)}; "
        f"of {_range_of(table[kind.n])} {kind.of_what}."
    )


def _units(row: pd.Series, kind: TableKind) -> str:
    n = row[kind.against]
    unit = kind.what if n == 1 else kind.what.replace("step", "steps").replace("vote", "votes")
    return f"{n:,.0f} {unit}"


def _range_of(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _present(kind: TableKind, table: pd.DataFrame) -> list[Line]:
    """The lines that the table has values for, the most telling first."""
    return [
        line for line in kind.lines if line.column in table and table[line.column].notna().any()
    ]


def _read(csv: Path, kind: TableKind) -> pd.DataFrame:
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
