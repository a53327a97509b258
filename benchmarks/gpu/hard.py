"""Learn hard 9x9 sudokus at published width by the fastest recipe, in the time that is left: right
cells and exact answers on unseen ones, against seconds.

The recipe's learning rate and depth follow the share of the training that is done, so that the
number of steps is chosen first, from the time of a step that this run has measured.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

from job import Job, run_part
from sudokus import hard

from trm.config.compose import hydra_word
from trm.study.table import Study

ROOT = Path(__file__).resolve().parents[2]
ROWS = 768
EVALUATIONS = 4
SECONDS_TO_START = 40  # imports, compilation
SECONDS_OF_AN_EVALUATION = 5
SECONDS_TO_STOP = 5
USUAL_STEP_MS = 130  # where nothing was measured
TINY = {
    "global_batch_size": 8,
    "arch.hidden_size": 32,
    "arch.num_heads": 2,
    "arch.L_layers": 1,
    "arch.halt_max_steps": 2,
    "depth_schedule": [{"start": 0.0, "H_cycles": 1, "L_cycles": 1}],
    "compile": "off",
}


def main(job: Job) -> None:
    data, folder = hard(job), job.scratch / "hard"
    row = Study.load(ROOT / "config" / "config.yaml").row("sudoku-extreme", "fast")
    rows = TINY["global_batch_size"] if job.tiny else ROWS
    steps = 8 if job.tiny else steps_that_fit(job)
    puzzles = json.loads((data / "train" / "dataset.json").read_text())["total_groups"]
    interval = max(1, round(steps * rows / puzzles / EVALUATIONS))  # epochs
    settings = row.overrides | {
        "global_batch_size": rows,
        "epochs": EVALUATIONS * interval,
        "eval_interval": interval,
        "lr_warmup_steps": min(200, steps // 5),
        "ema_rate": 0.99,
        "device": job.device,
        "data_paths": [str(data)],
        "checkpoint_path": str(folder),
        **(TINY if job.tiny else {}),
    }
    job.measured("plan", steps=steps, rows=rows, source=str(job.hard or "generated"))
    words = [hydra_word(key, value) for key, value in settings.items()]
    child = subprocess.Popen([sys.executable, str(ROOT / "pretrain.py"), "+run_name=hard", *words])
    noted = 0
    while (status := child.poll()) is None and job.seconds_left > SECONDS_TO_STOP:
        noted = note_evaluations(job, folder, noted)
        time.sleep(0.2)
    child.kill()  # without a fault: the time is up, or it has ended
    noted = note_evaluations(job, folder, noted)
    job.checked("trained", noted > 0 and status in (0, None), status=status, evaluations=noted)


def note_evaluations(job: Job, folder: Path, noted: int) -> int:
    """Record the evaluations after the first `noted`; returns how many there are."""
    found = evaluations(folder)
    for row in found[noted:]:
        names = {"seconds": "elapsed_s", "cells": "accuracy", "exact": "exact_accuracy"}
        job.measured(f"step {row['step']}", **{name: float(row[k]) for name, k in names.items()})
    return len(found)


def steps_that_fit(job: Job) -> int:
    """Steps for the seconds that are left. A step of the recipe takes 0.7 of a published one, over
    the whole training."""
    seconds = job.seconds_left - SECONDS_TO_START - EVALUATIONS * SECONDS_OF_AN_EVALUATION
    ms = job.earlier("steps-mlp", "compiled").get("ms", USUAL_STEP_MS)
    return max(20, int(1000 * max(seconds, 0) / (0.7 * ms)))


def evaluations(folder: Path) -> list[dict[str, str]]:
    """The whole lines of its history that are of the test split."""
    history = folder / "history.csv"
    if not history.exists():
        return []
    whole = history.read_text().rpartition("\n")[0].splitlines()
    return [row for row in csv.DictReader(whole) if row["split"] == "test"]


if __name__ == "__main__":
    run_part(main)
