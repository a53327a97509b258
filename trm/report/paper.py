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
    OF_A_SUBSET,
    REPRODUCED,
    TOLERANCE_POINTS,
    UNDECIDED,
    VERDICT_RULE,
    SummaryRow,
    by_measure_elsewhere,
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
    OF_A_SUBSET: "",
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
    counts = Counter(row.summary.compared.verdict for row in rows)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _SIGNS if counts[verdict])
    return f"{title}: of {len(rows)} rows {said}."


# --- Markdown -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: list[str]
    is_text: bool = False  # aligned to the left

    def padded(self) -> list[str]:
        """Heading, rule and cells in one width."""
        cells = [cell.replace("|", r"\|") for cell in (self.heading, *self.cells)]
        width = max(map(len, cells))
        heading, *rest = (c.ljust(width) if self.is_text else c.rjust(width) for c in cells)
        rule = "-" * (width + 1) + ("-" if self.is_text else ":")
        return [f" {heading} ", rule, *(f" {cell} " for cell in rest)]


def to_markdown(title: str, rows: Sequence[PaperRow]) -> str:
    """The table in Markdown, its columns aligned for readers of the plain text."""
    columns = [column.padded() for column in _columns(rows)]
    lines = [f"|{'|'.join(cells)}|" for cells in zip(*columns, strict=True)]
    return "\n".join([f"# {title}", "", *lines, "", *textwrap.wrap(_notes(rows), 100), ""])


def _columns(rows: Sequence[PaperRow]) -> list[_Column]:
    summaries = [row.summary for row in rows]
    return [
        _Column("Benchmark", [row.benchmark for row in rows], is_text=True),
        _Column("Variant", [row.label for row in rows], is_text=True),
        _Column("Ours", [_number(s.ours_percent) for s in summaries]),
        _Column("Over seeds", [_over_seeds(s) for s in summaries]),
        _Column("Test sample", [_test_sample(s) for s in summaries]),
        _Column("Published", [_number(s.published_percent) for s in summaries]),
        _Column("Difference", [format_points(s.difference_points) for s in summaries]),
        *_columns_elsewhere(summaries),
        _Column("Seeds", [f"{s.n_seeds}" for s in summaries]),
        _Column("Test size", [_DASH if s.n_test is None else f"{s.n_test:,}" for s in summaries]),
        _Column("Training FLOP", [_flop(s.train_flop) for s in summaries]),
        _Column("FLOP per puzzle", [_flop(s.evaluate_flop_per_puzzle) for s in summaries]),
        _Column("Verdict", [s.compared.verdict for s in summaries], is_text=True),
    ]


def _columns_elsewhere(summaries: Sequence[SummaryRow]) -> list[_Column]:
    """Figures by another metric than the benchmark's, or of a subset, each in its own columns."""
    columns = []
    for measure, found in by_measure_elsewhere(summaries).items():
        others = [other or _NOTHING for other in found]
        published = [_number(other.published_percent) for other in others]
        if all(other.subset is None for other in others):
            columns += [
                _Column(f"Ours, {measure}", [_number(s.ours_percent) for s in others]),
                _Column(f"Over seeds, {measure}", [_over_seeds(s) for s in others]),
                _Column(f"Test sample, {measure}", [_test_sample(s) for s in others]),
            ]
        columns.append(_Column(f"Published, {measure}", published))
    return columns


_NOTHING = SummaryRow("", "", NOT_RUN, "", 0)


def _over_seeds(row: SummaryRow) -> str:
    return _range(row.seeds_low_percent, row.seeds_high_percent)


def _test_sample(row: SummaryRow) -> str:
    return _range(row.sample_low_percent, row.sample_high_percent)


def _notes(rows: Sequence[PaperRow]) -> str:
    metrics = dict.fromkeys(_metrics(rows))
    sources = dict.fromkeys(filter(None, (row.summary.published_source for row in rows)))
    return (
        f"All figures in percent ({', '.join(metrics)}), differences in percentage points. "
        "Ours: mean over seeds. Over seeds: Student's 95 % interval, from two seeds on. "
        f"Test sample: Wilson's 95 % interval. {VERDICT_RULE} FLOP: counted, of the whole training "
        "and of a test puzzle in all its supervision steps, mean over seeds."
        + (f" Published figures: {'; '.join(sources)}." if sources else "")
    )


def _metrics(rows: Sequence[PaperRow]) -> list[str]:
    """The metrics of all figures of a table, those of the benchmarks first."""
    summaries = [row.summary for row in rows]
    return [*dict.fromkeys(s.metric for s in [*summaries, *(s.compared for s in summaries)])]


def _flop(value: float | None) -> str:
    return _DASH if value is None else f"{value:.2e}"


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

    One line per row, from top to bottom, under its benchmark's title; the verdict at its right. A
    figure by another metric, or of a subset, has a line of its own below its row.
    """
    lines = _lines(rows)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 1.3 + 0.27 * len(lines))
        axes = figure.add_subplot()
        for y, line in enumerate(lines):
            if isinstance(line, _Line):
                _draw_row(axes, y, line.summary)
        _label_lines(axes, lines)
        axes.set_xlim(*_limits(rows))
        axes.set_xlabel(f"percent ({', '.join(_metrics(rows))})")
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        _draw_legend(figure, title)
    return figure


@dataclass(frozen=True)
class _Line:
    """A line of the figure: a row, or what it has by another measure than its benchmark's."""

    label: str
    summary: SummaryRow


def _lines(rows: Sequence[PaperRow]) -> list[_Line | str]:
    """The rows, each benchmark's after its title."""
    lines: list[_Line | str] = []
    title = None
    for row in rows:
        if row.benchmark != title:
            title = row.benchmark
            lines.append(title)
        lines.append(_Line(row.label, row.summary))
        other = row.summary.elsewhere
        if other is not None:
            lines.append(_Line(f"the same, {other.measure}", other))
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
        f"{_SIGNS.get(row.verdict, '')}{row.verdict}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=GREY if row.verdict == NOT_RUN else INK,
        style="italic" if row.verdict == NOT_RUN else "normal",
    )


def _label_lines(axes: Axes, lines: list[_Line | str]) -> None:
    labels = [line.label if isinstance(line, _Line) else line for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.tick_params(axis="y", length=0)
    for line, text in zip(lines, axes.get_yticklabels(), strict=True):
        if isinstance(line, str):
            text.set_weight("bold")
    axes.set_ylim(len(lines) - 0.4, -0.6)


def _limits(rows: Sequence[PaperRow]) -> tuple[float, float]:
    """Multiples of _GRID_POINTS around everything drawn, within 0..100 and a mark's width."""
    summaries = [s for row in rows for s in (row.summary, row.summary.elsewhere) if s]
    values = [0.0, 100.0] if all(map(_is_empty, summaries)) else []
    for summary in summaries:
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
