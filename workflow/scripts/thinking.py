"""Write the answers of one result to a few test puzzles after each supervision step.

    python workflow/scripts/thinking.py --dataset data/D --kind sudoku \
        --weights checkpoints/B/V/seed-0/final --train-config results/B/V/seed-0/config.yaml \
        --predictions results/B/V/seed-0/predictions.npz --out results/B/V/seed-0/thinking.json

One process, on one GPU where there is one: it is a matter of seconds.
"""

from __future__ import annotations

import argparse

from trm.errors import run_cli
from trm.puzzles.kinds import kinds
from trm.runtime.launch import run_ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="data/NAME")
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--weights", required=True, help="a checkpoint")
    parser.add_argument("--train-config", required=True, help="the all_config.yaml of its training")
    parser.add_argument("--predictions", required=True, help="the result's predictions.npz")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs, 0 or 1 (default 0)")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    args = parser.parse_args()
    names = ("dataset", "kind", "weights", "train_config", "predictions", "out")
    words = [word for n in names for word in (f"--{n.replace('_', '-')}", getattr(args, n))]
    run_ranks(["-m", "trm.evaluate.step_by_step", *words], 1, args.threads, args.gpus)


if __name__ == "__main__":
    run_cli(main)
