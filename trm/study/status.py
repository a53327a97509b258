"""Print how far every result of the study is, from the files that exist.

    trm status
    trm status sudoku-extreme arc-agi-1/att
    trm status --config config/tiny.yaml --json

Nothing is run and nothing is locked, so that it may be asked while everything works.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from trm.arguments import Parser
from trm.errors import TrmError
from trm.progress import duration
from trm.study.files import ResultFile, RunFile
from trm.study.paths import result_name
from trm.study.run_folder import interrupted_at, is_held, newest_facts
from trm.study.table import Benchmark, Resources, Row, Study, seed_of

CONFIG = Path("config/config.yaml")
TAIL_BYTES = 16384  # of a log or history.csv: holds the last line, whatever else stands there

State = Literal["data missing", "not run", "training", "interrupted", "failed", "trained", "done"]
WORDS: dict[State, str] = {
    "data missing": "not run, data missing",
    "not run": "not run, data ready",
    "trained": "trained, not evaluated",
}
HELP = """\
hours are GPU-hours, or CPU-hours where a row asks for no GPU. `at most` is what its jobs ask for,
training and evaluation together; `about` is reckoned from the steps so far."""


@dataclass(frozen=True)
class Hours:
    """What a result has cost, and is expected to cost in all, in hours of `of`."""

    of: Literal["GPU", "CPU"]
    spent: float | None
    expected: float
    expected_is: Literal["at most", "about", "spent"]

    @property
    def left(self) -> float:
        return max(0.0, self.expected - (self.spent or 0.0))


@dataclass(frozen=True)
class Status:
    """One result. `step` is what it is at or, stopped, what it goes on from."""

    result: str  # BENCHMARK/VARIANT/seed-N
    dataset: str
    state: State
    step: int | None
    total_steps: int | None
    seconds_left: float | None  # of the training
    hours: Hours
    metric: str
    percent: float | None
    published_percent: float | None
    log: str | None
    problem: str | None


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where the files of one result lie."""

    study: Study
    result: str

    @property
    def folder(self) -> Path:
        return Path(self.study.paths.result(self.result))

    @property
    def run(self) -> Path:
        return Path(self.study.paths.run(self.result))

    def log(self, rule: str) -> Path:
        return Path(self.study.paths.log(rule, self.result))


@dataclass(frozen=True)
class _Training:
    """What a run's folder tells of a training under way or stopped."""

    step: int = 0
    total_steps: int | None = None
    elapsed_s: float = 0.0
    gpu_s: float | None = None  # over all GPUs; None: not known

    @property
    def share(self) -> float | None:
        """Of the steps that are done; None where it says nothing yet."""
        if not self.step or not self.total_steps:
            return None
        return min(1.0, self.step / self.total_steps)

    @property
    def seconds_left(self) -> float | None:
        share = self.share
        return self.elapsed_s / share - self.elapsed_s if share and self.elapsed_s else None


def statuses(study: Study, words: Sequence[str] = ()) -> list[Status]:
    """Of every result that `words` (of `Study.select`) name: the seeds of the table, and others."""
    wanted = {word.strip("/") for word in words}
    found = []
    for name in study.select(words):
        of_all_seeds = not wanted or wanted & {name, name.split("/")[0]}
        seeds = {*_seeds(study, name)} if of_all_seeds else set()
        seeds |= {seed for word in wanted if (seed := seed_of(word, name)) is not None}
        found += [
            _status(study, _Place(study, result_name(*name.split("/"), seed)))
            for seed in sorted(seeds)
        ]
    return found


def _seeds(study: Study, name: str) -> list[int]:
    seeds = {*study.benchmarks[name.split("/")[0]].seeds}
    for root in (study.paths.result(name), study.paths.run(name)):
        for folder in Path(root).glob("seed-*"):
            number = folder.name.removeprefix("seed-")
            if number.isascii() and number.isdigit():
                seeds.add(int(number))
    return sorted(seeds)


def _status(study: Study, place: _Place) -> Status:
    benchmark_name, variant, _ = place.result.split("/")
    benchmark, row = study.benchmarks[benchmark_name], study.row(benchmark_name, variant)
    dataset = Path(study.paths.dataset(row.dataset))
    state, problem = _state(place, benchmark, dataset)
    under_way = state in ("training", "interrupted", "failed")
    training = _read_training(place.run, dataset, state, row) if under_way else _Training()
    percent = _percent(place, benchmark) if state == "done" else None
    return Status(
        result=place.result,
        dataset=row.dataset,
        state=state,
        step=training.step if under_way else None,
        total_steps=training.total_steps,
        seconds_left=training.seconds_left,
        hours=_hours(place, state, training, row.resources),
        metric=benchmark.metric,
        percent=percent,
        published_percent=benchmark.variants[variant].published,
        log=_log(place, state),
        problem=problem,
    )


