"""Whether a training's nets are compiled by torch.compile."""

from __future__ import annotations

import os
import shutil
import sys

import torch

from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import Depth, RecursiveModel
from trm.model.layers import compile_model
from trm.model.loss import act_loss

FLOP_THAT_PAY = 4e12
"""From this many FLOP on it pays to compile a training on the CPU: about a minute of eager work of
one core with AVX-512. Compiling saves half of it, and costs a quarter (docs/performance.md)."""


def worth_compiling(device: torch.device, training_flop: float) -> bool:
    """What `compile: auto` chooses: the same for the same training on the same machine."""
    if device.type == "mps":
        return False
    if device.type == "cuda":
        return True
    return training_flop >= FLOP_THAT_PAY and _cpp_compiler() is not None


def _cpp_compiler() -> str | None:
    """The compiler that torch would call, if there is one."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    return shutil.which(os.environ.get("CXX", default))


def compile_and_try(
    model: RecursiveModel, batch: Batch, loss_type: str, depth: Depth
) -> str | None:
    """Compile the nets and try them, in training, on one batch of the run's shape.

    Returns why they cannot be compiled (no Python headers, an unknown processor), None if they can.
    Neither weights nor random streams change.
    """
    compile_model(model, batch.inputs.device)
    try:
        carry, output = act_step(model, initial_carry(model, batch), batch, depth=depth)
        loss, _, _ = act_loss(loss_type, carry, output)
        loss.backward()
        if not loss.isfinite():
            return f"the compiled loss is {loss.item()}"
    except Exception as error:  # whatever a compiler that is not ours may raise
        return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    finally:
        model.zero_grad(set_to_none=True)
    return None
