"""The report: one HTML file that needs nothing outside itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from trm.errors import TrmError
from trm.report.results import Result
from trm.report.tables import NO_PUBLISHED_FIGURE, NOT_RUN, VERDICT_RULE, summarise
from trm.study import Benchmark

UNKNOWN = "not recorded"

_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"
_DASH = "\u2013"
_DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"
_FIRST_PICTURE = "learning_curve"

_METRIC_LABELS = {
    "exact_accuracy": "puzzles solved exactly",
    "accuracy": "cells right",
    "q_halt_accuracy": "halting decisions right",
    "steps": "supervision steps",
    "count": "test examples",
    "lm_loss": "loss",
    "q_halt_loss": "halting loss",
    "halting/mean_probability": "mean halting probability",
    "halting/calibration_error": "its calibration error",
    "halting/auroc": "its AUROC for being right",
    "valid_path": "any shortest path found",
    "ARC/tasks": "tasks",
}


@dataclass(frozen=True)
class Line:
    """A label and its value, ready to print."""

    label: str
    value: str


@dataclass(frozen=True)
class OverviewLine:
    """One row of the overview, ready to print."""

    benchmark: str
    variant: str
    anchor: str | None  # of its first result; None where it was not run
    seeds: str
    metric: str
    ours: str
    intervals: list[Line]  # label: of what
    published: str
    source: str
    difference: str
    verdict: str  # empty where there is nothing to compare
    n_test: str


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI."""

    uri: str
    title: str
    alt: str


@dataclass(frozen=True)
class ResultView:
    """One result, ready to print."""

    anchor: str
    variant: str
    seed: int
    description: str
    metrics: list[Line]
    facts: list[Line]
    pictures: list[Picture]
    origin: list[Line]
    config: str


@dataclass(frozen=True)
class BenchmarkView:
    """One benchmark with its results, ready to print."""

    title: str
    description: str
    results: list[ResultView]


def render_page(results: Iterable[Result], benchmarks: dict[str, Benchmark]) -> str:
    """The report as HTML: overview, then every result with its figures and settings.

    Nothing in it depends on when it is rendered: same results, same page.

    Args:
        results: evaluated runs in the order to print them (`load_results`).
        benchmarks: the table of experiments; rows without a result are listed as not run.

    Raises:
        TrmError: a result or a figure cannot be read.
    """
    results = list(results)
    overview = [
        _overview_line(row, results, benchmarks)
        for row in summarise(results, benchmarks).itertuples(index=False)
    ]
    views = [
        BenchmarkView(
            row.title,
            row.description,
            [_result_view(r, row) for r in results if r.benchmark == name],
        )
        for name, row in benchmarks.items()
    ]
    environment = Environment(
        loader=PackageLoader("trm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        facts=_page_facts(results),
        run=[line for line in overview if line.anchor],
        not_run=[line for line in overview if not line.anchor],
        verdict_rule=VERDICT_RULE,
        benchmarks=[view for view in views if view.results],
    )


# --- what is said -------------------------------------------------------------------------------


def _overview_line(
    row: Any, results: list[Result], benchmarks: dict[str, Benchmark]
) -> OverviewLine:
    runs = [r for r in results if (r.benchmark, r.variant) == (row.benchmark, row.variant)]
    intervals = [
        Line("seeds", _range(row.seeds_low_percent, row.seeds_high_percent)),
        Line("test sample", _range(row.sample_low_percent, row.sample_high_percent)),
    ]
    return OverviewLine(
        benchmark=benchmarks[row.benchmark].title,
        variant=row.variant,
        anchor=_anchor(runs[0]) if runs else None,
        seeds=f"{row.n_seeds}" if runs else _DASH,
        metric=_label(row.metric),
        ours=NOT_RUN if row.status == NOT_RUN else format_percent(row.ours_percent),
        intervals=[interval for interval in intervals if interval.value != _DASH],
        published=format_percent(row.published_percent),
        source="" if pd.isna(row.published_source) else row.published_source,
        difference=format_points(row.difference_points),
        verdict="" if row.verdict in (NOT_RUN, NO_PUBLISHED_FIGURE) else row.verdict,
        n_test=_DASH if pd.isna(row.n_test) else f"{row.n_test:,}",
    )


def _result_view(result: Result, row: Benchmark) -> ResultView:
    return ResultView(
        anchor=_anchor(result),
        variant=result.variant,
        seed=result.seed,
        description=row.variants[result.variant].description,
        metrics=[
            Line(_label(name), format_metric(name, value))
            for name, value in sorted(result.metrics.items(), key=lambda item: _rank(item[0]))
        ],
        facts=_result_facts(result),
        pictures=_pictures(result),
        origin=_origin(result),
        config=result.config,
    )


def _result_facts(result: Result) -> list[Line]:
    known = result.provenance
    return [
        Line("training took", format_duration(known.get("train_wall_s"))),
        Line("evaluation took", format_duration(known.get("evaluate_wall_s"))),
        Line("device", known.get("device") or UNKNOWN),
        Line("made", _moment(known.get("created"))),
        Line("git revision", _revision(known)),
    ]


def _origin(result: Result) -> list[Line]:
    known = result.provenance
    packages = known.get("packages") or {}
    return [
        Line("dataset SHA-256", known.get("dataset_sha256") or UNKNOWN),
        Line(
            "packages",
            ", ".join(f"{name} {version}" for name, version in sorted(packages.items())) or UNKNOWN,
        ),
        Line("folder", result.folder.as_posix()),
    ]


def _page_facts(results: list[Result]) -> list[Line]:
    known = [result.provenance for result in results]
    newest = max((entry["created"] for entry in known if entry.get("created")), default=None)
    return [
        Line("newest result", _moment(newest)),
        Line("git revision", _distinct(_revision(entry) for entry in known)),
        Line("device", _distinct(entry.get("device") or UNKNOWN for entry in known)),
    ]


def _pictures(result: Result) -> list[Picture]:
    paths = sorted(
        (result.folder / "figures").glob("*.svg"), key=lambda p: (p.stem != _FIRST_PICTURE, p.stem)
    )
    return [_picture(path, result) for path in paths]


def _picture(path: Path, result: Result) -> Picture:
    content = path.read_bytes()
    try:
        description = ElementTree.fromstring(content).findtext(_DESCRIPTION)
    except ElementTree.ParseError as error:
        raise TrmError(f"{path} is no SVG ({error}): delete it and draw it again") from None
    title = path.stem.replace("_", " ").capitalize()
    return Picture(
        uri=f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}",
        title=title,
        alt=description or f"{title} of {result.name}",
    )


