"""Evaluate one result's weights after each of several numbers of supervision steps.

    python workflow/scripts/steps.py --dataset data/D --weights checkpoints/B/V/seed-0/final \
        --train-config results/B/V/seed-0/config.yaml --steps 1 2 4 8 16 --out-steps steps.csv

Steps beyond those of the training are run too: the model only refines its answer further.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from trm.errors import run_cli
from trm.runtime.launch import add_evaluation_arguments, run_evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--out-steps", required=True, help="the CSV file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run_evaluation(
            args,
            out=Path(scratch) / "metrics.json",
            at_steps=args.steps,
            steps_out=args.out_steps,
            **{"arch.halt_max_steps": max(args.steps)},
        )


if __name__ == "__main__":
    run_cli(main)
