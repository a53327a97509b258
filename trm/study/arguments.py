"""The arguments by which commands are given a study and some of its results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from trm.errors import TrmError
from trm.study.table import Study

CONFIG = Path("config/config.yaml")


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
