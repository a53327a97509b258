"""Maze: the builder of the maze datasets."""

from __future__ import annotations

from pathlib import Path

from trm.data.boards import build_kind, side_of
from trm.data.specs import MazeSpec
from trm.puzzles.maze import KIND


def build_maze(spec: MazeSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv.

    Byte-identical to the published builder with its stream seeded before the train split. Raises
    TrmError, naming the row, for anything that is not a square maze and a path through it.
    """
    side = side_of(table_dir / "train.csv", KIND.sides)
    build_kind(KIND, (side, side), spec, table_dir, output_dir, {})
