"""The training loop: iterations of eval_interval epochs, each followed by an evaluation."""

from __future__ import annotations

import math
import os
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from trm.config.compose import load_train_config, note_other_architecture
from trm.config.types import TrainConfig
from trm.data.batches import PuzzleData, check_compatible, rank_rows, train_batches
from trm.data.overlap import overlap_of_datasets
from trm.data.read import dataset_fingerprint
from trm.errors import TrmError, WriteError
from trm.evaluate.loop import Evaluation, evaluate, model_for
from trm.evaluate.settings import Settings
from trm.files import atomic_write, file_sha256, write_json, writing
from trm.model.act import Batch, to_batch
from trm.model.base import Depth, RecursiveModel
from trm.model.checkpoint import (
    embedding_rows,
    fit_weights,
    read_state_dict,
    save_weights,
    with_mean_embeddings,
)
from trm.model.layers import compile_model, run_eagerly
from trm.model.registry import build_model
from trm.model.run_record import RunRecord, read_record
from trm.progress import Progress, duration, say
from trm.runtime.cost import Cost, CostMeter
from trm.runtime.locks import Lock, holder_of, try_lock
from trm.runtime.provenance import code_and_packages
from trm.runtime.ranks import Ranks, lost_peer
from trm.runtime.signals import EXIT_SAVED, Interrupted, Signals, signals_noted
from trm.scoring.arc import (
    TEST_PUZZLES,
    lacks_solutions,
    score_arc,
    without_accuracy,
    write_submission,
)
from trm.study.puzzle_names import names_sha256, why_other_puzzles
from trm.study.run_folder import (
    LOCK,
    clear_interrupted,
    discard_snapshots,
    mark_interrupted,
    newest_facts,
    snapshots_of,
)
from trm.training.compiling import compile_and_try, worth_compiling
from trm.training.ema import EMA
from trm.training.memory import StepEstimate, estimate
from trm.training.optim import SignSGD, make_optimizer
from trm.training.snapshot import read_snapshot, write_snapshot
from trm.training.state import pack, unpack
from trm.training.step import Meter, TrainState, lr_at, train_step
from trm.training.tracking import History, Tracker, new_run_id, require_login, wandb_mode

SECONDS_TO_WAIT_FOR_LOCK = 60.0  # a run that was told to end is given the time to save


