"""Draw one figure of a result.

python workflow/scripts/figure.py --result results/B/V/seed-0 \
    --out results/B/V/seed-0/figures/steps.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import run_cli
from trm.puzzles.kinds import kinds
from trm.report.drawing import Source, draw_figure
from trm.report.figures import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--result", type=Path, required=True, help="results/BENCHMARK/VARIANT/seed-N"
    )
    parser.add_argument("--dataset", type=Path, help="the dataset it was tested on")
    parser.add_argument("--kind", choices=list(kinds()), help="of that dataset")
    parser.add_argument("--out", type=Path, required=True, help="FIGURE.svg or FIGURE.png")
    args = parser.parse_args()
    drawn = draw_figure(Source(args.result, args.dataset, args.kind), args.out.stem)
    save_figure(drawn.figure, args.out, drawn.description)


if __name__ == "__main__":
    run_cli(main)
