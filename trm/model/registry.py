"""Architectures by the name their config file gives."""

from __future__ import annotations

from trm.config.types import ModelConfig
from trm.model.base import RecursiveModel
from trm.model.hrm import HRM
from trm.model.transformers_baseline import TransformerBaseline
from trm.model.trm import TRM, SeparateTRM
from trm.model.trm_hier6 import SixLatentTRM
from trm.model.trm_singlez import SingleStateTRM

ARCHITECTURES: dict[str, type[RecursiveModel]] = {
    "trm": TRM,
    "trm_separate": SeparateTRM,
    "trm_singlez": SingleStateTRM,
    "trm_hier6": SixLatentTRM,
    "hrm": HRM,
    "transformers_baseline": TransformerBaseline,
}


def build_model(config: ModelConfig) -> RecursiveModel:
    """A model with fresh weights drawn from torch's global CPU generator."""
    return ARCHITECTURES[config.architecture](config)
