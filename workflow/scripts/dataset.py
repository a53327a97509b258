"""Build one dataset of config.yaml from raw files.

python workflow/scripts/dataset.py --spec '{"builder": "sudoku", "table": "sudoku-6x6"}' \\
--raw-dir raw --out data/sudoku-6x6
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.arc import build_arc
from trm.data.arc_versions import read_checksums, refuse_other_versions
from trm.data.maze import build_maze
from trm.data.plain_boards import build_boards
from trm.data.specs import (
    ArcSpec,
    BoardsSpec,
    DatasetSpec,
    MazeSpec,
    Sha256,
    SudokuSpec,
    parse_spec,
)
from trm.data.sudoku import build_sudoku
from trm.data.tables import check_table
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spec", required=True, help="a row of `datasets:`, as JSON")
    parser.add_argument(
        "--sha256", default="{}", help="of the table's train.csv and test.csv, as JSON"
    )
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds arc/ and the tables")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    arguments = parser.parse_args()
    raw_dir, out = arguments.raw_dir, arguments.out
    spec = parse_spec(DatasetSpec, arguments.spec)
    # Whoever put them there.
    if isinstance(spec, ArcSpec):
        refuse_other_versions((raw_dir / file for file in spec.raw_files), read_checksums())
    else:
        check_table(raw_dir / spec.table, parse_spec(dict[str, Sha256], arguments.sha256))
    match spec:
        case ArcSpec():
            build_arc(spec, str(raw_dir / "arc" / "arc-agi"), out)
        case SudokuSpec():
            build_sudoku(spec, raw_dir / spec.table, out)
        case MazeSpec():
            build_maze(spec, raw_dir / spec.table, out)
        case BoardsSpec():
            build_boards(spec, raw_dir / spec.table, out)


if __name__ == "__main__":
    run_cli(main)
