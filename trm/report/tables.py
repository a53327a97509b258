"""Tables: ours against the published figure, with the uncertainty of both kinds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from trm.errors import TrmError
from trm.files import atomic_write
from trm.report.results import Result
from trm.scoring.intervals import mean_over_seeds, wilson
from trm.scoring.metrics import entry_of
from trm.study.files import ResultFile
from trm.study.table import Benchmark

NOT_RUN = "not run"
NO_SOLUTIONS = "no solutions to score against"
DONE = "done"

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NO_PUBLISHED_FIGURE = "no published figure"
OF_A_SUBSET = "published for a subset"

FLOP = ("train_flop", "evaluate_flop_per_puzzle")  # in provenance.json

TOLERANCE_POINTS = 2.0  # the author's own: reruns within ±2 points count as the same result
VERDICT_RULE = (
    f"Reproduced: the whole 95 % interval lies within {TOLERANCE_POINTS:g} points of the published "
    "figure, the author's own tolerance. Not reproduced: the whole interval lies outside. "
    "Undecided: neither. The interval is that over seeds where there are two or more, else that "
    "of the test sample, which knows nothing of the spread between trainings. A figure that was "
    "published by another metric is compared by that metric. One of a subset of the test puzzles "
    "is compared with nothing."
)


@dataclass(frozen=True)
class SummaryRow:
    """One line of the summary; every share and difference is in percent (points)."""

    benchmark: str
    variant: str
    status: str
    metric: str
    n_seeds: int
    n_test: int | None = None
    ours_percent: float | None = None  # mean over seeds
    seeds_low_percent: float | None = None  # 95 % t-interval of that mean, from 2 seeds on
    seeds_high_percent: float | None = None
    sample_low_percent: float | None = None  # 95 % Wilson interval: the luck of the test sample
    sample_high_percent: float | None = None
    published_percent: float | None = None
    difference_points: float | None = None  # ours - published
    published_source: str | None = None
    train_flop: float | None = None  # mean over seeds
    evaluate_flop_per_puzzle: float | None = None  # mean over seeds
    subset: int | None = None  # test puzzles that the published figure is of; None: all
    elsewhere: SummaryRow | None = None
    """The same variant by the metric, or on the subset of the test set, that its figure was
    published for, where that is not the benchmark's metric on the whole test set."""

    @property
    def compared(self) -> SummaryRow:
        """The row that has the published figure."""
        return self.elsewhere or self

    @property
    def measure(self) -> str:
        """What a figure is of: a metric, on the whole test set or a subset."""
        return self.metric if self.subset is None else f"{self.metric} of {self.subset:,} puzzles"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval that decides, in percent: over seeds, else of the test sample."""
        for low, high in (
            (self.seeds_low_percent, self.seeds_high_percent),
            (self.sample_low_percent, self.sample_high_percent),
        ):
            if low is not None and high is not None:
                return low, high
        return None

    @property
    def verdict(self) -> str:
        """VERDICT_RULE applied; a row that was not run says so, whatever was published."""
        if self.status != DONE:
            return self.status
        if self.published_percent is None:
            return NO_PUBLISHED_FIGURE
        if self.subset is not None:
            return OF_A_SUBSET
        if self.interval is None:
            return UNDECIDED
        low, high = self.interval
        least = self.published_percent - TOLERANCE_POINTS
        most = self.published_percent + TOLERANCE_POINTS
        if least <= low and high <= most:
            return REPRODUCED
        return NOT_REPRODUCED if high < least or low > most else UNDECIDED


def summarise(results: Iterable[Result], benchmarks: dict[str, Benchmark]) -> pd.DataFrame:
    """`summary_rows` as a table: the fields of `SummaryRow`, then its verdict."""
    return to_frame(summary_rows(results, benchmarks))


def summary_rows(results: Iterable[Result], benchmarks: dict[str, Benchmark]) -> list[SummaryRow]:
    """One row per variant of every benchmark given; variants without a result say "not run".

    All seeds of a variant answer the same test examples, so the Wilson interval uses their number
    once, not once per seed.

    Args:
        results: evaluated runs of these benchmarks, in any order.
        benchmarks: rows of the table of experiments by name.

    Returns:
        Rows in the order of the table of experiments.

    Raises:
        TrmError: a result lacks its benchmark's metric, holds a value that is not a share, or is
            given twice.
    """
    by_variant: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        by_variant.setdefault((result.benchmark, result.variant), []).append(result)
    return [
        _row(name, variant, benchmark, by_variant.get((name, variant), []))
        for name, benchmark in benchmarks.items()
        for variant in benchmark.variants
    ]


def to_frame(rows: Sequence[SummaryRow]) -> pd.DataFrame:
    """The fields of `SummaryRow` as columns, then `verdict`; one line per row.

    Figures by another metric, or of a subset, follow in columns of their own, named
    `{column}:{metric}` and `{column}:{metric} of {n} puzzles`.
    """
    columns = [f.name for f in fields(SummaryRow) if f.name not in ("subset", "elsewhere")]
    table = pd.DataFrame([asdict(row) for row in rows], columns=columns)
    # A column without any value would hold None; Int64 keeps a missing count from being a float.
    numbers = {name: float for name in columns if name.endswith(("_percent", "_points"))}
    flop = dict.fromkeys(FLOP, float)
    table = table.astype({"n_test": "Int64", **numbers, **flop})
    table = table.assign(verdict=[row.compared.verdict for row in rows])
    for measure, others in by_measure_elsewhere(rows).items():
        for name in _numbers_of(others, [*numbers]):
            values = [None if other is None else getattr(other, name) for other in others]
            table[f"{name}:{measure}"] = pd.Series(values, dtype=float)
    return table


def by_measure_elsewhere(rows: Sequence[SummaryRow]) -> dict[str, list[SummaryRow | None]]:
    """For each measure of a figure that is not of the benchmark's metric on the whole test set: of
    each row what it has by that measure."""
    measures = dict.fromkeys(row.elsewhere.measure for row in rows if row.elsewhere)
    return {
        measure: [
            row.elsewhere if row.elsewhere and row.elsewhere.measure == measure else None
            for row in rows
        ]
        for measure in measures
    }


def _numbers_of(others: list[SummaryRow | None], all_numbers: list[str]) -> list[str]:
    """The columns of a measure: of a subset nothing is known but what was published."""
    of_subset = any(other.subset is not None for other in others if other)
    return ["published_percent"] if of_subset else all_numbers


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame of `to_frame` as CSV."""
    short = {name: frame[name].map("{:.6g}".format, na_action="ignore") for name in FLOP}
    with atomic_write(path) as file:
        frame.assign(**short).to_csv(file, index=False, float_format="%.4f")


