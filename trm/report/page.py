"""The report: one HTML file that needs nothing outside itself."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trm.data.overlap import Overlap
from trm.data.specs import Kind
from trm.errors import TrmError
from trm.puzzles.kinds import kind_named
from trm.report.boards import ARC_COLOURS
from trm.report.drawing import Source, draw_figure
from trm.report.figures import save_figure
from trm.report.results import Result
from trm.report.state import runs_of
from trm.report.tables import (
    NO_PUBLISHED_FIGURE,
    NOT_RUN,
    VERDICT_RULE,
    SummaryRow,
    summary_rows,
)
from trm.report.time_to_quality import (
    FULL,
    OURS,
    Entry,
    Spent,
    describe_board,
    draw_board,
    entries_of,
)
from trm.report.time_to_quality import RULE as BOARD_RULE
from trm.scoring.gallery import Gallery, load_gallery
from trm.scoring.metrics import Form, all_metrics, entry_of
from trm.study.files import FIGURES, ResultFile
from trm.study.paths import result_name
from trm.study.table import Benchmark, Study

UNKNOWN = "not recorded"

_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"
_DASH = "\u2013"
_DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"


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
    anchor: str | None  # of its first result; None where it is not in the report
    states: list[str]  # of its runs; empty where none has begun
    cost: str
    gpu_hours: str  # empty where no GPU was used
    seeds: str
    metric: str
    ours: str
    intervals: list[Line]  # label: of what
    published: str
    source: str
    difference: str
    verdict: str  # empty where there is nothing to compare
    n_test: str
    remark: str  # on a figure that was published for something else


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI."""

    uri: str
    title: str
    alt: str
    without_script: bool  # shown where the gallery cannot be drawn


@dataclass(frozen=True)
class Puzzles:
    """Puzzles that the page's script draws."""

    id: str
    content: Markup  # JSON
    steps: int
    n: int
    n_solved: int
    words: str
    key: str  # to the marks on the boards
    search: str  # what one of them is found by


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
    thinking: Puzzles | None
    gallery: Puzzles | None
    origin: list[Line]
    config: str


@dataclass(frozen=True)
class BenchmarkView:
    """One benchmark with its results, ready to print."""

    title: str
    description: str
    test_in_train: str  # `1 of 419`; empty where no result has it recorded
    results: list[ResultView]


@dataclass(frozen=True)
class BoardLine:
    """One training on the board, ready to print."""

    benchmark: str
    name: str
    anchor: str | None  # of its result; None where it is not ours
    best: str
    device: str
    reached: list[list[str]]  # for each threshold the time, device-hours and FLOP that are known
    source: str
    note: str


@dataclass(frozen=True)
class BoardView:
    """The board of time to quality, ready to print."""

    picture: str  # a data URI
    alt: str
    thresholds: list[str]
    lines: list[BoardLine]
    rule: str


