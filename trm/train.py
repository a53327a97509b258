"""The training loop: iterations of eval_interval epochs, each followed by an evaluation."""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from trm.checkpoint import load_weights, save_weights
from trm.config import TrainConfig
from trm.data.batches import (
    PuzzleData,
    check_compatible,
    rank_rows,
    train_batches,
)
from trm.data.format import dataset_fingerprint
from trm.distributed import Ranks
from trm.ema import EMA
from trm.energy import gpu_joules
from trm.errors import TrmError
from trm.evaluate import TEST_PUZZLES, Evaluation, evaluate, model_for, to_batch
from trm.files import atomic_write
from trm.memory import estimate
from trm.model.act import Batch, Carry, Exploration, StepOutput, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.layers import Net
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.optim import SignSGD, make_optimizer, scheduled_lr
from trm.progress import Progress, duration, say
from trm.provenance import code_and_packages
from trm.scoring.arc import score_arc, write_submission
from trm.tracking import History, Tracker, wandb_mode


@dataclass
class TrainState:
    """Everything that changes from step to step."""

    model: RecursiveModel
    optimizer: torch.optim.Optimizer | None  # None with freeze_weights
    puzzle_optimizer: SignSGD | None  # None without a puzzle embedding
    ema: EMA | None
    generator: torch.Generator  # draws ACT exploration, the same on every rank
    total_steps: int
    saved: list[int] = field(default_factory=list)  # steps with a checkpoint of this run
    carries: list[Carry] | None = None  # one per slice of micro_batch_size rows
    step: int = 0


