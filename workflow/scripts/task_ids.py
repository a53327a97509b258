"""Evaluate one result's weights with the blank puzzle embedding and with another puzzle's.

    python workflow/scripts/task_ids.py --dataset data/D --weights checkpoints/B/V/seed-0/final \
        --train-config results/B/V/seed-0/config.yaml --metrics results/B/V/seed-0/metrics.json \
        --out results/B/V/seed-0/task-ids.csv
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd

from trm.errors import run_cli
from trm.launch import add_evaluation_arguments, run_evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser)
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json, own task ids")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    rows = {"own": json.loads(args.metrics.read_text())}
    with tempfile.TemporaryDirectory() as scratch:
        for task_ids in ("blank", "other"):
            out = Path(scratch) / task_ids / "metrics.json"
            run_evaluation(args, out=out, task_ids=task_ids)
            rows[task_ids] = json.loads(out.read_text())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame.from_dict(rows, orient="index").to_csv(args.out, index_label="task_ids")


if __name__ == "__main__":
    run_cli(main)
