"""A result's answers to a few test puzzles after each supervision step.

    python -m trm.evaluate.step_by_step --dataset data/D --kind sudoku \
        --weights checkpoints/B/V/seed-0/final --train-config results/B/V/seed-0/config.yaml \
        --predictions results/B/V/seed-0/predictions.npz --out thinking.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from trm.data.batches import PuzzleData, Rows, take_examples
from trm.errors import run_cli
from trm.evaluate.loading import add_result_arguments, load_result
from trm.files import check_writable
from trm.model.act import supervision_steps, to_batch
from trm.model.base import RecursiveModel
from trm.runtime.ranks import start
from trm.scoring.gallery import save_gallery, thinking_of, thinking_rows
from trm.scoring.predictions import Predictions, load_predictions


@torch.no_grad()
def think(model: RecursiveModel, rows: Rows, device: torch.device) -> Predictions:
    """Answers to B rows after each of halt_max_steps steps: preds [steps, B, S], q [steps, B]."""
    model.eval()
    preds, q_halts = [], []
    for _, output in supervision_steps(model, to_batch(rows, device)):
        preds.append(output.logits.argmax(dim=-1).to(torch.uint8).cpu().numpy())
        q_halts.append(output.certainty.float().cpu().numpy())
    return Predictions(np.stack(preds), np.stack(q_halts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_result_arguments(parser)
    parser.add_argument("--predictions", type=Path, required=True, help="its predictions.npz")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    args = parser.parse_args()

    check_writable(args.out)
    predictions = load_predictions(args.predictions)
    chosen = thinking_rows(args.dataset, args.kind, predictions)
    data = PuzzleData.load([str(args.dataset)], "test")
    model, _ = load_result(args.weights, args.train_config, args.dataset, data)
    device = start("auto").device
    thoughts = think(model.to(device), take_examples(data, chosen), device)
    save_gallery(args.out, thinking_of(args.dataset, args.kind, chosen, thoughts, predictions))


if __name__ == "__main__":
    run_cli(main)