class Trainer:
    """One run. Files are written by rank 0 only, into `folder`."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        config.check_world_size(ranks.world_size)
        self.config, self.ranks = config, ranks
        self.data = PuzzleData.load(config.data_paths, "train")
        self.test_data = _load_test_data(config, self.data)
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
        self.began = time.monotonic()
        self.joules_before = gpu_joules(ranks.device)

    def run(self) -> Path:
        """Train to the end; returns the folder of checkpoints."""
        config, ranks = self.config, self.ranks
        with _locked(self.folder) if ranks.is_main else nullcontext():
            if ranks.is_main:
                self._open_records()
            progress = Progress(self.state.total_steps, "training", "steps", shown=ranks.is_main)
            with progress:
                iterations = config.epochs // config.epochs_per_iteration
                for iteration in range(1, iterations + 1):
                    self._train_iteration(iteration, progress)
                    if iteration > config.min_eval_interval or iteration == iterations:
                        self._evaluate_and_save(last=iteration == iterations, progress=progress)
            cost = self._cost()
            if ranks.is_main:
                self._close_records(cost)
        ranks.barrier()
        return self.folder

    # --- one iteration --------------------------------------------------------------------------

    def _train_iteration(self, iteration: int, progress: Progress) -> None:
        config, state = self.config, self.state
        state.model.train()
        before = state.step
        meter = Meter(self.ranks, config.global_batch_size)
        batches = train_batches(
            self.data, config.seed, iteration, config.epochs_per_iteration,
            config.global_batch_size, self.rows,
        )  # fmt: skip
        for rows in batches:
            if state.step >= state.total_steps:
                break
            lr, metrics = train_step(config, state, to_batch(rows, self.ranks.device), self.ranks)
            meter.add(metrics)
            note = ""
            if state.step % config.log_interval == 0:
                note = self._record_training(meter, lr)
            progress.update(1, note)
        if state.step == before and state.step < state.total_steps:
            raise TrmError(
                f"{config.epochs_per_iteration} epochs between evaluations do not fill one batch "
                f"of global_batch_size={config.global_batch_size}; choose a smaller batch or a "
                "larger eval_interval"
            )
        if meter.steps:
            self._record_training(meter, lr)

    def _record_training(self, meter: Meter, lr: float) -> str:
        """Average since the last record, on rank 0 into history.csv and W&B; the progress note."""
        averages, rate = meter.read()
        if not math.isfinite(averages["loss"]):
            raise TrmError(
                f"the loss is {averages['loss']} at step {self.state.step}; the last checkpoint in "
                f"{self.folder} is from before. A lower lr, more lr_warmup_steps or "
                "arch.forward_dtype=float32 may help"
            )
        if self.ranks.is_main:
            record = {**averages, "lr": lr, "examples_per_s": rate}
            self._add_record("train", record)
            self.tracker.log({f"train/{k}": v for k, v in record.items()}, self.state.step)
        exact = averages.get("exact_accuracy")
        return f"loss {averages['loss']:.3f}" + ("" if exact is None else f"  exact {exact:.1%}")

    def _add_record(self, split: str, metrics: dict[str, float]) -> None:
        elapsed = time.monotonic() - self.began
        self.history.add(
            {"step": self.state.step, "split": split, "elapsed_s": elapsed}
            | {k: v for k, v in metrics.items() if k in self.history.columns}
        )

    # --- evaluation and checkpoint --------------------------------------------------------------

    def _evaluate_and_save(self, last: bool, progress: Progress) -> None:
        config, state, ranks = self.config, self.state, self.ranks
        # Saved before it is evaluated: an evaluation that fails costs no training.
        with state.ema.applied(state.model) if state.ema else nullcontext():
            if ranks.is_main and (last or config.checkpoint_every_eval):
                save_weights(self.folder / f"step_{state.step}", state.model)
                state.saved.append(state.step)
            for path, data in self.test_data.items():
                result = evaluate(
                    state.model, data, config.arch.loss.loss_type, config.global_batch_size,
                    ranks, tuple(config.eval_save_outputs),
                )  # fmt: skip
                self._save_outputs(path, result)
                if ranks.is_main:
                    self._record_test(path, result, progress)
        state.model.train()

    def _record_test(self, path: str, result: Evaluation, progress: Progress) -> None:
        metrics = {**result.metrics, **self._vote(path, result)}
        self._add_record("test" if len(self.test_data) == 1 else f"test:{path}", metrics)
        prefix = "all" if len(self.test_data) == 1 else path
        named = {k if "/" in k else f"{prefix}/{k}": v for k, v in metrics.items()}
        self.tracker.log(named, self.state.step)
        passed = "".join(f"  {k} {v:.1%}" for k, v in metrics.items() if k.startswith("ARC/pass@"))
        progress.say(
            f"step {self.state.step}: {path} accuracy {metrics['accuracy']:.1%}  "
            f"exact {metrics['exact_accuracy']:.1%}{passed}"
        )

    def _vote(self, path: str, result: Evaluation) -> dict[str, float]:
        """ARC: this checkpoint's votes alone (the published code pools them over a run)."""
        metrics: dict[str, float] = {}
        for evaluator in self.evaluators:
            assert result.predictions is not None
            p = result.predictions
            score = score_arc(Path(path), p.preds, p.q_halt_logits, evaluator.pass_Ks)
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

    # --- records --------------------------------------------------------------------------------

    def _open_records(self) -> None:
        config = self.config
        resolved = config.model_dump(mode="json")
        resolved |= {"project_name": self.project, "run_name": self.run_name}
        resolved |= {"checkpoint_path": str(self.folder)}
        with atomic_write(self.folder / "all_config.yaml") as file:
            file.write(yaml.safe_dump(resolved, sort_keys=False).encode())
        ks = [f"ARC/pass@{k}" for e in self.evaluators for k in e.pass_Ks]
        self.history = History(
            self.folder / "history.csv",
            ["q_continue_loss", *ks] if _learns_continue(self.state.model) else ks,
        )
        self.tracker = Tracker(wandb_mode(config.wandb), self.project, self.run_name, resolved)
        self.tracker.log({"num_params": self._num_params()}, 0)
        m = self.data.metadata
        say(
            f"{self.run_name}: {self._num_params() / 1e6:.2f}M parameters, {m.total_groups} "
            f"groups, {self.state.total_steps} steps of {config.global_batch_size} on "
            f"{self.ranks.device} x {self.ranks.world_size}, into {self.folder}"
        )
        self._say_memory()

    def _say_memory(self) -> None:
        """What the activations take, and how many rows would fit: told before they are needed."""
        config = self.config
        first = next(
            train_batches(self.data, config.seed, 1, config.epochs_per_iteration, 1, slice(0, 1))
        )
        self.state.model.train()
        memory = estimate(
            self.state.model, to_batch(first, self.ranks.device), config.arch.loss.loss_type
        )
        rows = config.micro_batch_size or config.global_batch_size // self.ranks.world_size
        say(
            f"activations: {memory.bytes_per_row / 1e6:.1f} MB per row, "
            f"{memory.bytes_per_row * rows / 1e9:.2f} GB for {rows} at once; about "
            f"{memory.rows_that_fit} rows fit in the {memory.free_bytes / 1e9:.1f} GB free"
        )
        if rows > memory.rows_that_fit:
            say("note: the batch may not fit; set micro_batch_size to a divisor of it that does")

    def _num_params(self) -> int:
        return sum(p.numel() for p in self.state.model.parameters())

    def _cost(self) -> dict[str, float | None]:
        """What the run took, over all ranks."""
        wall = time.monotonic() - self.began
        joules = torch.tensor(
            gpu_joules(self.ranks.device) - self.joules_before, device=self.ranks.device
        )
        self.ranks.sum_([joules])
        on_gpu = self.ranks.device.type == "cuda"
        return {
            "train_wall_s": round(wall, 1),
            "train_examples_per_s": round(
                self.state.step * self.config.global_batch_size / wall, 2
            ),
            "train_gpu_hours": round(wall * self.ranks.world_size / 3600, 4) if on_gpu else 0.0,
            "train_energy_kwh": None if joules.isnan() else round(joules.item() / 3.6e6, 4),
        }

    def _close_records(self, cost: dict[str, float | None]) -> None:
        content = code_and_packages() | {
            "device": _device_name(self.ranks),
            "world_size": self.ranks.world_size,
            "seed": self.config.seed,
            "steps": self.state.step,
            "checkpoints": [f"step_{step}" for step in self.state.saved],
            "num_params": self._num_params(),
            **cost,
            "data_paths": self.config.data_paths,
            "dataset_sha256": {p: dataset_fingerprint(Path(p)) for p in self.config.data_paths},
        }
        with atomic_write(self.folder / "provenance.json") as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
        offline = self.tracker.finish()
        say(f"trained {self.state.step} steps in {duration(cost['train_wall_s'])}: {self.folder}")
        if offline:
            say(f"W&B was offline; to upload: wandb sync {offline}")


