"""A run's state: as tensors and facts for a snapshot, and back; how a run resumes from one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trm.errors import TrmError
from trm.model.act import Batch, Carry
from trm.runtime.cost import CostMeter
from trm.runtime.ranks import Ranks
from trm.training.flop import TrainingFlop
from trm.training.folder import discard_other_run, why_not_here
from trm.training.setup import Datasets, Run
from trm.training.snapshot import Snapshot, read_snapshot
from trm.training.step import Meter, TrainState

CURRENT = ("inputs", "labels", "puzzle_identifiers")


@dataclass(frozen=True)
class Resumed:
    """What the snapshot that a run resumes from says of it; without facts for a run that begins."""

    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def starts(self) -> int:
        """How often the run was started, this time included."""
        return self.facts.get("starts", 0) + 1


@dataclass(frozen=True)
class Part:
    """A run from this start of its process to its end, or to its next interruption."""

    run: Run
    datasets: Datasets
    state: TrainState
    resumed: Resumed
    cost: CostMeter  # of all parts until now
    flop: TrainingFlop


def resume(run: Run, datasets: Datasets, state: TrainState, meter: Meter) -> Resumed:
    """Put the newest snapshot into `state` and `meter`, unless there is none or the settings say
    otherwise; TrmError where the folder holds something else."""
    ranks = run.ranks
    refusal = ranks.from_main(lambda: why_not_here(run, datasets))
    if refusal is not None:
        raise TrmError(refusal)
    if ranks.is_main:
        discard_other_run(run, datasets)
    snapshot = read_snapshot(run.folder, ranks)
    if snapshot is None:
        return Resumed()
    unpack(snapshot, state, meter, ranks, run.config.micro_batch_size)
    return Resumed(snapshot.facts)


def pack(state: TrainState, meter: Meter, facts: dict[str, Any]) -> Snapshot:
    """Everything that decides how the run continues. `facts` are added to those of the state."""
    shared = {f"model.{name}": t for name, t in state.model.state_dict().items()}
    if state.ema is not None:
        shared |= {f"ema.{name}": t for name, t in state.ema.shadow.items()}
    numbers: dict[str, float] = {}
    if state.optimizer is not None:
        for i, values in state.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                kind = shared if isinstance(value, Tensor) else numbers
                kind[f"optimizer.{i}.{name}"] = value
    # The one random stream that a step draws from; the batches' own is a function of the position.
    shared["exploration"] = state.generator.get_state()
    return Snapshot(
        shared=shared,
        rows=_pack_carries(state.carries),
        own={f"meter.{name}": t for name, t in meter.sums.items()},
        facts={
            "step": state.step,
            "iteration": state.iteration,
            "batches": state.batches,
            "evaluating": state.evaluating,
            "checkpoints": state.saved,
            "optimizer": numbers,
            "meter": {"steps": meter.steps, "seconds": time.monotonic() - meter.began},
            **facts,
        },
    )


def unpack(
    snapshot: Snapshot, state: TrainState, meter: Meter, ranks: Ranks, micro_batch: int | None
) -> None:
    """Put a snapshot's state into the freshly made `state` and `meter`."""
    shared, facts = snapshot.shared, snapshot.facts
    state.model.load_state_dict(_under("model.", shared))
    if state.ema is not None:
        for name, t in _under("ema.", shared).items():
            state.ema.shadow[name].copy_(t)
    if state.optimizer is not None:
        values: dict[int, dict[str, Any]] = {}
        saved = _under("optimizer.", shared) | _under("optimizer.", facts["optimizer"])
        for key, value in saved.items():
            index, _, name = key.partition(".")
            values.setdefault(int(index), {})[name] = value
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": values, "param_groups": groups})
    state.generator.set_state(shared["exploration"])
    state.carries = _unpack_carries(snapshot.rows, ranks.device, micro_batch)
    state.step, state.iteration = facts["step"], facts["iteration"]
    state.batches, state.evaluating = facts["batches"], facts["evaluating"]
    state.saved = list(facts["checkpoints"])
    if snapshot.own or not facts["meter"]["steps"]:
        meter.sums = {k: t.to(ranks.device) for k, t in _under("meter.", snapshot.own).items()}
        meter.steps = facts["meter"]["steps"]
        meter.began = time.monotonic() - facts["meter"]["seconds"]


def _under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _pack_carries(carries: dict[int, list[Carry]]) -> dict[str, Tensor]:
    """The rows of all batches in flight; the first have plain names, as where there is only one."""
    return {
        _flight(turn) + name: t
        for turn, slices in carries.items()
        for name, t in _pack_slices(slices).items()
    }


def _flight(turn: int) -> str:
    return f"flight.{turn}." if turn else ""


def _pack_slices(carries: list[Carry]) -> dict[str, Tensor]:
    whole = {
        "steps": torch.cat([c.steps for c in carries]),
        "halted": torch.cat([c.halted for c in carries]),
    }
    for i in range(len(carries[0].state)):
        whole[f"state.{i}"] = torch.cat([c.state[i] for c in carries])
    for name in CURRENT:
        whole[f"current.{name}"] = torch.cat([getattr(c.current, name) for c in carries])
    return whole


def _unpack_carries(
    rows: dict[str, Tensor], device: torch.device, micro_batch: int | None
) -> dict[int, list[Carry]]:
    rows = {name: t.to(device) for name, t in rows.items()}
    turns = sum(name.endswith("steps") for name in rows)
    return {turn: _unpack_slices(_under(_flight(turn), rows), micro_batch) for turn in range(turns)}


def _unpack_slices(rows: dict[str, Tensor], micro_batch: int | None) -> list[Carry]:
    size = len(rows["steps"])
    slices = {name: t.split(micro_batch or size) for name, t in rows.items()}
    states = [slices[f"state.{i}"] for i in range(sum(n.startswith("state.") for n in rows))]
    return [
        Carry(
            state=tuple(state[k] for state in states),
            steps=slices["steps"][k],
            halted=slices["halted"][k],
            current=Batch(*(slices[f"current.{name}"][k] for name in CURRENT)),
        )
        for k in range(len(slices["steps"]))
    ]
