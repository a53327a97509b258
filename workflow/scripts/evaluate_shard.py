"""Evaluate one shard of a result's test split, for evaluate.py to put together.

    python workflow/scripts/evaluate_shard.py --dataset data/D \
        --weights checkpoints/B/V/seed-0/final --train-config results/B/V/seed-0/config.yaml \
        --shard 1/4 --out checkpoints/B/V/seed-0/shards/1-of-4.npz
"""

from __future__ import annotations

import argparse

from trm.errors import run_cli
from trm.runtime.launch import add_evaluation_arguments, run_evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser)
    parser.add_argument("--shard", required=True, metavar="K/N", help="the K-th of N")
    parser.add_argument("--out", required=True, help="the file to write")
    args = parser.parse_args()
    run_evaluation(args, shard=args.shard, shard_out=args.out)


if __name__ == "__main__":
    run_cli(main)