def train_step(
    config: TrainConfig, state: TrainState, batch: Batch, ranks: Ranks
) -> tuple[float, dict[str, Tensor]]:
    """One supervision step, its gradients, one update; returns lr and metrics as sums over rows."""
    model = state.model
    slices = batch.split(config.micro_batch_size)
    if state.carries is None:
        state.carries = [initial_carry(model, part) for part in slices]
    explorations = _draw_explorations(config, state, ranks, len(slices))
    sums: dict[str, Tensor] = {}
    outputs: list[StepOutput] = []
    for i, (part, exploration) in enumerate(zip(slices, explorations, strict=True)):
        state.carries[i], output = act_step(model, state.carries[i], part, exploration)
        loss, metrics, _ = act_loss(config.arch.loss.loss_type, state.carries[i], output)
        # Already divided by the global batch size: slices and ranks only add up.
        (loss / config.global_batch_size).backward()
        outputs.append(output)
        for name, value in (metrics | {"loss": loss.detach()}).items():
            sums[name] = sums[name] + value if name in sums else value
    state.step += 1
    lr = _update(config, state, outputs, ranks)
    return lr, sums


def _draw_explorations(
    config: TrainConfig, state: TrainState, ranks: Ranks, slices: int
) -> Sequence[Exploration | None]:
    arch = config.arch
    if arch.halt_exploration_prob == 0 or arch.halt_max_steps == 1:
        return [None] * slices
    drawn = Exploration.draw(
        state.generator,
        config.global_batch_size,
        rank_rows(ranks.rank, ranks.world_size, config.global_batch_size),
        arch.halt_exploration_prob,
        arch.halt_max_steps,
    )
    on_device = Exploration(drawn.min_steps.to(ranks.device, non_blocking=True))
    return on_device.split(config.micro_batch_size)