# --- how it is written --------------------------------------------------------------------------


def format_percent(value: float | None, decimals: int = 1) -> str:
    """A value in percent; a dash where there is none."""
    return _DASH if pd.isna(value) else f"{value:.{decimals}f}{_NARROW_SPACE}%"


def format_points(value: float | None) -> str:
    """A signed difference in percentage points; a dash where there is none."""
    if pd.isna(value):
        return _DASH
    text = f"{value:+.1f}".replace("-", _MINUS)
    return "0.0" if text in ("+0.0", f"{_MINUS}0.0") else text


def format_duration(seconds: float | None) -> str:
    """Wall time in its two largest units."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def format_metric(name: str, value: float) -> str:
    """A metric as its kind is written: share, count, steps or loss."""
    if name in ("count", "ARC/tasks"):
        return f"{value:,.0f}"
    if name == "steps":
        return f"{value:.1f}"
    is_share = name.startswith("ARC/") or name.endswith("accuracy")
    return format_percent(100 * value, decimals=2) if is_share else f"{value:.4g}"


def _label(metric: str) -> str:
    return _METRIC_LABELS.get(metric, metric.removeprefix("ARC/"))


def _rank(metric: str) -> tuple[bool, int]:
    """ARC's own metrics in their own order, then the known ones, then the rest."""
    known = list(_METRIC_LABELS)
    is_vote = "@" in metric
    return not is_vote, int(metric.split("@")[-1]) if is_vote else (
        known.index(metric) if metric in known else len(known)
    )


def _range(low: float | None, high: float | None) -> str:
    if pd.isna(low) or pd.isna(high):
        return _DASH
    return f"{low:.1f}{_DASH}{format_percent(high)}"


def _anchor(result: Result) -> str:
    return result.name.replace("/", "-")


def _revision(provenance: dict[str, Any]) -> str:
    revision = provenance.get("git_revision")
    if not revision:
        return UNKNOWN
    return f"{revision[:12]}{' with uncommitted changes' if provenance.get('git_dirty') else ''}"


def _moment(created: str | None) -> str:
    """An ISO 8601 moment to the minute."""
    if not created:
        return UNKNOWN
    moment = pd.Timestamp(created)
    return f"{moment:%Y-%m-%d %H:%M}{' UTC' if moment.tzinfo else ''}"


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values)) or UNKNOWN
