"""Train one result: `trm train` alone, or under torchrun where there are several ranks.

    python workflow/scripts/train.py --dataset data/D --run-folder checkpoints/B/V/seed-0 \
        --project B --run-name V-seed-0 --seed 0 --out-weights checkpoints/B/V/seed-0/final \
        --out-history results/B/V/seed-0/history.csv --out-config results/B/V/seed-0/config.yaml \
        --settings '{"lr": 1e-4, "arch.mlp_t": true}'

The resolved settings are written to settings.yaml in the run folder, which every rank reads. The
outputs appear only when training has ended well; an interrupted run resumes from its last snapshot.
If this very run has ended in the run folder, the outputs are made from it and nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trm.config.compose import resolve, save_train_config
from trm.errors import run_cli
from trm.files import RunFile, check_writable, checkpoints_of, copy_file
from trm.runtime.launch import add_job_arguments, run_job
from trm.runtime.signals import EXIT_SAVED
from trm.runtime.slurm import put_back_into_queue
from trm.study.run_folder import discard_snapshots, interrupted_at, newest_facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="data/NAME")
    parser.add_argument("--run-folder", type=Path, required=True, help="where checkpoints go")
    parser.add_argument("--project", required=True)
    parser.add_argument("--run-name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    add_job_arguments(parser)
    parser.add_argument("--out-weights", type=Path, required=True)
    parser.add_argument("--out-history", type=Path, required=True)
    parser.add_argument("--out-config", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, over the defaults")
    args = parser.parse_args()
    for path in (args.out_weights, args.out_history, args.out_config):
        check_writable(path)

    variant = args.run_name.removesuffix(f"-seed-{args.seed}")
    settings = args.settings | {
        "data_paths": [args.dataset],
        "checkpoint_path": str(args.run_folder),
        "project_name": args.project,
        "run_name": args.run_name,
        "wandb_group": f"{args.project}/{variant}",
        "seed": args.seed,
        # A changed row of config.yaml is another run; its dry run has said so.
        "resume": "or_restart",
    }
    file = args.run_folder / RunFile.SETTINGS
    resolved = resolve(settings, f"{args.project}/{args.run_name}")
    save_train_config(resolved.model_dump(mode="json"), file)
    train_or_requeue(args, ["-m", "trm", "train", "--settings", str(file)])

    copies = {
        checkpoints_of(args.run_folder)[-1]: args.out_weights,
        args.run_folder / RunFile.HISTORY: args.out_history,
        args.run_folder / RunFile.CONFIG: args.out_config,
    }
    for source, target in copies.items():
        copy_file(source, target)
    discard_snapshots(args.run_folder)  # gigabytes that nobody needs any more


def train_or_requeue(args: argparse.Namespace, command: list[str]) -> None:
    """Train to the end. A run stopped by a signal that has made steps returns to Slurm's queue;
    elsewhere, or without progress, it ends with the exit status of a failure."""
    began_at = (newest_facts(args.run_folder) or {}).get("step", 0)
    try:
        run_job(args, command)
    except SystemExit:
        stopped_at = interrupted_at(args.run_folder)
        if stopped_at is None:
            raise
        if stopped_at > began_at:
            put_back_into_queue()
        raise SystemExit(EXIT_SAVED) from None


if __name__ == "__main__":
    run_cli(main)