class Trainer:
    """One run. Files are written by rank 0 only, into `folder`."""

    def __init__(self, config: TrainConfig, ranks: Ranks, signals: Signals) -> None:
        config.check_world_size(ranks.world_size)
        if ranks.is_main:
            require_login(config.wandb)
        self.config, self.ranks, self.signals = config, ranks, signals
        self.data = PuzzleData.load(config.data_paths, "train")
        self.test_data = _load_test_data(config, self.data)
        self.overlap = overlap_of_datasets(config.data_paths, config.test_paths)
        self.rows = rank_rows(ranks.rank, ranks.world_size, config.global_batch_size)
        self.evaluators = _usable_evaluators(config, ranks)
        self.folder, self.project, self.run_name = _name_run(config, ranks)
        if self.data.total_steps(config.epochs, config.global_batch_size) < 1:
            raise TrmError(
                f"epochs={config.epochs} of this dataset do not fill one batch of "
                f"global_batch_size={config.global_batch_size}; choose a smaller batch or more "
                "epochs"
            )
        self.state = _initial_state(config, self.data, ranks)
        self.steps_to_run = self.data.steps_to_run(
            config.epochs, config.epochs_per_iteration, config.global_batch_size
        )
        self.meter = Meter(ranks, config.global_batch_size)
        self.cost = CostMeter(ranks)
        self.facts: dict[str, Any] = {}  # of the snapshot that this run goes on from

    def run(self) -> Path:
        """Train to the end, or on from the last snapshot; returns the folder of checkpoints.

        Raises Interrupted after a signal, when the state is saved.
        """
        ranks, state = self.ranks, self.state
        with _locked(self.folder, self.signals) if ranks.is_main else nullcontext():
            self.dataset_sha256 = ranks.same_everywhere(
                {p: dataset_fingerprint(Path(p)) for p in self.config.data_paths}
                if ranks.is_main
                else None
            )
            self.names_sha256 = self._names_of_puzzles()
            if ranks.same_everywhere(self._has_ended() if ranks.is_main else None):
                return self.folder
            self._restore()
            self.estimate = self._estimate()
            if ranks.is_main:
                self._open_records()
                clear_interrupted(self.folder)
            self.compiled = self._compile()
            self.saved_at, self.saved_step = time.monotonic(), state.step
            progress = Progress(
                self.steps_to_run, "training", "steps", shown=ranks.is_main, start=state.step
            )
            try:
                with progress:
                    self._train(progress)
                    progress.end_here()
            except Interrupted:
                if ranks.is_main:
                    self.tracker.finish()
                raise
            cost = self.cost.read("train", state.step * self.config.global_batch_size)
            if ranks.is_main:
                self._close_records(cost)
        ranks.barrier()
        return self.folder

    def _train(self, progress: Progress) -> None:
        config, state = self.config, self.state
        iterations = config.epochs // config.epochs_per_iteration
        while state.iteration <= iterations:
            last = state.iteration == iterations
            if not state.evaluating:
                self._train_iteration(progress)
            if state.iteration > config.min_eval_interval or last:
                self._evaluate_and_save(last=last, progress=progress)
            state.iteration, state.batches, state.evaluating = state.iteration + 1, 0, False

    # --- one iteration --------------------------------------------------------------------------

    def _train_iteration(self, progress: Progress) -> None:
        config, state, meter = self.config, self.state, self.meter
        state.model.train()
        batches = train_batches(
            self.data, config.seed, state.iteration, config.epochs_per_iteration,
            config.global_batch_size, self.rows, skip=state.batches,
        )  # fmt: skip
        for rows in batches:
            if state.step >= state.total_steps:
                break
            meter.add(train_step(config, state, to_batch(rows, self.ranks.device), self.ranks))
            state.batches += 1
            note = ""
            if state.step % config.log_interval == 0:
                note = self._record_training()
            progress.update(1, note)
            self._save_if_due(progress)
        if state.batches == 0 and state.step < state.total_steps:
            raise TrmError(
                f"{config.epochs_per_iteration} epochs between evaluations do not fill one batch "
                f"of global_batch_size={config.global_batch_size}; choose a smaller batch or a "
                "larger eval_interval"
            )
        if meter.steps:
            self._record_training()

    def _record_training(self) -> str:
        """Average since the last record, on rank 0 into history.csv and W&B; the progress note."""
        averages, rate = self.meter.read()
        if not math.isfinite(averages["loss"]):
            raise self._diverged(f"the loss is {averages['loss']}")
        if self.ranks.is_main:
            lr = lr_at(self.config, self.state, self.config.lr)
            record = {**averages, "lr": lr, "examples_per_s": rate}
            record |= {"elapsed_s": self.cost.elapsed()}
            self._add_record("train", record)
            self.tracker.log({f"train/{k}": v for k, v in record.items()}, self.state.step)
        exact = averages.get("exact_accuracy")
        return f"loss {averages['loss']:.3f}" + ("" if exact is None else f"  exact {exact:.1%}")

    def _add_record(self, split: str, metrics: dict[str, float]) -> None:
        where = {"step": self.state.step, "split": split, "elapsed_s": self.cost.elapsed()}
        self.history.add(where | metrics)

    # --- evaluation and checkpoint --------------------------------------------------------------

    def _evaluate_and_save(self, last: bool, progress: Progress) -> None:
        config, state, ranks = self.config, self.state, self.ranks
        if not state.evaluating:
            # Saved before it is evaluated: an evaluation that fails costs no training.
            state.evaluating = True
            self._save(progress)
        if config.eval_raw and state.ema:
            self._evaluate_raw(progress)
        with state.ema.applied(state.model) if state.ema else nullcontext():
            if ranks.is_main and (last or config.checkpoint_every_eval):
                self._save_checkpoint()
            for path, data in self.test_data.items():
                result = self._evaluate(data, tuple(config.eval_save_outputs))
                self._save_outputs(path, result)
                if ranks.is_main:
                    self._record_test(path, result, progress)
        state.model.train()

    def _save_checkpoint(self) -> None:
        state, name = self.state, f"step_{self.state.step}"
        if self.record.checkpoints.pop(name, None) is not None:
            self.record.write(self.folder)  # it must not speak of the file that is to come
        save_weights(self.folder / name, state.model)
        self.record.checkpoints[name] = file_sha256(self.folder / name)
        self.record.write(self.folder)
        if state.step not in state.saved:
            state.saved.append(state.step)

    def _evaluate_raw(self, progress: Progress) -> None:
        """The weights as they are, beside their average: `test-raw` in history.csv."""
        for path, data in self.test_data.items():
            result = self._evaluate(data)
            if self.ranks.is_main:
                self._record_test(path, result, progress, raw=True)

    def _evaluate(self, data: PuzzleData, keep: tuple[str, ...] = ()) -> Evaluation:
        config = self.config
        settings = Settings(
            config.arch.loss.loss_type,
            config.global_batch_size,
            halting=config.eval_halting,
            halting_threshold=config.eval_halting_threshold,
            keep=keep,
        )
        return evaluate(self.state.model, data, settings, self.ranks, self._stop_if_told)

    def _record_test(
        self, path: str, result: Evaluation, progress: Progress, raw: bool = False
    ) -> None:
        metrics = {**result.metrics, **self._vote(path, result, submit=not raw)}
        unsolved = lacks_solutions(Path(path))
        if unsolved:
            metrics = without_accuracy(metrics)
        split = "test-raw" if raw else "test"
        self._add_record(split if len(self.test_data) == 1 else f"{split}:{path}", metrics)
        prefix = "all" if len(self.test_data) == 1 else path
        named = {k if "/" in k else f"{prefix}/{k}": v for k, v in metrics.items()}
        if raw:
            named = {f"raw/{k}": v for k, v in named.items()}
        self.tracker.log(named, self.state.step)
        if unsolved:
            progress.say(f"step {self.state.step}: {path} has no solutions to score against")
            return
        passed = "".join(f"  {k} {v:.1%}" for k, v in metrics.items() if k.startswith("ARC/pass@"))
        progress.say(
            f"step {self.state.step}: {path}{' (raw weights)' if raw else ''} accuracy "
            f"{metrics['accuracy']:.1%}  "
            f"exact {metrics['exact_accuracy']:.1%}{passed}"
        )

    def _vote(self, path: str, result: Evaluation, submit: bool) -> dict[str, float]:
        """ARC: this checkpoint's votes alone (the published code pools them over a run)."""
        metrics: dict[str, float] = {}
        for evaluator in self.evaluators:
            assert result.predictions is not None
            p = result.predictions
            score = score_arc(Path(path), p.preds, p.q_halt_logits, evaluator.pass_Ks)
            if submit:
                folder = self.folder / f"evaluator_ARC_step_{self.state.step}"
                write_submission(folder / "submission.json", score.submission)
            metrics |= score.metrics
        return metrics

    def _save_outputs(self, path: str, result: Evaluation) -> None:
        if not result.saved:
            return
        tag = "all" if len(self.test_data) == 1 else Path(path).name
        name = f"step_{self.state.step}_{tag}_preds.{self.ranks.rank}"
        with atomic_write(self.folder / name) as file:
            torch.save(result.saved, file)

    # --- the whole state ------------------------------------------------------------------------

    def _restore(self) -> None:
        """Go on from the newest snapshot, unless there is none or `resume` says otherwise."""
        config, ranks = self.config, self.ranks
        refusal = ranks.same_everywhere(self._look_for_another_run() if ranks.is_main else None)
        if refusal is not None:
            raise TrmError(refusal)
        snapshot = read_snapshot(self.folder, ranks)
        if snapshot is None:
            return
        unpack(snapshot, self.state, self.meter, ranks, config.micro_batch_size)
        self.facts = snapshot.facts
        self.cost = CostMeter(ranks, Cost(**snapshot.facts["cost"]))

    def _names_of_puzzles(self) -> str | None:
        """Of rank 0, what the run's datasets give their ids to. TrmError where two of them give the
        same ids to other puzzles, which would share their embeddings."""
        config, ranks = self.config, self.ranks
        paths = [*dict.fromkeys([*config.data_paths, *config.test_paths])]
        names = ranks.same_everywhere(
            [names_sha256(Path(path)) for path in paths] if ranks.is_main else None
        )
        for path, here in zip(paths, names, strict=True):
            others = None not in (here, names[0]) and here != names[0]
            if others and config.arch.puzzle_emb_ndim:
                raise TrmError(
                    f"{paths[0]} and {path} give the same ids to other puzzles, which would share "
                    "one embedding: build one dataset of both, or give arch.puzzle_emb_ndim=0"
                )
        return names[0]

    def _has_ended(self) -> bool:
        """Whether this very run has ended here, so that nothing is left to train. It is then left
        as it was, with its provenance.json, which Snakemake deletes when the job fails."""
        record = read_record(self.folder)
        if record is None or not record.has_ended(self.folder) or self.config.resume is False:
            return False
        if record.dataset_sha256 != self.dataset_sha256 or not self._is_of_these_settings():
            return False
        write_json(self.folder / "provenance.json", record.provenance)
        say(
            f"{self.folder} holds this run, which has ended: nothing is trained. To train it "
            "again, delete that folder, or give resume=False"
        )
        return True

    def _is_of_these_settings(self) -> bool:
        """Whether the run in this folder has the settings of this one, those that decide no weight
        included, since they too decide what it wrote."""
        try:
            theirs = load_train_config(self.folder / "all_config.yaml")
        except TrmError:
            return False
        how_begun = {"resume", "project_name", "run_name", "checkpoint_path"}
        ours, theirs = (c.model_dump(exclude=how_begun) for c in (self.config, theirs))
        return ours == theirs

    def _look_for_another_run(self) -> str | None:
        """Why the run in this folder cannot be gone on with; discards it where it is to be."""
        config = self.config
        facts = newest_facts(self.folder)
        if facts is None:
            return self._look_for_files_of_others()
        differs = config.differences(facts["config"])
        if facts["dataset_sha256"] != self.dataset_sha256:
            differs.append("the dataset")
        if config.resume is True and differs:
            return (
                f"{self.folder} holds a run of {facts['step']} steps with other settings "
                f"({'; '.join(differs[:4])}): choose another +run_name=… or checkpoint_path=…, or "
                "discard it with resume=False"
            )
        if config.resume is False or differs:
            why = "; ".join(differs[:4]) or "resume=False"
            say(f"note: the state at step {facts['step']} in {self.folder} is discarded ({why})")
            discard_snapshots(self.folder)
        return None

    def _look_for_files_of_others(self) -> str | None:
        """Why a run cannot begin here: files with the names of a run's, which no run wrote."""
        if (self.folder / "all_config.yaml").is_file():
            return None
        for name in ("history.csv", "provenance.json"):
            if (self.folder / name).exists():
                return (
                    f"{self.folder} holds {name} but no all_config.yaml, so it is not the folder "
                    "of a run, and a run would replace that file: choose another checkpoint_path=…"
                )
        return None

    def _save_if_due(self, progress: Progress) -> None:
        """Save after a signal, then stop; save where the last one is old. All ranks together."""
        config, step = self.config, self.state.step
        every = config.save_every_steps
        old = time.monotonic() - self.saved_at >= 60 * config.save_every_minutes
        told, due = self.ranks.any(
            [self.signals.noted is not None, old or (every is not None and step % every == 0)]
        )
        if told:
            self._save(progress)
            self._stop(progress)
        elif due:
            self._save(progress)

    def _stop_if_told(self) -> None:
        """In an evaluation: the state from before it is on the disk, so stop at once."""
        if self.ranks.any([self.signals.noted is not None])[0]:
            self._stop(None)

    def _stop(self, progress: Progress | None) -> None:
        if self.ranks.is_main:
            name = self.signals.noted.name if self.signals.noted else "a signal to another process"
            command = "the same command"
            if self.config.resume is False:
                command += ", without resume=False,"
            message = (
                f"{name}: stopped at step {self.state.step} of {self.state.total_steps}; {command} "
                f"goes on from step {self.saved_step}, saved in {self.folder}"
            )
            (progress.say if progress else say)(message)
            mark_interrupted(self.folder, self.saved_step)
        raise Interrupted

    def _save(self, progress: Progress) -> None:
        """Write a snapshot, unless there is one of this step; a full disk ends no training."""
        config, state = self.config, self.state
        if self.saved_step == state.step:
            return
        # A diverged state must not take the place of a sound one.
        parameters = [*state.model.parameters()]
        if state.puzzle_optimizer is not None:
            parameters.append(state.puzzle_optimizer.weights)
        if not torch.stack([p.detach().isfinite().all() for p in parameters]).all().item():
            raise self._diverged("the weights are not finite")
        facts = {
            "world_size": self.ranks.world_size,
            "total_steps": state.total_steps,
            "config": config.model_dump(mode="json"),
            "dataset_sha256": self.dataset_sha256,
            "cost": asdict(self.cost.total()),
            "starts": self.facts.get("starts", 0) + 1,
            "compiled": self.compiled,
        }
        if self.ranks.is_main:
            facts |= {"history_rows": self.history.rows, "wandb_id": self.wandb_id}
        snapshot = pack(state, self.meter, facts)
        problem = write_snapshot(
            self.folder, state.step, snapshot, self.ranks, config.keep_snapshots
        )
        self.saved_at = time.monotonic()
        if problem is None:
            self.saved_step = state.step
        elif self.ranks.is_main:
            message = (
                f"note: the state at step {state.step} could not be saved ({problem}); the last "
                f"that is saved is of step {self.saved_step}"
            )
            progress.say(message)

    def _diverged(self, what: str) -> TrmError:
        return TrmError(
            f"{what} at step {self.state.step}; what is saved in {self.folder} is from before. A "
            "lower lr, more lr_warmup_steps or arch.forward_dtype=float32 may help"
        )

    # --- records --------------------------------------------------------------------------------

    def _open_records(self) -> None:
        config, resolved = self.config, self._resolved()
        self._open_run_record()
        (self.folder / "provenance.json").unlink(missing_ok=True)  # of a run that had ended
        with atomic_write(self.folder / "all_config.yaml") as file:
            file.write(yaml.safe_dump(resolved, sort_keys=False).encode())
        ks = [f"ARC/pass@{k}" for e in self.evaluators for k in e.pass_Ks]
        self.history = History(
            self.folder / "history.csv",
            ["q_continue_loss", *ks] if _learns_continue(self.state.model) else ks,
            keep_rows=self.facts.get("history_rows", 0),
        )
        self.wandb_id = self.facts.get("wandb_id") or new_run_id()
        self.tracker = Tracker(
            wandb_mode(config.wandb), self.project, config.wandb_group, self.run_name, resolved,
            self.wandb_id,
        )  # fmt: skip
        if not self.facts:
            self.tracker.log({"num_params": self._num_params()}, 0)
        m = self.data.metadata
        say(
            f"{self.run_name}: {self._num_params() / 1e6:.2f}M parameters, {m.total_groups} "
            f"groups, {self.steps_to_run} steps of {config.global_batch_size} on "
            f"{self.ranks.device} x {self.ranks.world_size}, into {self.folder}"
        )
        if self.facts:
            say(f"going on from step {self.state.step}, saved in {self.folder}")
        self._say_memory()

    def _resolved(self) -> dict[str, Any]:
        """Every setting, names and folder too."""
        return self.config.model_dump(mode="json") | {
            "project_name": self.project,
            "run_name": self.run_name,
            "checkpoint_path": str(self.folder),
        }

    def _open_run_record(self) -> None:
        """run.json, with the checkpoints of the run that is gone on with."""
        before = read_record(self.folder)
        known = {} if before is None else before.checkpoints
        kept = {f"step_{step}" for step in self.state.saved} & {*known}
        self.record = RunRecord(
            self.dataset_sha256,
            self.names_sha256 if self.config.arch.puzzle_emb_ndim else None,
            {name: known[name] for name in sorted(kept)},
        )
        self.record.write(self.folder)

    def _say_memory(self) -> None:
        """What the activations take, and how many rows would fit: told before they are needed."""
        memory, rows = self.estimate, self._rows_at_once()
        say(
            f"activations: {memory.bytes_per_row / 1e6:.1f} MB per row, "
            f"{memory.bytes_per_row * rows / 1e9:.2f} GB for {rows} at once; about "
            f"{memory.rows_that_fit} rows fit in the {memory.free_bytes / 1e9:.1f} GB free"
        )
        if rows > memory.rows_that_fit:
            say("note: the batch may not fit; set micro_batch_size to a divisor of it that does")

    def _rows_at_once(self) -> int:
        config = self.config
        return config.micro_batch_size or config.global_batch_size // self.ranks.world_size

    # --- what a step takes, and compiling ---------------------------------------------------------

    def _rows(self, count: int) -> Batch:
        """A batch of the first training example, `count` times."""
        config = self.config
        first = next(
            train_batches(self.data, config.seed, 1, config.epochs_per_iteration, 1, slice(0, 1))
        )
        row = to_batch(first, self.ranks.device)
        return Batch(*(t.repeat(count, *[1] * (t.ndim - 1)) for t in row.tensors))

    def _estimate(self) -> StepEstimate:
        config = self.config
        model = self.state.model.train()
        return estimate(model, self._rows(1), config.arch.loss.loss_type, deepest(config))

    def _compile(self) -> bool:
        """Compile the nets where `compile` says so; returns whether they are compiled."""
        config, device = self.config, self.ranks.device
        if config.compile in ("on", "max"):
            compile_model(self.state.model, device, tuned=config.compile == "max")
            return True
        if config.compile == "off" or "DISABLE_COMPILE" in os.environ or not self._pays():
            return False
        batch = self._rows(self._rows_at_once())
        problem = compile_and_try(
            self.state.model, batch, config.arch.loss.loss_type, deepest(config)
        )
        if not self.ranks.any([problem is not None])[0]:
            return True
        run_eagerly(self.state.model)
        if problem is not None:
            say(f"note: the nets cannot be compiled here, and run eagerly: {problem}")
        return False

    def _pays(self) -> bool:
        """Whether `compile: auto` compiles: as this run did before it was interrupted, else by the
        FLOP of all its steps."""
        ranks, config = self.ranks, self.config
        if self.facts:
            # Snapshots of earlier versions do not say; then a GPU compiled and a CPU did not.
            return self.facts.get("compiled", ranks.device.type == "cuda")
        # The backward pass takes twice the forward's, but only of the last cycle.
        flop = 2 * self.estimate.flop_per_row * self.steps_to_run * config.global_batch_size
        chosen = ranks.same_everywhere(worth_compiling(ranks.device, flop))
        if chosen and ranks.is_main:
            say(
                f"compiling the nets, for a training of about {flop / 1e12:.0f} TFLOP "
                "(compile=off runs them eagerly)"
            )
        return chosen

    def _num_params(self) -> int:
        return sum(p.numel() for p in self.state.model.parameters())

    def _close_records(self, cost: dict[str, float | None]) -> None:
        content = code_and_packages() | {
            "device": _device_name(self.ranks),
            "world_size": self.ranks.world_size,
            "seed": self.config.seed,
            "steps": self.state.step,
            "checkpoints": [f"step_{step}" for step in self.state.saved],
            "num_params": self._num_params(),
            "starts": self.facts.get("starts", 0) + 1,
            **cost,
            "data_paths": self.config.data_paths,
            "dataset_sha256": self.dataset_sha256,
            "test_in_train": self.overlap.facts(),
            "wandb_id": self.wandb_id if self.tracker.run is not None else None,
        }
        self.record.provenance = content
        self.record.write(self.folder)
        write_json(self.folder / "provenance.json", content)
        self.tracker.summarise(cost)
        offline = self.tracker.finish()
        say(f"trained {self.state.step} steps in {duration(self.cost.elapsed())}: {self.folder}")
        if offline:
            say(f"W&B was offline; to upload: wandb sync {offline}")


