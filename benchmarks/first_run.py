"""Train the first run's ARC row with other settings: tasks solved against CPU time.

    snakemake --cores 2 data/arc1-6x6-aug-11        # for raw/arc
    python benchmarks/first_run.py                  # as config.yaml has it
    python benchmarks/first_run.py --num-aug 20 --steps 400 arch.halt_max_steps=4 arch.L_layers=2

One run with one thread and compiled nets. Prints, and with --out adds to a CSV file, CPU seconds
of the training, compilation not counted, and the tasks solved at pass@1 and pass@2.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch

from trm.config.compose import compose, hydra_word
from trm.data.arc import build_arc
from trm.data.batches import PuzzleData
from trm.errors import run_cli
from trm.runtime.ranks import Ranks
from trm.scoring.arc import read_test_puzzles
from trm.study.table import Study
from trm.training.records import Records
from trm.training.step import Averages
from trm.training.trainer import train

ROOT = Path(__file__).resolve().parents[1]
ROW = ("arc-agi-1-6x6", "att")
WARM_UP = 3  # steps, which compile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-aug", type=int, help="augmentations of a task")
    parser.add_argument("--canvas", type=int, help="side; tasks with larger grids are left out")
    parser.add_argument("--steps", type=int, help="about how many (default: as the row)")
    parser.add_argument("--out", type=Path, help="CSV of all runs, added to")
    parser.add_argument("options", nargs="*", help="key=value, as for pretrain.py")
    args = parser.parse_args()
    study = Study.load(ROOT / "config" / "config.yaml")
    row = study.row(*ROW)
    changes = {"num_aug": args.num_aug, "canvas": args.canvas}
    spec = study.datasets[row.dataset].model_copy(
        update={key: value for key, value in changes.items() if value is not None}
    )
    with tempfile.TemporaryDirectory(prefix="first-run-") as scratch:
        data = Path(scratch, "data")
        build_arc(spec, str(ROOT / "raw" / "arc" / "arc-agi"), data)
        settings = dict(row.overrides) | {"compile": "on", "wandb": "disabled", "device": "cpu"}
        if args.steps is not None:
            batch = next(
                (int(o.split("=")[1]) for o in args.options if o.startswith("global_batch_size=")),
                row.overrides["global_batch_size"],
            )
            settings["epochs"] = epochs_for(args.steps, data, batch)
        settings["eval_interval"] = settings["epochs"]
        settings |= {"data_paths": [str(data)], "checkpoint_path": str(Path(scratch, "run"))}
        words = [f"++{hydra_word(key, value)}" for key, value in settings.items()]
        found = timed_run([*words, *(f"++{option}" for option in args.options)])
    record = {"num_aug": spec.num_aug, "canvas": spec.canvas, **found}
    record["options"] = " ".join(args.options)
    print(*(f"{key} {value}" for key, value in record.items()), sep="\n")
    if args.out is not None:
        add(args.out, record)


def epochs_for(steps: int, data: Path, batch: int) -> int:
    metadata = PuzzleData.load([str(data)], "train").metadata
    return max(1, round(steps * batch / (metadata.total_groups * metadata.mean_puzzle_examples)))


def timed_run(words: list[str]) -> dict[str, object]:
    """Train; steps, CPU seconds, the last training loss, tasks and those solved."""
    after_step: list[float] = []

    class Timed(Records):
        def stepped(self, averages: Averages | None) -> None:
            after_step.append(time.process_time())
            super().stepped(averages)

    folder = train(compose(words), Ranks(0, 1, torch.device("cpu")), Timed)
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    tasks = len(read_test_puzzles(folder.parent / "data"))
    last = rows[-1]
    steps = len(after_step)
    per_step = (after_step[-1] - after_step[WARM_UP - 1]) / (steps - WARM_UP)
    return {
        "steps": steps,
        "cpu_s": round(per_step * steps, 1),
        "lm_loss": next(r["lm_loss"] for r in reversed(rows) if r["split"] == "train"),
        "tasks": tasks,
        "pass@1": round(tasks * float(last["ARC/pass@1"]), 1),
        "pass@2": round(tasks * float(last["ARC/pass@2"]), 1),
    }


def add(path: Path, record: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, record, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(record)


if __name__ == "__main__":
    run_cli(main)
