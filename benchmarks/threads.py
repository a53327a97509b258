"""Time a training step under several ways in which CPU threads wait for each other.

    python benchmarks/threads.py                    # the demo's step, compiled
    python benchmarks/threads.py sudoku-mlp --batch 16 --steps 5 --settings spin-20000 one-thread

Each setting is timed in a process of its own, in alternation over several rounds, alone and beside
a process that keeps one core busy. Prints the median ms/step of each, and its ratio to the first
(torch's default).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path

SETTINGS = {
    "default": {},
    **{f"spin-{n}": {"GOMP_SPINCOUNT": str(n)} for n in (100_000, 20_000, 10_000, 5000, 2000, 0)},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one-thread": {"OMP_NUM_THREADS": "1"},
}
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
BUSY = [sys.executable, "-c", "while True: pass"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", default="demo", help="a case of train_step.py")
    parser.add_argument("--batch", type=int, help="rows per step, in place of the case's own")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(*time_steps(args.case, args.batch, args.steps, args.eager))
        return
    print(f"{date.today()}, {os.cpu_count()} cores, {args.case}, {args.rounds} rounds")
    print(f"{'':12} {'alone':>12} {'':>6} {'beside one':>12} {'':>6}")
    timed = {beside: time_all(args, beside) for beside in (False, True)}
    for name in args.settings:
        line = f"{name:12}"
        for seconds in timed.values():
            median = statistics.median(seconds[name])
            line += f" {1000 * median:9.0f} ms {median / statistics.median(first(seconds)):6.2f}"
        print(line)


def first(seconds: dict[str, list[float]]) -> list[float]:
    return next(iter(seconds.values()))


def time_all(args: argparse.Namespace, beside: bool) -> dict[str, list[float]]:
    """Seconds of every timed step, by setting."""
    busy = subprocess.Popen(BUSY) if beside else None
    seconds: dict[str, list[float]] = defaultdict(list)
    try:
        for _ in range(args.rounds):
            for name in args.settings:
                seconds[name] += timed_child(args, SETTINGS[name])
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()
    return seconds


def timed_child(args: argparse.Namespace, setting: dict[str, str]) -> list[float]:
    words = [args.case, "--child", "--steps", str(args.steps)]
    words += ["--batch", str(args.batch)] if args.batch else []
    words += ["--eager"] if args.eager else []
    environment = {k: v for k, v in os.environ.items() if k not in WAITING} | setting
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


def time_steps(name: str, batch: int | None, steps: int, eager: bool) -> list[float]:
    """Seconds of each step but the first two, which compile and warm up."""
    sys.path.insert(0, str(Path(__file__).parent))
    import time

    import torch  # before trm, which sets how threads wait
    from train_step import CASES, draw_batches, new_state, training_config

    from trm.model.layers import compile_model
    from trm.runtime.ranks import Ranks
    from trm.training.step import train_step

    case, device = CASES[name], torch.device("cpu")
    rows = batch or case.batch
    config = training_config(case, rows, "bfloat16")
    ranks = Ranks(0, 1, device)
    state, batches = new_state(case, config, ranks), draw_batches(case, rows, device)
    if not eager:
        compile_model(state.model, device)
    seconds = []
    for step in range(steps + 2):
        began = time.perf_counter()
        train_step(config, state, batches[step % 4], ranks)
        seconds.append(time.perf_counter() - began)
    return seconds[2:]


if __name__ == "__main__":
    main()
