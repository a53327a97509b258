"""The model of a result, with its weights, for the dataset that it is run on."""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.config.compose import load_train_config, note_other_architecture
from trm.config.types import TrainConfig
from trm.data.batches import PuzzleData
from trm.errors import TrmError
from trm.model.base import RecursiveModel
from trm.model.checkpoint import embedding_rows, fit_weights, read_state_dict
from trm.model.registry import build_model, model_for
from trm.progress import say
from trm.puzzles.kinds import kinds
from trm.runtime.late import wait_for
from trm.study.puzzle_names import why_other_puzzles


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """What `load_result` needs to know, and the kind of the puzzles."""
    parser.add_argument("--dataset", type=Path, required=True, help="data/NAME")
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint")
    parser.add_argument("--train-config", type=Path, required=True, help="its all_config.yaml")


def load_result(
    weights: Path, train_config: Path, dataset: Path, data: PuzzleData
) -> tuple[RecursiveModel, TrainConfig]:
    """The model on the CPU, and the settings of its training.

    TrmError where the weights do not fit the settings, or were trained on other puzzles.
    """
    wait_for(train_config)
    trained = load_train_config(train_config)
    model = build_model(model_for(trained, data))
    state = read_state_dict(weights)
    if rows := embedding_rows(state):
        puzzles = data.metadata.num_puzzle_identifiers
        refusal = why_other_puzzles(weights, rows, dataset, puzzles)
        if refusal is not None:
            raise TrmError(f"{refusal}. Give the dataset of its training")
    fit_weights(weights, state, model)
    if note := note_other_architecture(weights, model.config):
        say(f"note: {note}")
    return model, trained
