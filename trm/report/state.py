"""How far each result of the study is, from what its run has left on the disk so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trm.study import Study


@dataclass(frozen=True)
class Folders:
    """Where the study's results and runs lie, each as `{benchmark}/{variant}/seed-{seed}`."""

    results: Path
    checkpoints: Path

    @staticmethod
    def of(study: Study) -> Folders:
        """Those of the project in the working directory."""
        return Folders(Path(f"results{study.subfolder}"), Path(f"checkpoints{study.subfolder}"))


@dataclass(frozen=True)
class RunState:
    """A run that has begun; `total` is None before its first snapshot."""

    seed: int
    step: int
    total: int | None
    trained: bool  # to the end
    evaluated: bool

    def __str__(self) -> str:
        if self.evaluated:
            return "done, not in this report"
        if self.trained:
            return "trained, not evaluated"
        return f"at step {self.step:,}" + (f" of {self.total:,}" if self.total else "")


def runs_of(folders: Folders, benchmark: str, variant: str) -> list[RunState]:
    """The runs of a variant that have begun, by seed.

    A file that is damaged or half written says nothing: what is seen here decides nothing.
    """
    name = Path(benchmark, variant)
    seeds = {
        folder.name.removeprefix("seed-")
        for root in (folders.results, folders.checkpoints)
        for folder in (root / name).glob("seed-*")
    }
    states = (_state(folders, name, int(seed)) for seed in seeds if seed.isdecimal())
    return sorted((state for state in states if state), key=lambda state: state.seed)


def _state(folders: Folders, name: Path, seed: int) -> RunState | None:
    """None where nothing was trained yet."""
    run = folders.checkpoints / name / f"seed-{seed}"
    evaluated = (folders.results / name / f"seed-{seed}" / "metrics.json").exists()
    trained = evaluated or (run / "final").exists()
    saved, total = _newest_snapshot(run)
    step = max(saved, _last_logged_step(run))
    return RunState(seed, step, total, trained, evaluated) if step or trained else None


def _newest_snapshot(run: Path) -> tuple[int, int | None]:
    """Its step, and the number of steps of the whole run."""
    for manifest in sorted(run.glob("snapshots/step_*/manifest.json"), reverse=True):
        try:
            facts = json.loads(manifest.read_text())
            return int(facts["step"]), int(facts["total_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return 0, None


def _last_logged_step(run: Path) -> int:
    try:
        return int(pd.read_csv(run / "history.csv", usecols=["step"])["step"].max())
    except (OSError, ValueError):
        return 0
