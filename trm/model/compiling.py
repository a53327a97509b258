"""Where torch.compile pays, what it lacks, and whether a model's nets can be compiled at all."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Callable

import torch

from trm.config.types import Kernels
from trm.errors import TrmError, first_line
from trm.model.base import RecursiveModel
from trm.model.kernels import choose_kernels
from trm.model.layers import compile_model, run_eagerly
from trm.progress import say
from trm.runtime.ranks import Ranks

FLOP_THAT_PAY = 4e12
"""From this many FLOP on it pays to compile on the CPU: about a minute of eager work of
one core with AVX-512. Compiling saves half of it, and costs a quarter (docs/performance.md)."""
CAPABILITY = (7, 0)  # of the oldest GPUs that Triton compiles for


def worth_compiling(device: torch.device, flop: float, flop_on_a_gpu: float = 0) -> bool:
    """What `compile: auto` chooses: the same for the same work on the same machine.

    On a GPU it pays from `flop_on_a_gpu` on.
    """
    if device.type == "mps":
        return False
    if device.type == "cuda":
        return flop >= flop_on_a_gpu
    return flop >= FLOP_THAT_PAY and _cpp_compiler() is not None


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


def compile_or_run_eagerly(
    model: RecursiveModel,
    ranks: Ranks,
    wanted: str,
    kernels: Kernels,
    trial: Callable[[], None],
) -> bool:
    """Compile the nets as `wanted` (`auto`, `on` or `max`) says, and try them by `trial`, which
    calls them in the shapes to come; returns whether they are compiled.

    Where one process cannot, all run eagerly, with a note by `auto`; else with a TrmError.
    """
    logging.getLogger(DYNAMO).addFilter(GIVES_UP)
    problem = _compile_and_try(model, ranks.device, trial, tuned=wanted == "max")
    if not ranks.any([problem is not None])[0]:
        return True
    if wanted != "auto":
        raise TrmError(
            f"compile={wanted}, but the nets cannot be compiled here: "
            f"{problem or 'another process cannot'}; compile=auto runs them eagerly then"
        )
    run_eagerly(model)
    choose_kernels(model, kernels, ranks.device)
    if problem is not None:
        say(f"note: the nets cannot be compiled here, and run eagerly: {problem}")
    return False


def compiling_pays(ranks: Ranks, flop: float, what: str, flop_on_a_gpu: float = 0) -> bool:
    """What `compile: auto` chooses for `what`, which takes `flop`; the same on every rank."""
    chosen = ranks.same_everywhere(worth_compiling(ranks.device, flop, flop_on_a_gpu))
    if chosen and ranks.is_main:
        say(
            f"compiling the nets, for {what} of about {flop / 1e12:.0f} TFLOP "
            "(compile=off runs them eagerly)"
        )
    return chosen


def _compile_and_try(
    model: RecursiveModel, device: torch.device, trial: Callable[[], None], tuned: bool
) -> str | None:
    """Why the nets cannot be compiled (no compiler, an old GPU), None if they can."""
    compile_model(model, device, tuned)
    try:
        trial()
    except Exception as error:  # whatever a compiler that is not ours may raise
        return lacking(device) or first_line(error)[:200]
    return None
