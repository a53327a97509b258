"""How far a training is that is running or has stopped, from its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from trm.files import RunFile
from trm.study.reading import last_record, number, read_object
from trm.study.run_folder import newest_facts
from trm.study.table import Resources

# A study may have hundreds of these files, and the loader in C takes a tenth of the time.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Training:
    """How far a training is, running or stopped."""

    step: int = 0
    total_steps: int | None = None
    elapsed_s: float = 0.0
    gpu_s: float | None = None  # over all GPUs; None: not known

    @property
    def share(self) -> float | None:
        """The share of the steps that are done; None where it says nothing yet."""
        if not self.step or not self.total_steps:
            return None
        return min(1.0, self.step / self.total_steps)

    @property
    def seconds_left(self) -> float | None:
        share = self.share
        return self.elapsed_s / share - self.elapsed_s if share and self.elapsed_s else None


def read_training(run: Path, dataset: Path, resources: Resources, is_running: bool) -> Training:
    """What the run folder and the size of the dataset say, as far as they are known."""
    facts = newest_facts(run) or {}
    cost = facts.get("cost")
    cost = cost if isinstance(cost, dict) else {}
    saved = int(number(facts, "step") or 0)
    total = number(facts, "total_steps") or _total_steps(run / RunFile.CONFIG, dataset)
    step, elapsed = last_record(run / RunFile.HISTORY)
    elapsed = max(elapsed, number(cost, "wall_s") or 0.0)
    on_gpu = bool(number(cost, "gpu_s")) if facts else resources.gpus > 0
    ranks = number(facts, "world_size") or resources.ranks
    return Training(
        # What a stopped run did after its last snapshot is done again.
        step=max(step, saved) if is_running else saved,
        total_steps=int(total) if total else None,
        elapsed_s=elapsed,
        gpu_s=elapsed * ranks if on_gpu else None,
    )


def _total_steps(config: Path, dataset: Path) -> int | None:
    """Steps of a run that has saved nothing yet, from its settings and its dataset's size."""
    try:
        settings = yaml.load(config.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(settings, dict):
        return None
    sizes = read_object(dataset / "train" / "dataset.json")
    epochs, batch = number(settings, "epochs"), number(settings, "global_batch_size")
    groups, examples = number(sizes, "total_groups"), number(sizes, "mean_puzzle_examples")
    if not (epochs and batch and groups and examples):
        return None
    steps = int(epochs * groups * examples / batch)
    if examples > 1:
        return steps
    # As `PuzzleData.steps_to_run`: each iteration drops its last partial batch.
    per_iteration = number(settings, "eval_interval") or epochs
    return min(steps, int(epochs // per_iteration * (groups * per_iteration // batch)))
