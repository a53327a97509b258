"""ARC: tasks of coloured grids, and what is a task; their symmetries are in augmentation.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm.errors import TrmError
from trm.files import read_json
from trm.puzzles.augmentation import COLOURS
from trm.puzzles.kind import Option, PuzzleKind
from trm.puzzles.metric import Form, Metric

Task = dict[str, list[dict[str, Any]]]
"""{"train": [pair, …], "test": [pair, …]}, a pair having an input and an output."""

NO_OUTPUT = [[0]]  # what stands for the output of a test pair without one
VOCAB_SIZE = COLOURS + 2  # padding, the end of a grid, and the colours
PASS_KS = (1, 2, 5, 10, 100, 1000)
TASKS = "ARC/tasks"  # the metric that counts what votes average over


def votes_metric(k: int | str) -> Metric:
    """pass@K; `evaluators` may ask for any K."""
    return Metric(f"ARC/pass@{k}", f"pass@{k}", Form.SHARE, over=TASKS)


class Arc(PuzzleKind):
    """Tasks: grids of any size on a canvas, answered by the votes of their augmentations."""

    name, place, builder = "arc", 1, "arc"
    plural = "ARC tasks"
    option = Option("arc-task", "a task, or a file of many (--task-id)", "task.json", is_file=True)
    metrics = (
        *map(votes_metric, PASS_KS),
        Metric(TASKS, "tasks", Form.COUNT),
        Metric(
            "tasks_without_solution",
            "tasks, their solutions unknown",
            Form.COUNT,
            needs_solutions=False,
        ),
    )
    key = "A cross marks a wrong cell."

    def describe(self, rows: int, columns: int) -> str:
        return f"ARC tasks on a canvas of {rows}x{columns}"

    def sides_of(self, vocab_size: int) -> range:
        return range(1, 31) if vocab_size == VOCAB_SIZE else range(0)


KIND = Arc()


def read_task(path: Path, task_id: str | None) -> Any:
    """What an ARC file holds: a task, or that of id `task_id` out of a file of many."""
    try:
        raw = read_json(Path(path), "give a task's JSON file")
    except FileNotFoundError:
        raise TrmError(f"no file {path}: give a task's JSON file") from None
    if isinstance(raw, dict) and not {"train", "test"} & set(raw):
        if task_id in raw:
            return raw[task_id]
        if raw and all(isinstance(task, dict) and "train" in task for task in raw.values()):
            which = "name one of them" if task_id is None else f"none of them is {task_id!r}"
            raise TrmError(f"{path} holds {len(raw)} tasks, as {next(iter(raw))}: {which}")
    return raw


def check_task(raw: Any, canvas: int, name: str) -> Task:
    """An ARC task whose grids fit the canvas; TrmError names the pair and the cell otherwise.

    A test pair may lack its output: NO_OUTPUT takes its place.
    """
    if not isinstance(raw, Mapping) or not {"train", "test"} <= set(raw):
        raise TrmError(f'task {name}: expected {{"train": [pairs], "test": [pairs]}}')
    task: Task = {}
    for part, needed in (("train", ("input", "output")), ("test", ("input",))):
        pairs = raw[part]
        if not isinstance(pairs, list) or not pairs:
            raise TrmError(f"task {name}: {part} is not a list of pairs")
        task[part] = []
        for number, pair in enumerate(pairs, start=1):
            where = f"task {name}, {part} pair {number}"
            if not isinstance(pair, Mapping) or any(key not in pair for key in needed):
                raise TrmError(f"{where}: it lacks its {' or '.join(needed)}")
            output = pair.get("output") or NO_OUTPUT
            for key, grid in (("input", pair["input"]), ("output", output)):
                _check_grid(grid, canvas, f"{where}, {key}")
            task[part].append({"input": pair["input"], "output": output})
    return task


def _check_grid(grid: Any, canvas: int, where: str) -> None:
    if not isinstance(grid, list) or not grid or not all(isinstance(row, list) for row in grid):
        raise TrmError(f"{where}: not a grid (a list of rows of colours)")
    width = len(grid[0])
    for r, row in enumerate(grid, start=1):
        if len(row) != width or width == 0:
            raise TrmError(f"{where}: row {r} has {len(row)} cells, row 1 has {width}")
        for c, cell in enumerate(row, start=1):
            if type(cell) is not int or not 0 <= cell < COLOURS:
                raise TrmError(
                    f"{where}: row {r}, column {c} is {cell!r}, no colour 0 to {COLOURS - 1}"
                )
    if max(len(grid), width) > canvas:
        raise TrmError(
            f"{where}: its {len(grid)} rows and {width} columns are more than this model's canvas "
            f"of {canvas}x{canvas}"
        )
