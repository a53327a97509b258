"""A training step of one case by each path: time, share of the rate, memory, graphs, energy.

    steps.py … sudoku-mlp eager compiled

Every path starts from the same weights and sees the same batches, so that losses are comparable.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from cases import Sized, flop_of_step, sized
from job import Job, run_part
from timing import each_ms, peak_rate
from torch import Tensor, nn
from train_step import finish

from trm.model.act import supervision_steps
from trm.model.layers import compile_model
from trm.runtime.cost import gpu_joules
from trm.training.memory import estimate
from trm.training.step import TrainState, train_step


@dataclass(frozen=True)
class Path:
    """A way to run a step: what is done to the model before the first, and further settings."""

    prepare: Callable[[nn.Module, torch.device], None]
    words: tuple[str, ...] = ()


PATHS = {
    "eager": Path(lambda model, device: None),
    "compiled": Path(compile_model),
    "max": Path(partial(compile_model, tuned=True)),
}
"""The names are those of parts.py. A further way to run a step is a further row."""
COMPARED = 3  # steps, the losses of which are compared between paths
ALLOWED = 0.02
"""Relative difference of losses, in bfloat16: twice what has been seen over the compared steps."""


def main(job: Job) -> None:
    name, *paths = job.words
    case = sized(job, name)
    peak, flop = peak_rate(job, case.device), flop_of_step(case)
    job.measured("a step", rows=case.rows, tflop=flop / 1e12)
    losses: dict[str, list[float]] = {}
    for path in paths:
        with job.case(path):
            of_path = sized(job, name, PATHS[path].words)
            losses[path] = measure(job, of_path, path, flop, peak)
    for path, other in pairwise(losses):
        pairs = zip(losses[path], losses[other], strict=True)
        worst = max(abs(a - b) / abs(a) for a, b in pairs)
        job.checked(f"losses of {path} and {other}", worst <= ALLOWED, relative=worst)


def measure(job: Job, case: Sized, path: str, flop: int, peak: float) -> list[float]:
    """Time a path and record it; returns the losses of its first steps."""
    forget_compiled()
    state, batches = case.state(), case.batches()
    estimated = estimate(state.model, batches[0], case.config.arch.loss.loss_type)
    PATHS[path].prepare(state.model, case.device)
    used = peak_memory(case.device)
    began = time.perf_counter()
    steps = step_after_step(case, state, batches)
    losses = [next(steps)["loss"].item()]
    first_s = time.perf_counter() - began
    losses += [next(steps)["loss"].item() for _ in range(COMPARED - 1)]
    count, joules = 2 if job.tiny else 10, gpu_joules(case.device)
    times = each_ms(lambda: next(steps), case.device, count)
    ms = statistics.median(times)
    job.measured(
        path,
        ms=ms,
        slowest_ms=max(times),
        examples_per_s=1000 * case.rows / ms,
        tflop_per_s=flop / ms / 1e9,
        of_rate=1000 * flop / ms / peak,
        first_step_s=first_s,
        graphs=graphs(),
        activations_gb_estimated=estimated.bytes_per_row * case.rows / 1e9,
        peak_gb=used(),
        joules_per_step=(gpu_joules(case.device) - joules) / count,
        loss=losses[-1],
    )
    with job.case(f"{path}, evaluation"):
        evaluate_once(job, case, state, path)
    with job.case(f"{path}, kernels"):
        state.model.train()
        job.measured(f"{path}, kernels", **slowest_kernels(lambda: next(steps), case.device))
    return losses


def step_after_step(case: Sized, state: TrainState, batches: list) -> Iterator[dict[str, Tensor]]:
    """One training step each time that it is asked."""
    while True:
        yield train_step(case.config, state, batches[state.step % len(batches)], case.ranks)


def forget_compiled() -> None:
    """Compile everything again, and fail where torch would silently go back to eager code."""
    torch.compiler.reset()
    import torch._dynamo as dynamo

    dynamo.utils.counters.clear()
    if hasattr(dynamo.config, "fail_on_recompile_limit_hit"):
        dynamo.config.fail_on_recompile_limit_hit = True
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def graphs() -> int:
    """Graphs that torch has compiled since `forget_compiled`."""
    import torch._dynamo as dynamo

    return dynamo.utils.counters["stats"]["unique_graphs"]


def peak_memory(device: torch.device) -> Callable[[], float | None]:
    """Begin to watch; what is returned gives the GB that were in use at most, above those now."""
    if device.type != "cuda":
        return lambda: None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: (torch.cuda.max_memory_allocated(device) - before) / 1e9


def evaluate_once(job: Job, case: Sized, state: TrainState, path: str) -> None:
    """One batch by all supervision steps, as an evaluation runs them."""
    model, batch = state.model.eval(), case.batches()[0]

    @torch.no_grad()
    def run() -> None:
        for _ in supervision_steps(model, batch):
            pass

    run()  # compiled where the model is
    finish(case.device)
    ms = statistics.median(each_ms(run, case.device, 1))
    job.measured(f"{path}, evaluation", ms=ms, puzzles_per_s=1000 * case.rows / ms, graphs=graphs())


def slowest_kernels(step: Callable[[], object], device: torch.device) -> dict[str, str]:
    """The kernels that take most of a step, with their share; the whole table goes to the log."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        step()
        finish(device)
    events = profiler.key_averages()
    of = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    print(events.table(sort_by=of, row_limit=30, max_name_column_width=90))
    times = sorted(((getattr(event, of), event) for event in events), key=lambda pair: -pair[0])
    total = sum(time for time, _ in times) or 1
    return {event.key[:50]: f"{time / total:.0%} of {event.count}" for time, event in times[:6]}


if __name__ == "__main__":
    run_part(main)
