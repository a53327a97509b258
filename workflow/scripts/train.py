"""Train one result: pretrain.py alone, or under torchrun where there are several ranks.

    python workflow/scripts/train.py --dataset data/D --run-folder checkpoints/B/V/seed-0 \
        --project B --run-name V-seed-0 --seed 0 --out-weights checkpoints/B/V/seed-0/final \
        --out-history results/B/V/seed-0/history.csv --out-config results/B/V/seed-0/config.yaml \
        -- lr=1e-4 arch.mlp_t=true

Words after `--` are options of pretrain.py. The outputs appear only when training has ended well.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from trm.errors import run_cli
from trm.files import checkpoints_of
from trm.launch import run_ranks

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="data/NAME")
    parser.add_argument("--run-folder", type=Path, required=True, help="where checkpoints go")
    parser.add_argument("--project", required=True)
    parser.add_argument("--run-name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ranks", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads over all ranks")
    parser.add_argument("--out-weights", type=Path, required=True)
    parser.add_argument("--out-history", type=Path, required=True)
    parser.add_argument("--out-config", type=Path, required=True)
    parser.add_argument("overrides", nargs="*", help="after --: options of pretrain.py")
    args = parser.parse_args()

    command = [
        str(ROOT / "pretrain.py"),
        *args.overrides,
        f"data_paths=[{args.dataset}]",
        f"checkpoint_path={args.run_folder}",
        f"project_name={args.project}",
        f"run_name={args.run_name}",
        f"seed={args.seed}",
    ]
    run_ranks(command, args.ranks, args.threads)

    copies = {
        checkpoints_of(args.run_folder)[-1]: args.out_weights,
        args.run_folder / "history.csv": args.out_history,
        args.run_folder / "all_config.yaml": args.out_config,
    }
    for source, target in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


if __name__ == "__main__":
    run_cli(main)
