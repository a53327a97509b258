"""Time one compiled training step with each of the settings of `kernels`, one after the other.

    python benchmarks/kernels.py                                    # at full size, on a GPU
    python benchmarks/kernels.py demo --batch 8 --steps 2 --device cpu

Prints, for each setting, the median of ms/step, its ratio to plain, and how far losses are from
plain ones; then, of one eager step, how far the gradient is from that of float32: fused kernels
round less often than plain code, and should not be further off.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from datetime import date
from typing import get_args

import torch
from train_step import (
    CASES,
    Case,
    device_name,
    draw_batches,
    new_state,
    timed_steps,
    training_config,
)

from trm.config.types import Kernels
from trm.model.act import act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.kernels import choose_kernels
from trm.model.layers import compile_model
from trm.model.loss import act_loss
from trm.runtime.ranks import Ranks, choose_device

FULL_SIZE = {"sudoku-mlp": 768, "arc-att": 192}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)} (default: two)")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each setting")
    parser.add_argument("--batch", type=int, help="rows per step")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")

    device = choose_device(args.device)
    print(f"{date.today()}, {device_name(device)}, torch {torch.__version__}, bfloat16")
    for name in args.cases or FULL_SIZE:
        rows = args.batch or FULL_SIZE.get(name, CASES[name].batch)
        print(f"\n{name}, {rows} rows")
        compare_times(CASES[name], rows, args.steps, Ranks(0, 1, device))
        compare_gradients(CASES[name], min(rows, 16), Ranks(0, 1, device))


def compare_times(case: Case, rows: int, steps: int, ranks: Ranks) -> None:
    config = training_config(case, rows, "bfloat16")
    batches = draw_batches(case, rows, ranks.device)
    plain: list[tuple[float, float]] = []
    for kernels in get_args(Kernels):
        torch.compiler.reset()

        def prepare(model: RecursiveModel, kernels: Kernels = kernels) -> None:
            note(choose_kernels(model, kernels, ranks.device))
            compile_model(model, ranks.device)

        run = timed_steps(case, config, ranks, batches, prepare)
        taken = list(itertools.islice(run, steps + 2))
        run.close()  # lets go of its model
        plain = plain or taken
        median, of_plain = (statistics.median(s for s, _ in t[2:]) for t in (taken, plain))
        off = max(abs(a - b) / abs(b) for (_, a), (_, b) in zip(taken, plain, strict=True))
        print(
            f"  {kernels:16} {1000 * median:8.1f} ms/step  plain / this {of_plain / median:.2f}  "
            f"losses within {off:.1e}  first step {taken[0][0]:.1f} s"
        )


def compare_gradients(case: Case, rows: int, ranks: Ranks) -> None:
    truth = gradient(case, rows, ranks, "float32", "plain")
    for kernels in get_args(Kernels):
        off = gradient(case, rows, ranks, "bfloat16", kernels) - truth
        print(f"  {kernels:16} gradient off by {off.norm() / truth.norm():.2%} of its length")


def gradient(
    case: Case, rows: int, ranks: Ranks, dtype: str, kernels: Kernels
) -> torch.Tensor:  # [weights]
    model = new_state(case, training_config(case, rows, dtype), ranks).model
    note(choose_kernels(model, kernels, ranks.device))
    batch = draw_batches(case, rows, ranks.device)[0]
    carry, output = act_step(model, initial_carry(model, batch), batch)
    loss, _, _ = act_loss("stablemax_cross_entropy", carry, output)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def note(problem: str | None) -> None:
    if problem is not None:
        print(f"  not fused: {problem}")


if __name__ == "__main__":
    main()
