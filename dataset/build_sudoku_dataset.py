"""python -m dataset.build_sudoku_dataset --output-dir data/sudoku-extreme-1k-aug-1000 \\
--subsample-size 1000 --num-aug 1000"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.specs import SudokuSpec, parse_spec
from trm.data.sudoku import build_sudoku
from trm.data.tables import RAW, table_folder
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="build_sudoku_dataset", description="Build a Sudoku dataset."
    )
    parser.add_argument(
        "--source-repo",
        default="sapientinc/sudoku-extreme",
        help="hub dataset, or a folder with train.csv and test.csv",
    )
    parser.add_argument("--hub-revision", help="of the hub dataset")
    parser.add_argument("--output-dir", type=Path, default=Path("data/sudoku-extreme-full"))
    parser.add_argument("--subsample-size", type=int, help="train boards; default: all")
    parser.add_argument("--min-difficulty", type=int, help="lowest rating kept, in both splits")
    parser.add_argument("--num-aug", type=int, default=0, help="shuffles of a train board")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--augment",
        choices=["built", "on_the_fly"],
        default="built",
        help="on_the_fly: the same examples, painted when they are read instead of stored",
    )
    parser.add_argument(
        "--allow-test-in-train",
        action="store_true",
        help="build it also where most test puzzles are training puzzles too",
    )
    options = vars(parser.parse_args())
    output_dir, revision = options.pop("output_dir"), options.pop("hub_revision")
    repo = options.pop("source_repo")
    spec = parse_spec(SudokuSpec, {"builder": "sudoku", "table": repo, **options})
    build_sudoku(spec, table_folder(repo, revision, RAW), output_dir)


if __name__ == "__main__":
    run_cli(main)
