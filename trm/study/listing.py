"""Print what Snakemake can make: datasets, results, tables and reports, as targets to copy.

    trm list
    trm list sudoku-extreme arc-agi-1/att
    trm list --config config/tiny.yaml

A target is made by `snakemake --cores N TARGET`, with everything before it that is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trm.arguments import Parser
from trm.data.specs import DatasetSpec
from trm.study.arguments import add_study_arguments, load_study, parse_study_arguments
from trm.study.files import ResultFile, files_of_all_kinds, files_of_one_kind
from trm.study.table import Study, Variant
from trm.study.targets import PUBLISHED_WEIGHTS


def listing(study: Study, words: Sequence[str] = ()) -> str:
    """What `words` (of `Study.select`) name, or all of it, tables and report included."""
    names = study.select(words)
    benchmarks = list(dict.fromkeys(name.split("/")[0] for name in names))
    used = {study.benchmarks[b].dataset for b in benchmarks} if words else study.datasets
    datasets = [
        (study.paths.dataset(name), _describe_dataset(spec))
        for name, spec in study.datasets.items()
        if name in used
    ]
    lines = ["datasets", *_columns(datasets), ""]
    lines.append("results")
    for benchmark in benchmarks:
        row = study.benchmarks[benchmark]
        lines.append(f"  {benchmark}: {row.title}, {row.metric}")
        variants = [
            (f"{folder}/{ResultFile.METRICS}", _describe_variant(v))
            for name, v in row.variants.items()
            if f"{benchmark}/{name}" in names
            for folder in study.results_of(benchmark, name)
        ]
        lines += _columns(variants, indent=4)
    lines += ["", f"in place of {ResultFile.METRICS}, and with any other seed-N"]
    lines += _wrap(files_of_all_kinds())
    if any(study.benchmarks[b].kind == "arc" for b in benchmarks):
        lines += ["  for ARC also", *_wrap(files_of_one_kind("arc"))]
    summaries = [(study.paths.summary(b), study.benchmarks[b].title) for b in benchmarks]
    lines += ["", "mean and intervals over a benchmark's variants and seeds", *_columns(summaries)]
    if words:
        return "\n".join(lines)
    tables = [(study.paths.table(name), t.title) for name, t in study.tables.items()]
    lines += ["", "tables of the paper, also as .md and .svg", *_columns(tables), "", "and"]
    made = ", ".join(study.default)
    given = [
        (PUBLISHED_WEIGHTS, "every result whose weights are given, which `complete` leaves out")
    ]
    lines += _columns(
        [
            *(given if study.weights_names() else []),
            (study.paths.report, f"the report of {made} and every other existing result"),
            (study.paths.board(), f"time to {_thresholds(study)} of each benchmark, also as .svg"),
            ("tables", "all tables"),
            ("complete", "every result, table and report there is"),
        ]
    )
    return "\n".join(lines)


def _thresholds(study: Study) -> str:
    *others, last = (f"{threshold:g}" for threshold in study.board.thresholds)
    return f"{', '.join(others)} and {last} %" if others else f"{last} %"


def _describe_dataset(spec: DatasetSpec) -> str:
    source = ", ".join(spec.subsets) if spec.builder == "arc" else spec.table
    if getattr(spec, "colours", "permuted") == "kept":
        return f"{spec.builder}: {source}; 8 symmetries"
    augmented = getattr(spec, "num_aug", 0)
    return f"{spec.builder}: {source}" + (f"; {augmented} augmentations" if augmented else "")


def _describe_variant(variant: Variant) -> str:
    published = ""
    if variant.published is not None:
        published = f"published {variant.published:g} % {_measure(variant)}"
        published += f"({variant.published_source})"
    weights = "" if variant.weights is None else f"weights {variant.weights}"
    start = "" if variant.starts_from is None else f"starts from {variant.starts_from}"
    return "; ".join(part for part in (variant.description, published, weights, start) if part)


def _measure(variant: Variant) -> str:
    """What a figure is of, where that is not the benchmark's metric on the whole test set."""
    subset = variant.published_subset
    of = [variant.published_metric, subset and f"of {subset:,} puzzles"]
    return "".join(f"{part} " for part in of if part)


def _columns(rows: Sequence[tuple[str, str]], indent: int = 2) -> list[str]:
    width = max((len(target) for target, _ in rows), default=0)
    return [f"{'':{indent}}{target:<{width}}  {words}".rstrip() for target, words in rows]


def _wrap(words: Iterable[str], width: int = 96) -> list[str]:
    lines = ["   "]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def parser() -> Parser:
    parser = Parser("list", __doc__)
    add_study_arguments(parser)
    return parser


def main(words: Sequence[str]) -> None:
    args = parse_study_arguments(parser(), words)
    print(listing(load_study(args.config), args.words))
