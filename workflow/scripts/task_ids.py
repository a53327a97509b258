"""Evaluate one result's weights with their own puzzle embeddings, the blank one, and another's.

    python workflow/scripts/task_ids.py --dataset data/D --weights checkpoints/B/V/seed-0/final \
        --train-config results/B/V/seed-0/config.yaml --out results/B/V/seed-0/task-ids.csv
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
    parser.add_argument("--out", required=True, help="the CSV file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run_evaluation(args, out=Path(scratch) / "metrics.json", task_ids_out=args.out)


if __name__ == "__main__":
    run_cli(main)
