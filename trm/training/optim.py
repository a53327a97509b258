"""Adam-atan2 for the weights, sign-SGD for the puzzle embedding's rows
(docs/specification.md#optimisation)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trm.runtime.ranks import Ranks


class AdamATan2(torch.optim.Optimizer):
    """Adam with atan2(m, √v) in place of m / (√v + ε): scale-free, nothing to tune (2407.05872).

    p ← p·(1 − lr·wd); p ← p − lr/(1−β1ᵗ) · atan2(m, √v / √(1−β2ᵗ)), as the published runs
    compute it, without the paper's factors a and b. Plain PyTorch: any device.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    # torch's own, without the wrapper that hides them from torch.compile: it imports the compiler,
    # more than a second at each start.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params)

    def _update(self, group: dict, params: list[nn.Parameter]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {
                    "step": 0,
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
            self.state[p]["step"] += 1
        states = [self.state[p] for p in params]
        grads = [p.grad for p in params]
        beta1, beta2 = group["betas"]
        lr, step = group["lr"], states[0]["step"]
        m = [s["exp_avg"] for s in states]
        v = [s["exp_avg_sq"] for s in states]
        torch._foreach_lerp_(m, grads, 1 - beta1)
        # v by lerp too: the same real number as β2·v + (1−β2)·g², and the published rounding. The
        # recursion amplifies a last-bit difference a thousandfold within a dozen steps.
        torch._foreach_lerp_(v, torch._foreach_mul(grads, grads), 1 - beta2)
        denominators = torch._foreach_sqrt(v)
        torch._foreach_div_(denominators, math.sqrt(1 - beta2**step))
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        updates = [torch.atan2(a, b) for a, b in zip(m, denominators, strict=True)]
        torch._foreach_add_(params, updates, alpha=-lr / (1 - beta1**step))


class SignSGD:
    """p ← p·(1 − lr·wd) − lr·sign(g) on the rows of the batch only.

    An identifier in several rows of the global batch gets the sign of the sum of its
    gradients, over all ranks, once. The sum has one order, so that all ranks get the same bits:
    where it cancels to almost nothing, another order may give the other sign. Nothing waits for the
    GPU.
    """

    def __init__(self, weights: Tensor, weight_decay: float, ranks: Ranks) -> None:
        self.weights = weights  # [num_identifiers, dim]
        self.weight_decay = weight_decay
        self.ranks = ranks

    @torch.no_grad()
    def step(self, lr: float, identifiers: Tensor, grads: Tensor) -> None:
        """Update the weights with identifiers [b] and grads [b, dim] of this rank's rows."""
        identifiers, order = self.ranks.all_gather(identifiers).long().sort(stable=True)
        grads = self.ranks.all_gather(grads)[order]
        sum_up = sums_in_order if grads.device.type == "cuda" else sums
        rows = self.weights[identifiers]
        # Rows of one identifier write the same values.
        updated = rows * (1 - lr * self.weight_decay) - lr * sum_up(identifiers, grads).sign()
        self.weights[identifiers] = updated


def sums(identifiers: Tensor, grads: Tensor) -> Tensor:
    """For each row of grads [b, dim] the sum over the rows of its identifier; identifiers [b] are
    sorted. In order wherever rows are not added by several threads at once, as on CUDA."""
    first = torch.searchsorted(identifiers, identifiers)
    return torch.zeros_like(grads).index_add_(0, first, grads)[first]


def sums_in_order(identifiers: Tensor, grads: Tensor) -> Tensor:
    """`sums`, bit for bit, on CUDA too: one thread adds the rows of an identifier. On the CPU it is
    many times slower."""
    first = torch.searchsorted(identifiers, identifiers)
    count = torch.searchsorted(identifiers, identifiers, right=True) - first
    begins = first == torch.arange(len(first), device=first.device)
    # Each row is a segment, empty unless it is its identifier's first: the number of segments does
    # not depend on the values, which nobody has to wait for. `unsafe`: they are not checked either.
    added = torch.segment_reduce(grads, "sum", lengths=count * begins, axis=0, unsafe=True)
    return added[first]


@dataclass(frozen=True)
class MuonSettings:
    """Learning rate and decay of the matrices; None: those of all other weights."""

    lr: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class MuonRecipe:
    """How torch.optim.Muon is set, and which optimiser takes the rest."""

    settings: dict[str, Any]
    rest: type[torch.optim.Optimizer]


MUON_RECIPES = {
    # Of URM. The update has the size of Adam's, so that both may have the same lr.
    "muon": MuonRecipe({"adjust_lr_fn": "match_rms_adamw"}, AdamATan2),
    # Of SiC: a short memory, and lr·√max(1, rows / columns) times the orthogonal matrix.
    "muon_adamw": MuonRecipe(
        {"adjust_lr_fn": "original", "momentum": 0.6, "ns_steps": 3}, torch.optim.AdamW
    ),
}
"""The recipes by their name in `optimizer`."""


class MuonForMatrices:
    """Muon (torch.optim.Muon, arXiv 2502.16982) for the nets' matrices, another optimiser for all
    else.

    Offers what the training loop uses of torch.optim.Optimizer, with the parameters of Muon
    numbered first.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: MuonRecipe,
        betas: tuple[float, float],
        weight_decay: float,
        muon: MuonSettings,
    ) -> None:
        named = dict(model.named_parameters())
        matrices = [name for name, p in named.items() if "layers." in name and p.ndim == 2]
        group: dict[str, Any] = {"params": [named.pop(name) for name in matrices]}
        if muon.lr is not None:
            group["initial_lr"] = muon.lr
        own_decay = weight_decay if muon.weight_decay is None else muon.weight_decay
        self.parts = (
            torch.optim.Muon([group], lr=0.0, weight_decay=own_decay, **recipe.settings),
            recipe.rest(named.values(), lr=0.0, betas=betas, weight_decay=weight_decay),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        first, second = (part.state_dict() for part in self.parts)
        ahead = len(first["param_groups"][0]["params"])
        numbered = {ahead + i: values for i, values in second["state"].items()}
        return {
            "state": first["state"] | numbered,
            "param_groups": [*first["param_groups"], *second["param_groups"]],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        ahead = len(saved["param_groups"][0]["params"])
        halves: tuple[dict, dict] = {}, {}
        for i, values in saved["state"].items():
            halves[i >= ahead][i if i < ahead else i - ahead] = values
        for part, state, group in zip(self.parts, halves, saved["param_groups"], strict=True):
            part.load_state_dict({"state": state, "param_groups": [group]})


def make_optimizer(
    name: str,
    model: nn.Module,
    betas: tuple[float, float],
    weight_decay: float,
    muon: MuonSettings = MuonSettings(),
) -> torch.optim.Optimizer | MuonForMatrices:
    """The optimiser of the weights, at lr 0: the schedule sets it before each step.

    A group of weights with a learning rate of its own has it as `initial_lr`.
    """
    if name in MUON_RECIPES:
        return MuonForMatrices(model, MUON_RECIPES[name], betas, weight_decay, muon)
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=0.0, betas=betas, weight_decay=weight_decay)
    return AdamATan2(model.parameters(), lr=0.0, betas=betas, weight_decay=weight_decay)


def scheduled_lr(
    step: int, base: float, warmup_steps: int, total_steps: int, min_ratio: float
) -> float:
    """Learning rate at `step` (from 1): base·t/warmup, then a cosine to min_ratio·base."""
    if step < warmup_steps:
        return base * step / max(1, warmup_steps)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return base * (min_ratio + max(0.0, (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))))
