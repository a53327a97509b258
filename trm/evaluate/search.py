"""Search for answers at test time: several rollouts of each puzzle, and several ways to choose.

    python -m trm.evaluate.search --dataset data/D --kind sudoku --sample 1000 \
        --weights checkpoints/B/V/seed-0/final --train-config results/B/V/seed-0/config.yaml \
        --search '{"rollouts": 32, "noise": 0.3, "views": 8}' --out search-1000.csv

Under torchrun the examples are shared out over the processes; the result does not depend on their
number.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic

from trm.data.batches import PuzzleData, take_examples
from trm.errors import TrmError, explain, run_cli
from trm.evaluate.compiling import compile_for
from trm.evaluate.judges import Boards, Judge, Row, Sample, sample_of
from trm.evaluate.loading import add_result_arguments, load_result
from trm.evaluate.rollouts import Searcher
from trm.evaluate.settings import Settings
from trm.files import atomic_write, check_writable
from trm.model.flop import flop_of_step
from trm.model.kernels import use_kernels
from trm.progress import Progress, say
from trm.puzzles.kinds import kind_named
from trm.puzzles.views import Views
from trm.runtime.ranks import Ranks, joined
from trm.scoring.arc import refuse_without_solutions
from trm.scoring.choices import Rollouts, numbers_of_rollouts
from trm.study.search import Search


@dataclass
class Tally:
    """Sums over examples."""

    found: Any  # by the judge
    count: int = 0
    seconds: float = 0.0  # of all rollouts, over all processes
    steps_to_halt: Counter[int] = field(default_factory=Counter)  # of the first to halt, by K

    def add(self, other: Tally) -> None:
        self.found.add(other.found)
        self.count += other.count
        self.seconds += other.seconds
        self.steps_to_halt.update(other.steps_to_halt)


def search_sample(searcher: Searcher, data: PuzzleData, sample: Sample, ranks: Ranks) -> Tally:
    """Roll out the examples of a sample; the tally is that of all processes.

    Only a batch of rollouts, and those of the examples in it, are in memory at a time.
    """
    examples = sample.examples
    share = [len(examples) * r // ranks.world_size for r in (ranks.rank, ranks.rank + 1)]
    own = Tally(sample.judge.nothing())
    searcher.model.eval()
    began = time.monotonic()
    with Progress(share[1] - share[0], "searching", "puzzles", shown=ranks.is_main) as progress:
        for start in range(*share, searcher.examples_at_once):
            block = examples[start : min(start + searcher.examples_at_once, share[1])]
            rows = take_examples(data, block)
            each = zip(rows.inputs, rows.labels, rows.puzzle_identifiers.tolist(), strict=True)
            for row, rollouts in zip(each, searcher.roll_out(rows, block), strict=True):
                _count(own, sample.judge, Row(*row), rollouts, searcher.steps)
            progress.update(len(block))
    own.seconds = time.monotonic() - began
    everyones = Tally(sample.judge.nothing())
    for tally in ranks.gather_objects(own):
        everyones.add(tally)
    return everyones


def _count(tally: Tally, judge: Judge, row: Row, rollouts: Rollouts, steps: int) -> None:
    """Add the rollouts of one example."""
    judge.judge(tally.found, row, rollouts)
    tally.count += 1
    for number in numbers_of_rollouts(len(rollouts)):
        tally.steps_to_halt[number] += min(int(rollouts.halted_at[:number].min()), steps)


def table_of(tally: Tally, judge: Judge, flop_of_rollout: int, steps: int) -> pd.DataFrame:
    """search-N.csv: a row for each number of rollouts, with the cost of a puzzle and, by choice,
    the share of puzzles that are right in full; for ARC, of a task, with what passes."""
    shares, puzzles = judge.shares(tally.found), judge.count(tally.found)
    most = max(shares)
    rows = []
    for number, right in sorted(shares.items()):
        rows.append(
            {
                "rollouts": number,
                "supervision_steps": steps,
                "steps_to_halt": tally.steps_to_halt[number] / tally.count,
                "flop": number * flop_of_rollout * tally.count // puzzles,
                "seconds": tally.seconds / puzzles * number / most,
                **right,
                "count": puzzles,
            }
        )
    return pd.DataFrame(rows)


def write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        table.to_csv(file, index=False, float_format="%.6g")


def parse_search(text: str) -> Search:
    """The settings `search:` as JSON; TrmError for anything unknown or wrong."""
    try:
        return Search(**json.loads(text))
    except (ValueError, TypeError) as error:
        if isinstance(error, pydantic.ValidationError):
            raise explain(error, "search", list(Search.model_fields)) from None
        raise TrmError(f"search: {text!r} is not a JSON object of settings") from None


def views_of(boards: Boards, kind: str, search: Search) -> Views:
    """The views that the rollouts take in turn. TrmError where the puzzles have fewer."""
    of_kind: Any = boards.kind or kind_named(kind)
    return of_kind.views(boards.rows, boards.columns, boards.vocab_size, search.views, search.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_result_arguments(parser)
    parser.add_argument(
        "--sample", type=int, required=True, help="test puzzles to draw; for ARC, tasks"
    )
    parser.add_argument("--search", default="{}", help="settings, as a JSON object")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    if args.sample < 1:
        raise TrmError(
            f"--sample {args.sample} is not a number of puzzles, or of ARC's tasks: give 1 or more"
        )
    search = parse_search(args.search)
    check_writable(args.out)
    refuse_without_solutions(args.dataset)
    data = PuzzleData.load([str(args.dataset)], "test")
    boards = Boards.of(args.dataset, args.kind, data.metadata)
    views = views_of(boards, args.kind, search)
    sample = sample_of(args.dataset, boards, data, args.sample, search.seed)
    with joined("auto") as ranks:
        if ranks.is_main and (note := sample.note(args.sample)):
            say(f"note: {note}")
        model, trained = load_result(args.weights, args.train_config, args.dataset, data)
        rows_at_once = max(1, trained.global_batch_size // ranks.world_size)
        model = model.to(ranks.device).eval()
        searcher = Searcher(model, search, views, ranks.device, rows_at_once)
        use_kernels(model, trained.kernels, ranks)
        settings = Settings(trained.arch.loss.loss_type, rows_at_once * ranks.world_size)
        steps = searcher.steps * search.rollouts * len(sample.examples)
        times = steps / (model.config.halt_max_steps * data.n_examples)
        compile_for("auto", model, data, settings, ranks, trained.kernels, times)
        tally = search_sample(searcher, data, sample, ranks)
        if ranks.is_main:
            flop = flop_of_step(model.config) * searcher.steps
            write_table(args.out, table_of(tally, sample.judge, flop, searcher.steps))


if __name__ == "__main__":
    run_cli(main)
