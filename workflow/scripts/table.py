"""Write one of the paper's tables: our results beside the published figures, and what they say.

Any result folders may be given; the table lists those not evaluated yet as "not run".

python workflow/scripts/table.py --config results/study.json --table table1 \
    --results results/sudoku-extreme/*/seed-* --out-csv results/tables/table1.csv \
    --out-md results/tables/table1.md --out-figure results/tables/table1.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import TrmError, run_cli, suggest
from trm.files import atomic_write
from trm.report.figures import save_figure
from trm.report.paper import (
    describe_table,
    draw_table,
    paper_frame,
    paper_rows,
    to_markdown,
)
from trm.report.results import existing_results
from trm.report.tables import write_frame
from trm.study.table import Study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the table of experiments")
    parser.add_argument("--table", required=True, help="its name under `tables:`")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="result folders")
    parser.add_argument("--out-csv", type=Path, required=True)
    parser.add_argument("--out-md", type=Path, required=True)
    parser.add_argument("--out-figure", type=Path, required=True, help=".svg or .png")
    args = parser.parse_args()

    study = Study.load(args.config)
    if args.table not in study.tables:
        known = ", ".join(study.tables) or "none"
        near = suggest(args.table, list(study.tables))
        raise TrmError(f"no table {args.table!r} in {args.config}{near}; there are: {known}")
    table = study.tables[args.table]
    results = existing_results(args.results, study.benchmarks)
    rows = paper_rows(table, results, study.benchmarks)
    write_frame(args.out_csv, paper_frame(rows))
    with atomic_write(args.out_md) as file:
        file.write(to_markdown(table.title, rows).encode())
    save_figure(draw_table(table.title, rows), args.out_figure, describe_table(table.title, rows))


if __name__ == "__main__":
    run_cli(main)
