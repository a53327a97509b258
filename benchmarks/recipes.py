"""Compare training recipes by the compute that each takes to reach a share of exact answers.

    snakemake --cores 2 data/sudoku-6x6-1k-aug-50
    python benchmarks/recipes.py sudoku-6x6/mlp --seeds 0 1 2 --out recipes.csv
    python benchmarks/recipes.py sudoku-6x6/mlp published muon --target 0.5 --metric cells

Each run is `pretrain.py` with the settings of that experiment in config.yaml and the recipe's on
top, stopped at the first evaluation above the target. Compute is counted, not timed: FLOP of the
matrix products and attention of every training step until the target, interpolated between the two
evaluations around it. The ratio is of means over the seeds, against `published`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from trm.config.compose import hydra_word, resolve
from trm.config.types import TrainConfig
from trm.data.batches import PuzzleData
from trm.errors import run_cli, suggest
from trm.model.registry import model_for
from trm.study.table import Study
from trm.training.flop import TrainingFlop

ROOT = Path(__file__).resolve().parents[1]
DEEPER = [
    {"start": 0.0, "H_cycles": 1, "L_cycles": 2},
    {"start": 0.3, "H_cycles": 2, "L_cycles": 2},
    {"start": 0.6, "H_cycles": 2, "L_cycles": 3},
]
METRICS = ("exact", "cells")
RECIPES: dict[str, dict] = {
    "published": {},
    "muon": {"optimizer": "muon"},
    "muon-lr": {"optimizer": "muon", "lr": 4e-3, "lr_warmup_steps": 200},
    "ema-warmup": {"ema_warmup": True},
    "depth": {"depth_schedule": DEEPER},
    "free-cycles": {
        "depth_schedule": [
            {"start": 0.0, "H_cycles": 1, "L_cycles": 3},
            {"start": 0.5, "H_cycles": 2, "L_cycles": 3},
        ]
    },
    "lr": {"lr": 2e-3, "lr_warmup_steps": 200},
    "random-halt": {"random_halt_prob": 0.1},
    "in-flight": {"batches_in_flight": 8},
    "smoothing": {"arch.loss.label_smoothing": 0.05},
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run: steps and FLOP to the target (None where it was not reached); the
    best shares of exact answers and of right cells."""

    steps: float | None
    flop: float | None
    best: float
    cells: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="BENCHMARK/VARIANT of config.yaml")
    parser.add_argument("recipes", nargs="*", help=f"of {', '.join(RECIPES)}, joined by + (all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--target", type=float, default=0.9, help="share to reach")
    parser.add_argument(
        "--metric", default="exact", choices=METRICS, help="of exact answers, or of right cells"
    )
    parser.add_argument("--dataset", help="folder, in place of the experiment's own")
    parser.add_argument("--eval-interval", type=int, default=6, help="epochs")
    parser.add_argument("--out", type=Path, help="CSV of all runs, added to")
    parser.add_argument("--option", action="append", default=[], help="key=value for every run")
    args = parser.parse_args()

    recipes = args.recipes or list(RECIPES)
    for part in {part for recipe in recipes for part in recipe.split("+")} - set(RECIPES):
        parser.error(f"no recipe {part!r}{suggest(part, list(RECIPES))}; there are {list(RECIPES)}")
    if args.experiment.count("/") != 1:
        parser.error(f"{args.experiment!r} is not of the form BENCHMARK/VARIANT")
    study = Study.load(ROOT / "config" / "config.yaml")
    row = study.row(*args.experiment.split("/"))
    dataset = str(Path(args.dataset or ROOT / "data" / row.dataset).resolve())
    print(
        f"{date.today()}, {args.experiment} on {Path(dataset).name}, target {args.target:.0%} "
        f"{args.metric}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    # As pretrain.py reads them: to YAML the word "on" would be true.
    parsed = OverridesParser.create().parse_overrides(args.option)
    options = {option.key_or_group: option.value() for option in parsed}
    base = None
    for recipe in recipes:
        overrides = row.overrides | {"eval_interval": args.eval_interval}
        for part in recipe.split("+"):
            overrides |= RECIPES[part]
        overrides |= options
        outcomes = []
        for seed in args.seeds:
            config = resolve(overrides | {"data_paths": [dataset]}, recipe)
            words = [hydra_word(k, v) for k, v in overrides.items()]
            outcomes.append(run(config, words, dataset, seed, args.metric, args.target))
            if args.out:
                what = (args.experiment, Path(dataset).name, recipe, seed, args.metric, args.target)
                record(args.out, what, outcomes[-1])
        reached = [o for o in outcomes if o.flop is not None]
        line = f"{recipe:28} reached by {len(reached)} of {len(outcomes)}"
        if len(reached) == len(outcomes):
            mean = statistics.mean(o.flop for o in reached)
            base = mean if recipe == "published" else base
            line += f"  steps {' '.join(f'{o.steps:.0f}' for o in reached)}"
            line += f"  {mean / 1e12:.2f} TFLOP"
            line += "" if base is None else f"  published / this {base / mean:.2f}"
        best = " ".join(f"{o.best:.1%} ({o.cells:.1%} of the cells)" for o in outcomes)
        print(f"{line}  best {best}", flush=True)


def run(
    config: TrainConfig, words: list[str], dataset: str, seed: int, metric: str, target: float
) -> Outcome:
    column = 1 + METRICS.index(metric)
    with tempfile.TemporaryDirectory(prefix="recipe-") as scratch:
        command = [
            sys.executable,
            "pretrain.py",
            *words,
            f"data_paths=[{dataset}]",
            f"seed={seed}",
            f"checkpoint_path={scratch}",
            "wandb=disabled",
            "checkpoint_every_eval=false",
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        try:
            while process.poll() is None and accuracies(Path(scratch))[-1][column] < target:
                time.sleep(1)
        finally:
            stopped = process.poll() is None
            process.send_signal(signal.SIGTERM)
            process.wait()
        if not stopped and process.returncode != 0:
            raise SystemExit(f"pretrain.py failed; try it alone: {' '.join(command)}")
        points = accuracies(Path(scratch))
    best, cells = (max(point[i] for point in points) for i in (1, 2))
    for before, after in itertools.pairwise(points):
        low, high = before[column], after[column]
        if high >= target:
            steps = before[0] + (after[0] - before[0]) * (target - low) / (high - low)
            return Outcome(steps, flop_until(steps, config, dataset), best, cells)
    return Outcome(None, None, best, cells)


def accuracies(folder: Path) -> list[tuple[int, float, float]]:
    """(step, exact accuracy, cell accuracy) on the test split, from (0, 0, 0) on."""
    path = folder / "history.csv"
    if not path.exists():
        return [(0, 0.0, 0.0)]
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return [(0, 0.0, 0.0)] + [
        (int(r["step"]), float(r["exact_accuracy"]), float(r["accuracy"])) for r in rows
    ]


def flop_until(steps: float, config: TrainConfig, dataset: str) -> float:
    """FLOP of training `steps` steps, each at the depth that its schedule gives it."""
    data = PuzzleData.load([dataset], "train")
    total = data.total_steps(config.epochs, config.global_batch_size)
    return TrainingFlop.counted(config, model_for(config, data), total).until(steps)


def record(path: Path, what: tuple, outcome: Outcome) -> None:
    """`what` are the values of the first columns."""
    new = not path.exists()
    with path.open("a") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            first = ("experiment", "dataset", "recipe", "seed", "metric", "target")
            writer.writerow([*first, "steps", "flop", "best", "cells"])
        steps = "" if outcome.steps is None else f"{outcome.steps:.1f}"
        flop = "" if outcome.flop is None else f"{outcome.flop:.6g}"
        shares = f"{outcome.best:.4f}", f"{outcome.cells:.4f}"
        writer.writerow([*what, steps, flop, *shares])


if __name__ == "__main__":
    run_cli(main)
