"""FLOP of a step, of a training and of an evaluation, as results record them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import ROOT
from trm.config.architectures import architecture_names
from trm.config.compose import resolve
from trm.config.types import ModelConfig, TrainConfig
from trm.data.batches import PuzzleData, rank_rows, train_batches
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments
from trm.model.act import act_step, initial_carry, to_batch
from trm.model.flop import flop_of_step
from trm.model.registry import build_model, model_for
from trm.runtime.ranks import Ranks
from trm.study.table import Study
from trm.training.flop import TrainingFlop
from trm.training.optim import make_optimizer
from trm.training.records import Records
from trm.training.step import Averages, TrainState, depth_at, train_step
from trm.training.trainer import train

ALONE = Ranks(0, 1, torch.device("cpu"))
STAGES = [
    {"start": 0, "H_cycles": 1, "L_cycles": 1},
    {"start": 0.3, "H_cycles": 1, "L_cycles": 2},
    {"start": 0.5, "H_cycles": 3, "L_cycles": 2},
]


def config_of(**changes: object) -> TrainConfig:
    small = {"hidden_size": 32, "num_heads": 2, "H_cycles": 2, "L_cycles": 2, "L_layers": 1}
    values = {f"arch.{name}": value for name, value in small.items()} | {
        "arch.halt_max_steps": 3,
        "data_paths": ["data"],
        "global_batch_size": 8,
        "epochs": 4,
        "eval_interval": 2,
        "evaluators": [],
        "wandb": "disabled",
        "compile": "off",
    }
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(values | given, "a test")


@pytest.mark.parametrize(("benchmark", "side"), [("sudoku-6x6", 6), ("sudoku-9x9", 9)])
def test_rows_at_equal_compute_have_it(benchmark: str, side: int) -> None:
    """config/equal-compute.yaml, with every row of the benchmark."""
    study = Study.load(ROOT / "config/config.yaml", ROOT / "config/equal-compute.yaml")
    spent = {}
    for variant in study.benchmarks[benchmark].variants:
        row = study.row(benchmark, variant)
        config = resolve(row.overrides | {"data_paths": [row.dataset]}, variant)
        steps = config.epochs * 1000 // config.global_batch_size
        sizes = ModelConfig.of(config.arch, side * side, side + 2, 1)
        spent[variant] = TrainingFlop.counted(config, sizes, steps).until(steps)
        assert config.ema_start == 0 or 0.6 < config.ema_start / steps < 0.65
    assert spent == pytest.approx(dict.fromkeys(spent, spent["mlp"]), rel=0.1)


@pytest.fixture(scope="module")
def data(sudoku_data: Path) -> PuzzleData:
    return PuzzleData.load([str(sudoku_data)], "train")


def sizes_of(data: PuzzleData, **changes: object) -> ModelConfig:
    return model_for(config_of(**changes), data)


def counted_in_a_real_step(config: TrainConfig, data: PuzzleData, step: int = 0) -> int:
    """FLOP of one training step on real rows, attention as matrix products."""
    model = build_model(model_for(config, data)).train()
    optimizer = make_optimizer(config.optimizer, model, (0.9, 0.95), 0.1)
    generator = torch.Generator().manual_seed(0)
    state = TrainState(model, optimizer, None, None, generator, total_steps=10, step=step)
    rows = rank_rows(0, 1, config.global_batch_size)
    batch = next(train_batches(data, 0, 1, 2, config.global_batch_size, rows))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        train_step(config, state, to_batch(batch, ALONE.device), ALONE)
    return counter.get_total_flops()


@pytest.mark.parametrize("arch", architecture_names())
def test_a_count_without_data_is_that_of_a_real_step(data: PuzzleData, arch: str) -> None:
    changes = {"arch": arch, "global_batch_size": 3}
    if arch == "se_rrm":
        changes |= {"arch__head_dim": 16, "arch__head_dim_t": 16}
    config = config_of(**changes)
    sizes = model_for(config, data)
    counted = TrainingFlop.counted(config, sizes, 10)
    assert counted.until(1) == counted_in_a_real_step(config, data)

    model = build_model(sizes).eval()
    batch = to_batch(next(train_batches(data, 0, 1, 2, 3, rank_rows(0, 1, 3))), ALONE.device)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        act_step(model, initial_carry(model, batch), batch)
    assert 3 * flop_of_step(sizes) == counter.get_total_flops()


def test_a_step_is_mostly_the_matrix_products_of_its_nets(data: PuzzleData) -> None:
    sizes = sizes_of(data)
    passes = sizes.H_cycles * (sizes.L_cycles + 1)
    weights = sum(p.numel() for p in build_model(sizes).L_level.parameters())
    matrices = 2 * (sizes.seq_len + sizes.prefix_len) * weights * passes
    assert matrices < flop_of_step(sizes) < 2 * matrices  # attention and the heads come on top


def test_every_step_counts_at_its_depth(data: PuzzleData) -> None:
    config = config_of(depth_schedule=STAGES)
    counted = TrainingFlop.counted(config, model_for(config, data), 9)
    state = TrainState(None, None, None, None, torch.Generator(), total_steps=9)
    used = 0.0
    for state.step in range(9):
        depth = depth_at(config, state)
        alone = config_of(arch__H_cycles=depth.H_cycles, arch__L_cycles=depth.L_cycles)
        assert counted.until(state.step) == used
        used += TrainingFlop.counted(alone, model_for(alone, data), 9).until(1)
    assert counted.until(9) == used
    assert counted.until(1.5) == 1.5 * counted.until(1)


def test_updates_of_muon_count_once_the_weights_learn(data: PuzzleData) -> None:
    atan2 = TrainingFlop.counted(config_of(), sizes_of(data), 10)
    config = config_of(optimizer="muon")
    muon = TrainingFlop.counted(config, sizes_of(data), 10)
    assert muon.until(1) == counted_in_a_real_step(config, data) > atan2.until(1)
    later = config_of(optimizer="muon", freeze_weights_for=0.25)
    until = TrainingFlop.counted(later, sizes_of(data), 10).until
    assert until(2) == atan2.until(2)
    assert until(3) - until(2) == muon.until(1) == counted_in_a_real_step(later, data, step=2)


def test_frozen_weights_take_no_gradients(data: PuzzleData) -> None:
    learned, frozen = (
        TrainingFlop.counted(config_of(freeze_weights=f), sizes_of(data), 10).until(1)
        for f in (False, True)
    )
    assert frozen < 0.9 * learned


def test_counting_draws_nothing(data: PuzzleData) -> None:
    config = config_of(arch="eqr")
    before = torch.get_rng_state()
    TrainingFlop.counted(config, model_for(config, data), 10)
    assert torch.equal(torch.get_rng_state(), before)


# --- what a result records ------------------------------------------------------------------------


def config_in(folder: Path, data: Path) -> TrainConfig:
    paths = {"data_paths": [str(data)], "checkpoint_path": str(folder)}
    return config_of(**paths, depth_schedule=STAGES, log_interval=2)


@pytest.fixture(scope="module")
def run(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(config_in(folder, sudoku_data), ALONE)
    return folder


def test_a_training_records_its_flop(run: Path, data: PuzzleData) -> None:
    config = config_of(depth_schedule=STAGES)
    counted = TrainingFlop.counted(config, model_for(config, data), 12)
    history = pd.read_csv(run / "history.csv")
    evaluated = history[history.split == "test"]
    assert list(evaluated.step) == [6, 12]
    assert list(history.train_flop) == [float(f"{counted.until(s):.9g}") for s in history.step]
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["train_flop"] == counted.until(12)
    assert provenance["train_flop_per_row"] == counted.until(12) / 12 / config.global_batch_size


def test_whether_compiling_pays_is_decided_by_the_flop_of_the_training(
    sudoku_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "trm.training.compiling.compiling_pays", lambda ranks, flop, what: asked.append(flop)
    )
    train(config_in(tmp_path, sudoku_data).model_copy(update={"compile": "auto"}), ALONE)
    assert asked == [json.loads((tmp_path / "provenance.json").read_text())["train_flop"]]


class StoppedAtFour(Records):
    """Sends the process a signal within its fourth step."""

    def stepped(self, averages: Averages | None) -> None:
        super().stepped(averages)
        if self.state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_resumed_training_records_the_same(run: Path, sudoku_data: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path / "run", sudoku_data)
    with pytest.raises(SystemExit):
        train(config, ALONE, StoppedAtFour)
    train(config, ALONE)
    whole, resumed = (
        pd.read_csv(folder / "history.csv")[["step", "split", "train_flop"]]
        for folder in (run, tmp_path / "run")
    )
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


@pytest.mark.parametrize("words", [[], ["eval_halting=act", "eval_halting_threshold=-99"]])
def test_an_evaluation_records_the_flop_of_a_puzzle(
    run: Path, data: PuzzleData, tmp_path: Path, words: list[str]
) -> None:
    """A puzzle that leaves after its first step has used the FLOP of one."""
    out, cost = tmp_path / "metrics.json", tmp_path / "cost.json"
    given = [f"checkpoint={run}", f"out={out}", f"cost_out={cost}", *words]
    evaluate_checkpoint(*parse_arguments(given), ALONE)
    steps, facts = json.loads(out.read_text())["steps"], json.loads(cost.read_text())
    sizes = sizes_of(data)
    assert steps == (1 if words else sizes.halt_max_steps)
    assert facts["evaluate_flop_per_step"] == flop_of_step(sizes)
    assert facts["evaluate_flop_per_puzzle"] == steps * flop_of_step(sizes)
