"""Time ARC's vote over a dataset's whole test split.

    python -m dataset.build_arc_dataset --input-file-prefix raw/arc/arc-agi --num-aug 1000 \
        --subsets training evaluation --test-set-name evaluation \
        --augment on_the_fly --output-dir data/arc
    python benchmarks/arc_vote.py data/arc

The predictions are made up: a share `--right` of a task's examples is the truth, every other has
some cells changed, so that nearly each is a candidate of its own, the worst case for memory.
Prints seconds (one thread) and the peak memory above the predictions: of counting and ranking all
votes, and of ranking those of fewer voters from what was counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

from trm.data.read import load_split
from trm.scoring.answers import Answers
from trm.scoring.arc import count_votes, score_answers, score_by_votes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--right", type=float, default=0.3)
    parser.add_argument("--voters", type=int, nargs="+", default=[10, 100])
    args = parser.parse_args()
    print(date.today())
    measure(args.dataset, args.right, args.voters)


def measure(dataset: Path, right: float, voters: list[int]) -> None:
    split = load_split(dataset, "test")
    arrays = split.sets["all"]
    rng = np.random.default_rng(0)
    preds = np.asarray(arrays.labels).copy()
    wrong = np.flatnonzero(rng.random(len(preds)) >= right)
    for _ in range(5):
        places = rng.integers(0, 100, len(wrong))
        preds[wrong, places] = rng.integers(2, 12, len(wrong), dtype=np.uint8)
    q_halt = rng.normal(size=len(preds)).astype(np.float32)
    answers: list[Answers] = []

    def count() -> dict[str, float]:
        answers.append(count_votes(dataset, preds, q_halt))
        return score_answers(dataset, answers[0]).metrics

    report(f"{len(preds)} examples of {split.metadata.total_groups} tasks", count)
    for n in voters:
        report(f"{n} voters of each", lambda n=n: score_by_votes(dataset, *answers, q_halt, [n])[n])


def report(what: str, work: Callable[[], dict[str, float]]) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is measured from here
    before = memory_mib("VmRSS")
    began = time.perf_counter()
    metrics = work()
    seconds = time.perf_counter() - began
    more = memory_mib("VmHWM") - before
    print(f"{what}: {seconds:.1f} s, peak {more:.0f} MiB; pass@2 {metrics['ARC/pass@2']:.3f}")


def memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
