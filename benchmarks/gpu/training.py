"""What a user does, by the commands that the workflow runs: train on a GPU, be stopped, resume,
evaluate, solve. An eager training that was stopped ends with the same weights, bit for bit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from job import Job, run_part
from sudokus import small

from trm.config.compose import hydra_word
from trm.model.checkpoint import read_state_dict
from trm.runtime.signals import EXIT_SAVED
from trm.study.run_folder import interrupted_at, snapshots_of

ROOT = Path(__file__).resolve().parents[2]


COMMON = {
    "evaluators": [],
    "weight_decay": 1.0,
    "puzzle_emb_weight_decay": 1.0,
    "ema": True,
    "ema_rate": 0.99,
    "compile": "off",
    "save_every_steps": 20,
    "log_interval": 10,
    "arch.mlp_t": True,
    "arch.pos_encodings": "none",
}
FULL = {
    **COMMON,
    "global_batch_size": 384,
    "epochs": 160,  # 416 steps
    "eval_interval": 160,
    "lr": 1e-3,
    "lr_warmup_steps": 100,
    "arch.hidden_size": 256,
    "arch.num_heads": 4,
    "arch.puzzle_emb_ndim": 256,
    "arch.puzzle_emb_len": 1,
    "arch.H_cycles": 2,
    "arch.L_cycles": 3,
    "arch.halt_max_steps": 8,
}
TINY = {
    **COMMON,
    "global_batch_size": 8,
    "epochs": 30,  # 60 steps
    "eval_interval": 30,
    "lr": 1e-3,
    "lr_warmup_steps": 10,
    "arch.hidden_size": 32,
    "arch.num_heads": 2,
    "arch.puzzle_emb_ndim": 32,
    "arch.puzzle_emb_len": 1,
    "arch.L_layers": 1,
    "arch.H_cycles": 1,
    "arch.L_cycles": 1,
    "arch.halt_max_steps": 2,
}


def main(job: Job) -> None:
    table, data = small(job)
    whole, stopped = Run(job, data, "whole"), Run(job, data, "stopped")
    with job.case("stopped by TERM"):
        stopped.stop()
    with job.case("resumed"):
        seconds = stopped.finish()
        job.checked("resumed", stopped.weights.is_file(), seconds=seconds)
    with job.case("not stopped"):
        seconds = whole.finish()
        job.checked("not stopped", whole.weights.is_file(), seconds=seconds, **whole.cost())
    with job.case("resumed = not stopped"):
        a, b = (read_state_dict(run.weights) for run in (stopped, whole))
        worst = max((a[key].double() - b[key].double()).abs().max().item() for key in b)
        equal = all(torch.equal(a[key], b[key]) for key in b)
        job.checked("resumed = not stopped", equal, largest_difference=worst)
    for halting in ("fixed", "act"):
        with job.case(f"evaluate, {halting}"):
            evaluate(job, whole, halting)
    with job.case("solve"):
        solve(job, whole, table)


class Run:
    """A training by the script of the workflow's rule."""

    def __init__(self, job: Job, data: Path, name: str) -> None:
        self.job, self.name = job, name
        self.folder = job.scratch / "training" / name
        self.weights = self.folder / "final"
        gpus = "0" if job.device == "cpu" else "1"
        self.command = [
            *(sys.executable, str(ROOT / "workflow/scripts/train.py"), "--dataset", str(data)),
            *("--run-folder", str(self.folder), "--project", "gpu-run", "--run-name", name),
            *("--seed", "0", "--ranks", "1", "--threads", "2", "--gpus", gpus),
            *("--out-weights", str(self.weights)),
            *("--out-history", str(self.folder / "out.csv")),
            *("--out-config", str(self.folder / "out.yaml")),
            *("--settings", json.dumps((TINY if job.tiny else FULL) | {"device": job.device})),
        ]

    def stop(self) -> None:
        """Start, send TERM after its first snapshot, and check that it saved and said so."""
        child = subprocess.Popen(self.command)
        while child.poll() is None and not snapshots_of(self.folder):
            time.sleep(0.01)
        child.terminate()
        status, step = child.wait(), interrupted_at(self.folder)
        self.job.checked(
            "stopped by TERM", status == EXIT_SAVED and step is not None, status=status, step=step
        )

    def finish(self) -> float:
        """Train to the end; returns the seconds that it took."""
        began = time.monotonic()
        subprocess.run(self.command, check=True)
        return time.monotonic() - began

    def cost(self) -> dict[str, object]:
        """What it recorded of itself."""
        known = json.loads((self.folder / "provenance.json").read_text())
        with (self.folder / "history.csv").open() as file:
            last = [row for row in csv.DictReader(file) if row["split"] == "test"][-1]
        costs = {key: known.get(key) for key in ("train_examples_per_s", "train_energy_kwh")}
        return costs | {"exact": float(last["exact_accuracy"])}


def python(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)


def evaluate(job: Job, run: Run, halting: str) -> None:
    out = run.folder.parent / f"{halting}.json"
    keys = {
        "checkpoint": run.weights,
        "config": run.folder / "out.yaml",
        "eval_halting": halting,
        "device": job.device,
        "out": out,
        "cost_out": run.folder.parent / f"{halting}-cost.json",
    }
    python("-m", "trm.evaluate", *(hydra_word(key, str(value)) for key, value in keys.items()))
    metrics, cost = json.loads(out.read_text()), json.loads(keys["cost_out"].read_text())
    job.checked(
        f"evaluate, {halting}",
        0 <= metrics["exact_accuracy"] <= 1,
        exact=metrics["exact_accuracy"],
        steps=metrics["steps"],
        puzzles_per_s=cost.get("evaluate_examples_per_s"),
    )


def solve(job: Job, run: Run, table: Path) -> None:
    with (table / "test.csv").open() as file:
        puzzle = next(csv.DictReader(file))["question"]
    words = ("--checkpoint", str(run.folder), "--sudoku", puzzle, "--device", job.device, "--json")
    answer = json.loads(python("-m", "trm", "solve", *words).stdout)
    job.checked("solve", bool(answer), **{key: answer.get(key) for key in ("valid", "confidence")})


if __name__ == "__main__":
    run_part(main)
