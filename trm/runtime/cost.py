"""What work costs: time, GPU-hours, and energy where NVIDIA's management library measures it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from trm.runtime.ranks import Ranks


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and of GPUs (over all of them), and their energy; NaN: not known."""

    wall_s: float = 0.0
    gpu_s: float = 0.0
    joules: float = 0.0


def gpu_joules(device: torch.device) -> float:
    """Energy since the driver was loaded, in joules; NaN where NVML or the counter is missing.

    The counter (nvmlDeviceGetTotalEnergyConsumption) is of the whole device, whoever uses it, and
    exists from the Volta generation on. Needs `pip install nvidia-ml-py`.
    """
    if device.type != "cuda":
        return math.nan
    try:
        import pynvml
    except ImportError:
        return math.nan
    try:
        pynvml.nvmlInit()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:
        return math.nan


class CostMeter:
    """Counts from its making. `before` is what earlier parts of the same work took: a run that
    resumes sets it."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.before = Cost()
        self.began = time.monotonic()
        self.joules_before = gpu_joules(ranks.device)

    def elapsed(self) -> float:
        """Seconds of wall clock, earlier parts included."""
        return self.before.wall_s + time.monotonic() - self.began

    def total(self) -> Cost:
        """The cost so far, over all ranks; every rank must call it."""
        wall = time.monotonic() - self.began
        joules = torch.tensor(gpu_joules(self.ranks.device) - self.joules_before)
        joules = joules.to(self.ranks.device)
        self.ranks.sum_([joules])
        on_gpu = self.ranks.device.type == "cuda"
        return Cost(
            wall_s=self.elapsed(),
            gpu_s=self.before.gpu_s + (wall * self.ranks.world_size if on_gpu else 0.0),
            joules=self.before.joules + joules.item(),
        )

    def read(self, name: str, examples: int) -> dict[str, float | None]:
        """The total under the names of provenance.json."""
        cost = self.total()
        return {
            f"{name}_wall_s": round(cost.wall_s, 1),
            f"{name}_examples_per_s": round(examples / max(cost.wall_s, 1e-9), 2),
            f"{name}_gpu_hours": round(cost.gpu_s / 3600, 4),
            f"{name}_energy_kwh": None
            if math.isnan(cost.joules)
            else round(cost.joules / 3.6e6, 4),
        }