# --- setting up ----------------------------------------------------------------------------------


def _load_test_data(config: TrainConfig, train: PuzzleData) -> dict[str, PuzzleData]:
    data = {path: PuzzleData.load([path], "test") for path in config.test_paths}
    for path, split in data.items():
        check_compatible(train.metadata, split.metadata, f"{config.data_paths[0]} (train)",
                         f"{path} (test)")  # fmt: skip
    return data


def _usable_evaluators(config: TrainConfig, ranks: Ranks) -> list:
    """The configured evaluators; none where the data is not ARC's, as in the published code."""
    if not config.evaluators:
        return []
    lacking = [p for p in config.test_paths if not (Path(p) / TEST_PUZZLES).is_file()]
    if lacking:
        if ranks.is_main:
            say(
                f"note: {', '.join(lacking)} has no {TEST_PUZZLES}, so the ARC evaluator is off; "
                'evaluators="[]" says so without this note'
            )
        return []
    return list(config.evaluators)


def _name_run(config: TrainConfig, ranks: Ranks) -> tuple[Path, str, str]:
    """(folder, project, run), the defaults as published except that a run is named by its start."""
    project = config.project_name or f"{Path(config.data_paths[0]).name.capitalize()}-ACT-torch"
    run = config.run_name or f"{config.arch.architecture} {time.strftime('%Y-%m-%d %H-%M-%S')}"
    run = str(ranks.same_everywhere(run))
    return Path(config.checkpoint_path or Path("checkpoints", project, run)), project, run


