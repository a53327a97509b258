"""How the parts time: by events on a GPU, so that it never waits, by the clock on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from job import Job
from train_step import finish, matmul_rate


def milliseconds(
    call: Callable[[], object], device: torch.device, repeats: int = 10, warmups: int = 2
) -> float:
    """The median time of a call."""
    for _ in range(warmups):
        call()
    return statistics.median(each_ms(call, device, repeats))


def each_ms(call: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """The time of each of several calls in a row, in milliseconds."""
    if device.type != "cuda":
        times = [time.perf_counter()]
        for _ in range(repeats):
            call()
            times.append(time.perf_counter())
        return [1000 * (b - a) for a, b in pairwise(times)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    finish(device)
    return [a.elapsed_time(b) for a, b in pairwise(events)]


def peak_rate(job: Job, device: torch.device) -> float:
    """FLOP/s of large bfloat16 products. On a CPU, where they take seconds, those that the run has
    measured before."""
    known = job.earlier("ceilings", "products in a row").get("tflop_per_s")
    if known and device.type == "cpu":
        return known * 1e12
    return matmul_rate(device, torch.bfloat16)
