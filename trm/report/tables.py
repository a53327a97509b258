"""Tables: ours against the published figure, with the uncertainty of both kinds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from trm.errors import TrmError
from trm.report.results import Result
from trm.scoring.intervals import mean_over_seeds, wilson
from trm.study.files import ResultFile
from trm.study.table import Benchmark

NOT_RUN = "not run"
NO_SOLUTIONS = "no solutions to score against"
DONE = "done"

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NO_PUBLISHED_FIGURE = "no published figure"

TOLERANCE_POINTS = 2.0  # the author's own: reruns within ±2 points count as the same result
VERDICT_RULE = (
    f"Reproduced: the whole 95 % interval lies within {TOLERANCE_POINTS:g} points of the published "
    "figure, the author's own tolerance. Not reproduced: the whole interval lies outside. "
    "Undecided: neither. The interval is that over seeds where there are two or more, else that "
    "of the test sample, which knows nothing of the spread between trainings."
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
        TrmError: a result lacks its benchmark's metric, holds a value that is no share, or is
            there twice.
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
    """The fields of `SummaryRow` as columns, then `verdict`; one line per row."""
    columns = [column.name for column in fields(SummaryRow)]
    table = pd.DataFrame([asdict(row) for row in rows], columns=columns)
    # A column without any value would hold None; Int64 keeps a missing count from being a float.
    numbers = {name: float for name in columns if name.endswith(("_percent", "_points"))}
    table = table.astype({"n_test": "Int64", **numbers})
    return table.assign(verdict=[row.verdict for row in rows])


def _row(name: str, variant: str, benchmark: Benchmark, runs: list[Result]) -> SummaryRow:
    settings = benchmark.variants[variant]
    known = {
        "benchmark": name,
        "variant": variant,
        "metric": benchmark.metric,
        "published_percent": settings.published,
        "published_source": settings.published_source,
    }
    if not runs:
        return SummaryRow(status=NOT_RUN, n_seeds=0, **known)
    if all("tasks_without_solution" in run.metrics for run in runs):
        return SummaryRow(status=NO_SOLUTIONS, n_seeds=len(runs), **known)
    _refuse_repeats(runs)
    shares = [_share(run, benchmark.metric) for run in runs]
    ours = sum(shares) / len(shares)
    n_test = _n_test(runs, benchmark.n_metric)
    sample = wilson(ours, n_test) if n_test else None
    seeds = mean_over_seeds(shares) if len(shares) > 1 else None
    return SummaryRow(
        status=DONE,
        n_seeds=len(runs),
        n_test=n_test,
        ours_percent=100 * ours,
        # Student's t knows nothing of the ends of the scale.
        seeds_low_percent=100 * max(0.0, seeds.low) if seeds else None,
        seeds_high_percent=100 * min(1.0, seeds.high) if seeds else None,
        sample_low_percent=100 * sample.low if sample else None,
        sample_high_percent=100 * sample.high if sample else None,
        difference_points=None if settings.published is None else 100 * ours - settings.published,
        **known,
    )


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
