"""python -m dataset.build_maze_dataset"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.maze import build_maze
from trm.data.specs import MazeSpec, parse_spec
from trm.data.tables import RAW, table_folder
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(prog="build_maze_dataset", description="Build a maze dataset.")
    parser.add_argument(
        "--source-repo",
        default="sapientinc/maze-30x30-hard-1k",
        help="hub dataset, or a folder with train.csv and test.csv",
    )
    parser.add_argument("--hub-revision", help="of the hub dataset")
    parser.add_argument("--output-dir", type=Path, default=Path("data/maze-30x30-hard-1k"))
    parser.add_argument("--subsample-size", type=int, help="train mazes; default: all")
    parser.add_argument(
        "--aug",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="train on the eight images of each maze",
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--allow-test-in-train",
        action="store_true",
        help="build it also where most test puzzles are training puzzles too",
    )
    options = vars(parser.parse_args())
    output_dir, revision = options.pop("output_dir"), options.pop("hub_revision")
    repo = options.pop("source_repo")
    spec = parse_spec(MazeSpec, {"builder": "maze", "table": repo, **options})
    build_maze(spec, table_folder(repo, revision, RAW), output_dir)


if __name__ == "__main__":
    run_cli(main)
