"""What a training records: history.csv, W&B, checkpoints and run.json, progress and messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trm.config.compose import save_train_config
from trm.evaluate.loop import Evaluation
from trm.files import RunFile, atomic_write, file_sha256, write_json
from trm.model.act import learns_continue
from trm.model.checkpoint import save_weights
from trm.model.run_record import RunRecord, read_record
from trm.progress import Progress, duration, say
from trm.runtime.provenance import code_and_packages
from trm.runtime.ranks import Ranks
from trm.scoring.arc import lacks_solutions, score_arc, without_accuracy, write_submission
from trm.study.run_folder import ENDED, clear_interrupted, mark_interrupted, note_saved
from trm.training.memory import StepEstimate
from trm.training.setup import Run
from trm.training.state import Part
from trm.training.step import Averages, lr_at
from trm.training.tracking import History, Tracker, new_run_id, wandb_mode


@dataclass(frozen=True)
class Weights:
    """Which weights an evaluation measured, and what its records are called."""

    split: str  # in history.csv
    prefix: str  # in W&B
    note: str  # in messages
    submitted: bool  # whether their votes are written as an ARC submission


TRAINED = Weights("test", "", "", submitted=True)
RAW = Weights("test-raw", "raw/", " (raw weights)", submitted=False)
"""The weights as they are, where those that count are their moving average."""


class Silent:
    """What a training reports, and when. This one does nothing, for ranks other than the first."""

    def announce(self, estimate: StepEstimate) -> None:
        """Report the run before its first step."""

    def counting(self, steps: int) -> AbstractContextManager:
        """Within the block `stepped` counts up to `steps`."""
        return nullcontext()

    def stepped(self, averages: Averages | None) -> None:
        """Count a step; `averages` are given where a record is due."""

    def averaged(self, averages: Averages) -> None:
        """Record the steps of an iteration that came after the last record."""

    def save_checkpoint(self) -> None:
        """Write the weights as the model has them."""

    def evaluated(self, path: str, result: Evaluation, weights: Weights) -> None:
        """Record an evaluation on the dataset at `path`."""

    def not_saved(self, problem: str, saved_step: int) -> None:
        """Report a snapshot that could not be written; the last is of `saved_step`."""

    def stopped(self, why: str, saved_step: int) -> None:
        """Report that the run ends early, and resumes from `saved_step`."""

    def interrupt(self) -> None:
        """Close what is open of a run that is to be resumed."""

    def close(self, cost: dict[str, float | None]) -> None:
        """Close the records after the last step, with what the run has cost."""

    def facts(self) -> dict[str, Any]:
        """What a snapshot holds, for the records to resume too."""
        return {}


class Records(Silent):
    """The records of rank 0, in the run's folder."""

    def __init__(self, part: Part) -> None:
        run, resumed = part.run, part.resumed
        self.run, self.datasets, self.state = run, part.datasets, part.state
        self.resumed, self.cost, self.flop = resumed, part.cost, part.flop
        self.progress: Progress | None = None  # before and after `counting`
        self.record = self._open_run_record()
        (run.folder / RunFile.PROVENANCE).unlink(missing_ok=True)  # of a run that had ended
        save_train_config(run.resolved, run.folder / RunFile.CONFIG)
        ks = [f"ARC/pass@{k}" for e in run.evaluators for k in e.pass_Ks]
        self.history = History(
            run.folder / RunFile.HISTORY,
            ["q_continue_loss", *ks] if learns_continue(self.state.model) else ks,
            keep_rows=resumed.facts.get("history_rows", 0),
        )
        self.wandb_id = resumed.facts.get("wandb_id") or new_run_id()
        self.tracker = Tracker(
            wandb_mode(run.config.wandb),
            run.project,
            run.config.wandb_group,
            run.name,
            run.resolved,
            self.wandb_id,
        )
        if not resumed.facts:
            self.tracker.log({"num_params": self._num_params()}, 0)
        clear_interrupted(run.folder)

    def _open_run_record(self) -> RunRecord:
        """run.json, with the checkpoints of the run that is resumed."""
        before = read_record(self.run.folder)
        known = {} if before is None else before.checkpoints
        kept = {f"step_{step}" for step in self.state.saved} & {*known}
        record = RunRecord(
            self.datasets.sha256,
            self.datasets.names_sha256 if self.run.config.arch.puzzle_emb_ndim else None,
            {name: known[name] for name in sorted(kept)},
        )
        record.write(self.run.folder)
        return record

    def _num_params(self) -> int:
        return sum(p.numel() for p in self.state.model.parameters())

    def _say(self, message: str) -> None:
        (self.progress.say if self.progress else say)(message)

    def announce(self, estimate: StepEstimate) -> None:
        run = self.run
        self._say(
            f"{run.name}: {self._num_params() / 1e6:.2f}M parameters, "
            f"{run.data.metadata.total_groups} groups, {run.steps} steps of "
            f"{run.config.global_batch_size} on {run.ranks.device} x {run.ranks.world_size}, into "
            f"{run.folder}"
        )
        if self.resumed.facts:
            self._say(f"resuming from step {self.state.step}, saved in {run.folder}")
        rows = run.rows_at_once
        self._say(
            f"activations: {estimate.bytes_per_row / 1e6:.1f} MB per row, "
            f"{estimate.bytes_per_row * rows / 1e9:.2f} GB for {rows} at once; about "
            f"{estimate.rows_that_fit} rows fit in the {estimate.free_bytes / 1e9:.1f} GB free"
        )
        if rows > estimate.rows_that_fit:
            self._say(
                "note: the batch may not fit; set micro_batch_size to a divisor of it that does"
            )

    # --- training steps -------------------------------------------------------------------------

    @contextmanager
    def counting(self, steps: int) -> Iterator[None]:
        with Progress(steps, "training", "steps", start=self.state.step) as self.progress:
            yield
            self.progress.end_here()
        self.progress = None

    def stepped(self, averages: Averages | None) -> None:
        note = ""
        if averages is not None:
            self.averaged(averages)
            exact = averages.metrics.get("exact_accuracy")
            note = f"loss {averages.metrics['loss']:.3f}"
            note += "" if exact is None else f"  exact {exact:.1%}"
        assert self.progress is not None
        self.progress.update(1, note)

    def averaged(self, averages: Averages) -> None:
        lr = lr_at(self.run.config, self.state, self.run.config.lr)
        record = {**averages.metrics, "lr": lr, "examples_per_s": averages.examples_per_s}
        record |= {"elapsed_s": self.cost.elapsed(), "train_flop": self._flop_so_far()}
        self._add_row("train", record)
        self.tracker.log({f"train/{k}": v for k, v in record.items()}, self.state.step)

    def _add_row(self, split: str, metrics: dict[str, float]) -> None:
        where = {"step": self.state.step, "split": split, "elapsed_s": self.cost.elapsed()}
        self.history.add(where | {"train_flop": self._flop_so_far()} | metrics)

    def _flop_so_far(self) -> float:
        return self.flop.until(self.state.step)

    # --- checkpoints and evaluations ------------------------------------------------------------

    def save_checkpoint(self) -> None:
        state, folder, name = self.state, self.run.folder, f"step_{self.state.step}"
        if self.record.checkpoints.pop(name, None) is not None:
            self.record.write(folder)  # it must not speak of the file that is to come
        save_weights(folder / name, state.model)
        self.record.checkpoints[name] = file_sha256(folder / name)
        self.record.write(folder)
        if state.step not in state.saved:
            state.saved.append(state.step)

    def evaluated(self, path: str, result: Evaluation, weights: Weights) -> None:
        step, alone = self.state.step, len(self.run.test_data) == 1
        metrics = {**result.metrics, **self._vote(path, result, weights)}
        unsolved = lacks_solutions(Path(path))
        if unsolved:
            metrics = without_accuracy(metrics)
        self._add_row(weights.split if alone else f"{weights.split}:{path}", metrics)
        group = "all" if alone else path
        named = {k if "/" in k else f"{group}/{k}": v for k, v in metrics.items()}
        self.tracker.log({f"{weights.prefix}{k}": v for k, v in named.items()}, step)
        if unsolved:
            self._say(f"step {step}: {path} has no solutions to score against")
            return
        passed = "".join(f"  {k} {v:.1%}" for k, v in metrics.items() if k.startswith("ARC/pass@"))
        self._say(
            f"step {step}: {path}{weights.note} accuracy {metrics['accuracy']:.1%}  "
            f"exact {metrics['exact_accuracy']:.1%}{passed}"
        )

    def _vote(self, path: str, result: Evaluation, weights: Weights) -> dict[str, float]:
        """ARC: this checkpoint's votes alone (the published code pools them over a run)."""
        metrics: dict[str, float] = {}
        for evaluator in self.run.evaluators:
            assert result.predictions is not None
            p = result.predictions
            score = score_arc(Path(path), p.preds, p.q_halt_logits, evaluator.pass_Ks)
            if weights.submitted:
                folder = self.run.folder / f"evaluator_ARC_step_{self.state.step}"
                write_submission(folder / "submission.json", score.submission)
            metrics |= score.metrics
        return metrics

    # --- saving and ending ----------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        return {"history_rows": self.history.rows, "wandb_id": self.wandb_id}

    def not_saved(self, problem: str, saved_step: int) -> None:
        self._say(
            f"note: the state at step {self.state.step} could not be saved ({problem}); the last "
            f"that is saved is of step {saved_step}"
        )

    def stopped(self, why: str, saved_step: int) -> None:
        command = "the same command"
        if self.run.config.resume is False:
            command += ", without resume=False,"
        self._say(
            f"{why}: stopped at step {self.state.step} of {self.run.steps}; {command} "
            f"resumes from step {saved_step}, saved in {self.run.folder}"
        )
        mark_interrupted(self.run.folder, saved_step)

    def interrupt(self) -> None:
        self.tracker.finish()

    def close(self, cost: dict[str, float | None]) -> None:
        run, state = self.run, self.state
        content = code_and_packages() | {
            "device": _device_name(run.ranks),
            "world_size": run.ranks.world_size,
            "seed": run.config.seed,
            "steps": state.step,
            "checkpoints": [f"step_{step}" for step in state.saved],
            "num_params": self._num_params(),
            "starts": self.resumed.starts,
            **cost,
            **self._flop_used(),
            "data_paths": run.config.data_paths,
            "dataset_sha256": self.datasets.sha256,
            "test_in_train": run.overlap.facts(),
            "wandb_id": self.wandb_id if self.tracker.run is not None else None,
        }
        self.record.provenance = content
        self.record.write(run.folder)
        write_json(run.folder / RunFile.PROVENANCE, content)
        note_saved(run.folder, ENDED)
        self.tracker.summarise(cost)
        offline = self.tracker.finish()
        say(f"trained {state.step} steps in {duration(self.cost.elapsed())}: {run.folder}")
        if offline:
            say(f"W&B was offline; to upload: wandb sync {offline}")

    def _flop_used(self) -> dict[str, float]:
        """FLOP of the training under the names of provenance.json; of a row at a step, the mean."""
        used, rows = self._flop_so_far(), self.state.step * self.run.config.global_batch_size
        return {"train_flop": used, "train_flop_per_row": used / rows}


def save_outputs(run: Run, step: int, path: str, result: Evaluation) -> None:
    """Write this rank's outputs of an evaluation that `eval_save_outputs` names."""
    if not result.saved:
        return
    tag = "all" if len(run.test_data) == 1 else Path(path).name
    with atomic_write(run.folder / f"step_{step}_{tag}_preds.{run.ranks.rank}") as file:
        torch.save(result.saved, file)


def _device_name(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_name(ranks.device)
    threads = torch.get_num_threads()
    return f"{ranks.device.type} ({threads} thread{'s' if threads > 1 else ''})"
