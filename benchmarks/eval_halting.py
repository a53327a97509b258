"""Evaluate a checkpoint with every example going all the way, and with sure ones leaving early.

    python benchmarks/eval_halting.py checkpoint=checkpoints/B/V/seed-0/final --thresholds 0 1 2

Takes the words of `python -m trm.evaluate`. Prints supervision steps per example, exact accuracy
and seconds, in alternation, for each threshold of the halting logit, and the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import date

from trm.data.batches import PuzzleData
from trm.evaluate.loop import evaluate, model_for, parse_arguments
from trm.model.checkpoint import load_weights
from trm.model.registry import build_model
from trm.runtime.ranks import start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", help="key=value, as for python -m trm.evaluate")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0])
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    config, trained = parse_arguments(args.words)
    ranks = start(config.device)
    path = (config.data_paths or trained.test_paths)[0]
    data = PuzzleData.load([path], "test")
    model = build_model(model_for(trained, data)).to(ranks.device)
    load_weights(config.checkpoint, model)
    size = config.global_batch_size or trained.global_batch_size
    print(f"{date.today()}, {config.checkpoint} on {path}, {ranks.device}")
    cases = [("fixed", 0.0), *(("act", t) for t in args.thresholds)]
    seconds: dict[tuple[str, float], list[float]] = {case: [] for case in cases}
    metrics = {}
    evaluate(model, data, trained.arch.loss.loss_type, size, ranks)  # untimed: warms up
    for _ in range(args.rounds):
        for halting, threshold in cases:
            began = time.perf_counter()
            result = evaluate(
                model, data, trained.arch.loss.loss_type, size, ranks,
                halting=halting, halting_threshold=threshold,
            )  # fmt: skip
            seconds[halting, threshold].append(time.perf_counter() - began)
            metrics[halting, threshold] = result.metrics
    whole = metrics["fixed", 0.0]["steps"], statistics.median(seconds["fixed", 0.0])
    for (halting, threshold), m in metrics.items():
        took = statistics.median(seconds[halting, threshold])
        print(
            f"{halting:5} {f'> {threshold:g}' if halting == 'act' else '':6} exact "
            f"{m['exact_accuracy']:.2%}  steps {m['steps']:.2f} ({whole[0] / m['steps']:.2f} times "
            f"fewer)  {took:.1f} s ({whole[1] / took:.2f} times faster)"
        )


if __name__ == "__main__":
    main()
