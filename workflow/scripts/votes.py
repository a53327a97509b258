"""Score one result's ARC predictions with ever more augmentations voting.

python workflow/scripts/votes.py --dataset data/arc1concept-aug-1000 \
    --predictions results/arc-agi-1/att/seed-0/predictions.npz \
    --answers results/arc-agi-1/att/seed-0/answers.npz --out results/arc-agi-1/att/seed-0/votes.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from trm.errors import run_cli
from trm.files import atomic_write
from trm.scoring.answers import load_answers
from trm.scoring.arc import score_by_votes
from trm.scoring.predictions import load_predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset it was tested on")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.npz")
    parser.add_argument("--answers", type=Path, required=True, help="answers.npz")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()

    q_halt_logits = load_predictions(args.predictions).q_halt_logits
    scores = score_by_votes(args.dataset, load_answers(args.answers), q_halt_logits)
    table = pd.DataFrame(
        {
            "n_augmentations": n,
            "pass@1": metrics["ARC/pass@1"],
            "pass@2": metrics["ARC/pass@2"],
            "n_tasks": metrics["ARC/tasks"],
        }
        for n, metrics in scores.items()
    )
    with atomic_write(args.out) as file:
        table.to_csv(file, index=False, float_format="%.6f")


if __name__ == "__main__":
    run_cli(main)
