"""The parts of `benchmarks/gpu/run`, in the order of what a second of each teaches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A script, and how much of the budget it may have."""

    name: str
    script: str  # beside this file
    about: str
    limit: int  # seconds, after which it is killed
    words: tuple[str, ...] = ()
    least: int = 10  # seconds without which it is not started
    leaves: int = 0  # seconds of the budget that are kept for the parts after it
    second: bool = False  # whether it belongs to the short selection, `--second`


PARTS = (
    Part("machine", "machine.py", "what is installed, and what is missing", 30, second=True),
    Part("ceilings", "ceilings.py", "rates of a copy and of matrix products", 30, second=True),
    Part("goldens", "goldens.py", "seven architectures equal the published code, float64", 60),
    Part("state", "state.py", "CPU = GPU, sign-SGD repeats itself, a snapshot restores", 60),
    Part(
        "steps-mlp",
        "steps.py",
        "steps of sudoku-mlp, 768 rows, eager and compiled",
        110,
        ("sudoku-mlp", "eager", "compiled"),
        second=True,
    ),
    Part("training", "training.py", "train, TERM, resume, evaluate, solve", 120, second=True),
    Part("products", "products.py", "the matrix products of a step, by layout", 30, second=True),
    Part("attention", "attention.py", "attention by backend and shape", 40),
    Part(
        "steps-att",
        "steps.py",
        "steps of sudoku-att, 768 rows",
        80,
        ("sudoku-att", "eager", "compiled"),
    ),
    Part(
        "steps-arc",
        "steps.py",
        "steps of arc-att, 192 rows",
        90,
        ("arc-att", "eager", "compiled"),
    ),
    Part("ranks", "ranks.py", "one process under torchrun, with NCCL on a GPU", 60),
    Part("published", "published.py", "the published layout beside ours, sudoku-mlp", 120),
    Part(
        "steps-max",
        "steps.py",
        "steps of sudoku-mlp with compile=max",
        150,
        ("sudoku-mlp", "max"),
        least=90,
        leaves=60,
    ),
    Part("hard", "hard.py", "learn hard 9x9 sudokus in the time that is left", 300, least=45),
)
