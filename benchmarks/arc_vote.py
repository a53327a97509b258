"""Time ARC's vote over a dataset's whole test split.

    python -m dataset.build_arc_dataset --input-file-prefix raw/arc/arc-agi --num-aug 1000 \
        --subsets training evaluation --test-set-name evaluation \
        --augment on_the_fly --output-dir data/arc
    python benchmarks/arc_vote.py data/arc

The predictions are made up: a share `--right` of a task's examples is the truth, every other has
some cells changed, so that nearly each is a candidate of its own, the worst case for memory.
Prints seconds (one thread) and the peak memory above the predictions, for fewer voters too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from datetime import date
from pathlib import Path

import numpy as np

from trm.data.read import load_split
from trm.scoring.arc import score_arc, score_arc_by_votes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--right", type=float, default=0.3)
    parser.add_argument("--voters", type=int, nargs="+", default=[10, 100])
    args = parser.parse_args()
    print(date.today())
    for voters in [*args.voters, None]:
        # A process of its own each: a peak of memory never falls.
        work = multiprocessing.get_context("spawn").Process(
            target=measure, args=(args.dataset, args.right, voters)
        )
        work.start()
        work.join()
        if work.exitcode:
            raise SystemExit(work.exitcode)


def measure(dataset: Path, right: float, voters: int | None) -> None:
    split = load_split(dataset, "test")
    arrays = split.sets["all"]
    rng = np.random.default_rng(0)
    preds = np.asarray(arrays.labels).copy()
    wrong = np.flatnonzero(rng.random(len(preds)) >= right)
    for _ in range(5):
        places = rng.integers(0, 100, len(wrong))
        preds[wrong, places] = rng.integers(2, 12, len(wrong), dtype=np.uint8)
    q_halt = rng.normal(size=len(preds)).astype(np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is measured from here
    before = memory_mib("VmRSS")
    began = time.perf_counter()
    if voters is None:
        metrics = score_arc(dataset, preds, q_halt).metrics
    else:
        (metrics,) = score_arc_by_votes(dataset, preds, q_halt, [voters]).values()
    seconds = time.perf_counter() - began
    more = memory_mib("VmHWM") - before
    print(
        f"{len(preds)} examples of {split.metadata.total_groups} tasks, {voters or 'all'} voters: "
        f"{seconds:.1f} s, peak {more:.0f} MiB above the predictions; pass@2 "
        f"{metrics['ARC/pass@2']:.3f}",
        flush=True,
    )


def memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