def _initial_state(config: TrainConfig, data: PuzzleData, ranks: Ranks) -> TrainState:
    # Drawn on the CPU with the same seed everywhere: every rank and every device starts equal.
    torch.manual_seed(config.seed)
    model = build_model(model_for(config, data))
    if config.load_checkpoint:
        _load_checkpoint(Path(config.load_checkpoint), config, model, ranks)
    model.to(ranks.device)
    if config.freeze_weights:
        model.requires_grad_(False)
    return TrainState(
        model=model,
        optimizer=None
        if config.freeze_weights
        else make_optimizer(
            config.optimizer, model, (config.beta1, config.beta2), config.weight_decay
        ),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, config.puzzle_emb_weight_decay, ranks)
        if config.arch.puzzle_emb_ndim > 0
        else None,
        ema=EMA(model, config.ema_rate, config.ema_warmup) if config.ema else None,
        generator=torch.Generator().manual_seed(config.seed),
        total_steps=data.total_steps(config.epochs, config.global_batch_size),
    )


def _load_checkpoint(path: Path, config: TrainConfig, model: RecursiveModel, ranks: Ranks) -> None:
    """Start from its weights. Embeddings of another number of puzzles start from their mean, as
    published; TrmError where they are of as many, but other ones."""
    state = read_state_dict(path)
    rows, puzzles = embedding_rows(state), model.config.num_puzzle_identifiers
    if config.puzzle_embeddings == "reinitialise":
        state = with_mean_embeddings(state, puzzles)
    elif rows == puzzles:
        refusal = ranks.same_everywhere(
            why_other_puzzles(path, rows, Path(config.data_paths[0]), puzzles)
            if ranks.is_main
            else None
        )
        if refusal is not None:
            raise TrmError(
                f"{refusal}. Give that dataset, or puzzle_embeddings=reinitialise: every embedding "
                "then starts from the mean of the saved ones"
            )
    remarks = [*fit_weights(path, state, model), note_other_architecture(path, config.arch)]
    for remark in filter(None, remarks):
        if ranks.is_main:
            say(f"note: {remark}")