def _state(place: _Place, benchmark: Benchmark, dataset: Path) -> tuple[State, str | None]:
    """The state, and in a word what is wrong."""
    run = place.run
    if is_held(run):
        return "training", None
    ended = (run / RunFile.PROVENANCE).is_file()
    if not ended and interrupted_at(run) is not None:
        return "interrupted", None
    error = _last_error(place.log("train"))
    if not ended and _was_left(run):
        return "failed", error or "it ended without a word: killed, or its machine went down"
    metrics = place.folder / ResultFile.METRICS
    if metrics.is_file():
        if _percent(place, benchmark) is not None:
            return "done", None
        return "failed", f"{metrics} is damaged or lacks {benchmark.metric}: delete it"
    if ended and (run / RunFile.FINAL).is_file():
        error = _last_error(place.log("evaluate"))
        return ("failed", f"evaluation: {error}") if error else ("trained", None)
    if error and not ended:
        return "failed", error
    return ("not run" if dataset.is_dir() else "data missing"), None


def _was_left(run: Path) -> bool:
    """Whether a training began here and did not end; not so where its outputs were deleted."""
    if newest_facts(run) is not None:
        return True
    began = _modified(run / RunFile.CONFIG)
    return began is not None and began > max(
        (t for p in run.glob("step_*") if (t := _modified(p)) is not None), default=-math.inf
    )


def _read_training(run: Path, dataset: Path, state: State, row: Row) -> _Training:
    facts = newest_facts(run) or {}
    cost = facts.get("cost")
    cost = cost if isinstance(cost, dict) else {}
    saved = int(_number(facts, "step") or 0)
    total = _number(facts, "total_steps") or _total_steps(run / RunFile.CONFIG, dataset)
    step, elapsed = _last_record(run / RunFile.HISTORY)
    elapsed = max(elapsed, _number(cost, "wall_s") or 0.0)
    on_gpu = bool(_number(cost, "gpu_s")) if facts else row.resources.gpus > 0
    ranks = _number(facts, "world_size") or row.resources.ranks
    return _Training(
        # What a stopped run did after its last snapshot is done again.
        step=max(step, saved) if state == "training" else saved,
        total_steps=int(total) if total else None,
        elapsed_s=elapsed,
        gpu_s=elapsed * ranks if on_gpu else None,
    )


def _total_steps(config: Path, dataset: Path) -> int | None:
    """Of a run that has saved nothing yet: from its settings and its dataset's size."""
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(settings, dict):
        return None
    sizes = _read_object(dataset / "train" / "dataset.json")
    epochs, batch = _number(settings, "epochs"), _number(settings, "global_batch_size")
    groups, examples = _number(sizes, "total_groups"), _number(sizes, "mean_puzzle_examples")
    if not (epochs and batch and groups and examples):
        return None
    return int(epochs * groups * examples / batch)


def _last_record(history: Path) -> tuple[int, float]:
    """(step, seconds of training) of the last whole line of history.csv; zeros without one."""
    try:
        with history.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader([file.readline()]), [])
    except (OSError, ValueError, csv.Error):
        return 0, 0.0
    lines = _tail(history).split("\n")[:-1]  # what follows the last newline is being written
    for line in reversed(lines):
        record = dict(zip(header, line.split(","), strict=False))
        try:
            step, elapsed = int(record["step"]), float(record["elapsed_s"])
        except (KeyError, ValueError):
            continue
        if math.isfinite(elapsed):
            return step, elapsed
    return 0, 0.0


def _hours(place: _Place, state: State, training: _Training, resources: Resources) -> Hours:
    cores = resources.threads * resources.nodes
    minutes = resources.runtime + resources.minutes_to_evaluate
    if state in ("done", "trained"):
        provenance = _read_object(place.folder / ResultFile.PROVENANCE)
        provenance = provenance or _read_object(place.run / RunFile.PROVENANCE)
        device = provenance.get("device")
        on_gpu = isinstance(device, str) and not device.startswith(("cpu", "mps"))
        parts = ("train", "evaluate")
        if on_gpu:
            spent = sum(_number(provenance, f"{part}_gpu_hours") or 0.0 for part in parts)
        else:
            seconds = sum(_number(provenance, f"{part}_wall_s") or 0.0 for part in parts)
            spent = (_cores_used(provenance) or cores) * seconds / 3600
        if state == "done" or spent:
            return Hours("GPU" if on_gpu else "CPU", spent, spent, "spent")
    seconds = training.elapsed_s * cores if training.gpu_s is None else training.gpu_s
    spent = seconds / 3600 or None
    if spent and training.share:
        of = "CPU" if training.gpu_s is None else "GPU"
        return Hours(of, spent, spent / training.share, "about")
    if resources.gpus:
        return Hours("GPU", spent, resources.gpus * minutes / 60, "at most")
    return Hours("CPU", spent, cores * minutes / 60, "at most")


def _cores_used(provenance: dict[str, Any]) -> float | None:
    """Threads of all processes, from a device like `cpu (2 threads)`; None where it says none."""
    threads = re.search(r"\((\d+) threads\)$", str(provenance.get("device")))
    return int(threads[1]) * (_number(provenance, "world_size") or 1) if threads else None


def _percent(place: _Place, benchmark: Benchmark) -> float | None:
    share = _number(_read_object(place.folder / ResultFile.METRICS), benchmark.metric)
    return None if share is None else 100 * share


