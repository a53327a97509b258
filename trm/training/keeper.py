"""When a run's state is saved: at intervals, before an evaluation, before the run is stopped."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import NoReturn

import torch

from trm.errors import TrmError
from trm.runtime.signals import Interrupted, Signals
from trm.training.records import Silent
from trm.training.setup import Run
from trm.training.snapshot import write_snapshot
from trm.training.state import Part, pack
from trm.training.step import Meter, TrainState


class Keeper:
    """Keeps a run's state on the disk: saves it when that is due, and before the run is stopped."""

    def __init__(
        self, part: Part, meter: Meter, records: Silent, signals: Signals, compiled: bool
    ) -> None:
        self.part, self.state, self.meter = part, part.state, meter
        self.config, self.ranks = part.run.config, part.run.ranks
        self.records, self.signals, self.compiled = records, signals, compiled
        self.saved_at, self.saved_step = time.monotonic(), self.state.step

    def save_if_due(self) -> None:
        """Save after a signal, then stop; save where the last one is old. All ranks together."""
        every = self.config.save_every_steps
        old = time.monotonic() - self.saved_at >= 60 * self.config.save_every_minutes
        due = old or (every is not None and self.state.step % every == 0)
        told, due = self.ranks.any([self.signals.noted is not None, due])
        if told or due:
            self.save()
        if told:
            self._stop()

    def stop_if_told(self) -> None:
        """Stop an evaluation after a signal: the state from before it is on the disk already."""
        if self.ranks.any([self.signals.noted is not None])[0]:
            self._stop()

    def _stop(self) -> NoReturn:
        noted = self.signals.noted
        why = noted.name if noted is not None else "a signal to another process"
        self.records.stopped(why, self.saved_step)
        raise Interrupted

    def save(self) -> None:
        """Write a snapshot, unless there is one of this step; a full disk ends no training."""
        state, run = self.state, self.part.run
        if self.saved_step == state.step:
            return
        self._refuse_unsound()
        facts = {
            "world_size": self.ranks.world_size,
            "total_steps": run.steps,
            "config": self.config.model_dump(mode="json"),
            "dataset_sha256": self.part.datasets.sha256,
            "cost": asdict(self.part.cost.total()),
            "starts": self.part.resumed.starts,
            "compiled": self.compiled,
            **self.records.facts(),
        }
        snapshot = pack(state, self.meter, facts)
        problem = write_snapshot(
            run.folder, state.step, snapshot, self.ranks, self.config.keep_snapshots
        )
        self.saved_at = time.monotonic()
        if problem is None:
            self.saved_step = state.step
        else:
            self.records.not_saved(problem, self.saved_step)

    def _refuse_unsound(self) -> None:
        """TrmError for a diverged state, and for one of which the ranks hold different copies:
        neither must take the place of a sound one."""
        parameters = [*self.state.model.parameters()]
        if self.state.puzzle_optimizer is not None:
            parameters.append(self.state.puzzle_optimizer.weights)
        if not torch.stack([p.detach().isfinite().all() for p in parameters]).all().item():
            raise diverged("the weights are not finite", self.state, self.part.run)
        unlike = self.ranks.unlike_main(parameters)
        if unlike:
            raise TrmError(
                f"process {unlike[0]} of this run holds other weights or puzzle embeddings than "
                f"process 0 at step {self.state.step}; what is saved in {self.part.run.folder} is "
                "from before. The same command resumes from it; if this happens again, train with "
                "one process, or check the GPUs and their memory"
            )


def diverged(what: str, state: TrainState, run: Run) -> TrmError:
    return TrmError(
        f"{what} at step {state.step}; what is saved in {run.folder} is from before. A "
        "lower lr, more lr_warmup_steps or arch.forward_dtype=float32 may help"
    )
