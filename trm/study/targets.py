"""What Snakemake can be asked for: the targets of a study, as patterns and in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from trm.data.specs import Kind
from trm.errors import suggest
from trm.study.files import files_of_all_kinds, files_of_one_kind
from trm.study.paths import SEED, SUMMARY, TABLE_ENDINGS
from trm.study.table import Study


def all_files(study: Study) -> list[str]:
    """Every file of every result: each benchmark, variant and seed of the table."""
    return [
        f"{folder}/{file}"
        for name in study.benchmarks
        for folder in study.results_of(name)
        for file in study.files_of(name)
    ]


def benchmark_pattern(study: Study, kind: Kind | None = None) -> str:
    """Regular expression of the benchmarks (of one kind), each before its own variants only.

    As a wildcard's constraint it keeps a benchmark and a variant of another one apart.
    """
    names = [
        rf"{re.escape(name)}(?=/(?:{_any(b.variants)})/|/{re.escape(SUMMARY)}$)"
        for name, b in study.benchmarks.items()
        if kind in (None, b.kind)
    ]
    return "|".join(names) or "(?!)"


def unknown_target_pattern(study: Study) -> str:
    """Regular expression of the paths in the folders of results and datasets that no rule makes."""
    paths = study.paths
    targets = [paths.report, paths.study, *map(paths.summary, study.benchmarks)]
    targets += [paths.table(name, end) for name in study.tables for end in TABLE_ENDINGS]
    known = [re.escape(path.removeprefix(f"{paths.results}/")) for path in targets]
    known += [
        rf"{re.escape(name)}/(?:{_any(b.variants)})/seed-(?:{SEED})/(?:{_any(study.files_of(name))})"
        for name, b in study.benchmarks.items()
    ]
    return rf"(?!(?:{'|'.join(known)}|{_any(study.datasets)})$).+"


def _any(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names))


def explain_target(study: Study, target: str) -> str:
    """Why no rule makes `target`, the nearest name, and what can be asked for."""
    paths = study.paths
    if target.startswith(f"{paths.data}/"):
        name, names = target.removeprefix(f"{paths.data}/"), list(study.datasets)
        return f"no dataset {name!r}{suggest(name, names)}; there are {', '.join(names)}"
    tables = [paths.table(name) for name in study.tables]
    known = [*study.result_names(), *(path.removeprefix(f"{paths.results}/") for path in tables)]
    parts = target.removeprefix(f"{paths.results}/").split("/")
    near = suggest("/".join(parts[:2]), known) if len(parts) > 1 else ""
    return (
        f"no rule makes {target}{near}; targets are {', '.join([paths.report, *tables])}, "
        f"{paths.summary('BENCHMARK')} and {paths.result('BENCHMARK/VARIANT/seed-N')}/FILE with "
        f"BENCHMARK/VARIANT of {', '.join(study.result_names())} and FILE of "
        f"{', '.join(files_of_all_kinds())}, for ARC also {', '.join(files_of_one_kind('arc'))}"
    )
