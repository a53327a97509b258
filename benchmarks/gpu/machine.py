"""What the machine has: its GPU, torch, compilers, and the packages that other parts import."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import import_module

from job import Job, run_part

NEEDED = ("einops", "hydra", "numba", "numpy", "omegaconf", "packaging", "pydantic", "pytest")
NEEDED += ("safetensors", "tqdm", "yaml")
USEFUL = ("pynvml", "triton")  # energy, compiled code on a GPU


def main(job: Job) -> None:
    job.measured("python", version=platform.python_version(), cores=os.cpu_count())
    job.measured(
        "compilers", **{name: shutil.which(name) or "none" for name in ("cc", "g++", "nvcc")}
    )
    missing = {name: why for name in (*NEEDED, *USEFUL) if (why := why_missing(name))}
    job.checked("packages", not missing.keys() & {*NEEDED}, missing=missing)
    if job.device == "cuda":
        with job.case("nvidia-smi"):
            fields = "name,memory.total,driver_version,clocks.max.sm,power.limit"
            query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
            done = subprocess.run(query, capture_output=True, text=True, check=True)
            job.measured("nvidia-smi", gpu=done.stdout.strip())
    with job.case("torch"):
        look_at_torch(job)


def why_missing(name: str) -> str | None:
    """Why a module cannot be imported, whatever it raises; None if it can."""
    try:
        import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:120]
    return None


def look_at_torch(job: Job) -> None:
    import torch

    job.measured("torch", version=torch.__version__, threads=torch.get_num_threads())
    if job.device == "cpu":
        return
    job.checked("torch sees a GPU", torch.cuda.is_available())
    properties = torch.cuda.get_device_properties(0)
    job.measured(
        "GPU",
        name=properties.name,
        memory_gb=properties.total_memory / 1e9,
        multiprocessors=properties.multi_processor_count,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        nccl=".".join(map(str, torch.cuda.nccl.version())),
    )


if __name__ == "__main__":
    run_part(main)
