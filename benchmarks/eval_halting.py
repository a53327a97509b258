"""Evaluate a checkpoint with every example going all the way, and with sure ones leaving early.

    python benchmarks/eval_halting.py checkpoint=checkpoints/B/V/seed-0/final --thresholds 0 1 2

Takes the words of `python -m trm.evaluate`. Prints supervision steps per example, exact accuracy
and seconds, in alternation, for each threshold of the halting logit, and the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from datetime import date

from trm.data.batches import PuzzleData
from trm.evaluate.loop import evaluate
from trm.evaluate.settings import Settings, parse_arguments
from trm.model.checkpoint import load_weights
from trm.model.registry import build_model, model_for
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
    whole = Settings(trained.arch.loss.loss_type, size)
    cases = [whole, *(replace(whole, halting="act", halting_threshold=t) for t in args.thresholds)]
    seconds: dict[Settings, list[float]] = {case: [] for case in cases}
    metrics = {}
    evaluate(model, data, whole, ranks)  # untimed: warms up
    for _ in range(args.rounds):
        for case in cases:
            began = time.perf_counter()
            result = evaluate(model, data, case, ranks)
            seconds[case].append(time.perf_counter() - began)
            metrics[case] = result.metrics
    steps, usual = metrics[whole]["steps"], statistics.median(seconds[whole])
    for case, m in metrics.items():
        took = statistics.median(seconds[case])
        threshold = f"> {case.halting_threshold:g}" if case.halting == "act" else ""
        print(
            f"{case.halting:5} {threshold:6} exact "
            f"{m['exact_accuracy']:.2%}  steps {m['steps']:.2f} ({steps / m['steps']:.2f} times "
            f"fewer)  {took:.1f} s ({usual / took:.2f} times faster)"
        )


if __name__ == "__main__":
    main()
