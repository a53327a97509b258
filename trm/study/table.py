"""The table of experiments, config/config.yaml, as checked types.

Snakemake reads the file; this module says what it may hold and answers the rules' questions.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field, field_validator, model_validator

from trm.config.compose import known_keys, resolve
from trm.config.types import Strict
from trm.data.specs import DatasetSpec, Kind, RawSource, TableSource, WeightsSource
from trm.errors import TrmError, explain, suggest
from trm.files import RunFile
from trm.puzzles.kinds import kind_named
from trm.puzzles.views import refuse_more_views
from trm.scoring.metrics import scores_of
from trm.study.board import Board, PublishedRun
from trm.study.files import ResultFile, Shown, files_of_all_kinds, files_of_one_kind
from trm.study.paths import SEED, Paths, result_name
from trm.study.search import Search

Scalar = bool | int | float | str | list | None  # of a training option
Steps = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
STDIN = Path("-")
PUBLISHED = ("published", "published_metric", "published_subset", "published_source")
NAME = r"[\w=@%][\w.=@%#-]*"


class Resources(Strict):
    """What a training or evaluation job asks for."""

    ranks: int = Field(1, ge=1)  # processes
    gpus: int = Field(0, ge=0)
    nodes: int = Field(1, ge=1)  # of a cluster; ranks and gpus are of all of them together
    threads: int = Field(2, ge=1)  # of each node
    mem_mb: int = Field(8000, ge=1)
    runtime: int = Field(120, ge=1)  # minutes
    evaluate_runtime: int | None = Field(None, ge=1)  # default: runtime, but at most 4 hours
    evaluate_shards: int = Field(1, ge=1)  # jobs that share an evaluation out

    @property
    def minutes_to_evaluate(self) -> int:
        """Minutes of an evaluation, or of each of its shards."""
        return self.evaluate_runtime or min(self.runtime, 240)

    @property
    def of_evaluation(self) -> Resources:
        """What the job that writes metrics.json asks for: one process without a GPU where it only
        puts shards together."""
        if self.evaluate_shards == 1:
            return self
        return self.model_copy(update={"ranks": 1, "gpus": 0, "nodes": 1})

    @model_validator(mode="after")
    def _shared_out(self) -> Resources:
        for name in ("ranks", "gpus"):
            if getattr(self, name) % self.nodes:
                raise ValueError(
                    f"{name}: {getattr(self, name)} cannot be shared out evenly over {self.nodes} "
                    f"nodes: choose a multiple of {self.nodes}"
                )
        return self


class Variant(Strict):
    """One way to train on a benchmark, or weights that were trained elsewhere."""

    description: str = ""
    overrides: dict[str, Scalar] = {}
    weights: WeightsSource | None = None  # in place of a training
    starts_from: str | None = None  # BENCHMARK/VARIANT whose weights the training starts from
    published: float | None = Field(None, ge=0, le=100)  # percent
    published_metric: str | None = None  # that it is measured by; default: the benchmark's
    published_subset: int | None = Field(None, ge=1)  # test puzzles that it is of; default: all
    published_source: str | None = None
    resources: Resources | None = None  # default: the benchmark's
    search: Search | None = None  # default: the benchmark's

    @model_validator(mode="after")
    def _something_is_published(self) -> Variant:
        for name in ("published_metric", "published_subset"):
            if self.published is None and getattr(self, name) is not None:
                raise ValueError(f"{name} says what `published` is of: give that figure too")
        return self

    def without_published(self) -> Variant:
        return self.model_copy(update=dict.fromkeys(PUBLISHED))


class Benchmark(Strict):
    """A dataset, how to train on it, and what to look at."""

    title: str
    description: str = ""
    kind: Kind
    dataset: str
    metric: str
    resources: Resources = Resources()
    overrides: dict[str, Scalar] = {}
    supervision_steps: Steps | None = None  # default: the study's
    search: Search | None = None  # default: the study's
    steps_in_report: bool = False
    stand_in: bool = False  # bears a published benchmark's name, but is not to be compared with it
    variants: dict[str, Variant] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**64)]] = Field([0], min_length=1)

    @field_validator("variants", mode="before")
    @classmethod
    def _bare_variants(cls, variants: Any) -> Any:
        """`att:` with nothing below it is a variant without settings of its own."""
        if not isinstance(variants, dict):
            return variants
        return {name: row or {} for name, row in variants.items()}

    @model_validator(mode="after")
    def _stands_in(self) -> Benchmark:
        """Published figures and weights are of the benchmark itself, never of a stand-in for it."""
        if self.stand_in:
            self.variants = {
                name: variant.without_published()
                for name, variant in self.variants.items()
                if variant.weights is None or not variant.weights.is_published
            }
        return self


class Raw(Strict):
    arc: list[RawSource] = Field(min_length=1)
    tables: dict[str, TableSource] = {}


class Table(Strict):
    """One table of the paper: which results it lists, from top to bottom."""

    title: str
    rows: list[str] = Field(min_length=1)  # BENCHMARK/VARIANT


@dataclass(frozen=True)
class Row:
    """A benchmark's variant, with the benchmark's settings filled in."""

    kind: Kind
    dataset: str
    resources: Resources
    overrides: dict[str, Scalar]


def _read_table(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
        # YAML 1.1 takes JSON's 1e-05 for a word.
        is_json = path == STDIN or path.suffix == ".json"
        content = json.loads(text) if is_json else yaml.safe_load(text)
    except OSError:
        raise TrmError(f"no config file {path}: give the path of config.yaml") from None
    except (yaml.YAMLError, ValueError) as error:
        raise TrmError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise TrmError(f"{path} holds no table of experiments")
    return content


def _lay_over(table: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            # A dict of its own for each place: what YAML's anchors name is shared between rows.
            below = table.get(key)
            table[key] = below if isinstance(below, dict) else {}
            _lay_over(table[key], value)
        else:
            table[key] = copy.deepcopy(value)


def seed_of(word: str, name: str) -> int | None:
    """N of BENCHMARK/VARIANT/seed-N where the word names a seed of `name`; else None."""
    seed = re.fullmatch(rf"{re.escape(name)}/seed-({SEED})", word)
    return int(seed[1]) if seed else None


def _check_metric(metric: str, kind: Kind, where: str) -> None:
    """ValueError where results with puzzles of this kind have no such score."""
    scores = scores_of(kind)
    if metric not in scores:
        raise ValueError(
            f"{where}: no metric {metric!r}{suggest(metric, scores)}; there are {', '.join(scores)}"
        )


class Study(Strict):
    default: list[str]
    scale: str = Field("full", pattern="^[a-z0-9-]+$")
    env: Literal["cpu", "cuda"] = "cpu"
    tables_take: Literal["existing", "all"] = "existing"
    supervision_steps: Steps = [16]
    search: Search = Search()
    raw: Raw
    datasets: dict[str, DatasetSpec]
    benchmarks: dict[str, Benchmark] = Field(min_length=1)
    tables: dict[str, Table] = {}
    board: Board = Board()

    @staticmethod
    def of(config: dict[str, Any], name: str = "config/config.yaml") -> Study:
        """Check a parsed config.yaml; TrmError names every mistake."""
        try:
            return Study(**config)
        except pydantic.ValidationError as error:
            raise explain(error, name, list(Study.model_fields)) from None

    @staticmethod
    def load(*paths: Path) -> Study:
        """The files merged, a later one over an earlier one, as Snakemake's --configfile does.

        `-` is standard input, as JSON. TrmError names every mistake.
        """
        table: dict[str, Any] = {}
        for path in paths:
            _lay_over(table, _read_table(Path(path)))
        return Study.of(table, " with ".join(map(str, paths)))

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        known = known_keys()
        self._leave_out_stand_ins_without_start()
        self._check_names()
        for name, benchmark in self.benchmarks.items():
            if benchmark.dataset not in self.datasets:
                raise ValueError(
                    f"benchmark {name}: no dataset {benchmark.dataset!r}"
                    f"{suggest(benchmark.dataset, list(self.datasets))}; "
                    f"there are {', '.join(self.datasets)}"
                )
            for variant, row in benchmark.variants.items():
                for key in [*benchmark.overrides, *row.overrides]:
                    if key not in known:
                        raise ValueError(
                            f"{name}/{variant}: no training option {key!r}{suggest(key, known)}"
                        )
            self._check_variants(name)
        self._check_starts()
        for name, spec in self.datasets.items():
            table = getattr(spec, "table", None)
            if table is not None and table not in self.raw.tables:
                raise ValueError(
                    f"dataset {name}: no table {table!r} in raw.tables"
                    f"{suggest(table, list(self.raw.tables))}"
                )
        for result in self.default:
            self._check_result(result)
        for name, paper_table in self.tables.items():
            self._check_rows(name, paper_table)
        self._check_board()
        return self

    def _check_board(self) -> None:
        for name, runs in self.board.published.items():
            where = f"board.published.{name}"
            if name not in self.benchmarks:
                raise ValueError(
                    f"{where}: no benchmark {name!r}{suggest(name, list(self.benchmarks))}; there "
                    f"are {', '.join(self.benchmarks)}"
                )
            for run in runs:
                if run.metric is not None:
                    _check_metric(run.metric, self.benchmarks[name].kind, where)

    def published_runs(self, benchmark: str) -> list[PublishedRun]:
        """What others have published of a benchmark; nothing of a stand-in for it."""
        stands_in = self.benchmarks[benchmark].stand_in
        return [] if stands_in else self.board.published.get(benchmark, [])

    def _leave_out_stand_ins_without_start(self) -> None:
        """A stand-in has no published weights, and so no row that starts from them."""
        while without := [
            (name, variant)
            for name, benchmark in self.benchmarks.items()
            for variant in benchmark.variants
            if benchmark.stand_in
            and self.start_of(f"{name}/{variant}") not in (None, *self.result_names())
        ]:
            for name, variant in without:
                del self.benchmarks[name].variants[variant]

    def _check_names(self) -> None:
        """Check that what becomes a part of paths is safe in the shell commands of the rules."""
        names = [*self.datasets, *self.benchmarks, *self.raw.tables, *self.tables]
        names += [
            variant for benchmark in self.benchmarks.values() for variant in benchmark.variants
        ]
        for name in names:
            if re.fullmatch(NAME, name) is None:
                raise ValueError(
                    f"{name!r} becomes a part of paths: name it by letters, digits and any of "
                    "._-=@%#"
                )

    def _check_variants(self, name: str) -> None:
        """Check before any job that each variant's training starts, and that its score exists."""
        benchmark = self.benchmarks[name]
        spec = self.datasets[benchmark.dataset]
        if spec.kind != benchmark.kind:
            raise ValueError(
                f"benchmark {name}: kind is {benchmark.kind}, but its dataset {benchmark.dataset} "
                f"is built by {spec.builder}, whose puzzles are of kind {spec.kind}"
            )
        _check_metric(benchmark.metric, benchmark.kind, f"benchmark {name}")
        for variant, settings in benchmark.variants.items():
            if settings.published_metric is not None:
                where = f"{name}/{variant}: published_metric"
                _check_metric(settings.published_metric, benchmark.kind, where)
            row = self.row(name, variant)
            try:
                config = resolve(row.overrides, f"{name}/{variant}")
                config.check_world_size(row.resources.ranks)
            except TrmError as error:
                raise ValueError(str(error)) from None
            self._check_search(name, variant, config.arch.architecture)

    def _check_search(self, benchmark: str, variant: str, architecture: str) -> None:
        search = self.search_of(benchmark, variant)
        kind = kind_named(self.benchmarks[benchmark].kind)
        try:
            refuse_more_views(search.views, kind.most_views, kind.plural)
            search.refuse_other_states(architecture)
        except TrmError as error:
            raise ValueError(f"{benchmark}/{variant}: search: {error}") from None

    def _check_starts(self) -> None:
        """Check that each row starts from another one, and none from itself over others."""
        known = self.result_names()
        for name in known:
            start = self.start_of(name)
            if start is None:
                continue
            if start not in known:
                raise ValueError(
                    f"{name}: starts_from names no experiment {start!r}{suggest(start, known)}"
                )
            if self.weights_of(name) is not None:
                raise ValueError(
                    f"{name}: a row with weights is not trained, so that it starts from no other"
                )
            before = [name]
            while start is not None:
                if start in before:
                    raise ValueError(f"{name}: {' starts from '.join([*before, start])}: a circle")
                before.append(start)
                start = self.start_of(start)

    def _check_result(self, result: str) -> None:
        parts = result.split("/")
        known = self.result_names()
        seed = parts[-1].removeprefix("seed-")
        if len(parts) != 3 or not seed.isdigit() or "/".join(parts[:2]) not in known:
            raise ValueError(
                f"{result!r} is not a result{suggest('/'.join(parts[:2]), known)}; a result is "
                f"BENCHMARK/VARIANT/seed-N with BENCHMARK/VARIANT of {', '.join(known)}"
            )

    def _check_rows(self, name: str, table: Table) -> None:
        known = self.result_names()
        for row in table.rows:
            if row not in known:
                raise ValueError(
                    f"tables.{name}: no experiment {row!r}{suggest(row, known)}; a row is "
                    f"BENCHMARK/VARIANT of {', '.join(known)}"
                )

    # --- questions ------------------------------------------------------------------------------

    def result_names(self) -> list[str]:
        return [f"{b}/{v}" for b, row in self.benchmarks.items() for v in row.variants]

    def trained_names(self) -> list[str]:
        """BENCHMARK/VARIANT of the rows that are trained here."""
        return [name for name in self.result_names() if self.weights_of(name) is None]

    def weights_names(self) -> list[str]:
        """BENCHMARK/VARIANT of the rows whose weights are given."""
        return [name for name in self.result_names() if self.weights_of(name) is not None]

    def names_of_kind(self, kind: Kind | None) -> list[str]:
        """BENCHMARK/VARIANT of the rows with puzzles of this kind; None: of any."""
        kinds = {name: benchmark.kind for name, benchmark in self.benchmarks.items()}
        return [n for n in self.result_names() if kind in (None, kinds[n.split("/")[0]])]

    def weights_of(self, name: str) -> WeightsSource | None:
        """Where the weights of BENCHMARK/VARIANT are from; None where it is trained here."""
        benchmark, variant = name.split("/")
        return self.benchmarks[benchmark].variants[variant].weights

    def start_of(self, name: str) -> str | None:
        """BENCHMARK/VARIANT that BENCHMARK/VARIANT starts from; None where it starts from none."""
        benchmark, variant = name.split("/")
        return self.benchmarks[benchmark].variants[variant].starts_from

    def weights_to_start_from(self, name: str, seed: int | str) -> str | None:
        """The file of weights that a training of BENCHMARK/VARIANT starts from: of the same seed,
        where that row is trained."""
        start = self.start_of(name)
        if start is None:
            return None
        seed = seed if self.weights_of(start) is None else 0
        return f"{self.paths.run(result_name(*start.split('/'), seed))}/{RunFile.FINAL}"

    def select(self, words: Sequence[str]) -> list[str]:
        """BENCHMARK/VARIANT of all that `words` name.

        Each is a BENCHMARK, BENCHMARK/VARIANT or, for one seed of it, BENCHMARK/VARIANT/seed-N.
        Without words, of the whole study. TrmError with the nearest name for an unknown one.
        """
        names = self.result_names()
        wanted = [re.sub(f"/seed-({SEED})$", "", word.strip("/")) for word in words]
        for word in wanted:
            known = [*self.benchmarks, *names]
            if word not in known:
                raise TrmError(
                    f"no benchmark or variant {word!r}{suggest(word, known)}; benchmarks are "
                    f"{', '.join(self.benchmarks)}, and `trm list` has their variants"
                )
        return [n for n in names if not wanted or {n, n.split("/")[0]} & {*wanted}]

    def row(self, benchmark: str, variant: str) -> Row:
        """TrmError where the benchmark has no such variant."""
        b = self.benchmarks[benchmark]
        if variant not in b.variants:
            raise TrmError(
                f"benchmark {benchmark} has no variant {variant!r}; it has {', '.join(b.variants)}"
            )
        v = b.variants[variant]
        return Row(
            kind=b.kind,
            dataset=b.dataset,
            resources=v.resources or b.resources,
            overrides={**b.overrides, **v.overrides},
        )

    def sha256_of(self, dataset: str) -> dict[str, str]:
        """SHA-256 by file name that the table of a dataset must have; empty where any will do."""
        table = getattr(self.datasets[dataset], "table", None)
        return {} if table is None else {**(self.raw.tables[table].sha256 or {})}

    def variants(self) -> list[str]:
        return sorted({v for b in self.benchmarks.values() for v in b.variants})

    @property
    def paths(self) -> Paths:
        return Paths("" if self.scale == "full" else f"/{self.scale}")

    def seeds_of(self, benchmark: str, variant: str) -> list[int]:
        """The seeds of a variant; given weights have none, and are one result."""
        b = self.benchmarks[benchmark]
        return b.seeds if b.variants[variant].weights is None else [0]

    def results_of(self, benchmark: str, variant: str) -> list[str]:
        """Result folders of every seed of a variant."""
        return [
            self.paths.result(result_name(benchmark, variant, s))
            for s in self.seeds_of(benchmark, variant)
        ]

    def trained_results_of(self, benchmark: str) -> list[str]:
        """Result folders of every seed of a benchmark's variants that are trained here."""
        return [
            folder
            for variant, row in self.benchmarks[benchmark].variants.items()
            if row.weights is None
            for folder in self.results_of(benchmark, variant)
        ]

    def files_of(self, benchmark: str, variant: str) -> list[ResultFile]:
        """What is stored, or can be asked for, in the folder of a result."""
        row = self.benchmarks[benchmark]
        hidden = getattr(self.datasets[row.dataset], "hidden_challenges", [])
        given = row.variants[variant].weights is not None
        files = [*files_of_all_kinds(), *files_of_one_kind(row.kind)]
        return [
            file
            for file in files
            if not (hidden and file.counts_right) and not (given and file.of_training)
        ]

    def report_files(self, benchmark: str, variant: str) -> list[ResultFile]:
        """What the report of a result is made from."""
        shown = (
            {Shown.ALWAYS, Shown.IF_ASKED}
            if self.benchmarks[benchmark].steps_in_report
            else {Shown.ALWAYS}
        )
        return [file for file in self.files_of(benchmark, variant) if file.shown in shown]

    def search_of(self, benchmark: str, variant: str) -> Search:
        """How answers are searched for at test time."""
        b = self.benchmarks[benchmark]
        return b.variants[variant].search or b.search or self.search

    def steps_of(self, benchmark: str) -> list[int]:
        """After how many supervision steps steps.csv looks at the answers."""
        return self.benchmarks[benchmark].supervision_steps or self.supervision_steps
