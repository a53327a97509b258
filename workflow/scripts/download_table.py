"""Put a puzzle table's train.csv and test.csv in place: from a hub, a folder, or generated.

python workflow/scripts/download_table.py --source '{"hub": "sapientinc/sudoku-extreme"}' \\
--out-dir raw/sudoku-extreme
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.specs import TableSource, parse_spec
from trm.data.tables import fetch_table
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True, help="a row of `raw: tables:`, as JSON")
    parser.add_argument("--out-dir", type=Path, required=True)
    arguments = parser.parse_args()
    fetch_table(parse_spec(TableSource, arguments.source), arguments.out_dir)


if __name__ == "__main__":
    run_cli(main)
