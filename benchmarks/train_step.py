"""Time one training step, plain eager against compiled, in alternation.

    python benchmarks/train_step.py                        # every case, bfloat16
    python benchmarks/train_step.py sudoku-mlp demo --dtype float32 --steps 20
    python benchmarks/train_step.py sudoku-mlp --batch 768 --compile max    # on a GPU

Prints, for each path, the median of ms/step, examples/s, the share of the matrix multiplication
rate that this machine reaches (measured at the start), and what the first step took, compilation
included; then the ratio, and the largest relative difference of the losses.
The FLOP are those of the step's matrix multiplications and attention, as torch counts them.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import torch
import torch._dynamo
from torch.utils.flop_counter import FlopCounterMode

from trm.config.compose import compose
from trm.config.types import ModelConfig, TrainConfig
from trm.model.act import Batch
from trm.model.base import RecursiveModel
from trm.model.layers import compile_model, product
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks, choose_device
from trm.training.ema import EMA
from trm.training.memory import estimate
from trm.training.optim import SignSGD, make_optimizer
from trm.training.step import TrainState, train_step


@dataclass(frozen=True)
class Case:
    words: tuple[str, ...]
    seq_len: int
    vocab: int
    batch: int


MLP = ("arch.mlp_t=true", "arch.pos_encodings=none")
DEMO = (
    "arch.hidden_size=128",
    "arch.num_heads=4",
    "arch.puzzle_emb_len=1",
    "arch.H_cycles=2",
    "arch.L_cycles=3",
    "arch.halt_max_steps=8",
)
CASES = {
    "sudoku-mlp": Case(MLP, 81, 11, 16),
    "sudoku-att": Case((), 81, 11, 16),
    "maze-att": Case(("arch.L_cycles=4",), 900, 6, 2),
    "arc-att": Case(("arch.L_cycles=4",), 900, 12, 2),
    "demo": Case((*MLP, *DEMO), 36, 8, 128),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each path")
    parser.add_argument("--batch", type=int, help="rows per step, in place of the case's own")
    parser.add_argument("--compile", default="on", choices=["on", "max"], help="as in pretrain.py")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--cudnn-attention", action="store_true", help="on a GPU; trainings do not use it"
    )
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")

    device = choose_device(args.device)
    if args.cudnn_attention:
        torch.backends.cuda.enable_cudnn_sdp(True)
    # A path that silently ran eagerly would be timed as compiled.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    peak = matmul_rate(device, getattr(torch, args.dtype))
    print(
        f"{date.today()}, {device_name(device)}, torch {torch.__version__}, {args.dtype}: "
        f"matmul {peak / 1e9:.0f} GFLOP/s"
    )
    for name in args.cases or CASES:
        case = CASES[name]
        rows = args.batch or case.batch
        print(f"\n{name}, {rows} rows")
        compare(case, rows, args.dtype, args.steps, device, peak, tuned=args.compile == "max")


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = (
        [
            line.split(":")[1].strip()
            for line in open("/proc/cpuinfo")  # noqa: PTH123, SIM115
            if line.startswith("model name")
        ]
        if platform.system() == "Linux"
        else []
    )
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of matrix products: on a GPU of ten of 8192 x 8192 in a row, so that it never waits;
    on the CPU the best of several of 2048 x 2048."""
    if device.type == "cuda":
        return _rate_without_gaps(torch.randn(8192, 8192, device=device).to(dtype))
    a = torch.randn(2048, 2048, device=device).to(dtype)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        product(a, a)
        finish(device)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def _rate_without_gaps(a: torch.Tensor, products: int = 10) -> float:
    for _ in range(3):
        a @ a
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(products):
        a @ a
    last.record()
    last.synchronize()
    return 2 * len(a) ** 3 * products / (first.elapsed_time(last) / 1000)


