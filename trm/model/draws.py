"""Random numbers within a supervision step: noise, random starts, dropout.

They follow from a key that each row has as a part of its state, by a hash, so that they are the
same for any number of ranks and slices of a batch, and after a run is resumed. In training the keys
are drawn by the run's generator, in evaluation they follow from the puzzle itself: its answer does
not depend on the batch it is in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trm.model.layers import DEVIATION_AFTER_CUT

KEYS = 2**32
"""Keys are whole numbers below this."""
CUT = 2.0  # σ, of truncated normals


def hashed(x: Tensor) -> Tensor:
    """Another number in 0..2^32-1 for each number there, int64. One to one."""
    for _ in range(2):
        x = ((x >> 16) ^ x) * 0x45D9F3B & KEYS - 1
    return (x >> 16) ^ x


def keys_of_puzzles(inputs: Tensor) -> Tensor:
    """Keys [B] of puzzles of tokens [B, S]."""
    places = hashed(torch.arange(1, inputs.shape[1] + 1, device=inputs.device))
    return hashed(hashed(places ^ hashed(inputs.long() + 1)).sum(1) & KEYS - 1)


class Draws:
    """The draws of one supervision step, in turn, from the keys [B] of its rows."""

    def __init__(self, keys: Tensor) -> None:
        self.keys, self.drawn = keys, 0

    def next_keys(self) -> Tensor:
        """The rows' keys for the step after this one."""
        return hashed(self.keys ^ KEYS - 1)  # which no count of draws reaches

    def keys_for_next(self) -> Tensor:
        """Keys [B] for the next draw."""
        self.drawn += 1
        return hashed(self.keys ^ self.drawn)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers [B, *shape] fp32 between -1 and 1, both excluded, in steps of 2^-23."""
        own = self.keys_for_next()
        places = hashed(torch.arange(math.prod(shape), device=own.device))
        bits = hashed(own.unsqueeze(1) ^ places) >> 8  # 24 of them, which fp32 holds exactly
        return ((2 * bits + 1 - 2**24).float() / 2**24).view(-1, *shape)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers [B, *shape] fp32 from a normal distribution of deviation 1."""
        return math.sqrt(2) * torch.erfinv(self.uniform(shape))

    def truncated_normal(self, shape: tuple[int, ...]) -> Tensor:
        """The same from one that is cut at 2σ and of deviation 1 after the cut, as weights are."""
        inner = self.uniform(shape) * math.erf(CUT / math.sqrt(2))
        return math.sqrt(2) / DEVIATION_AFTER_CUT * torch.erfinv(inner)
