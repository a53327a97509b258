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
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydantic

from trm.data.batches import IGNORE_LABEL, PuzzleData, take_examples
from trm.data.dataset import DatasetMetadata
from trm.errors import TrmError, explain, run_cli
from trm.evaluate.compiling import compile_for
from trm.evaluate.loading import add_result_arguments, load_result
from trm.evaluate.rollouts import Searcher, checked_by_rules
from trm.evaluate.settings import Settings
from trm.files import atomic_write, check_writable
from trm.model.flop import flop_of_step
from trm.model.kernels import choose_kernels
from trm.progress import Progress
from trm.puzzles.kind import BoardKind
from trm.puzzles.kinds import kind_named, kind_of_boards
from trm.puzzles.views import Views
from trm.runtime.ranks import Ranks, joined
from trm.scoring.arc import refuse_without_solutions
from trm.scoring.choices import PASS, Rollouts, choices_of
from trm.study.search import Search


@dataclass(frozen=True)
class Boards:
    """The boards of a dataset: their shape and, where it has rules or symmetries, their kind."""

    rows: int
    columns: int
    vocab_size: int
    kind: BoardKind | None  # None: of ARC

    @staticmethod
    def of(dataset: Path, kind: str, metadata: DatasetMetadata) -> Boards:
        own, columns = None, None
        if kind_named(kind).builder != "arc":
            own, columns = kind_of_boards(dataset, kind)
        columns = columns or isqrt(metadata.seq_len)
        return Boards(metadata.seq_len // columns, columns, metadata.vocab_size, own)


@dataclass
class Tally:
    """Sums over examples, by the number K of rollouts that are looked at."""

    count: int = 0
    seconds: float = 0.0  # of all rollouts, over all processes
    right: dict[int, Counter[str]] = field(default_factory=dict)  # by choice
    steps_to_halt: Counter[int] = field(default_factory=Counter)  # until the first rollout halts

    def add(self, other: Tally) -> None:
        self.count += other.count
        self.seconds += other.seconds
        self.steps_to_halt.update(other.steps_to_halt)
        for number, right in other.right.items():
            self.right.setdefault(number, Counter()).update(right)


def numbers_of_rollouts(most: int) -> list[int]:
    """1, 2, 4, … and `most`."""
    return sorted({*(2**i for i in range(most.bit_length())), most})


def drawn_sample(total: int, size: int, seed: int) -> np.ndarray:
    """Examples of a seeded sample, ascending: all, where there are not more than `size`."""
    if size >= total:
        return np.arange(total)
    rng = np.random.Generator(np.random.Philox(seed))
    return np.sort(rng.choice(total, size, replace=False))


def search_sample(
    searcher: Searcher, data: PuzzleData, boards: Boards, examples: np.ndarray, ranks: Ranks
) -> Tally:
    """Roll out the examples, chosen among all of a test split; the tally is that of all processes.

    Only a batch of rollouts, and those of the examples in it, are in memory at a time.
    """
    share = [len(examples) * r // ranks.world_size for r in (ranks.rank, ranks.rank + 1)]
    own = Tally()
    searcher.model.eval()
    began = time.monotonic()
    with Progress(share[1] - share[0], "searching", "puzzles", shown=ranks.is_main) as progress:
        for start in range(*share, searcher.examples_at_once):
            block = examples[start : min(start + searcher.examples_at_once, share[1])]
            rows = take_examples(data, block)
            found = searcher.roll_out(rows, block)
            for question, label, rollouts in zip(rows.inputs, rows.labels, found, strict=True):
                _count(own, rollouts, question, label, boards, searcher.steps)
            progress.update(len(block))
    own.seconds = time.monotonic() - began
    everyones = Tally()
    for tally in ranks.gather_objects(own):
        everyones.add(tally)
    return everyones


def _count(
    tally: Tally,
    rollouts: Rollouts,
    question: np.ndarray,
    label: np.ndarray,
    boards: Boards,
    steps: int,
) -> None:
    """Add what the choices make of the rollouts of one puzzle, tokens [S]."""
    if boards.kind is not None:
        board = question.astype(np.uint8).reshape(boards.rows, boards.columns)
        rollouts = checked_by_rules(rollouts, boards.kind, board)

    def is_right(answers: np.ndarray) -> np.ndarray:
        return ((answers == label) | (label == IGNORE_LABEL)).all(axis=-1)

    right = is_right(rollouts.answers)
    tally.count += 1
    for number in numbers_of_rollouts(len(rollouts)):
        first = rollouts[:number]
        chosen = {name: bool(is_right(answer)) for name, answer in choices_of(first).items()}
        tally.right.setdefault(number, Counter()).update({PASS: bool(right[:number].any())})
        tally.right[number].update(chosen)
        tally.steps_to_halt[number] += min(int(first.halted_at.min()), steps)


def table_of(tally: Tally, flop_of_rollout: int, steps: int) -> pd.DataFrame:
    """search-N.csv: a row for each number of rollouts, with the cost of a puzzle and, by choice,
    the share of puzzles that are right in full."""
    most = max(tally.right)
    rows = []
    for number, right in sorted(tally.right.items()):
        rows.append(
            {
                "rollouts": number,
                "supervision_steps": steps,
                "steps_to_halt": tally.steps_to_halt[number] / tally.count,
                "flop": number * flop_of_rollout,
                "seconds": tally.seconds / tally.count * number / most,
                **{name: value / tally.count for name, value in right.items()},
                "count": tally.count,
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
    parser.add_argument("--sample", type=int, required=True, help="test puzzles to draw")
    parser.add_argument("--search", default="{}", help="settings, as a JSON object")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    if args.sample < 1:
        raise TrmError(f"--sample {args.sample} is not a number of puzzles: give 1 or more")
    search = parse_search(args.search)
    check_writable(args.out)
    refuse_without_solutions(args.dataset)
    data = PuzzleData.load([str(args.dataset)], "test")
    boards = Boards.of(args.dataset, args.kind, data.metadata)
    views = views_of(boards, args.kind, search)
    with joined("auto") as ranks:
        model, trained = load_result(args.weights, args.train_config, args.dataset, data)
        rows_at_once = max(1, trained.global_batch_size // ranks.world_size)
        model = model.to(ranks.device).eval()
        searcher = Searcher(model, search, views, ranks.device, rows_at_once)
        examples = drawn_sample(data.n_examples, args.sample, search.seed)
        choose_kernels(model, trained.kernels, ranks.device)
        settings = Settings(trained.arch.loss.loss_type, rows_at_once * ranks.world_size)
        steps = searcher.steps * search.rollouts * len(examples)
        times = steps / (model.config.halt_max_steps * data.n_examples)
        compile_for("auto", model, data, settings, ranks, trained.kernels, times)
        tally = search_sample(searcher, data, boards, examples, ranks)
        if ranks.is_main:
            flop = flop_of_step(model.config) * searcher.steps
            write_table(args.out, table_of(tally, flop, searcher.steps))


if __name__ == "__main__":
    run_cli(main)
