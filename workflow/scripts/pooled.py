"""Score every checkpoint of an ARC run alone, and pooled with those before it.

    python workflow/scripts/pooled.py --dataset data/D --run-folder checkpoints/B/V/seed-0 \
        --train-config results/B/V/seed-0/config.yaml --out results/B/V/seed-0/pooled.csv

The published code pools: it never clears its votes between the evaluations of a run. The two kinds
of figures are printed side by side here, under different names.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from trm.errors import run_cli
from trm.files import atomic_write, checkpoints_of
from trm.runtime.launch import add_evaluation_arguments, run_evaluation
from trm.scoring.arc import pooled_scores
from trm.scoring.predictions import Predictions, load_predictions

KS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser, weights=False)
    parser.add_argument("--run-folder", type=Path, required=True, help="holds the step_N")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    checkpoints = checkpoints_of(args.run_folder)
    dataset = Path(args.dataset)

    with tempfile.TemporaryDirectory() as scratch:

        def answers() -> Iterator[Predictions]:
            """Answers of each checkpoint in turn."""
            file = Path(scratch) / "predictions.npz"
            for checkpoint in checkpoints:
                args.weights = checkpoint
                run_evaluation(args, out=Path(scratch) / "metrics.json", predictions=file)
                yield load_predictions(file)

        scores = pooled_scores(dataset, answers(), KS)
        rows = [
            {
                "step": int(checkpoint.name.removeprefix("step_")),
                **score.alone.metrics,
                **score.pooled.metrics,
            }
            for checkpoint, score in zip(checkpoints, scores, strict=True)
        ]

    with atomic_write(args.out) as file:
        pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6f")


if __name__ == "__main__":
    run_cli(main)