def _update(
    config: TrainConfig, state: TrainState, outputs: list[StepOutput], ranks: Ranks
) -> float:
    """One update of embedding, weights and average from the gathered gradients; returns the lr."""
    model = state.model

    def lr_of(base: float) -> float:
        return scheduled_lr(
            state.step, base, config.lr_warmup_steps, state.total_steps, config.lr_min_ratio
        )

    if state.puzzle_optimizer is not None:
        assert state.carries is not None
        state.puzzle_optimizer.step(
            lr_of(config.puzzle_emb_lr),
            torch.cat([carry.current.puzzle_identifiers for carry in state.carries]),
            torch.cat([output.puzzle_rows.grad for output in outputs]),
        )
    if state.optimizer is not None:
        ranks.sum_([p.grad for p in model.parameters() if p.grad is not None])
        for group in state.optimizer.param_groups:
            group["lr"] = lr_of(config.lr)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(model)
    return lr_of(config.lr)


class Meter:
    """Sums metrics on the device and reads them, over all ranks, only when a record is due."""

    def __init__(self, ranks: Ranks, global_batch_size: int) -> None:
        self.ranks, self.global_batch_size = ranks, global_batch_size
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.began = time.monotonic()

    def add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            value = value.float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1

    def read(self) -> tuple[dict[str, float], float]:
        """(averages, examples per second) since the last reading; accuracies of halted rows."""
        names = sorted(self.sums)
        values = torch.stack([self.sums[name] for name in names])
        self.ranks.sum_([values])
        totals = dict(zip(names, values.tolist(), strict=True))
        count = totals.pop("count")
        rows = self.steps * self.global_batch_size
        averages = {
            name: total / (rows if name.endswith("loss") else count)
            for name, total in totals.items()
            if name.endswith("loss") or count > 0  # where no row halted, accuracy is not 0 %
        }
        rate = rows / max(time.monotonic() - self.began, 1e-9)
        self._reset()
        return averages | {"count": count}, rate


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
    np.random.seed(config.seed % 2**32)
    model = build_model(model_for(config, data))
    if config.load_checkpoint:
        for remark in load_weights(Path(config.load_checkpoint), model):
            if ranks.is_main:
                say(f"note: {remark}")
    model.to(ranks.device)
    if config.freeze_weights:
        model.requires_grad_(False)
    if _wants_compile(config, ranks.device):
        for module in model.modules():
            if isinstance(module, Net):
                module.compile()
    return TrainState(
        model=model,
        optimizer=None
        if config.freeze_weights
        else make_optimizer(
            config.optimizer, model.parameters(), (config.beta1, config.beta2), config.weight_decay
        ),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, config.puzzle_emb_weight_decay, ranks)
        if config.arch.puzzle_emb_ndim > 0
        else None,
        ema=EMA(model, config.ema_rate) if config.ema else None,
        generator=torch.Generator().manual_seed(config.seed),
        total_steps=data.total_steps(config.epochs, config.global_batch_size),
    )


def _wants_compile(config: TrainConfig, device: torch.device) -> bool:
    if config.compile == "auto":
        return device.type == "cuda" and "DISABLE_COMPILE" not in os.environ
    return config.compile == "on"


def _learns_continue(model: RecursiveModel) -> bool:
    if model.learns_continue is None:
        return not model.config.no_ACT_continue
    return model.learns_continue


def _device_name(ranks: Ranks) -> str:
    if ranks.device.type == "cuda":
        return torch.cuda.get_device_name(ranks.device)
    return f"{ranks.device.type} ({torch.get_num_threads()} threads)"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run folder, so that the same run started twice does not write over itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrmError(
                f"another process is training into {folder}; wait for it, stop it, or choose "
                "another +run_name=… or checkpoint_path=…"
            ) from None
        yield


def train(config: TrainConfig, ranks: Ranks) -> Path:
    """Train one run as `config` says; returns its folder of checkpoints."""
    return Trainer(config, ranks).run()
