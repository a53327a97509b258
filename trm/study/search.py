"""How answers are searched for at test time: the settings `search:` of config.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trm.config.architectures import has_one_state
from trm.config.types import Strict
from trm.errors import TrmError

Latent = Literal["z_H", "z_L"]
"""z_H: the state that the answer is read from; z_L: every other one."""
Start = Literal["trained", "random"]
"""The model's own start states; or a normal distribution of deviation 1 that is cut at 2σ, drawn
for each position."""


MOST_ROLLOUTS = MOST_STEPS = 10_000
"""Publications make at most 128 rollouts, of 128 steps: far more are a mistake."""


class Search(Strict):
    """K rollouts of each puzzle, which differ by noise, by their start states and by views."""

    rollouts: int = Field(16, ge=1, le=MOST_ROLLOUTS)  # K
    steps: int | None = Field(None, ge=1, le=MOST_STEPS)  # D; default: as in training
    noise: float = Field(0.3, ge=0, allow_inf_nan=False)  # σ, before each supervision step
    on: Annotated[list[Latent], Field(min_length=1)] = ["z_H", "z_L"]  # what it is added to
    start: Start = "trained"
    views: int = Field(1, ge=1)  # symmetric ones of a puzzle, which the rollouts take in turn
    halting_threshold: float = Field(0, allow_inf_nan=False)  # logit above which one halts
    seed: int = Field(0, ge=0, lt=2**64)

    @model_validator(mode="after")
    def _all_differ(self) -> Search:
        if self.rollouts > self.views and self.noise == 0 and self.start == "trained":
            raise ValueError(
                f"{self.rollouts} rollouts with views: {self.views}, noise: 0 and start: trained "
                f"repeat each other: set noise, start: random, or rollouts: {self.views}"
            )
        return self

    def refuse_other_states(self, architecture: str) -> None:
        """TrmError where noise is wanted on states that the architecture does not have."""
        if "z_H" not in self.on and has_one_state(architecture):
            raise TrmError(f"arch={architecture} has one state, z_H: set on: [z_H]")
