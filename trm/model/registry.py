"""Architectures by name: NAME is the class that `trm/model/NAME.py` defines."""

from __future__ import annotations

from importlib import import_module

from trm.config.architectures import MODELS
from trm.config.types import ModelConfig, TrainConfig
from trm.data.batches import PuzzleData
from trm.model.base import RecursiveModel


def architecture(name: str) -> type[RecursiveModel]:
    """The class of an architecture (`trm.config.architectures.architecture_names`)."""
    module = import_module(f"{MODELS}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and "options" in vars(value)
    )
    return found


def build_model(config: ModelConfig) -> RecursiveModel:
    """A model with fresh weights drawn from torch's global CPU generator."""
    return architecture(config.architecture)(config)


def model_for(config: TrainConfig, data: PuzzleData) -> ModelConfig:
    """The architecture of a training, in the sizes of a dataset."""
    m = data.metadata
    return ModelConfig.of(config.arch, m.seq_len, m.vocab_size, m.num_puzzle_identifiers)
