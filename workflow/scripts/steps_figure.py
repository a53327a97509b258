"""Draw accuracy against the number of supervision steps at test.

python workflow/scripts/steps_figure.py --steps results/B/V/seed-0/steps.csv \
    --out results/B/V/seed-0/figures/steps.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import run_cli
from trm.report.curves import describe_steps_curve, draw_steps_curve
from trm.report.figures import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=Path, required=True, help="steps.csv")
    parser.add_argument("--out", type=Path, required=True, help=".svg or .png")
    args = parser.parse_args()
    save_figure(draw_steps_curve(args.steps), args.out, describe_steps_curve(args.steps))


if __name__ == "__main__":
    run_cli(main)
