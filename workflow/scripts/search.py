"""Roll out a sample of one result's test puzzles several times, and choose among the answers.

    python workflow/scripts/search.py --dataset data/D --kind sudoku --sample 1000 \
        --weights checkpoints/B/V/seed-0/final --train-config results/B/V/seed-0/config.yaml \
        --search '{"rollouts": 100, "noise": 0.3}' --out results/B/V/seed-0/search-1000.csv
"""

from __future__ import annotations

import argparse

from trm.errors import run_cli
from trm.puzzles.kinds import kinds
from trm.runtime.launch import add_evaluation_arguments, run_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser)
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--sample", required=True, help="test puzzles (tasks) to draw")
    parser.add_argument("--search", required=True, help="settings, as a JSON object")
    parser.add_argument("--out", required=True, help="the CSV file to write")
    args = parser.parse_args()
    words = ("dataset", "kind", "sample", "weights", "train_config", "search", "out")
    given = [f"--{word.replace('_', '-')}={vars(args)[word]}" for word in words]
    run_job(args, ["-m", "trm.evaluate.search", *given])


if __name__ == "__main__":
    run_cli(main)
