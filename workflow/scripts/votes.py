"""Score one result's ARC predictions with ever more augmentations voting, and draw the curve.

python workflow/scripts/votes.py --dataset data/arc1concept-aug-1000 \
    --predictions results/arc-agi-1/att/seed-0/predictions.npz \
    --out-csv results/arc-agi-1/att/seed-0/votes.csv \
    --out-figure results/arc-agi-1/att/seed-0/figures/votes.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from trm.errors import run_cli
from trm.files import atomic_write
from trm.report.curves import describe_votes_curve, draw_votes_curve
from trm.report.figures import save_figure
from trm.scoring.arc import score_arc_by_votes
from trm.scoring.predictions import load_predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset it was tested on")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.npz")
    parser.add_argument("--out-csv", type=Path, required=True)
    parser.add_argument("--out-figure", type=Path, required=True, help=".svg or .png")
    args = parser.parse_args()

    predictions = load_predictions(args.predictions)
    scores = score_arc_by_votes(args.dataset, predictions.preds, predictions.q_halt_logits)
    table = pd.DataFrame(
        {
            "n_augmentations": n,
            "pass@1": metrics["ARC/pass@1"],
            "pass@2": metrics["ARC/pass@2"],
            "n_tasks": metrics["ARC/tasks"],
        }
        for n, metrics in scores.items()
    )
    with atomic_write(args.out_csv) as file:
        table.to_csv(file, index=False, float_format="%.6f")
    save_figure(draw_votes_curve(args.out_csv), args.out_figure, describe_votes_curve(args.out_csv))


if __name__ == "__main__":
    run_cli(main)
