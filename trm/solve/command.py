"""Solve a puzzle with a trained model.

    trm solve --checkpoint checkpoints/sudoku-6x6/quick/seed-0 --sudoku puzzle.txt
    trm solve --checkpoint checkpoints/maze-30x30/att/seed-0 --maze maze.txt
    trm solve --checkpoint checkpoints/arc-agi-1/att/seed-0 --arc-task 0a1d4ef5.json

The answer goes to stdout, as text or with --json as one object; notes go to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from trm.arguments import Parser
from trm.errors import TrmError, explain
from trm.progress import duration, say
from trm.puzzles.kind import TerminalStyle
from trm.puzzles.kinds import board_kind, kinds
from trm.solve.answer import (
    BoardAnswer,
    BoardStep,
    TaskAnswer,
    TaskInput,
)
from trm.solve.trained import AUGMENTATIONS, TrainedModel, load
from trm.study.search import Search

# Backgrounds of the terminal's 256 colours, near those of the ARC site; the digit stays readable.
_COLOURS = (16, 27, 160, 34, 220, 245, 199, 208, 81, 88)
_DARK_DIGIT = (4, 5, 7, 8)


def main(words: Sequence[str] | None = None) -> None:
    args = parser().parse_args(words)
    kind, puzzle = next(
        (kind, value)
        for kind in kinds().values()
        if (value := vars(args)[kind.option.flag.replace("-", "_")]) is not None
    )
    if not puzzle:
        raise TrmError(f"--{kind.option.flag} is empty: give the puzzle, or a file that holds it")
    trained = load(
        args.checkpoint,
        device=args.device,
        train_config=args.train_config,
        dataset=args.dataset,
        side=args.side,
        kind=kind.name,
    )
    if kind.name != trained.kind:
        raise TrmError(f"{trained.weights} solves {trained.describe()}, not {kind.plural}")
    search = _search_of(args)
    if trained.kind == "arc":
        if search is not None:
            raise TrmError(
                "an ARC task is answered by the votes of its augmentations: leave out --rollouts, "
                "--views and --noise, and give --augmentations"
            )
        answer = _solve_task(trained, puzzle, args)
        shown = _task_json(answer, args.steps) if args.json else _task_text(answer, args.steps)
    else:
        given = Path(puzzle) if kind.option.is_file else puzzle
        board = trained.solve_board(given, max_steps=args.max_steps, search=search)
        shown = _board_json(board, args.steps) if args.json else _board_text(board, args.steps)
    print(json.dumps({**shown, "weights": str(trained.weights)}) if args.json else shown)


def parser() -> Parser:
    parser = Parser("solve", __doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="a run's folder (its last weights), a file step_N or final, or an exported folder",
    )
    puzzle = parser.add_mutually_exclusive_group(required=True)
    for option in (kind.option for kind in kinds().values()):
        metavar = "FILE" if option.is_file else None
        puzzle.add_argument(f"--{option.flag}", metavar=metavar, help=option.help)
    parser.add_argument("--task-id", help="the task's name; default: that of its file")
    parser.add_argument("--steps", action="store_true", help="show the answer after every step")
    parser.add_argument("--max-steps", type=int, help="supervision steps; default: as in training")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; default: 0")
    several = parser.add_argument_group("several rollouts of a board")
    several.add_argument(
        "--rollouts", type=int, metavar="K", help="how many; default: one for each view"
    )
    several.add_argument(
        "--views", type=int, metavar="V", help="symmetric views that they take in turn; default: 1"
    )
    several.add_argument(
        "--noise",
        type=float,
        metavar="SIGMA",
        help="deviation of the noise before each step; default: "
        f"{Search.model_fields['noise'].default}",
    )
    arc = parser.add_argument_group("ARC")
    arc.add_argument(
        "--augmentations",
        type=int,
        help=f"that vote; default: all of a known task, {AUGMENTATIONS} of one that is learned",
    )
    arc.add_argument(
        "--minutes", type=float, default=1.0, help="to learn an unseen task in; default: 1"
    )
    arc.add_argument(
        "--learning-steps", type=int, default=1000, help="at most that many; default: 1000"
    )
    where = parser.add_argument_group("what a file of weights does not say")
    where.add_argument("--train-config", help="default: the all_config.yaml beside it")
    where.add_argument("--dataset", help="default: that of the config")
    where.add_argument("--side", type=int, help="of the board or canvas, if no dataset gives it")
    return parser


def _search_of(args: argparse.Namespace) -> Search | None:
    """The search that the options ask for; None for a single rollout without noise."""
    given = {"rollouts": args.rollouts, "views": args.views, "noise": args.noise}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if args.steps:
        raise TrmError("--steps shows one rollout: leave out --rollouts, --views and --noise")
    try:
        return Search(**{"rollouts": args.views or 1, "seed": args.seed, **given})
    except pydantic.ValidationError as error:
        raise explain(error, "trm solve", list(Search.model_fields)) from None


def _solve_task(trained: TrainedModel, puzzle: str, args: argparse.Namespace) -> TaskAnswer:
    if not trained.names and trained.model.config.puzzle_emb_ndim:
        say(
            "note: the names of the tasks it was trained on are not available, so that every task "
            "counts as unseen: give the dataset by --dataset"
        )
    return trained.solve_task(
        Path(puzzle),
        task_id=args.task_id,
        max_steps=args.max_steps,
        augmentations=args.augmentations,
        minutes=args.minutes,
        learning_steps=args.learning_steps,
        seed=args.seed,
        every_step=args.steps,
    )


# --- boards ---------------------------------------------------------------------------------------


def _board_text(answer: BoardAnswer, every_step: bool) -> str:
    style = _style()
    blocks = []
    if every_step:
        for number, step in enumerate(answer.steps, start=1):
            drawn = _draw_board(answer, step, style)
            blocks.append(f"step {number}, confidence {step.confidence:.1%}\n{drawn}")
    else:
        blocks.append(_draw_board(answer, answer.steps[-1], style))
    blocks.append(
        f"{verdict(answer)}{_agreement(answer)}confidence {answer.confidence:.1%}, "
        f"{_count(answer.supervision_steps, 'step')}, {answer.seconds:.1f} s"
    )
    return "\n".join(blocks)


def verdict(answer: BoardAnswer) -> str:
    """Whether the answer is valid: `the answer is a valid sudoku; `; empty without known rules."""
    if answer.valid is None:
        return ""
    what = board_kind(answer.kind).valid_name
    return f"the answer is {'' if answer.valid else 'not '}{what}; "


def _agreement(answer: BoardAnswer) -> str:
    """How many rollouts gave the answer: `29 of 32 rollouts agree; `; empty without a search."""
    found = answer.searched
    if found is None:
        return ""
    rollouts = _count(found.rollouts, "rollout")
    return f"{found.agreed} of {rollouts} agree{'s' if found.rollouts == 1 else ''}; "


def _draw_board(answer: BoardAnswer, step: BoardStep, style: TerminalStyle) -> str:
    return board_kind(answer.kind).draw(answer.question, answer.rows(step.answer), style)


def _board_json(answer: BoardAnswer, every_step: bool) -> dict[str, Any]:
    return {
        "kind": answer.kind,
        "question": answer.rows(answer.question),
        "answer": answer.rows(answer.answer),
        "valid": answer.valid,
        "confidence": answer.confidence,
        "supervision_steps": answer.supervision_steps,
        "seconds": answer.seconds,
        **_search_json(answer),
    } | (
        {
            "steps": [
                {"answer": answer.rows(s.answer), "confidence": s.confidence} for s in answer.steps
            ]
        }
        if every_step
        else {}
    )


def _search_json(answer: BoardAnswer) -> dict[str, int]:
    found = answer.searched
    if found is None:
        return {}
    return {"rollouts": found.rollouts, "views": found.views, "agreed": found.agreed}


# --- ARC ------------------------------------------------------------------------------------------


def _task_text(answer: TaskAnswer, every_step: bool) -> str:
    style = _style()
    lines = [_how_asked(answer)]
    for step, tests in enumerate(answer.steps if every_step else answer.steps[-1:], start=1):
        if every_step:
            lines.append(f"step {step}")
        for number, test in enumerate(tests, start=1):
            lines += _draw_test(test, f"test {number}", style)
    return "\n".join([*lines, f"{duration(answer.seconds)} in all"])


def _how_asked(answer: TaskAnswer) -> str:
    voters = f"votes of {_count(answer.augmentations, 'augmentation')}"
    if answer.known:
        return f"task {answer.task} is one it was trained on; {voters}"
    how = f"task {answer.task} is not among those it was trained on"
    if answer.learning is None:
        return f"{how}; {voters}"
    learning = answer.learning
    return (
        f"{how}: learned in {_count(learning.steps, 'step')} and {learning.seconds:.1f} s (loss "
        f"{learning.loss_before:.3f} to {learning.loss_after:.3f}); {voters}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _draw_test(test: TaskInput, name: str, style: TerminalStyle) -> list[str]:
    total = sum(candidate.votes for candidate in test.candidates)
    lines = []
    for number, attempt in enumerate(test.attempts, start=1):
        right = ""
        if test.answer_given:
            right = ", the task's answer" if test.right == number else ", not the task's answer"
        rows, columns = attempt.grid.shape
        lines.append(
            f"{name}, attempt {number}: {rows}x{columns}, {attempt.votes} of {total} votes, "
            f"confidence {attempt.mean_q:.1%}{right}"
        )
        lines += draw_grid(attempt.grid, style)
    return lines


def draw_grid(grid: np.ndarray, style: TerminalStyle) -> list[str]:
    """Lines of an ARC grid [H, W], a digit a cell."""
    return ["".join(style(f" {c} ", _cell_codes(c)) for c in row).rstrip() for row in grid.tolist()]


def _cell_codes(colour: int) -> str:
    return f"{'30' if colour in _DARK_DIGIT else '97'};48;5;{_COLOURS[colour]}"


def _task_json(answer: TaskAnswer, every_step: bool) -> dict[str, Any]:
    learning = answer.learning
    return {
        "kind": "arc",
        "task": answer.task,
        "known": answer.known,
        "augmentations": answer.augmentations,
        "learning": None if learning is None else vars(learning),
        "tests": [_test_json(test) for test in answer.tests],
        "seconds": answer.seconds,
    } | (
        {"steps": [[_test_json(t) for t in tests] for tests in answer.steps]} if every_step else {}
    )


def _test_json(test: TaskInput) -> dict[str, Any]:
    return {
        "attempts": [
            {"grid": a.grid.tolist(), "votes": a.votes, "confidence": a.mean_q}
            for a in test.attempts
        ],
        "votes": sum(candidate.votes for candidate in test.candidates),
        "right": test.right,
        "answer_given": test.answer_given,
    }


def _style() -> TerminalStyle:
    """ANSI codes on a terminal, unless NO_COLOR is set."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return lambda text, codes: f"\x1b[{codes}m{text}\x1b[0m"
    return lambda text, codes: text
