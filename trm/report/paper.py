"""The paper's tables: our results beside the published figures, row by row."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from trm.report.figures import BLUE, GREY, INK, STYLE, VERMILLION, new_figure
from trm.report.page import format_points
from trm.report.results import Result
from trm.report.tables import (
    NO_PUBLISHED_FIGURE,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    TOLERANCE_POINTS,
    UNDECIDED,
    VERDICT_RULE,
    SummaryRow,
    summary_rows,
    to_frame,
)
from trm.study.table import Benchmark, Table

# Order of the verdicts in the description; a sign for readers who see no colour.
_SIGNS = {
    REPRODUCED: "✓ ",
    NOT_REPRODUCED: "✗ ",
    UNDECIDED: "? ",
    NO_PUBLISHED_FIGURE: "",
    NOT_RUN: "",
}
_DASH = "–"
_BAND = "#F6DCC8"  # VERMILLION on white, pale: below every mark
_GRID_POINTS = 5.0  # the axis ends at multiples of it, in percent


@dataclass(frozen=True)
class PaperRow:
    """One row of a table of the paper."""

    benchmark: str  # its title
    label: str  # the variant's description; its name where it has none
    summary: SummaryRow


def paper_rows(
    table: Table, results: Iterable[Result], benchmarks: dict[str, Benchmark]
) -> list[PaperRow]:
    """The rows of a table in its own order; those without a result say "not run".

    Args:
        table: rows of `benchmarks`, as `Study` has checked.
        results: evaluated runs; those of no row of this table are left out.
        benchmarks: the table of experiments.

    Raises:
        TrmError: as `summary_rows`.
    """
    wanted = [r for r in results if f"{r.benchmark}/{r.variant}" in table.rows]
    found = {f"{s.benchmark}/{s.variant}": s for s in summary_rows(wanted, benchmarks)}
    return [_paper_row(found[name], benchmarks[found[name].benchmark]) for name in table.rows]


def _paper_row(summary: SummaryRow, benchmark: Benchmark) -> PaperRow:
    description = benchmark.variants[summary.variant].description
    return PaperRow(benchmark.title, description or summary.variant, summary)


def paper_frame(rows: Sequence[PaperRow]) -> pd.DataFrame:
    """`benchmark_title` and `label`, then the columns of `summarise`."""
    frame = to_frame([row.summary for row in rows])
    frame.insert(0, "benchmark_title", [row.benchmark for row in rows])
    frame.insert(1, "label", [row.label for row in rows])
    return frame


def describe_table(title: str, rows: Sequence[PaperRow]) -> str:
    """How many rows have which verdict, in one sentence."""
    counts = Counter(row.summary.verdict for row in rows)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _SIGNS if counts[verdict])
    return f"{title}: of {len(rows)} rows {said}."


# --- Markdown -----------------------------------------------------------------------------------

_HEADINGS = (
    "Benchmark",
    "Variant",
    "Ours",
    "Over seeds",
    "Test sample",
    "Published",
    "Difference",
    "Seeds",
    "Test size",
    "Verdict",
)
_RIGHT = {"Ours", "Over seeds", "Test sample", "Published", "Difference", "Seeds", "Test size"}


def to_markdown(title: str, rows: Sequence[PaperRow]) -> str:
    """The table in Markdown, its columns aligned for readers of the plain text."""
    cells = [list(_HEADINGS), *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, _rule(widths))
    return "\n".join([f"# {title}", "", *lines, "", *textwrap.wrap(_notes(rows), 100), ""])


def _cells(row: PaperRow) -> list[str]:
    s = row.summary
    texts = [
        row.benchmark,
        row.label,
        _number(s.ours_percent),
        _range(s.seeds_low_percent, s.seeds_high_percent),
        _range(s.sample_low_percent, s.sample_high_percent),
        _number(s.published_percent),
        format_points(s.difference_points),
        f"{s.n_seeds}",
        _DASH if s.n_test is None else f"{s.n_test:,}",
        s.verdict,
    ]
    return [text.replace("|", r"\|") for text in texts]


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
        for heading, cell, width in zip(_HEADINGS, cells, widths, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _rule(widths: list[int]) -> str:
    marks = [
        f"{'-' * (width + 1)}{':' if heading in _RIGHT else '-'}"
        for heading, width in zip(_HEADINGS, widths, strict=True)
    ]
    return f"|{'|'.join(marks)}|"


def _notes(rows: Sequence[PaperRow]) -> str:
    metrics = dict.fromkeys(row.summary.metric for row in rows)
    sources = dict.fromkeys(filter(None, (row.summary.published_source for row in rows)))
    return (
        f"All figures in percent ({', '.join(metrics)}), differences in percentage points. "
        "Ours: mean over seeds. Over seeds: Student's 95 % interval, from two seeds on. "
        f"Test sample: Wilson's 95 % interval. {VERDICT_RULE}"
        + (f" Published figures: {'; '.join(sources)}." if sources else "")
    )


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.1f}"


def _range(low: float | None, high: float | None) -> str:
    return _DASH if low is None or high is None else f"{low:.1f}{_DASH}{high:.1f}"


# --- figure -------------------------------------------------------------------------------------

_OURS = {
    "label": "ours, mean and 95 % interval",
    "color": BLUE,
    "marker": "o",
    "markersize": 5.5,
    "linewidth": 1.8,
    "zorder": 4,
}
_PUBLISHED = {
    "label": "published",
    "color": VERMILLION,
    "marker": "D",
    "markersize": 8.5,
    "markerfacecolor": "none",  # and above ours, so that neither hides the other
    "markeredgewidth": 1.4,
    "linestyle": "none",
    "zorder": 5,
}


def draw_table(title: str, rows: Sequence[PaperRow]) -> Figure:
    """Ours with the interval that decides, the published figure with the author's tolerance.

    One line per row, from top to bottom, under its benchmark's title; the verdict at its right.
    """
    lines = _lines(rows)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 1.3 + 0.27 * len(lines))
        axes = figure.add_subplot()
        for y, line in enumerate(lines):
            if isinstance(line, PaperRow):
                _draw_row(axes, y, line.summary)
        _label_lines(axes, lines)
        axes.set_xlim(*_limits(rows))
        axes.set_xlabel(f"percent ({', '.join(dict.fromkeys(r.summary.metric for r in rows))})")
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        _draw_legend(figure, title)
    return figure


def _lines(rows: Sequence[PaperRow]) -> list[PaperRow | str]:
    """The rows, each benchmark's after its title."""
    lines: list[PaperRow | str] = []
    title = None
    for row in rows:
        if row.benchmark != title:
            title = row.benchmark
            lines.append(title)
        lines.append(row)
    return lines


