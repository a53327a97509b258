"""What Snakemake can be asked for: the targets of a study, as patterns and in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

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


def explain_word(word: str, words: Sequence[str]) -> str:
    """Why `word` is not a target, the nearest of the `words` that are, and all of them."""
    return (
        f"{word!r} is not a target{suggest(word, [*words])}; targets are {', '.join(words)} and "
        "the files that trm list prints"
    )


def explain_target(study: Study, target: str) -> str:
    """Why no rule makes `target`, the nearest that one makes, and what can be asked for."""
    paths = study.paths
    if target.startswith(f"{paths.data}/"):
        name, names = target.removeprefix(f"{paths.data}/"), list(study.datasets)
        return f"no dataset {name!r}{suggest(name, names)}; there are {', '.join(names)}"
    tables = [paths.table(name) for name in study.tables]
    return (
        f"no rule makes {target}{suggest(target, _like(study, target))}; targets are "
        f"{', '.join([paths.report, *tables])}, "
        f"{paths.summary('BENCHMARK')} and {paths.result('BENCHMARK/VARIANT/seed-N')}/FILE with "
        f"BENCHMARK/VARIANT of {', '.join(study.result_names())} and FILE of "
        f"{', '.join(files_of_all_kinds())}, for ARC also {', '.join(files_of_one_kind('arc'))}"
    )


def _like(study: Study, target: str) -> list[str]:
    """The targets among the results, those of single results with the seed of `target`."""
    paths, files = study.paths, all_files(study)
    if seed := re.search(rf"/seed-(?:{SEED})/", target):
        files = [re.sub(r"/seed-\d+/", seed[0], file) for file in files]
    tables = [paths.table(name, end) for name in study.tables for end in TABLE_ENDINGS]
    return [*files, *map(paths.summary, study.benchmarks), *tables, paths.report, paths.study]