def compare(
    case: Case, rows: int, dtype: str, steps: int, device: torch.device, peak: float, tuned: bool
) -> None:
    torch.compiler.reset()  # torch compiles a function for eight shapes, then runs it eagerly
    config = training_config(case, rows, dtype)
    ranks = Ranks(0, 1, device)
    batches = draw_batches(case, rows, device)
    prepare = {"eager": leave_eager, "compiled": lambda m: compile_model(m, device, tuned)}
    runs = {path: timed_steps(case, config, ranks, batches, prepare[path]) for path in prepare}
    taken: dict[str, list[tuple[float, float]]] = {path: [] for path in runs}
    for path in order_of_steps([*runs], steps + 2, device):
        taken[path].append(next(runs[path]))
        if len(taken[path]) == steps + 2:
            runs[path].close()  # lets go of its model
    seconds, losses = (
        {path: [pair[i] for pair in pairs] for path, pairs in taken.items()} for i in (0, 1)
    )
    state = new_state(case, config, ranks)
    kept = estimate(state.model, batches[0], config.arch.loss.loss_type).bytes_per_row
    with FlopCounterMode(display=False) as counter:
        train_step(config, state, batches[0], ranks)
    flop = counter.get_total_flops()
    for path in runs:
        median = statistics.median(seconds[path][2:])
        print(
            f"  {path:9} {1000 * median:8.1f} ms/step  {rows / median:8.1f} examples/s  "
            f"{flop / median / peak:4.0%} of the matmul rate  first step {seconds[path][0]:.1f} s"
        )
    pairs = zip(losses["eager"], losses["compiled"], strict=True)
    ratio = statistics.median(
        a / b for a, b in zip(seconds["eager"][2:], seconds["compiled"][2:], strict=True)
    )
    print(
        f"  eager / compiled {ratio:.2f}, losses within "
        f"{max(abs(a - b) / abs(a) for a, b in pairs):.1e}; {flop / 1e9:.0f} GFLOP a step, "
        f"activations {kept * rows / 1e9:.2f} GB"
    )


def leave_eager(model: RecursiveModel) -> None:
    """The path that is compared with the compiled one."""


def order_of_steps(paths: list[str], steps: int, device: torch.device) -> list[str]:
    """The path of each step. In alternation, since other work on a machine comes and goes; on a GPU
    one path after the other, so that neither finds its memory taken by the other's."""
    if device.type == "cuda":
        return [path for path in paths for _ in range(steps)]
    return paths * steps


def timed_steps(
    case: Case,
    config: TrainConfig,
    ranks: Ranks,
    batches: list[Batch],
    prepare: Callable[[RecursiveModel], None],
) -> Iterator[tuple[float, float]]:
    """Seconds and loss of one step after the other, of a training that begins with the first."""
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()  # of the path before
    state = new_state(case, config, ranks)
    prepare(state.model)
    for batch in itertools.cycle(batches):
        began = time.perf_counter()
        metrics = train_step(config, state, batch, ranks)
        finish(ranks.device)
        yield time.perf_counter() - began, metrics["loss"].item()


def training_config(case: Case, rows: int, dtype: str) -> TrainConfig:
    return compose(
        [
            *case.words,
            f"arch.forward_dtype={dtype}",
            f"global_batch_size={rows}",
            "ema=true",
            "lr=1e-4",
            "weight_decay=1.0",
            "evaluators=[]",
            "data_paths=[none]",
        ]
    )


def draw_batches(case: Case, rows: int, device: torch.device) -> list[Batch]:
    """Four of them, of random tokens."""
    draw = torch.Generator().manual_seed(0)
    shape = (rows, case.seq_len)
    return [
        Batch(
            torch.randint(1, case.vocab, shape, generator=draw, dtype=torch.int32),
            torch.randint(1, case.vocab, shape, generator=draw, dtype=torch.int32),
            torch.zeros(rows, dtype=torch.int32),
        ).to(device)
        for _ in range(4)
    ]


def new_state(case: Case, config: TrainConfig, ranks: Ranks) -> TrainState:
    torch.manual_seed(0)
    model = build_model(ModelConfig.of(config.arch, case.seq_len, case.vocab, 1)).to(ranks.device)
    model.train()
    return TrainState(
        model=model,
        optimizer=make_optimizer("adam_atan2", model, (0.9, 0.95), 1.0),
        puzzle_optimizer=SignSGD(model.puzzle_emb.weights, 1.0, ranks),
        ema=EMA(model, config.ema_rate),
        generator=torch.Generator().manual_seed(0),
        total_steps=65_000,
    )


if __name__ == "__main__":
    main()
