"""How far each result of a study is, from the files that exist.

Nothing is run and nothing is locked, so that this may happen while everything works.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trm.errors import TrmError
from trm.files import RunFile, read_json
from trm.study.files import ResultFile
from trm.study.paths import result_name
from trm.study.reading import last_error, modified, number, read_object
from trm.study.run_folder import interrupted_at, is_held, newest_facts
from trm.study.table import Benchmark, Resources, Study, seed_of
from trm.study.under_way import Training, read_training

State = Literal[
    "data missing",
    "not run",
    "training",
    "interrupted",
    "failed",
    "trained",
    "weights ready",
    "damaged",
    "done",
]
WORDS: dict[State, str] = {
    "data missing": "not run, data missing",
    "not run": "not run, data ready",
    "trained": "trained, not evaluated",
    "weights ready": "weights, not evaluated",
    "damaged": "result damaged",
}


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
    """One result. `step` is the last one done or, of a stopped run, the one it resumes from."""

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


@dataclass(frozen=True)
class _Place:
    """Where the files of one result are."""

    study: Study
    result: str

    @property
    def folder(self) -> Path:
        return Path(self.study.paths.result(self.result))

    @property
    def run(self) -> Path:
        return Path(self.study.paths.run(self.result))

    @property
    def row(self) -> str:
        """BENCHMARK/VARIANT."""
        return self.result.rpartition("/")[0]

    @property
    def has_given_weights(self) -> bool:
        return self.study.weights_of(self.row) is not None

    def log(self, rule: str) -> Path:
        what = self.row if rule == "download_weights" else self.result
        return Path(self.study.paths.log(rule, what))


def statuses(study: Study, words: Sequence[str] = ()) -> list[Status]:
    """The status of every result that `words` (of `Study.select`) name: the seeds of the table,
    and others."""
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
    seeds = {*study.seeds_of(*name.split("/"))}
    if study.weights_of(name) is not None:
        return sorted(seeds)
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
    training = (
        read_training(place.run, dataset, row.resources, state == "training")
        if under_way
        else Training()
    )
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
    if place.has_given_weights:
        return _state_of_given_weights(place, benchmark, dataset)
    run = place.run
    if is_held(run):
        return "training", None
    ended = (run / RunFile.PROVENANCE).is_file()
    if not ended and interrupted_at(run) is not None:
        return "interrupted", None
    error = last_error(place.log("train"))
    if not ended and _was_left(run):
        return "failed", error or "it ended without a word: killed, or its machine went down"
    if (place.folder / ResultFile.METRICS).is_file():
        return _state_of_metrics(place, benchmark)
    if ended and (run / RunFile.FINAL).is_file():
        return _state_before_evaluation(place, "trained")
    if error and not ended:
        return "failed", error
    return ("not run" if dataset.is_dir() else "data missing"), None


def _state_of_given_weights(
    place: _Place, benchmark: Benchmark, dataset: Path
) -> tuple[State, str | None]:
    """`_state` of a row that is not trained here."""
    downloaded = Path(place.study.paths.weights(place.row)).is_file()
    error = last_error(place.log("weights" if downloaded else "download_weights"))
    ready = all((place.run / name).is_file() for name in (RunFile.FINAL, RunFile.PROVENANCE))
    if error and not ready:
        return "failed", error
    if (place.folder / ResultFile.METRICS).is_file():
        return _state_of_metrics(place, benchmark)
    if ready:
        return _state_before_evaluation(place, "weights ready")
    return ("not run" if dataset.is_dir() else "data missing"), None


def _state_of_metrics(place: _Place, benchmark: Benchmark) -> tuple[State, str | None]:
    damage = _damage(place.folder / ResultFile.METRICS, benchmark.metric)
    return ("damaged", damage) if damage else ("done", None)


def _state_before_evaluation(place: _Place, state: State) -> tuple[State, str | None]:
    error = last_error(place.log("evaluate"))
    return ("failed", f"evaluation: {error}") if error else (state, None)


def _damage(metrics: Path, metric: str) -> str | None:
    """What is wrong with metrics.json, and the remedy; None where it has the metric, or nobody has
    the solutions."""
    remedy = f"delete it, and evaluate again by snakemake {metrics}"
    try:
        content = read_json(metrics, remedy)
    except (TrmError, FileNotFoundError) as error:
        return str(error)
    if not isinstance(content, dict):
        return f"{metrics} is not a JSON object: {remedy}"
    if number(content, metric) is not None or "tasks_without_solution" in content:
        return None
    if metric in content:
        return f"{metrics} gives {content[metric]!r} for {metric}, not a number: {remedy}"
    return f"{metrics} has no {metric}: {remedy}"


def _was_left(run: Path) -> bool:
    """Whether a training began here and did not end; not so where its outputs were deleted."""
    if newest_facts(run) is not None:
        return True
    began = modified(run / RunFile.CONFIG)
    return began is not None and began > max(
        (t for p in run.glob("step_*") if (t := modified(p)) is not None), default=-math.inf
    )


def _hours(place: _Place, state: State, training: Training, resources: Resources) -> Hours:
    cores = resources.threads * resources.nodes
    to_train = 0 if place.has_given_weights else resources.runtime
    minutes = to_train + resources.evaluate_shards * resources.minutes_to_evaluate
    if state in ("done", "damaged", "trained"):
        provenance = read_object(place.folder / ResultFile.PROVENANCE)
        provenance = provenance or read_object(place.run / RunFile.PROVENANCE)
        device = provenance.get("device")
        parts = ("train", "evaluate")
        if place.has_given_weights:  # nothing says on which device they were trained
            on_gpu = bool(number(provenance, "evaluate_gpu_hours"))
        else:
            on_gpu = isinstance(device, str) and not device.startswith(("cpu", "mps"))
        if on_gpu:
            spent = sum(number(provenance, f"{part}_gpu_hours") or 0.0 for part in parts)
        else:
            seconds = sum(number(provenance, f"{part}_wall_s") or 0.0 for part in parts)
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
    threads = re.search(r"\((\d+) threads?\)$", str(provenance.get("device")))
    return int(threads[1]) * (number(provenance, "world_size") or 1) if threads else None


def _percent(place: _Place, benchmark: Benchmark) -> float | None:
    share = number(read_object(place.folder / ResultFile.METRICS), benchmark.metric)
    return None if share is None else 100 * share


def _log(place: _Place, state: State) -> str | None:
    """The log of the last job that wrote one."""
    if place.has_given_weights:
        rules = ("evaluate", "weights", "download_weights")
    else:
        rules = ("train",) if state in ("training", "interrupted") else ("evaluate", "train")
    found = [(t, p) for p in map(place.log, rules) if (t := modified(p)) is not None]
    return str(max(found)[1]) if found else None
