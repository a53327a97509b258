"""Whether a training's nets are compiled by torch.compile."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys

import torch

from trm.errors import TrmError, first_line
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import Depth, RecursiveModel
from trm.model.layers import compile_model, put_positions_first, run_eagerly
from trm.model.loss import act_loss
from trm.progress import say
from trm.training.memory import StepEstimate
from trm.training.setup import Run, deepest, repeated_example
from trm.training.state import Resumed

FLOP_THAT_PAY = 4e12
"""From this many FLOP on it pays to compile a training on the CPU: about a minute of eager work of
one core with AVX-512. Compiling saves half of it, and costs a quarter (docs/performance.md)."""
CAPABILITY = (7, 0)  # of the oldest GPUs that Triton compiles for


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


def _c_compiler() -> str | None:
    """The compiler that Triton would call, if there is one."""
    named = os.environ.get("CC")
    return next(filter(None, map(shutil.which, [named] if named else ["gcc", "clang"])), None)


def lacking(device: torch.device) -> str | None:
    """What torch.compile needs and does not find here; None where it is something unusual.

    Only after a failure: code that was compiled before may need no compiler.
    """
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < CAPABILITY:
            has, needs = (".".join(map(str, version)) for version in (capability, CAPABILITY))
            return f"the GPU has compute capability {has}, and torch.compile needs {needs}"
        if importlib.util.find_spec("triton") is None:
            return "Triton, which comes with torch's builds for CUDA, is not installed"
        if _c_compiler() is None:
            return "there is no C compiler (gcc or clang, or the one that CC names)"
    if device.type == "cpu" and _cpp_compiler() is None:
        return "there is no C++ compiler (g++, on a Mac clang++, or the one that CXX names)"
    return None


class GivesUp(logging.Filter):
    """Puts a note in the place of torch's warning that it compiles a function no more."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "hit config." not in record.getMessage():
            return True
        if not self.noted:
            say(
                "note: the nets were called in more ways than torch compiles; the further ones run "
                "eagerly, and slower (TORCH_LOGS=recompiles names them)"
            )
        self.noted = True
        return False


DYNAMO = "torch._dynamo.convert_frame"  # the logger of that warning
GIVES_UP = GivesUp()


def choose_kernels(run: Run, model: RecursiveModel) -> None:
    """Compute the nets as `kernels` says."""
    put_positions_first(model, run.config.kernels == "positions_first")


def compile_nets(run: Run, model: RecursiveModel, estimate: StepEstimate, resumed: Resumed) -> bool:
    """Compile the nets where `compile` says so; returns whether they are compiled. TrmError where
    they must be and cannot."""
    config, ranks = run.config, run.ranks
    demanded = config.compile in ("on", "max")
    if not demanded and (config.compile == "off" or "DISABLE_COMPILE" in os.environ):
        return False
    if not demanded and not _pays(run, estimate, resumed):
        return False
    logging.getLogger(DYNAMO).addFilter(GIVES_UP)
    batch = repeated_example(run, run.rows_at_once)
    tuned = config.compile == "max"
    problem = compile_and_try(model, batch, config.arch.loss.loss_type, deepest(config), tuned)
    if not ranks.any([problem is not None])[0]:
        return True
    if demanded:
        raise TrmError(
            f"compile={config.compile}, but the nets cannot be compiled here: "
            f"{problem or 'another process cannot'}; compile=auto runs them eagerly then"
        )
    run_eagerly(model)
    choose_kernels(run, model)
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
    model: RecursiveModel, batch: Batch, loss_type: str, depth: Depth, tuned: bool = False
) -> str | None:
    """Compile the nets and try them, in training, on one batch of the run's shape.

    Returns why they cannot be compiled (no compiler, an old GPU), None if they can.
    Neither weights nor random streams change.
    """
    device = batch.inputs.device
    compile_model(model, device, tuned)
    try:
        carry, output = act_step(model, initial_carry(model, batch), batch, depth=depth)
        loss, _, _ = act_loss(loss_type, carry, output)
        loss.backward()
        if not loss.isfinite():
            return f"the compiled loss is {loss.item()}"
    except Exception as error:  # whatever a compiler that is not ours may raise
        return lacking(device) or first_line(error)[:200]
    finally:
        model.zero_grad(set_to_none=True)
    return None
