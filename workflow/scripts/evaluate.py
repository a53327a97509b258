"""Evaluate one result's weights: metrics, predictions and what they were made with.

    python workflow/scripts/evaluate.py --dataset data/D --kind sudoku \
        --benchmark B --variant V --weights checkpoints/B/V/seed-0/final \
        --train-config results/B/V/seed-0/config.yaml \
        --train-provenance checkpoints/B/V/seed-0/provenance.json \
        --out-metrics metrics.json --out-predictions predictions.npz \
        --out-provenance provenance.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from trm.errors import TrmError, run_cli
from trm.files import write_json
from trm.puzzles.kinds import kinds
from trm.runtime.launch import add_evaluation_arguments, run_evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_evaluation_arguments(parser)
    parser.add_argument(
        "--train-provenance", type=Path, required=True, help="the provenance.json of its training"
    )
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--out-metrics", required=True)
    parser.add_argument("--out-predictions", required=True)
    parser.add_argument("--out-provenance", type=Path, required=True)
    parser.add_argument("--out-answers", help="for ARC")
    parser.add_argument("--out-submission", help="for ARC")
    parser.add_argument(
        "--challenges", action="append", help="JSON of the tasks that the submission must answer"
    )
    parser.add_argument(
        "--shards", nargs="+", help="files of evaluate_shard.py: put together, nothing is evaluated"
    )
    args = parser.parse_args()

    training = read_training(args.train_provenance, args.dataset)
    given = {
        "answers": args.out_answers,
        "submission": args.out_submission,
        "challenges": args.challenges,
        "shards": args.shards,
    }
    with tempfile.TemporaryDirectory() as scratch:
        cost_file = Path(scratch) / "cost.json"
        run_evaluation(
            args,
            out=args.out_metrics,
            kind=args.kind,
            predictions=args.out_predictions,
            cost_out=cost_file,
            **{key: value for key, value in given.items() if value},
        )
        cost = json.loads(cost_file.read_text())
    write_json(
        args.out_provenance,
        {"benchmark": args.benchmark, "variant": args.variant, **training, **cost},
    )


def read_training(provenance: Path, dataset: str) -> dict[str, Any]:
    """What a training was made with, with the SHA-256 of this dataset alone."""
    try:
        training = json.loads(provenance.read_text())
        return training | {"dataset_sha256": training["dataset_sha256"][dataset]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrmError(
            f"{provenance} is not the provenance of a training on {dataset} ({error!r}): train it "
            "again"
        ) from None


if __name__ == "__main__":
    run_cli(main)
