"""Write the board: what our and published trainings needed until each threshold of quality.

Any result folders may be given; those not evaluated yet are left out.

python workflow/scripts/board.py --config results/study.json \
    --results results/*/*/seed-* --out-csv results/board.csv --out-figure results/board.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import run_cli
from trm.report.figures import save_figure
from trm.report.results import existing_results
from trm.report.time_to_quality import describe_board, draw_board, entries_of, write_board
from trm.study.table import Study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the table of experiments")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="result folders")
    parser.add_argument("--out-csv", type=Path, required=True)
    parser.add_argument("--out-figure", type=Path, required=True, help=".svg or .png")
    args = parser.parse_args()

    study = Study.load(args.config)
    entries = entries_of(existing_results(args.results, study.benchmarks), study)
    write_board(args.out_csv, entries, study.board.thresholds)
    save_figure(draw_board(entries, study), args.out_figure, describe_board(entries))


if __name__ == "__main__":
    run_cli(main)
