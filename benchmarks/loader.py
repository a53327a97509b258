"""Time the training stream of several datasets, in alternation.

    python -m dataset.build_arc_dataset … --output-dir data/built
    python -m dataset.build_arc_dataset … --output-dir data/painted --augment on_the_fly
    python benchmarks/loader.py data/built data/painted

Prints each one's bytes on disk and milliseconds per batch (median), and whether the batches agree.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from trm.data.batches import PuzzleData, Rows, train_batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=768)
    parser.add_argument("--batches", type=int, default=50)
    args = parser.parse_args()

    streams = [stream(folder, args.batch) for folder in args.datasets]
    seconds: list[list[float]] = [[] for _ in streams]
    agree = True
    for _ in range(args.batches):
        batches = []
        for times, batch in zip(seconds, streams, strict=True):
            began = time.perf_counter()
            batches.append(next(batch))
            times.append(time.perf_counter() - began)
        agree &= all(
            np.array_equal(a, b)
            for other in batches
            for a, b in zip(vars(batches[0]).values(), vars(other).values(), strict=True)
        )
    print(f"{date.today()}, batches of {args.batch}, the same ones: {'yes' if agree else 'no'}")
    for folder, times in zip(args.datasets, seconds, strict=True):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder}: {size / 1e9:.3f} GB, {1000 * statistics.median(times):.1f} ms a batch")


def stream(folder: Path, size: int) -> Iterator[Rows]:
    data = PuzzleData.load([str(folder)], "train")
    if data.total_steps(10, size) < 1:
        raise SystemExit(f"{folder}: ten epochs do not fill a batch of {size}; lower --batch")
    every = (train_batches(data, 0, i, 10, size, slice(0, size)) for i in itertools.count(1))
    return itertools.chain.from_iterable(every)


if __name__ == "__main__":
    main()
