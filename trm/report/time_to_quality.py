"""The board: what was needed until a benchmark's metric reached each threshold, ours and published.

Nothing is interpolated. Of ours the first evaluation counts that reached a threshold, with all that
was spent until its end. Of others only the end of a training is known: it counts for each threshold
that its figure reached, and is an upper limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from trm.files import atomic_write
from trm.puzzles.metric import EXAMPLES
from trm.report.figures import BLUE, GREY, INK, STYLE, VERMILLION, new_figure
from trm.report.learning_curve import read_history
from trm.report.results import Result
from trm.study.board import PublishedRun
from trm.study.files import ResultFile
from trm.study.table import Study

OURS, PUBLISHED = "ours", "published"
FULL, SUBSET = "full", "subset"
RULE = (
    "A time of ours is that of the first evaluation, of the whole test set, that reached the "
    "threshold; nothing is interpolated. A published time is that of the whole training, and so an "
    "upper limit. It counts for the thresholds that the published figure reached. Device-hours are "
    "hours times devices (on a CPU: processes); those of different devices do not compare. FLOP "
    "are those of the training steps."
)


@dataclass(frozen=True)
class Spent:
    """What a training had spent at some time."""

    hours: float
    devices: int
    flop: float | None  # None where nobody has counted

    @property
    def device_hours(self) -> float:
        return self.hours * self.devices


@dataclass(frozen=True)
class Entry:
    """One training on the board."""

    benchmark: str
    name: str  # a variant of ours, or what was published
    by: str  # OURS or PUBLISHED
    metric: str
    test_set: str  # FULL or SUBSET
    seed: int | None
    device: str
    devices: int
    best_percent: float | None  # None where no evaluation counts
    whole: Spent | None  # the whole training; None where nobody has said
    reached: dict[float, Spent]  # by threshold
    source: str  # the history.csv of ours; where it was published
    log: str = ""  # of our training, where it is on this machine
    note: str = ""


def entries_of(results: Iterable[Result], study: Study) -> list[Entry]:
    """Ours and then those of others, benchmark by benchmark in the order of the study.

    Results with given weights, and those without history.csv, have no time and no entry. TrmError
    where a history.csv cannot be read.
    """
    results = [r for r in results if (r.folder / ResultFile.HISTORY).is_file()]
    entries: list[Entry] = []
    for name in study.benchmarks:
        entries += [_ours(result, study) for result in results if result.benchmark == name]
        entries += [_published(name, run, study) for run in study.published_runs(name)]
    return entries


# --- ours ---------------------------------------------------------------------------------------


def _ours(result: Result, study: Study) -> Entry:
    path = result.folder / ResultFile.HISTORY
    metric = study.benchmarks[result.benchmark].metric
    rows, notes = _evaluations(read_history(path), metric, result)
    start = study.start_of(f"{result.benchmark}/{result.variant}")
    if start is not None:
        notes.append(f"starts from {start}, whose training is not counted")
    log = Path(study.paths.log("train", result.name))
    devices = int(result.provenance.get("world_size", 1))
    return Entry(
        benchmark=result.benchmark,
        name=result.variant,
        by=OURS,
        metric=metric,
        test_set=FULL,
        seed=result.seed,
        device=result.provenance.get("device") or "not recorded",
        devices=devices,
        best_percent=None if rows.empty else 100 * float(rows[metric].max()),
        whole=_whole(result, devices),
        reached={
            threshold: _spent(rows[100 * rows[metric] >= threshold].iloc[0], devices)
            for threshold in study.board.thresholds
            if (100 * rows[metric] >= threshold).any()
        },
        source=path.as_posix(),
        log=log.as_posix() if log.is_file() else "",
        note="; ".join(notes),
    )


def _whole(result: Result, devices: int) -> Spent | None:
    known = result.provenance
    seconds = known.get("train_wall_s")
    return None if seconds is None else Spent(seconds / 3600, devices, known.get("train_flop"))


def _evaluations(
    history: pd.DataFrame, metric: str, result: Result
) -> tuple[pd.DataFrame, list[str]]:
    """The evaluations that count, in order, and remarks on those that do not: of another number of
    examples than the test set of metrics.json has."""
    if metric not in history.columns:
        return history.iloc[:0].assign(**{metric: pd.Series(dtype=float)}), [
            f"its {ResultFile.HISTORY} has no {metric}"
        ]
    rows = history[(history["split"] == "test") & history[metric].notna()].sort_values("step")
    whole = rows[rows[EXAMPLES] == result.metrics.get(EXAMPLES)]
    left_out = len(rows) - len(whole)
    if not left_out:
        return whole, []
    return whole, [f"{left_out} of {len(rows)} evaluations were of a sample, and are left out"]


def _spent(row: pd.Series, devices: int) -> Spent:
    flop = row.get("train_flop")
    return Spent(row["elapsed_s"] / 3600, devices, None if pd.isna(flop) else float(flop))


# --- published ----------------------------------------------------------------------------------


def _published(benchmark: str, run: PublishedRun, study: Study) -> Entry:
    metric = study.benchmarks[benchmark].metric
    whole = None if run.hours is None else Spent(run.hours, run.devices, run.flop)
    counts = whole is not None and run.metric in (None, metric)
    return Entry(
        benchmark=benchmark,
        name=run.name,
        by=PUBLISHED,
        metric=run.metric or metric,
        test_set=run.test_set,
        seed=None,
        device=run.device,
        devices=run.devices,
        best_percent=run.percent,
        whole=whole,
        reached={t: whole for t in study.board.thresholds if counts and run.percent >= t},
        source=run.source,
        note=run.note,
    )


# --- the table ----------------------------------------------------------------------------------


def board_frame(entries: Sequence[Entry], thresholds: Sequence[float]) -> pd.DataFrame:
    """One line per entry; cells of thresholds that it did not reach are empty."""
    return pd.DataFrame(
        [_line(entry, thresholds) for entry in entries],
        columns=[*_line(_NOBODY, thresholds)],
    ).astype({"seed": "Int64"})


_NOBODY = Entry("", "", "", "", "", None, "", 0, None, None, {}, "")


def _line(entry: Entry, thresholds: Sequence[float]) -> dict[str, object]:
    best = entry.best_percent
    line: dict[str, object] = {
        "benchmark": entry.benchmark,
        "entry": entry.name,
        "by": entry.by,
        "seed": entry.seed,
        "metric": entry.metric,
        "test_set": entry.test_set,
        "best_percent": None if best is None else f"{best:.2f}",
        "devices": entry.devices,
        "device": entry.device,
    }
    line |= _cells("", entry.whole)
    for threshold in thresholds:
        line |= _cells(f"_to_{threshold:g}", entry.reached.get(threshold))
    return line | {"source": entry.source, "log": entry.log, "note": entry.note}


def _cells(suffix: str, spent: Spent | None) -> dict[str, str | None]:
    known = (None, None, None) if spent is None else (spent.hours, spent.device_hours, spent.flop)
    return {
        f"{name}{suffix}": None if value is None else f"{value:.4g}"
        for name, value in zip(("hours", "device_hours", "flop"), known, strict=True)
    }


def write_board(path: Path, entries: Sequence[Entry], thresholds: Sequence[float]) -> None:
    with atomic_write(path) as file:
        board_frame(entries, thresholds).to_csv(file, index=False)


# --- the figure ---------------------------------------------------------------------------------

_MARKERS = "osD^vP*X"  # by threshold, the lowest first


def draw_board(entries: Sequence[Entry], study: Study) -> Figure:
    """Device-hours until each threshold, one line per entry that reached one, under its benchmark.

    Thresholds that were reached at the same time have one mark, of the highest: so has a published
    training, whose time is that of its end.
    """
    thresholds = sorted(study.board.thresholds)
    shape = dict(zip(thresholds, _MARKERS * len(thresholds), strict=False))
    lines = _lines([entry for entry in entries if entry.reached], study)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 1.5 + 0.27 * max(len(lines), 1))
        axes = figure.add_subplot()
        for y, line in enumerate(lines):
            if isinstance(line, Entry):
                _draw_entry(axes, y, line, shape)
        _label_lines(axes, lines)
        axes.set_xlabel("device-hours until the threshold")
        _draw_legend(figure, shape)
    return figure


def describe_board(entries: Sequence[Entry]) -> str:
    """What the figure shows, in a sentence."""
    shown = [entry for entry in entries if entry.reached]
    ours = sum(entry.by == OURS for entry in shown)
    return (
        "Device-hours until each threshold of the benchmarks' metrics, for the trainings that "
        f"reached one: {ours} of ours, {len(shown) - ours} published."
    )


def _lines(entries: Sequence[Entry], study: Study) -> list[Entry | str]:
    """The entries, each benchmark's after its title."""
    lines: list[Entry | str] = []
    for name, benchmark in study.benchmarks.items():
        own = [entry for entry in entries if entry.benchmark == name]
        lines += [benchmark.title, *own] if own else []
    return lines


