"""Energy that a GPU has used, where NVIDIA's management library tells it."""

from __future__ import annotations

import math

import torch


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
