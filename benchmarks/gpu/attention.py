"""Attention by backend and shape, in bfloat16: forward and backward, error, and the first call's
time (a backend may plan for every new shape)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from job import Job, run_part
from timing import each_ms
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from train_step import finish

from trm.model.layers import written_out_attention
from trm.runtime.ranks import choose_device

SHAPES = {
    "sudoku": (768, 8, 97, 64),
    "arc": (192, 8, 916, 64),
    "arc, 12 heads of 42": (192, 12, 916, 42),
}
"""[B, h, S, d]"""
TINY_SHAPES = {"sudoku": (2, 2, 9, 16), "12 heads of 42": (2, 12, 9, 42)}

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def by(backend: SDPBackend | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with nullcontext() if backend is None else sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v)


WAYS: dict[str, Attend] = {
    "cudnn": partial(by, SDPBackend.CUDNN_ATTENTION),
    "flash": partial(by, SDPBackend.FLASH_ATTENTION),
    "efficient": partial(by, SDPBackend.EFFICIENT_ATTENTION),
    "written out": written_out_attention,
    "torch's choice": partial(by, None),  # last: what it plans, the others would not
}
"""A further way to attend is a further row."""
ON_A_CPU = ("torch's choice", "flash", "written out")
ALLOWED = 0.02
"""Norm of the error over that of the right figures: bfloat16 has eight bits."""


def main(job: Job) -> None:
    device = choose_device(job.device)
    for name, shape in (TINY_SHAPES if job.tiny else SHAPES).items():
        draw = torch.Generator(device).manual_seed(0)
        tensors = [
            torch.randn(shape, generator=draw, device=device, dtype=torch.bfloat16)
            for _ in range(4)
        ]
        wanted = figures(written_out_attention, *(t[:2].float() for t in tensors))
        for way, attend in WAYS.items():
            if not job.tiny or way in ON_A_CPU:
                look_at(job, f"{name}: {way}", attend, tensors, wanted)


def look_at(
    job: Job, case: str, attend: Attend, tensors: list[Tensor], wanted: list[Tensor]
) -> None:
    """Time a way to attend to `tensors` (q, k, v, the output's gradient), and compare its figures
    for the first two rows with those wanted."""
    device = tensors[0].device
    began = time.perf_counter()
    try:
        ours = figures(attend, *tensors)
        finish(device)
    except RuntimeError as error:  # no such kernel for this shape or machine; no memory
        job.measured(case, refused=str(error).splitlines()[0][:100])
        return
    first = time.perf_counter() - began
    pairs = zip(ours, wanted, strict=True)
    worst = max(((a[:2] - b).norm() / b.norm()).item() for a, b in pairs)
    both = each_ms(lambda: figures(attend, *tensors), device, 5)
    with torch.no_grad():
        forward = each_ms(lambda: attend(*tensors[:3]), device, 5)
    job.checked(
        case,
        worst < ALLOWED,  # false for NaN
        forward_ms=statistics.median(forward),
        both_ms=statistics.median(both),
        first_call_s=first,
        error=worst,
    )


def figures(attend: Attend, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    """The outputs and the gradients of q, k and v."""
    inputs = [t.detach().requires_grad_() for t in (q, k, v)]
    out = attend(*inputs)
    out.backward(grad)
    return [out.detach(), *(t.grad for t in inputs)]


if __name__ == "__main__":
    run_part(main)