def render_page(
    results: Iterable[Result], benchmarks: dict[str, Benchmark], study: Study | None = None
) -> str:
    """The report as HTML: overview, then every result with its figures, puzzles and settings.

    Nothing in it depends on when it is rendered: same results and runs, same page.

    Args:
        results: evaluated runs in the order to print them (`load_results`).
        benchmarks: the table of experiments; rows without a result are listed as not run.
        study: whose runs that are not evaluated yet are looked for in the working directory; None:
            none are.

    Raises:
        TrmError: a result or a figure cannot be read.
    """
    results = list(results)
    overview = [
        _overview_line(row, results, benchmarks, study) for row in summary_rows(results, benchmarks)
    ]
    views = [
        _benchmark_view(row, [r for r in results if r.benchmark == name])
        for name, row in benchmarks.items()
    ]
    environment = Environment(
        loader=PackageLoader("trm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    views = [view for view in views if view.results]
    is_interactive = any(r.gallery or r.thinking for view in views for r in view.results)
    script = files("trm.report").joinpath("page.js").read_text("utf-8") if is_interactive else ""
    return environment.get_template("page.html.j2").render(
        facts=_page_facts(results),
        run=[line for line in overview if line.states],
        not_run=[line for line in overview if not line.states],
        verdict_rule=VERDICT_RULE,
        board=_board_view(results, study) if study else None,
        benchmarks=views,
        script=Markup(script),
        script_sha256=b64encode(sha256(script.encode()).digest()).decode("ascii"),
        arc_colours=ARC_COLOURS,
    )


# --- what is said -------------------------------------------------------------------------------


def _overview_line(
    row: SummaryRow, results: list[Result], benchmarks: dict[str, Benchmark], study: Study | None
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
        states=_states(runs, row, study),
        cost=_cost(runs),
        gpu_hours=_gpu_hours(runs),
        seeds=f"{row.n_seeds}" if runs else _DASH,
        metric=entry_of(row.metric).label,
        ours=NOT_RUN if row.status == NOT_RUN else format_percent(row.ours_percent),
        intervals=[interval for interval in intervals if interval.value != _DASH],
        published=format_percent(row.published_percent),
        source=(row.published_source or "") if row.elsewhere is None else "",
        difference=format_points(row.difference_points),
        verdict="" if row.verdict in (NOT_RUN, NO_PUBLISHED_FIGURE) else row.verdict,
        n_test=_DASH if row.n_test is None else f"{row.n_test:,}",
        remark="" if row.elsewhere is None else _said_elsewhere(row.elsewhere, row),
    )


def _said_elsewhere(other: SummaryRow, row: SummaryRow) -> str:
    """A figure that was published by another metric, or for a subset, beside ours by that metric,
    in one line: it belongs in no column of the others."""
    published = f"{other.measure}: published {format_percent(other.published_percent)}"
    source = f" ({row.published_source})" if row.published_source else ""
    if other.ours_percent is None:
        return published + source
    return f"{published}{source}, ours {format_percent(other.ours_percent)}, {other.verdict}"


def _states(runs: list[Result], row: SummaryRow, study: Study | None) -> list[str]:
    """How far the runs of one line are: those in the report, then those on their way."""
    shown = {run.seed for run in runs}
    begun = runs_of(study, row.benchmark, row.variant) if study else []
    return ["done"] * bool(runs) + [
        f"seed {run.seed}: {run}" for run in begun if run.seed not in shown
    ]


def _cost(runs: list[Result]) -> str:
    """Wall time of training, all seeds together."""
    known = [s for run in runs if (s := run.provenance.get("train_wall_s")) is not None]
    return format_duration(sum(known)) if known else _DASH


def _gpu_hours(runs: list[Result]) -> str:
    hours = sum(_gpu_hours_of(run.provenance) for run in runs)
    return f"{hours:,.{1 if hours >= 1 else 2}f} GPU-hours" if hours else ""


def _gpu_hours_of(provenance: dict[str, Any]) -> float:
    """GPU-hours of training; older results give only their number of processes, each on a GPU."""
    if provenance.get("train_gpu_hours") is not None:
        return provenance["train_gpu_hours"]
    device, seconds = provenance.get("device") or "cpu", provenance.get("train_wall_s") or 0
    is_gpu = not device.startswith(("cpu", "mps"))
    return seconds * provenance.get("world_size", 1) / 3600 if is_gpu else 0.0


def _board_view(results: list[Result], study: Study) -> BoardView | None:
    """The board of the benchmarks that have a result here; None where none has a time."""
    entries = entries_of(results, study)
    ours = {entry.benchmark for entry in entries if entry.by == OURS}
    entries = [entry for entry in entries if entry.benchmark in ours]
    if not entries:
        return None
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "board.svg"
        save_figure(draw_board(entries, study), path, describe_board(entries))
        picture = _data_uri(path.read_bytes())
    thresholds = study.board.thresholds
    return BoardView(
        picture,
        describe_board(entries),
        [f"{threshold:g} %" for threshold in thresholds],
        [_board_line(entry, thresholds, study) for entry in entries],
        BOARD_RULE,
    )


def _board_line(entry: Entry, thresholds: list[float], study: Study) -> BoardLine:
    is_ours = entry.by == OURS
    name = result_name(entry.benchmark, entry.name, entry.seed or 0).replace("/", "-")
    subset = "" if entry.test_set == FULL else "of a subset of the test set"
    by_other = entry.metric != study.benchmarks[entry.benchmark].metric
    notes = [entry.metric if by_other else "", subset, entry.note]
    return BoardLine(
        benchmark=study.benchmarks[entry.benchmark].title,
        name=f"{entry.name}, seed {entry.seed}" if is_ours else entry.name,
        anchor=name if is_ours else None,
        best=format_percent(entry.best_percent),
        device=f"{entry.devices} × {entry.device}",
        reached=[_said_of(entry.reached.get(t), is_ours) for t in thresholds],
        source=entry.source,
        note="; ".join(filter(None, notes)),
    )


def _said_of(spent: Spent | None, is_ours: bool) -> list[str]:
    """What was spent until a threshold; a published time is as exact as its source."""
    if spent is None:
        return []
    time = format_duration(3600 * spent.hours) if is_ours else f"≤ {spent.hours:g} h"
    flop = [] if spent.flop is None else [f"{spent.flop:.2e} FLOP"]
    return [time, f"{spent.device_hours:.3g} device-hours", *flop]


def _benchmark_view(row: Benchmark, results: list[Result]) -> BenchmarkView:
    return BenchmarkView(
        row.title,
        row.description,
        _test_in_train(results),
        [_result_view(result, row) for result in results],
    )


def _test_in_train(results: list[Result]) -> str:
    """How many test puzzles the training split has too, as the results' trainings counted them."""
    known = [r.provenance["test_in_train"] for r in results if "test_in_train" in r.provenance]
    return _distinct(str(Overlap(**counts)) for counts in known) if known else ""


def _result_view(result: Result, row: Benchmark) -> ResultView:
    gallery = load_gallery(result.folder / ResultFile.GALLERY)
    thinking = load_gallery(result.folder / ResultFile.THINKING)
    return ResultView(
        anchor=_anchor(result),
        variant=result.variant,
        seed=result.seed,
        description=row.variants[result.variant].description,
        metrics=[
            Line(entry_of(name).label, format_metric(name, value))
            for name, value in sorted(result.metrics.items(), key=lambda item: _rank(item[0]))
        ],
        facts=_result_facts(result),
        pictures=_pictures(result, row.kind, has_gallery=gallery is not None),
        thinking=_puzzles(result, "thinking", thinking, _thinking_words) if thinking else None,
        gallery=_puzzles(result, "gallery", gallery, _gallery_words) if gallery else None,
        origin=_origin(result),
        config=result.config,
    )


def _result_facts(result: Result) -> list[Line]:
    known = result.provenance
    evaluation = Line("evaluation took", format_duration(known.get("evaluate_wall_s")))
    made = [
        Line("made", _moment(known.get("created"))),
        Line("git revision", _revision(known)),
    ]
    if "weights" in known:  # they were not trained here
        return [Line("weights", known["weights"]), evaluation, *made]
    return [
        Line("training took", format_duration(known.get("train_wall_s"))),
        *([Line("on GPUs", hours)] if (hours := _gpu_hours([result])) else []),
        evaluation,
        Line("device", known.get("device") or UNKNOWN),
        *made,
    ]


def _origin(result: Result) -> list[Line]:
    known = result.provenance
    packages = known.get("packages") or {}
    weights = known.get("weights_sha256")
    return [
        *([Line("weights SHA-256", weights)] if weights else []),
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
        Line("device", _distinct(_devices(known))),
    ]


def _devices(known: list[dict[str, Any]]) -> list[str]:
    """The devices of trainings: given weights do not say theirs."""
    return [entry.get("device") or UNKNOWN for entry in known if "weights" not in entry]


def _pictures(result: Result, kind: Kind, has_gallery: bool) -> list[Picture]:
    order = list(FIGURES)
    paths = {
        p.relative_to(result.folder).as_posix(): p for p in result.folder.glob("figures/*.svg")
    }
    pictures = {name: _picture(path, name, result, has_gallery) for name, path in paths.items()}
    for name, figure in FIGURES.items():
        # Drawn here where the picture is missing, but what it is drawn from is in the folder.
        is_drawn_alone = name.kind in (None, kind) and not figure.of_dataset
        if name in pictures or not is_drawn_alone:
            continue
        if all((result.folder / file).exists() for file in figure.drawn_from):
            with TemporaryDirectory() as scratch:
                path = Path(scratch) / Path(name).name
                drawn = draw_figure(Source(result.folder), path.stem)
                save_figure(drawn.figure, path, drawn.description)
                pictures[name] = _picture(path, name, result, has_gallery)
    names = sorted(pictures, key=lambda n: (order.index(n) if n in order else len(order), n))
    return [pictures[name] for name in names]


def _picture(path: Path, name: str, result: Result, has_gallery: bool) -> Picture:
    content = path.read_bytes()
    try:
        description = ElementTree.fromstring(content).findtext(_DESCRIPTION)
    except ElementTree.ParseError as error:
        raise TrmError(f"{path} is not an SVG ({error}): delete it and draw it again") from None
    figure = FIGURES.get(name)
    title = figure.title if figure else path.stem.replace("_", " ").capitalize()
    return Picture(
        uri=_data_uri(content),
        title=title,
        alt=description or f"{title} of {result.name}",
        without_script=has_gallery and name == ResultFile.EXAMPLES,
    )


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode('ascii')}"


def _puzzles(
    result: Result, what: str, gallery: Gallery, words: Callable[[Gallery], str]
) -> Puzzles:
    content = gallery.model_dump(exclude_defaults=True)
    if gallery.kind != "arc":
        content["style"] = asdict(gallery.board_kind.style)
    content = json.dumps(content, separators=(",", ":"))
    return Puzzles(
        id=f"{what}-{_anchor(result)}",
        # In a script element `<` alone could end it.
        content=Markup(content.replace("<", "\\u003c")),
        steps=max((len(puzzle.answers) for puzzle in gallery.puzzles), default=1),
        n=len(gallery.puzzles),
        n_solved=sum(puzzle.solved for puzzle in gallery.puzzles),
        words=words(gallery),
        key=kind_named(gallery.kind).key if gallery.judged else "Nobody has the solutions.",
        search="Task" if gallery.kind == "arc" else "Number",
    )


def _gallery_words(gallery: Gallery) -> str:
    what = "test inputs, two attempts each" if gallery.kind == "arc" else "test puzzles"
    n, total, solved = len(gallery.puzzles), gallery.total, gallery.total_solved
    halting = "" if gallery.kind == "arc" else " Halting: how sure the model is to be right."
    if n == total:
        return f"All {total:,} {what}.{halting}"
    over = (
        f" over the {solved:,} solved and the {total - solved:,} failed ones"
        if gallery.judged
        else ""
    )
    return (
        f"{n:,} of {total:,} {what}, evenly spread{over}; {ResultFile.PREDICTIONS} holds all."
        f"{halting}"
    )


def _thinking_words(gallery: Gallery) -> str:
    alone = " Each is the plain puzzle alone, without votes." if gallery.kind == "arc" else ""
    return (
        "The model answers again at every supervision step; its halting probability is how sure it "
        f"is to be right.{alone} The same as an animation: {ResultFile.THINKING_FIGURE} in the "
        "result's folder."
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
    match entry_of(name).form:
        case Form.SHARE:
            return format_percent(100 * value, decimals=2)
        case Form.COUNT:
            return f"{value:,.0f}"
        case Form.STEPS:
            return f"{value:.1f}"
        case Form.VALUE:
            return f"{value:.4g}"


def _rank(name: str) -> tuple[bool, int]:
    """ARC's votes by their number, then the known metrics in their order, then the rest."""
    known = list(all_metrics())
    is_vote = "@" in name
    return not is_vote, int(name.split("@")[-1]) if is_vote else (
        known.index(name) if name in known else len(known)
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