def _draw_row(axes: Axes, y: int, row: SummaryRow) -> None:
    if row.published_percent is not None:
        corner = (row.published_percent - TOLERANCE_POINTS, y - 0.36)
        axes.add_patch(Rectangle(corner, 2 * TOLERANCE_POINTS, 0.72, color=_BAND, lw=0, zorder=1))
        axes.plot(row.published_percent, y, **_PUBLISHED)
    if row.ours_percent is not None:
        if row.interval is not None:
            low, high = row.interval
            axes.plot([low, high], [y, y], **_OURS | {"marker": "|"})
        axes.plot(row.ours_percent, y, **_OURS)
    axes.text(
        1.02,
        y,
        f"{_SIGNS[row.verdict]}{row.verdict}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=GREY if row.verdict == NOT_RUN else INK,
        style="italic" if row.verdict == NOT_RUN else "normal",
    )


def _label_lines(axes: Axes, lines: list[PaperRow | str]) -> None:
    labels = [line.label if isinstance(line, PaperRow) else line for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.tick_params(axis="y", length=0)
    for line, text in zip(lines, axes.get_yticklabels(), strict=True):
        if isinstance(line, str):
            text.set_weight("bold")
    axes.set_ylim(len(lines) - 0.4, -0.6)


def _limits(rows: Sequence[PaperRow]) -> tuple[float, float]:
    """Multiples of _GRID_POINTS around everything drawn, within 0..100 and a mark's width."""
    values = [0.0, 100.0] if all(_is_empty(row.summary) for row in rows) else []
    for summary in (row.summary for row in rows):
        values += [v for v in (summary.ours_percent, *(summary.interval or ())) if v is not None]
        if summary.published_percent is not None:
            published = summary.published_percent
            values += [published - TOLERANCE_POINTS, published + TOLERANCE_POINTS]
    low = _GRID_POINTS * (min(values) // _GRID_POINTS)
    high = -_GRID_POINTS * (-max(values) // _GRID_POINTS)
    # The bare ends of the scale would cut through the marks that lie on them.
    return max(low, -TOLERANCE_POINTS - 0.5), min(high, 100 + TOLERANCE_POINTS + 0.5)


def _is_empty(summary: SummaryRow) -> bool:
    return summary.ours_percent is None and summary.published_percent is None


def _draw_legend(figure: Figure, title: str) -> None:
    """Above the lines; built by hand, as a first row without a result must not shorten it."""
    keys = [
        Line2D([], [], **_OURS),
        Line2D([], [], **_PUBLISHED),
        Patch(color=_BAND, lw=0, label=f"published ± {TOLERANCE_POINTS:g} points"),
    ]
    # The title is the legend's: constrained layout lets a figure's title and legend overlap.
    figure.legend(
        handles=keys,
        title=title,
        title_fontproperties={"weight": "bold", "size": 9.0},
        alignment="left",
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