def _row(name: str, variant: str, benchmark: Benchmark, runs: list[Result]) -> SummaryRow:
    settings = benchmark.variants[variant]
    metric, subset = settings.published_metric or benchmark.metric, settings.published_subset
    row = _measured(SummaryRow(name, variant, NOT_RUN, benchmark.metric, len(runs)), runs)
    row = replace(row, published_source=settings.published_source)
    if metric == benchmark.metric and subset is None:
        return _beside(row, settings.published)
    other = SummaryRow(name, variant, NOT_RUN, metric, len(runs), subset=subset)
    other = replace(other, status=row.status) if subset else _measured(other, runs)
    return replace(row, elsewhere=_beside(other, settings.published))


def _measured(row: SummaryRow, runs: list[Result]) -> SummaryRow:
    """The row with what these runs say about its metric."""
    if not runs:
        return row
    if all("tasks_without_solution" in run.metrics for run in runs):
        return replace(row, status=NO_SOLUTIONS)
    _refuse_repeats(runs)
    shares = [_share(run, row.metric) for run in runs]
    ours = sum(shares) / len(shares)
    n_test = _n_test(runs, entry_of(row.metric).over)
    sample = wilson(ours, n_test) if n_test else None
    seeds = mean_over_seeds(shares) if len(shares) > 1 else None
    return replace(
        row,
        status=DONE,
        n_test=n_test,
        ours_percent=100 * ours,
        # Student's t knows nothing of the ends of the scale.
        seeds_low_percent=100 * max(0.0, seeds.low) if seeds else None,
        seeds_high_percent=100 * min(1.0, seeds.high) if seeds else None,
        sample_low_percent=100 * sample.low if sample else None,
        sample_high_percent=100 * sample.high if sample else None,
        **{name: _mean_of_known(run.provenance.get(name) for run in runs) for name in FLOP},
    )


def _beside(row: SummaryRow, published: float | None) -> SummaryRow:
    """The row beside its published figure, in percent."""
    compares = published is not None and row.ours_percent is not None
    difference = row.ours_percent - published if compares else None
    return replace(row, published_percent=published, difference_points=difference)


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    """None where no result has it: earlier versions did not count."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _refuse_repeats(runs: list[Result]) -> None:
    """One seed counted twice would make the interval over seeds too narrow."""
    folder_of: dict[int, Path] = {}
    for run in runs:
        if run.seed in folder_of:
            raise TrmError(
                f"{folder_of[run.seed]} and {run.folder} are both {run.name}: give one of them"
            )
        folder_of[run.seed] = run.folder


def _share(run: Result, metric: str) -> float:
    value = run.metrics.get(metric)
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0 or math.isnan(value):
        raise TrmError(
            f"{run.folder / ResultFile.METRICS} gives {value!r} for {metric!r}, expected a share "
            "in 0..1: correct `metric:` in config.yaml or evaluate the run again"
        )
    return float(value)


def _n_test(runs: list[Result], n_metric: str) -> int | None:
    """Number of test examples; where runs differ the smallest, for the wider interval."""
    counts = [int(run.metrics[n_metric]) for run in runs if n_metric in run.metrics]
    return min(counts, default=None)