def _log(place: _Place, state: State) -> str | None:
    """Of the last job that wrote one."""
    rules = ("train",) if state in ("training", "interrupted") else ("evaluate", "train")
    found = [(t, p) for p in map(place.log, rules) if (t := _modified(p)) is not None]
    return str(max(found)[1]) if found else None


def _last_error(log: Path) -> str | None:
    """The last `error:` line of a log, unless something was trained after it."""
    error = None
    for line in _tail(log).splitlines():
        if line.startswith("error: "):
            error = line.removeprefix("error: ").strip()
        elif line.startswith("trained "):
            error = None
    return error


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or only half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(content: dict[str, Any], key: str) -> float | None:
    value = content.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


# --- telling -------------------------------------------------------------------------------------


def as_text(found: Sequence[Status]) -> str:
    """A table, one heading per benchmark, and the sums below."""
    header = ("", "state", "left", "hours", "ours %", "paper %")
    rows = [_cells(status) for status in found]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [_line(header, widths)]
    heading = None
    for status, cells in zip(found, rows, strict=True):
        benchmark = status.result.split("/")[0]
        if benchmark != heading:
            heading = benchmark
            lines.append(f"{benchmark}  ({status.metric}, data {status.dataset})")
        lines.append(_line(cells, widths))
        if status.problem:
            lines.append(f"      {status.problem}")
        if status.log and status.state not in ("done", "not run", "data missing"):
            lines.append(f"      log: {status.log}")
    return "\n".join([*lines, "", *_sums(found)])


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    name, state, *others = ((cell, width) for cell, width in zip(cells, widths, strict=True))
    left = [f"{cell:<{width}}" for cell, width in (name, state)]
    return "  ".join([*left, *(f"{cell:>{width}}" for cell, width in others)]).rstrip()


def _cells(status: Status) -> tuple[str, ...]:
    state = WORDS.get(status.state, status.state)
    if status.step is not None and status.total_steps:
        state += f" {status.step}/{status.total_steps}"
    left = status.seconds_left if status.state == "training" else None
    return (
        f"  {status.result.partition('/')[2]}",
        state,
        "" if left is None else duration(left),
        _hours_text(status.hours),
        "" if status.percent is None else f"{status.percent:.1f}",
        "" if status.published_percent is None else f"{status.published_percent:.1f}",
    )


def _hours_text(hours: Hours) -> str:
    expected = f"{_amount(hours.expected)} {hours.of}-h"
    if hours.expected_is == "spent":
        return expected
    if hours.spent is None:
        return f"{hours.expected_is} {expected}"
    limit = "≤ " if hours.expected_is == "at most" else "~"
    return f"{_amount(hours.spent)} of {limit}{expected}"


def _amount(hours: float) -> str:
    """`0.04`, `1.3`, `1,234`: two figures where they matter."""
    if 0 < hours < 0.1:
        return f"{hours:.2f}" if hours >= 0.005 else "0.01"
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"


def _sums(found: Sequence[Status]) -> list[str]:
    states = Counter(WORDS.get(s.state, s.state) for s in found)
    counts = "; ".join(f"{n} {state}" for state, n in states.items())
    lines = [f"{len(found)} result{'s' if len(found) != 1 else ''}: {counts}"]
    spent, left = Counter[str](), Counter[str]()
    for status in found:
        spent[status.hours.of] += status.hours.spent or 0.0
        left[status.hours.of] += status.hours.left
    for what, hours in (("spent", spent), ("still to do, at most", left)):
        amounts = [f"{_amount(amount)} {of}-h" for of, amount in sorted(hours.items()) if amount]
        if amounts:
            lines.append(f"{what}: {', '.join(amounts)}")
    return lines


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="BENCHMARK[/VARIANT[/seed-N]]", help="only these"
    )
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="laid over config/config.yaml, like snakemake's --configfile; -: JSON to read instead",
    )


def parse_study_arguments(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> argparse.Namespace:
    """`words` parsed; what stands behind --config and is plainly no file is a BENCHMARK."""
    args = parser.parse_intermixed_args(words)
    names = [p for p in args.config if not p.suffix and p != Path("-") and not p.is_file()]
    args.config = [path for path in args.config if path not in names]
    args.words += map(str, names)
    return args


def load_study(config: Sequence[Path]) -> Study:
    """config/config.yaml with `config` over it, or what standard input says.

    TrmError where the current folder has no config/config.yaml.
    """
    if Path("-") in config:
        return Study.load(*config)
    if not CONFIG.is_file():
        raise TrmError(f"no {CONFIG} here: run the command in a checkout of the repository")
    return Study.load(CONFIG, *config)


def parser() -> Parser:
    parser = Parser("status", f"{__doc__}\n{HELP}")
    add_study_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs: a list of objects")
    return parser


def main(words: Sequence[str]) -> None:
    args = parse_study_arguments(parser(), words)
    found = statuses(load_study(args.config), args.words)
    print(json.dumps([asdict(s) for s in found], indent=2) if args.json else as_text(found))
