"""Time one training step on this CPU by the type of its products, in alternation.

    python benchmarks/bfloat16.py --steps 2

`native` is torch's own bfloat16; `widened`, what the layers do where the CPU has no instructions
for it, is a product in float32 whose result is rounded; `float32` has no bfloat16 at all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import date

import torch
from train_step import CASES, device_name, draw_batches, new_state, training_config

from trm.model import layers
from trm.runtime.ranks import Ranks
from trm.training.step import train_step

PATHS = {
    "native": ("bfloat16", frozenset()),
    "widened": ("bfloat16", frozenset({torch.bfloat16})),
    "float32": ("float32", frozenset()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", default="demo", choices=CASES)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each path")
    args = parser.parse_args()
    case, cpu = CASES[args.case], torch.device("cpu")
    widens = ", ".join(str(t).removeprefix("torch.") for t in layers.TYPES_TO_WIDEN) or "none"
    print(
        f"{date.today()}, {device_name(cpu)}, torch {torch.__version__}; {args.case}, {case.batch} "
        f"rows; types widened here: {widens}"
    )
    configs = {path: training_config(case, case.batch, dtype) for path, (dtype, _) in PATHS.items()}
    ranks = Ranks(0, 1, cpu)
    states = {path: new_state(case, config, ranks) for path, config in configs.items()}
    batches = draw_batches(case, case.batch, cpu)
    seconds: dict[str, list[float]] = {path: [] for path in PATHS}
    for step in range(args.steps + 1):
        for path, (_, widened) in PATHS.items():
            layers.TYPES_TO_WIDEN = widened
            began = time.perf_counter()
            train_step(configs[path], states[path], batches[step % 4], ranks)
            seconds[path].append(time.perf_counter() - began)
    medians = {path: statistics.median(times[1:]) for path, times in seconds.items()}
    for path, median in medians.items():
        ratio = medians["native"] / median
        print(f"  {path:8} {1000 * median:8.0f} ms/step  native / this {ratio:.2f}")


if __name__ == "__main__":
    main()
