"""Draw one result's pictures: its learning curve and some solved and failed test puzzles.

They, and the final metrics, also go to the W&B run of the training, where there is one.

python workflow/scripts/figures.py --result results/sudoku/mlp/seed-0 --dataset data/sudoku \
    --kind sudoku --out-curve results/sudoku/mlp/seed-0/figures/learning_curve.svg \
    --out-examples results/sudoku/mlp/seed-0/figures/examples.svg
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

from trm.errors import run_cli
from trm.progress import say
from trm.report.examples import draw_examples
from trm.report.figures import describe_learning_curve, draw_learning_curve, save_figure
from trm.scoring.predictions import load_predictions
from trm.study import Kind
from trm.tracking import add_to_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--result", type=Path, required=True, help="results/BENCHMARK/VARIANT/seed-N"
    )
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset it was tested on")
    parser.add_argument("--kind", choices=get_args(Kind), required=True)
    parser.add_argument("--out-curve", type=Path, required=True, help=".svg or .png")
    parser.add_argument("--out-examples", type=Path, required=True, help=".svg or .png")
    args = parser.parse_args()

    history = args.result / "history.csv"
    curve, of_curve = draw_learning_curve(history), describe_learning_curve(history)
    save_figure(curve, args.out_curve, of_curve)
    predictions = load_predictions(args.result / "predictions.npz")
    examples = draw_examples(args.dataset, args.kind, predictions)
    save_figure(examples.figure, args.out_examples, examples.description)

    with tempfile.TemporaryDirectory() as scratch:  # W&B shows PNG
        pictures = {name: Path(scratch) / f"{name}.png" for name in ("learning_curve", "examples")}
        save_figure(curve, pictures["learning_curve"], of_curve)
        save_figure(examples.figure, pictures["examples"], examples.description)
        if offline := add_to_run(args.result, pictures):
            say(f"W&B was offline; to upload: wandb sync {offline}")


if __name__ == "__main__":
    run_cli(main)
