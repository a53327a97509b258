"""Whether a training's nets are compiled by torch.compile."""

from __future__ import annotations

import os
import shutil
import sys

import torch

from trm.errors import first_line
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import Depth, RecursiveModel
from trm.model.layers import compile_model, run_eagerly
from trm.model.loss import act_loss
from trm.progress import say
from trm.training.memory import StepEstimate
from trm.training.setup import Run, deepest, repeated_example
from trm.training.state import Resumed

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


def compile_nets(run: Run, model: RecursiveModel, estimate: StepEstimate, resumed: Resumed) -> bool:
    """Compile the nets where `compile` says so; returns whether they are compiled."""
    config, ranks = run.config, run.ranks
    if config.compile in ("on", "max"):
        compile_model(model, ranks.device, tuned=config.compile == "max")
        return True
    if config.compile == "off" or "DISABLE_COMPILE" in os.environ:
        return False
    if not _pays(run, estimate, resumed):
        return False
    batch = repeated_example(run, run.rows_at_once)
    problem = compile_and_try(model, batch, config.arch.loss.loss_type, deepest(config))
    if not ranks.any([problem is not None])[0]:
        return True
    run_eagerly(model)
    if problem is not None:
        say(f"note: the nets cannot be compiled here, and run eagerly: {problem}")
    return False


def _pays(run: Run, estimate: StepEstimate, resumed: Resumed) -> bool:
    """Whether `compile: auto` compiles: as this run did before it was interrupted, else by the FLOP
    of all its steps."""
    ranks = run.ranks
    if resumed.facts:
        # Snapshots of earlier versions do not say; then a GPU compiled and a CPU did not.
        return resumed.facts.get("compiled", ranks.device.type == "cuda")
    # The backward pass takes twice the forward's, but only of the last cycle.
    flop = 2 * estimate.flop_per_row * run.steps * run.config.global_batch_size
    chosen = ranks.same_everywhere(worth_compiling(ranks.device, flop))
    if chosen and ranks.is_main:
        say(
            f"compiling the nets, for a training of about {flop / 1e12:.0f} TFLOP "
            "(compile=off runs them eagerly)"
        )
    return chosen


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
        return first_line(error)[:200]
    finally:
        model.zero_grad(set_to_none=True)
    return None
