"""Which code computes the nets: as published, with positions first, or by fused kernels."""

from __future__ import annotations

import importlib.util
import os

import torch

from trm.config.types import Kernels
from trm.errors import first_line
from trm.model.base import RecursiveModel
from trm.model.layers import Block, SwiGLU, put_positions_first
from trm.progress import say
from trm.runtime.ranks import Ranks

CAPABILITY = (8, 0)  # of the oldest GPUs with bfloat16 instructions
TYPES = (torch.bfloat16, torch.float16)


def use_kernels(model: RecursiveModel, kernels: Kernels, ranks: Ranks) -> None:
    """Compute the nets as `kernels` says, or by plain code, with a note, where that cannot be."""
    problem = choose_kernels(model, kernels, ranks.device)
    if problem is not None and ranks.is_main:
        say(f"note: kernels={kernels} is not possible here: {problem}")


def choose_kernels(model: RecursiveModel, kernels: Kernels, device: torch.device) -> str | None:
    """Compute the nets of a model on `device` as `kernels` says.

    Returns why fused kernels cannot be used where they are wanted, None if they can; plain code,
    with positions first, computes the nets then.
    """
    put_positions_first(model, kernels != "plain")
    for module in model.modules():
        if isinstance(module, SwiGLU):
            module.fused = False
    if kernels != "fused":
        return None
    problem = _lacking(model, device)
    if problem is not None:
        return problem
    _fuse(model)
    try:
        _try(model, device)
    except Exception as error:  # whatever a compiler that is not ours may raise
        choose_kernels(model, "positions_first", device)
        return first_line(error)[:200]
    return None


def _lacking(model: RecursiveModel, device: torch.device) -> str | None:
    """What the kernels need and do not find here."""
    dtype = model.dtype
    if not any(isinstance(module, Block) for module in model.modules()):
        return "they are for TRM's blocks, and this architecture has others"
    if model.config.bounded_glu:
        return "they are for SwiGLU, which arch.bounded_glu replaces"
    if importlib.util.find_spec("triton") is None:
        return "Triton, which comes with torch's builds for CUDA, is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1" and device.type == "cpu":
        return "Triton's interpreter has no bfloat16" if dtype == torch.bfloat16 else None
    if device.type != "cuda":
        return "they are for NVIDIA GPUs"
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return f"the GPU's compute capability is below {'.'.join(map(str, CAPABILITY))}"
    if dtype not in TYPES:
        return "they compute in bfloat16 and float16 only"
    return None


def _fuse(model: RecursiveModel) -> None:
    from trm.model.fused import LONGEST

    for block in model.modules():
        if isinstance(block, Block):
            block.mlp.fused = True
            if block.mixes_with_mlp:
                block.mlp_t.fused = model.length <= LONGEST


def _try(model: RecursiveModel, device: torch.device) -> None:
    """Call one block, forward and backward, on two rows of zeros; no weight changes."""
    block = next(module for module in model.modules() if isinstance(module, Block))
    size = (2, model.length)[:: -1 if model.positions_first else 1]
    rows = torch.zeros(*size, model.config.hidden_size, dtype=model.dtype, device=device)
    block(rows.requires_grad_(), None).sum().backward()
    block.zero_grad(set_to_none=True)
