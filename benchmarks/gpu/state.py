"""What a GPU must not change: a training step is that of the CPU, the puzzle embedding's update is
the same each time, and a run that is restored from a snapshot continues bit by bit."""

from __future__ import annotations

from pathlib import Path

import torch
from job import Job, run_part
from torch import Tensor
from train_step import Case, training_config

from trm.config.architectures import architecture_names
from trm.config.types import ModelConfig, TrainConfig
from trm.model.act import Batch
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks, choose_device
from trm.training.ema import EMA
from trm.training.optim import SignSGD, make_optimizer
from trm.training.snapshot import read_snapshot, write_snapshot
from trm.training.state import pack, unpack
from trm.training.step import Meter, TrainState, train_step

ROWS, SEQ_LEN, VOCAB, PUZZLES = 12, 9, 5, 4
SMALL = (
    "arch.hidden_size=32",
    "arch.num_heads=2",
    "arch.puzzle_emb_ndim=32",
    "arch.H_cycles=2",
    "arch.L_cycles=2",
    "arch.halt_max_steps=3",
    "puzzle_emb_lr=0.01",
    "lr_warmup_steps=2",
)
MLP = ("arch.mlp_t=true", "arch.pos_encodings=none")
ALLOWED = 1e-9
"""Relative to the largest value of an array, in double precision."""


def main(job: Job) -> None:
    device = choose_device(job.device)
    for name, words in {**{a: (f"arch={a}",) for a in architecture_names()}, "mlp": MLP}.items():
        with job.case(f"{name}: CPU = {job.device}"):
            config = config_of(*words, dtype="float64")
            on_cpu, here = (
                figures(trained(config, Ranks(0, 1, place), steps=3))
                for place in (torch.device("cpu"), device)
            )
            off = max(relative(here[key], value) for key, value in on_cpu.items())
            job.checked(f"{name}: CPU = {job.device}", off < ALLOWED, worst=off)
    with job.case("sign-SGD, the same each time"):
        different = sum(not torch.equal(a, b) for a, b in sign_updates(device, job.tiny))
        job.checked("sign-SGD, the same each time", different == 0, different=different)
    for name, words in {"mlp": MLP, "att": ()}.items():
        with job.case(f"{name}: restored"):
            check_restored(job, name, config_of(*words), Ranks(0, 1, device))


def config_of(*words: str, dtype: str = "float32") -> TrainConfig:
    return training_config(Case((*words, *SMALL), SEQ_LEN, VOCAB, ROWS), ROWS, dtype)


def fresh(config: TrainConfig, ranks: Ranks) -> TrainState:
    torch.manual_seed(0)
    model = build_model(ModelConfig.of(config.arch, SEQ_LEN, VOCAB, PUZZLES)).to(ranks.device)
    return TrainState(
        model=model.train(),
        optimizer=make_optimizer("adam_atan2", model, (0.9, 0.95), 1.0),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, 1.0, ranks),
        ema=EMA(model, config.ema_rate),
        generator=torch.Generator().manual_seed(0),
        total_steps=100,
    )


def batches(device: torch.device) -> list[Batch]:
    """Three, in which every puzzle has several rows."""
    draw = torch.Generator().manual_seed(0)
    shape = (ROWS, SEQ_LEN)
    return [
        Batch(
            torch.randint(1, VOCAB, shape, generator=draw, dtype=torch.int32),
            torch.randint(1, VOCAB, shape, generator=draw, dtype=torch.int32),
            torch.randint(0, PUZZLES, (ROWS,), generator=draw, dtype=torch.int32),
        ).to(device)
        for _ in range(3)
    ]


def trained(
    config: TrainConfig, ranks: Ranks, steps: int, state: TrainState | None = None
) -> TrainState:
    """A state, a fresh one unless it is given, after so many steps more."""
    state = state or fresh(config, ranks)
    for _ in range(steps):
        train_step(config, state, batches(ranks.device)[state.step % 3], ranks)
    return state


def figures(state: TrainState) -> dict[str, Tensor]:
    """Every tensor of a training state, on the CPU."""
    snapshot = pack(state, Meter(Ranks(0, 1, torch.device("cpu")), ROWS), {})
    return {name: t.detach().cpu() for name, t in (snapshot.shared | snapshot.rows).items()}


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, over the largest value of b."""
    a, b = a.double(), b.double()
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-300)).item() if b.numel() else 0.0


def sign_updates(device: torch.device, tiny: bool) -> list[tuple[Tensor, Tensor]]:
    """Pairs of the same update, of gradients whose sums nearly cancel, computed twice."""
    rows, dim = (32, 8) if tiny else (768, 512)
    ranks, pairs = Ranks(0, 1, device), []
    for seed in range(2 if tiny else 20):
        draw = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 1 + seed % 5, (rows,), generator=draw, dtype=torch.int32).to(device)
        grads = torch.randn(rows // 2, dim, generator=draw)
        # Their sum is zero, but for the rounding of the order in which they are added.
        grads = torch.cat((grads, -grads))[torch.randperm(rows, generator=draw)].to(device)
        weights = [torch.zeros(5, dim, device=device) for _ in range(2)]
        for table in weights:
            SignSGD(table, 1.0, ranks).step(0.01, ids, grads)
        pairs.append((weights[0], weights[1]))
    return pairs


def check_restored(job: Job, name: str, config: TrainConfig, ranks: Ranks) -> None:
    """A state that is written and read again is the same, and trains on to the same."""
    folder = Path(job.scratch) / f"restored-{job.part}-{name}"
    state = trained(config, ranks, steps=3)
    meter = Meter(ranks, ROWS)
    facts = {"world_size": 1}
    problem = write_snapshot(folder, state.step, pack(state, meter, facts), ranks, keep=1)
    restored = fresh(config, ranks)
    snapshot = read_snapshot(folder, ranks)
    assert problem is None and snapshot is not None, problem
    unpack(snapshot, restored, Meter(ranks, ROWS), ranks, None)
    for label, steps in (("at once", 0), ("three steps later", 3)):
        one, other = (figures(trained(config, ranks, steps, of)) for of in (state, restored))
        different = [key for key, value in one.items() if not torch.equal(value, other[key])]
        job.checked(f"{name}: restored, {label}", not different, different=different[:3])


if __name__ == "__main__":
    run_part(main)
