"""Draw one result's pictures and gather its gallery: what the report shows of its predictions.

They, and the final metrics, also go to the W&B run of the training, where there is one.

python workflow/scripts/figures.py --result results/sudoku/mlp/seed-0 --dataset data/sudoku \
    --kind sudoku --out-curve results/sudoku/mlp/seed-0/figures/learning_curve.svg \
    --out-examples results/sudoku/mlp/seed-0/figures/examples.svg \
    --out-halting results/sudoku/mlp/seed-0/figures/halting.svg \
    --out-gallery results/sudoku/mlp/seed-0/gallery.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from trm.errors import run_cli
from trm.progress import say
from trm.puzzles.kinds import kinds
from trm.report.examples import draw_examples
from trm.report.figures import describe_learning_curve, draw_learning_curve, save_figure
from trm.report.halting import Halting, describe_halting, draw_halting
from trm.scoring.gallery import gallery_of, save_gallery
from trm.scoring.predictions import load_predictions
from trm.study.files import ResultFile
from trm.training.tracking import add_to_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--result", type=Path, required=True, help="results/BENCHMARK/VARIANT/seed-N"
    )
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset it was tested on")
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--out-curve", type=Path, help=".svg or .png; not of given weights")
    parser.add_argument("--out-examples", type=Path, required=True, help=".svg or .png")
    parser.add_argument("--out-halting", type=Path, required=True, help=".svg or .png")
    parser.add_argument("--out-gallery", type=Path, required=True, help="JSON for the report")
    args = parser.parse_args()

    predictions = load_predictions(args.result / ResultFile.PREDICTIONS)
    examples = draw_examples(args.dataset, args.kind, predictions)
    save_figure(examples.figure, args.out_examples, examples.description)
    halting = Halting.of(args.dataset, predictions)
    save_figure(draw_halting(halting), args.out_halting, describe_halting(halting))
    save_gallery(args.out_gallery, gallery_of(args.dataset, args.kind, predictions))
    drawn = {"examples": (examples.figure, examples.description)}
    if args.out_curve is not None:
        history = args.result / ResultFile.HISTORY
        curve, of_curve = draw_learning_curve(history), describe_learning_curve(history)
        save_figure(curve, args.out_curve, of_curve)
        drawn["learning_curve"] = (curve, of_curve)

    with tempfile.TemporaryDirectory() as scratch:  # W&B shows PNG
        pictures = {name: Path(scratch) / f"{name}.png" for name in drawn}
        for name, (figure, description) in drawn.items():
            save_figure(figure, pictures[name], description)
        if offline := add_to_run(args.result, pictures):
            say(f"W&B was offline; to upload: wandb sync {offline}")


if __name__ == "__main__":
    run_cli(main)
