"""Ways to spend the same compute on a puzzle at test time, side by side.

    python benchmarks/search.py results/equal-compute/sudoku-6x6/{mlp,eqr}/seed-{0,1,2} \
        --kind sudoku --times 8 --out results/search/sudoku-6x6.csv

Each way makes `--times` as many supervision steps of a puzzle as an evaluation does: in one long
rollout, or in as many rollouts as the training's, which differ by noise, start states or views.
Compute is counted, not timed: every row of a result but the first has the same FLOP. The table that
is printed has the means over the seeds of a variant.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import pandas as pd

from trm.config.compose import load_train_config
from trm.data.batches import PuzzleData
from trm.errors import run_cli
from trm.evaluate.judges import Boards, sample_of
from trm.evaluate.loading import load_result
from trm.evaluate.rollouts import Searcher
from trm.evaluate.search import search_sample, table_of, views_of, write_table
from trm.evaluate.weights import find_weights
from trm.model.flop import flop_of_step
from trm.puzzles.kinds import kinds
from trm.runtime.ranks import Ranks, joined
from trm.study.files import ResultFile
from trm.study.search import Search


def ways(times: int, steps: int, noises: list[float]) -> dict[str, Search]:
    """The searches by their names, the evaluation first."""
    several = {"rollouts": times}
    searches = {
        "evaluation": Search(rollouts=1, noise=0),
        "one long rollout": Search(rollouts=1, noise=0, steps=steps * times),
        "random starts": Search(**several, noise=0, start="random"),
        "views": Search(**several, noise=0, views=times),
    }
    for noise in noises:
        searches[f"noise {noise:g}"] = Search(**several, noise=noise)
        searches[f"noise {noise:g} on z_H"] = Search(**several, noise=noise, on=["z_H"])
        searches[f"noise {noise:g} and views"] = Search(**several, noise=noise, views=times)
    return searches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "results", type=Path, nargs="+", help="results/BENCHMARK/VARIANT/seed-N, each trained"
    )
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument("--times", type=int, default=8, help="of an evaluation's compute")
    parser.add_argument("--noises", type=float, nargs="*", default=[0.1, 0.3, 1.0])
    parser.add_argument("--sample", type=int, default=1000, help="puzzles (tasks) to draw")
    parser.add_argument("--threshold", type=float, default=0.0, help="logit above which one halts")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    tables = []
    with joined("auto") as ranks:
        for result in args.results:
            print(f"{date.today()}, {result}, {ranks.device}", flush=True)
            table = searched(result, args, ranks)
            table.insert(0, "variant", result.parent.name)
            table.insert(1, "seed", int(result.name.removeprefix("seed-")))
            tables.append(table)
    every = pd.concat(tables)
    write_table(args.out, every)
    by_variant = every.drop(columns="seed").groupby(["variant", "way"], sort=False)
    print(by_variant.mean(numeric_only=True).reset_index().to_string(index=False))


def searched(result: Path, args: argparse.Namespace, ranks: Ranks) -> pd.DataFrame:
    """One row for each way, of all rollouts that it makes."""
    config = result / ResultFile.CONFIG
    dataset = Path(load_train_config(config).test_paths[0])
    data = PuzzleData.load([str(dataset)], "test")
    boards = Boards.of(dataset, args.kind, data.metadata)
    model, trained = load_result(find_weights(result), config, dataset, data)
    model = model.to(ranks.device).eval()
    sample = sample_of(dataset, boards, data, args.sample, 0)
    flop = flop_of_step(model.config)
    rows = []
    for name, search in ways(args.times, trained.arch.halt_max_steps, args.noises).items():
        search = search.model_copy(update={"halting_threshold": args.threshold})
        views = views_of(boards, args.kind, search)
        searcher = Searcher(model, search, views, ranks.device, trained.global_batch_size)
        tally = search_sample(searcher, data, sample, ranks)
        table = table_of(tally, sample.judge, flop * searcher.steps, searcher.steps)
        rows.append({"way": name, **table.iloc[-1]})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    run_cli(main)
