"""What a training needs before its first step: datasets, a name, a model, and what a step takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trm.config.compose import note_other_architecture
from trm.config.types import EvaluatorConfig, TrainConfig
from trm.data.batches import PuzzleData, check_compatible, train_batches
from trm.data.overlap import Overlap, overlap_of_datasets
from trm.data.read import dataset_fingerprint
from trm.errors import TrmError
from trm.evaluate.weights import find_weights
from trm.model.act import Batch, to_batch
from trm.model.base import Depth, RecursiveModel
from trm.model.checkpoint import (
    embedding_rows,
    fit_weights,
    read_state_dict,
    with_mean_embeddings,
)
from trm.model.registry import build_model, model_for
from trm.progress import say
from trm.runtime.ranks import Ranks
from trm.scoring.arc import TEST_PUZZLES
from trm.study.puzzle_names import names_sha256, why_other_puzzles
from trm.training.ema import EMA
from trm.training.memory import StepEstimate, estimate
from trm.training.optim import MuonSettings, SignSGD, make_optimizer
from trm.training.step import TrainState
from trm.training.tracking import require_login


@dataclass(frozen=True)
class Run:
    """One training: its settings, what it learns from, and where its files go."""

    config: TrainConfig
    ranks: Ranks
    folder: Path  # of checkpoints, written by rank 0
    project: str
    name: str
    data: PuzzleData
    test_data: dict[str, PuzzleData]  # by path
    overlap: Overlap  # test puzzles that are in the training split too
    evaluators: list[EvaluatorConfig]  # none where the data is not ARC's

    @property
    def steps(self) -> int:
        """How many steps it makes."""
        config = self.config
        return self.data.steps_to_run(
            config.epochs, config.epochs_per_iteration, config.global_batch_size
        )

    @property
    def rows_at_once(self) -> int:
        """Rows of this rank that go through the model together."""
        config = self.config
        return config.micro_batch_size or config.global_batch_size // self.ranks.world_size

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting, names and folder too."""
        return self.config.model_dump(mode="json") | {
            "project_name": self.project,
            "run_name": self.name,
            "checkpoint_path": str(self.folder),
        }


def set_up(config: TrainConfig, ranks: Ranks) -> Run:
    """Load the data and name the run; TrmError where the settings do not fit it or the machine."""
    config.check_world_size(ranks.world_size)
    if ranks.is_main:
        require_login(config.wandb)
    data = PuzzleData.load(config.data_paths, "train")
    test_data = _load_test_data(config, data)
    overlap = overlap_of_datasets(config.data_paths, config.test_paths)
    evaluators = _usable_evaluators(config, ranks)
    folder, project, name = _name_run(config, ranks)
    if data.total_steps(config.epochs, config.global_batch_size) < 1:
        raise TrmError(
            f"epochs={config.epochs} of this dataset do not fill one batch of "
            f"global_batch_size={config.global_batch_size}; choose a smaller batch or more "
            "epochs"
        )
    return Run(config, ranks, folder, project, name, data, test_data, overlap, evaluators)


def _load_test_data(config: TrainConfig, train: PuzzleData) -> dict[str, PuzzleData]:
    data = {path: PuzzleData.load([path], "test") for path in config.test_paths}
    ours = f"{config.data_paths[0]} (train)"
    for path, split in data.items():
        check_compatible(train.metadata, split.metadata, ours, f"{path} (test)")
    return data


def _usable_evaluators(config: TrainConfig, ranks: Ranks) -> list[EvaluatorConfig]:
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


# --- datasets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Datasets:
    """Which datasets a run is trained on, by content."""

    sha256: dict[str, str]  # by path of `data_paths`
    names_sha256: str | None  # what they give their ids to (trm.study.puzzle_names)


