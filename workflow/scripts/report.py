"""Write the report of all results as one self-contained HTML file.

python workflow/scripts/report.py --config config/config.yaml --results results/*/*/seed-* \
    --out results/report.html

From the result folders alone, wherever they are from; what they lack is left out, and so are those
that are not evaluated yet. Runs on their way are looked for in checkpoints/ and results/ of the
working directory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import TrmError, run_cli
from trm.files import atomic_write
from trm.report.page import render_page
from trm.report.results import existing_results
from trm.study.table import Study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="the table of experiments, the last file on top, as for snakemake's --configfile",
    )
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="result folders")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    args = parser.parse_args()

    study = Study.load(*args.config)
    for folder in args.results:
        if not folder.is_dir():
            raise TrmError(f"there is no folder {folder}: give existing result folders")
    results = existing_results(args.results, study.benchmarks)
    page = render_page(results, study.benchmarks, study)
    with atomic_write(args.out) as file:
        file.write(page.encode())


if __name__ == "__main__":
    run_cli(main)