def _draw_entry(axes: Axes, y: int, entry: Entry, shape: dict[float, str]) -> None:
    marks = {entry.reached[t].device_hours: t for t in sorted(entry.reached)}
    colour, face = (BLUE, BLUE) if entry.by == OURS else (VERMILLION, "none")
    axes.plot([*marks], [y] * len(marks), color=colour, linewidth=1, zorder=2)
    for hours, threshold in marks.items():
        axes.plot(hours, y, shape[threshold], color=colour, markerfacecolor=face, markersize=7)
    axes.text(
        1.02,
        y,
        f"{entry.devices} × {entry.device}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=INK,
    )


def _label_lines(axes: Axes, lines: list[Entry | str]) -> None:
    axes.set_yticks(range(len(lines)), [_label(line) for line in lines])
    axes.tick_params(axis="y", length=0)
    for line, text in zip(lines, axes.get_yticklabels(), strict=True):
        if isinstance(line, str):
            text.set_weight("bold")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if not lines:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no training has reached a threshold", ha="center", color=GREY)
        axes.set_ylim(0, 1)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _label(line: Entry | str) -> str:
    if isinstance(line, str):
        return line
    if line.by == OURS:
        return f"{line.name}, seed {line.seed}"
    return line.name if line.test_set == FULL else f"{line.name} ({SUBSET} of the test)"


def _draw_legend(figure: Figure, shape: dict[float, str]) -> None:
    keys = [
        Line2D(
            [],
            [],
            marker=marker,
            color=INK,
            markerfacecolor="none",
            linestyle="none",
            label=f"{t:g} %",
        )
        for t, marker in shape.items()
    ]
    keys += [
        Line2D([], [], marker="o", color=BLUE, linewidth=1, label="ours, first evaluation"),
        Line2D(
            [],
            [],
            marker="o",
            color=VERMILLION,
            markerfacecolor="none",
            linestyle="none",
            label="published, end of the training",
        ),
    ]
    figure.legend(
        handles=keys,
        title="Time to quality",
        title_fontproperties={"weight": "bold", "size": 9.0},
        alignment="left",
        loc="outside upper left",
        ncols=len(keys),
        frameon=False,
        fontsize=8,
    )