def identify_datasets(run: Run) -> Datasets:
    """TrmError where two of them give the same ids to other puzzles, which would share their
    embeddings."""
    paths = run.config.data_paths
    sha256 = run.ranks.from_main(lambda: {p: dataset_fingerprint(Path(p)) for p in paths})
    return Datasets(sha256, _names_of_puzzles(run))


def _names_of_puzzles(run: Run) -> str | None:
    config = run.config
    paths = [*dict.fromkeys([*config.data_paths, *config.test_paths])]
    names = run.ranks.from_main(lambda: [names_sha256(Path(path)) for path in paths])
    for path, here in zip(paths, names, strict=True):
        others = None not in (here, names[0]) and here != names[0]
        if others and config.arch.puzzle_emb_ndim:
            raise TrmError(
                f"{paths[0]} and {path} give the same ids to other puzzles, which would share "
                "one embedding: build one dataset of both, or give arch.puzzle_emb_ndim=0"
            )
    return names[0]


# --- the model ------------------------------------------------------------------------------------


def initial_state(run: Run) -> TrainState:
    """A fresh model, or the weights of `load_checkpoint`, with fresh optimisers."""
    config, ranks = run.config, run.ranks
    # Drawn on the CPU with the same seed everywhere: every rank and every device starts equal.
    torch.manual_seed(config.seed)
    model = build_model(model_for(config, run.data))
    if config.load_checkpoint:
        _load_checkpoint(find_weights(Path(config.load_checkpoint)), config, model, ranks)
    model.to(ranks.device)
    if config.freeze_weights:
        model.requires_grad_(False)
    betas = config.beta1, config.beta2
    return TrainState(
        model=model,
        optimizer=None
        if config.freeze_weights
        else make_optimizer(
            config.optimizer,
            model,
            betas,
            config.weight_decay,
            MuonSettings(config.muon_lr, config.muon_weight_decay),
        ),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, config.puzzle_emb_weight_decay, ranks)
        if config.arch.puzzle_emb_ndim > 0
        else None,
        ema=EMA(model, config.ema_rate, config.ema_warmup, config.ema_start)
        if config.ema
        else None,
        generator=torch.Generator().manual_seed(config.seed),
        total_steps=run.data.total_steps(config.epochs, config.global_batch_size),
    )


def _load_checkpoint(path: Path, config: TrainConfig, model: RecursiveModel, ranks: Ranks) -> None:
    """Start from its weights. Embeddings of another number of puzzles start from their mean, as
    published; TrmError where they are of as many, but other ones."""
    state = read_state_dict(path)
    rows, puzzles = embedding_rows(state), model.config.num_puzzle_identifiers
    if config.puzzle_embeddings == "reinitialise":
        state = with_mean_embeddings(state, puzzles)
    elif rows == puzzles:
        refusal = ranks.from_main(
            lambda: why_other_puzzles(path, rows, Path(config.data_paths[0]), puzzles)
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


# --- what a step takes ----------------------------------------------------------------------------


def repeated_example(run: Run, rows: int) -> Batch:
    """A batch of the first training example, `rows` times."""
    config = run.config
    first = next(
        train_batches(run.data, config.seed, 1, config.epochs_per_iteration, 1, slice(0, 1))
    )
    row = to_batch(first, run.ranks.device)
    return Batch(*(t.repeat(rows, *[1] * (t.ndim - 1)) for t in row.tensors))


def deepest(config: TrainConfig) -> Depth:
    """The depth that takes the most memory: what is kept for the backward pass grows with n
    alone."""
    stages = [Depth(stage.H_cycles, stage.L_cycles) for stage in config.depth_schedule]
    own = Depth(config.arch.H_cycles, config.arch.L_cycles)
    return max(stages, default=own, key=lambda depth: depth.L_cycles)


def estimate_step(run: Run, model: RecursiveModel) -> StepEstimate:
    """Memory of a training step, before one is made."""
    row = repeated_example(run, 1)
    return estimate(model.train(), row, run.config.arch.loss.loss_type, deepest(run.config))
