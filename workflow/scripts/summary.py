"""Write one benchmark's summary: mean and intervals over seeds beside the published figure.

python workflow/scripts/summary.py --config config/config.yaml --benchmark sudoku \
    --results results/sudoku/*/seed-* --out results/sudoku/summary.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import TrmError, run_cli
from trm.report.results import load_results
from trm.report.tables import summarise, write_frame
from trm.study.table import Study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the table of experiments")
    parser.add_argument("--benchmark", required=True, help="its name in the table")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="result folders")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()

    benchmarks = Study.load(args.config).benchmarks
    if args.benchmark not in benchmarks:
        known = ", ".join(benchmarks)
        raise TrmError(f"no benchmark {args.benchmark!r} in {args.config}; it has {known}")
    chosen = {args.benchmark: benchmarks[args.benchmark]}
    write_frame(args.out, summarise(load_results(args.results, chosen), chosen))


if __name__ == "__main__":
    run_cli(main)
