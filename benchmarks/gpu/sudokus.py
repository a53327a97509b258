"""Datasets of sudokus for the parts that train, each built once in a run."""

from __future__ import annotations

import time
from pathlib import Path

from job import Job

from trm.data.generate import generate_table
from trm.data.specs import GenerateSudoku, SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.data.tables import local_table


def small(job: Job) -> tuple[Path, Path]:
    """(table, dataset) of generated 6x6 sudokus."""
    train, test, num_aug = (16, 8, 2) if job.tiny else (1000, 500, 20)
    wish = GenerateSudoku(kind="sudoku", side=6, clues=12, train=train, test=test, seed=0)
    return built(job, "sudoku-6x6", wish, SudokuSpec(builder="sudoku", table="", num_aug=num_aug))


def hard(job: Job) -> Path:
    """The dataset of the sudokus that the run was given, or else of generated ones."""
    train, test, num_aug = (16, 8, 2) if job.tiny else (1000, 500, 300)
    wish: Path | GenerateSudoku = job.hard or GenerateSudoku(
        kind="sudoku",
        side=9,
        clues=24,
        min_rating=0 if job.tiny else 5,
        train=train,
        test=test,
        seed=0,
    )
    spec = SudokuSpec(
        builder="sudoku",
        table="",
        num_aug=num_aug,
        subsample_size=train if job.hard else None,
        augment="on_the_fly",
    )
    return built(job, "sudoku-9x9", wish, spec)[1]


def built(
    job: Job, name: str, source: Path | GenerateSudoku, spec: SudokuSpec
) -> tuple[Path, Path]:
    """(table, dataset) from a folder with train.csv and test.csv, or generated."""
    table, data = (job.scratch / name / part for part in ("table", "data"))
    began = time.monotonic()
    if isinstance(source, Path):
        table = local_table(str(source))
    elif not table.exists():
        table.mkdir(parents=True)
        generate_table(source, table)
    if not data.exists():
        build_sudoku(spec, table, data)
        origin = str(source) if isinstance(source, Path) else "generated"
        job.measured(f"dataset {name}", source=origin, seconds=time.monotonic() - began)
    return table, data
