"""Make the run folder of given weights, in place of a training.

    python workflow/scripts/weights.py --dataset data/D --weights raw/weights/B/V/weights \
        --source '{"path": "mine/step_558"}' --run-folder checkpoints/B/V/seed-0 --project B \
        --run-name V-seed-0 --out-config results/B/V/seed-0/config.yaml \
        --settings '{"arch.mlp_t": true}'

The weights are checked against their recorded SHA-256, the architecture of the settings, and the
dataset. The run folder then has `final` and provenance.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trm.config.compose import resolve
from trm.data.specs import WeightsSource, parse_spec
from trm.errors import run_cli
from trm.evaluate.given_weights import adopt
from trm.files import RunFile, check_writable, copy_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="data/NAME")
    parser.add_argument("--weights", type=Path, required=True, help="the fetched file")
    parser.add_argument("--source", required=True, help="`weights:` of the variant, as JSON")
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--run-name", required=True)
    parser.add_argument("--out-config", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, over the defaults")
    args = parser.parse_args()
    check_writable(args.out_config)
    settings = args.settings | {
        "data_paths": [args.dataset],
        "checkpoint_path": str(args.run_folder),
        "project_name": args.project,
        "run_name": args.run_name,
    }
    config = resolve(settings, f"{args.project}/{args.run_name}")
    adopt(args.weights, parse_spec(WeightsSource, args.source), config)
    copy_file(args.run_folder / RunFile.CONFIG, args.out_config)


if __name__ == "__main__":
    run_cli(main)
