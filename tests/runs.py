"""Run folders as a training leaves them, small: for what is done with a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml

from tests.conftest import overrides
from trm.config.compose import compose
from trm.config.types import ModelConfig, TrainConfig
from trm.data.arc import build_arc
from trm.data.boards import COLUMNS
from trm.data.generate import random_board
from trm.data.specs import ArcSpec, SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.model.checkpoint import save_weights
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks
from trm.scoring.arc import score_arc
from trm.scoring.predictions import Predictions
from trm.training.trainer import train

ALONE = Ranks(0, 1, torch.device("cpu"))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
"""For tests that run on a GPU too, where there is one."""


def config_of(data: Path, folder: Path, **changes: object) -> TrainConfig:
    paths = {"data_paths": f"[{data}]", "checkpoint_path": folder}
    return compose(
        [w if w.startswith("arch=") else f"++{w}" for w in overrides(**paths, **changes)]
    )


def random_run(
    folder: Path, data: Path, side: int, vocab_size: int, puzzles: int = 1, **changes: object
) -> Path:
    """A folder with random weights as `final`, of a training on `data`, which need not be there."""
    config = config_of(data, folder, **changes)
    torch.manual_seed(1)
    model = build_model(ModelConfig.of(config.arch, side**2, vocab_size, puzzles))
    if hasattr(model, "q_head"):
        torch.nn.init.normal_(model.q_head.weight, std=0.5)
    if config.arch.puzzle_emb_ndim:
        model.puzzle_emb.weights.normal_()
    folder.mkdir(parents=True)
    save_weights(folder / "final", model)
    (folder / "all_config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return folder


def learn_by_heart(folder: Path) -> Path:
    """Train on the one board of `folder`/data until it is answered; returns the run's folder."""
    config = config_of(
        folder / "data",
        folder / "run",
        global_batch_size=1,
        epochs=200,
        eval_interval=200,
        arch__mlp_t=True,
        arch__pos_encodings="none",
        arch__halt_max_steps=2,
        lr=3e-3,
        log_interval=100,
        evaluators="[]",
    )
    train(config, ALONE)
    return folder / "run"


def memorised_sudoku(folder: Path) -> tuple[Path, str, str]:
    """A run that has learned one 4x4 board by heart: (folder, question, answer)."""
    board, solution = random_board(np.random.default_rng(0), 2, 2, 6)
    question, answer = ("".join(map(str, b.tolist())) for b in (board, solution))
    table = folder / "table"
    table.mkdir(parents=True)
    for split in ("train", "test"):
        lines = [",".join(COLUMNS), f"here,{question},{answer},0"]
        (table / f"{split}.csv").write_text("\n".join(lines) + "\n")
    spec = SudokuSpec(builder="sudoku", table="t", allow_test_in_train=True)
    build_sudoku(spec, table, folder / "data")
    return learn_by_heart(folder), question, answer


def arc_task(seed: int, side: int = 3) -> dict:
    """A task of random grids: three demonstration pairs, two test inputs with their answers."""
    rng = np.random.default_rng(seed)

    def pair() -> dict:
        grid = rng.integers(0, 10, (side, side - 1))
        return {"input": grid.tolist(), "output": grid.T.tolist()}

    return {"train": [pair() for _ in range(3)], "test": [pair() for _ in range(2)]}


def arc_data(folder: Path, canvas: int = 5, num_aug: int = 3) -> dict[str, dict]:
    """A dataset built of three tasks into `folder`; returns them by name."""
    tasks = {name: arc_task(seed) for seed, name in enumerate(("first", "second", "third"))}
    raw = folder.parent / "arc-raw"
    raw.mkdir(parents=True, exist_ok=True)
    questions = {
        name: {"train": t["train"], "test": [{"input": p["input"]} for p in t["test"]]}
        for name, t in tasks.items()
    }
    answers = {name: [p["output"] for p in t["test"]] for name, t in tasks.items()}
    for what, content in (("challenges", questions), ("solutions", answers)):
        (raw / f"arc_training_{what}.json").write_text(json.dumps(content))
    spec = ArcSpec(
        builder="arc",
        subsets=["training"],
        test_set_name="training",
        num_aug=num_aug,
        canvas=canvas,
    )
    build_arc(spec, str(raw / "arc"), folder)
    return tasks


def make_answers_true(dataset: Path, found: Predictions) -> None:
    """Of a dataset of `arc_data`, let some of the answers that predictions vote for be the truth:
    those in the first or second place, and one in the fourth."""
    score = score_arc(dataset, found.preds, found.q_halt_logits)
    path = dataset / "test_puzzles.json"
    puzzles = json.loads(path.read_text())
    for task, places in zip(score.tasks, ((0, 1), (1, 2), (0, 3)), strict=True):
        for pair, test, place in zip(puzzles[task.name]["test"], task.tests, places, strict=True):
            pair["output"] = test.candidates[place].grid.tolist()
    path.write_text(json.dumps(puzzles))
