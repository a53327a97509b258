"""Whether a training's nets are compiled by torch.compile."""

from __future__ import annotations

import os

from trm.model.act import act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.compiling import compile_or_run_eagerly, compiling_pays
from trm.model.loss import act_loss
from trm.training.setup import Run, deepest, repeated_example
from trm.training.state import Part


def compile_nets(part: Part) -> bool:
    """Compile the nets where `compile` says so; returns whether they are compiled. TrmError where
    they must be and cannot."""
    run, model = part.run, part.state.model
    config, ranks = run.config, run.ranks
    demanded = config.compile in ("on", "max")
    if not demanded and (config.compile == "off" or "DISABLE_COMPILE" in os.environ):
        return False
    if not demanded and not _pays(part):
        return False
    return compile_or_run_eagerly(
        model, ranks, config.compile, config.kernels, lambda: _try_a_step(run, model)
    )


def _pays(part: Part) -> bool:
    """Whether `compile: auto` compiles: as this run did before it was interrupted, else by the FLOP
    of all its steps."""
    run, facts = part.run, part.resumed.facts
    if facts:
        # Snapshots of earlier versions do not say; then a GPU compiled and a CPU did not.
        return facts.get("compiled", run.ranks.device.type == "cuda")
    return compiling_pays(run.ranks, part.flop.until(run.steps), "a training")


def _try_a_step(run: Run, model: RecursiveModel) -> None:
    """Train on one batch of the run's shape: neither weights nor random streams change.

    FloatingPointError where the loss is not finite.
    """
    batch = repeated_example(run, run.rows_at_once)
    try:
        carry, output = act_step(
            model, initial_carry(model, batch), batch, depth=deepest(run.config)
        )
        loss, _, _ = act_loss(run.config.arch.loss.loss_type, carry, output)
        loss.backward()
        if not loss.isfinite():
            raise FloatingPointError(f"the compiled loss is {loss.item()}")
    finally:
        model.zero_grad(set_to_none=True)