def _learns_continue(model: RecursiveModel) -> bool:
    if model.learns_continue is None:
        return not model.config.no_ACT_continue
    return model.learns_continue


def deepest(config: TrainConfig) -> Depth:
    """The depth that takes the most memory: what is kept for the backward pass grows with n
    alone."""
    stages = [Depth(stage.H_cycles, stage.L_cycles) for stage in config.depth_schedule]
    own = Depth(config.arch.H_cycles, config.arch.L_cycles)
    return max(stages, default=own, key=lambda depth: depth.L_cycles)


def _device_name(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_name(ranks.device)
    return f"{ranks.device.type} ({torch.get_num_threads()} threads)"


def _locked(folder: Path, signals: Signals) -> Lock:
    """Hold the run folder, so that the same run started twice does not write over itself."""
    with writing(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_LOCK
    told = False
    while (lock := try_lock(folder / LOCK)) is None:
        holder = holder_of(folder / LOCK)
        if time.monotonic() >= deadline:
            raise TrmError(
                f"another process{holder} is training into {folder}; wait for it, stop it, or "
                "choose another +run_name=… or checkpoint_path=…"
            )
        if signals.noted:
            raise KeyboardInterrupt
        if not told:
            say(f"another process{holder} is training into {folder}; waiting a minute for its end")
            told = True
        time.sleep(0.2)
    return lock


def _run(trainer: Trainer) -> Path:
    try:
        return trainer.run()
    except WriteError as error:
        if not snapshots_of(trainer.folder):
            raise
        resumes = "the same command resumes from what was saved last"
        raise WriteError(f"{error}; {resumes}") from None


def train(config: TrainConfig, ranks: Ranks) -> Path:
    """Train one run as `config` says, or go on with it; returns its folder of checkpoints.

    After TERM, USR1 or Ctrl-C the state is saved and SystemExit(EXIT_SAVED) raised. TrmError where
    another rank is lost or a file cannot be written.
    """
    with signals_noted() as signals:
        try:
            return _run(Trainer(config, ranks, signals))
        except Interrupted:
            raise SystemExit(EXIT_SAVED) from None
        except RuntimeError as error:
            if lost_peer(error, ranks):
                raise TrmError(
                    "another process of this run has ended or does not answer; what it said stands "
                    "above. The same command goes on from what was saved last"
                ) from None
            raise
