"""What Snakemake can be asked for: the targets of a study, as patterns and in messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from trm.errors import suggest
from trm.study.files import (
    SAMPLE,
    SEARCH_OF,
    ResultFile,
    files_of_all_kinds,
    files_of_one_kind,
)
from trm.study.paths import BOARD_ENDINGS, SEED, SUMMARY, TABLE_ENDINGS, WEIGHTS
from trm.study.table import Study

PUBLISHED_WEIGHTS = "published_weights"
"""The rule that makes every result whose weights are given."""


def all_files(study: Study) -> list[str]:
    """Every file of every result that is trained here: each benchmark, variant and seed."""
    return _files_of(study, study.trained_names())


def _files_of(study: Study, names: Iterable[str]) -> list[str]:
    return [
        f"{folder}/{file}"
        for name in names
        for folder in study.results_of(*name.split("/"))
        for file in study.files_of(*name.split("/"))
    ]


def published_weights_files(study: Study) -> list[str]:
    """The metrics of every row whose weights are given."""
    return [
        f"{folder}/{ResultFile.METRICS}"
        for name in study.weights_names()
        for folder in study.results_of(*name.split("/"))
    ]


def benchmark_pattern(study: Study, names: Collection[str]) -> str:
    """Regular expression of the benchmarks of the rows `names` (BENCHMARK/VARIANT), each before its
    own variants only.

    As a wildcard's constraint it keeps a benchmark and a variant of another one apart. Given
    weights have no seed: of theirs only `seed-0` is a result.
    """
    patterns = []
    for name, b in study.benchmarks.items():
        own = [v for v in b.variants if f"{name}/{v}" in names]
        trained = [v for v in own if b.variants[v].weights is None]
        given = [v for v in own if b.variants[v].weights is not None]
        behind = [re.escape(SUMMARY) + "$"] if own else []
        behind += [rf"(?:{_any(trained)})/"] if trained else []
        behind += [rf"(?:{_any(given)})/(?:seed-0/|{WEIGHTS}$)"] if given else []
        if behind:
            patterns.append(rf"{re.escape(name)}(?=/(?:{'|'.join(behind)}))")
    return "|".join(patterns) or "(?!)"


def unknown_target_pattern(study: Study) -> str:
    """Regular expression of the paths in the folders of results and datasets that no rule makes."""
    paths = study.paths
    targets = [paths.report, paths.study, *map(paths.summary, study.benchmarks)]
    targets += [paths.table(name, end) for name in study.tables for end in TABLE_ENDINGS]
    targets += map(paths.board, BOARD_ENDINGS)
    known = [re.escape(path.removeprefix(f"{paths.results}/")) for path in targets]
    known += [_known_files(study, name) for name in study.result_names()]
    return rf"(?!(?:{'|'.join(known)}|{_any(study.datasets)})$).+"


def _known_files(study: Study, name: str) -> str:
    """Regular expression of the files of a row, with searches on any number of puzzles."""
    seed = SEED if study.weights_of(name) is None else "0"
    files = study.files_of(*name.split("/"))
    searches = [SEARCH_OF.format(sample=SAMPLE)] if ResultFile.SEARCH in files else []
    return rf"{re.escape(name)}/seed-(?:{seed})/(?:{'|'.join([_any(files), *searches])})"


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
    name = "/".join(target.removeprefix(f"{paths.results}/").split("/")[:2])
    if name in study.weights_names():
        return _explain_given_weights(study, name, target)
    return (
        f"no rule makes {target}{suggest(target, _like(study, target))}; targets are "
        f"{', '.join([paths.report, paths.board(), *tables])}, "
        f"{paths.summary('BENCHMARK')} and {paths.result('BENCHMARK/VARIANT/seed-N')}/FILE with "
        f"BENCHMARK/VARIANT of {', '.join(study.result_names())} and FILE of "
        f"{', '.join(files_of_all_kinds())}, for ARC also {', '.join(files_of_one_kind('arc'))}"
    )


def _explain_given_weights(study: Study, name: str, target: str) -> str:
    """Why `target`, a file of a row whose weights are given, cannot be made."""
    folder, benchmark = study.paths.result(f"{name}/seed-0"), name.split("/")
    files = ", ".join(study.files_of(*benchmark))
    return (
        f"no rule makes {target}: the weights of {name} are given ({study.weights_of(name)}). They "
        f"are not trained here, so that there is no file of a training and no seed but 0. Targets "
        f"are {folder}/FILE with FILE of {files}"
    )


def _like(study: Study, target: str) -> list[str]:
    """The targets among the results, those of single results with the seed of `target`."""
    paths, files = study.paths, _files_of(study, study.result_names())
    if seed := re.search(rf"/seed-(?:{SEED})/", target):
        files = [re.sub(r"/seed-\d+/", seed[0], file) for file in files]
    tables = [paths.table(name, end) for name in study.tables for end in TABLE_ENDINGS]
    boards = [*map(paths.board, BOARD_ENDINGS)]
    alone = [*boards, paths.report, paths.study]
    return [*files, *map(paths.summary, study.benchmarks), *tables, *alone]
