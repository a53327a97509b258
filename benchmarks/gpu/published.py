"""A training step in the published layout beside ours, in turn: eager, then each compiled as it is
used: the published model as a whole, ours net by net. Loss and optimisers are the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from cases import Sized, flop_of_step, sized
from job import Job, run_part
from published_layout import TRM
from steps import COMPARED, forget_compiled, graphs, step_after_step
from timing import each_ms, peak_rate
from torch import nn

from trm.model.layers import compile_model
from trm.training.ema import EMA
from trm.training.optim import SignSGD, make_optimizer
from trm.training.step import TrainState

ROUNDS = 3


def whole(model: nn.Module, device: torch.device) -> None:
    """Compile the model as the published code does. On a CPU only trace it: C++ takes a minute."""
    model.compile(dynamic=False, backend="inductor" if device.type == "cuda" else "aot_eager")


def leave_eager(model: nn.Module, device: torch.device) -> None:
    pass


Prepare = Callable[[nn.Module, torch.device], None]
PAIRS: dict[str, dict[str, Prepare]] = {
    "eager": {"published": leave_eager, "ours": leave_eager},
    "compiled": {"published": whole, "ours": compile_model},
}
"""What is done to the model of each layout before the first step."""


def main(job: Job) -> None:
    case = sized(job, *(job.words or ("sudoku-mlp",)))
    peak, flop = peak_rate(job, case.device), flop_of_step(case)
    for name, prepare in PAIRS.items():
        with job.case(name):
            compare(job, case, name, prepare, flop, peak)


def compare(
    job: Job,
    case: Sized,
    name: str,
    prepare: dict[str, Prepare],
    flop: int,
    peak: float,
) -> None:
    """Time both in turn, from the same weights, and record the ratio."""
    forget_compiled()
    states = {"published": published_state(case), "ours": case.state()}
    steps, losses = {}, {}
    for layout, state in states.items():
        prepare[layout](state.model, case.device)
        steps[layout] = step_after_step(case, state, case.batches())
        began = time.perf_counter()
        losses[layout] = [next(steps[layout])["loss"].item() for _ in range(COMPARED)]
        seconds = time.perf_counter() - began
        job.measured(f"{layout}, {name}, first steps", seconds=seconds, graphs=graphs())
    times: dict[str, list[float]] = {layout: [] for layout in states}
    for _ in range(ROUNDS):
        for layout in states:
            each = each_ms(lambda layout=layout: next(steps[layout]), case.device, 3)
            times[layout] += each
    ms = {layout: statistics.median(values) for layout, values in times.items()}
    for layout in states:
        job.measured(f"{layout}, {name}", ms=ms[layout], of_rate=1000 * flop / ms[layout] / peak)
    worst = max(abs(a - b) / abs(a) for a, b in zip(*losses.values(), strict=True))
    job.measured(f"{name}: published / ours", ratio=ms["published"] / ms["ours"])
    job.checked(f"{name}: same losses", worst < 0.02, relative=worst)


def published_state(case: Sized) -> TrainState:
    """A training state of the published layout, with the weights that ours starts from."""
    ours = case.state()
    model = TRM(case.model_config).to(case.device).train()
    model.load_state_dict(ours.model.state_dict())
    config = case.config
    return replace(
        ours,
        model=model,
        optimizer=make_optimizer("adam_atan2", model, (0.9, 0.95), config.weight_decay),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, config.weight_decay, case.ranks),
        ema=EMA(model, config.ema_rate),
    )


if __name__ == "__main__":
    run_part(main)
