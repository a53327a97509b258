"""A submission to the ARC Prize on Kaggle: two attempts per test input of every task asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from trm.errors import TrmError
from trm.files import read_json

MAX_SIDE = 30
PLACEHOLDER = [[0]]  # an attempt where there is no prediction; nobody expects it to be right

Challenges = dict[str, int]
"""Task name -> how many test inputs it has."""


def _rectangular(rows: list[list[int]]) -> list[list[int]]:
    if len({len(row) for row in rows}) > 1:
        raise ValueError("its rows differ in length")
    return rows


Colour = Annotated[int, Field(strict=True, ge=0, le=9)]
KaggleGrid = Annotated[
    list[Annotated[list[Colour], Field(min_length=1, max_length=MAX_SIDE)]],
    Field(min_length=1, max_length=MAX_SIDE),
    AfterValidator(_rectangular),
]


class Attempts(BaseModel):
    """The two guesses at one test input."""

    model_config = ConfigDict(extra="forbid")

    attempt_1: KaggleGrid
    attempt_2: KaggleGrid


_TASK = TypeAdapter(list[Attempts])


def read_challenges(paths: Iterable[Path]) -> Challenges:
    """The tasks of `arc-agi_*_challenges.json` files; TrmError where one is not such a file."""
    challenges: Challenges = {}
    for path in paths:
        tasks = _read_object(path, "fetch it again")
        try:
            challenges |= {name: len(task["test"]) for name, task in tasks.items()}
        except (TypeError, KeyError):
            raise TrmError(f"{path} holds no ARC challenges: give arc-agi_*_challenges.json") from (
                None
            )
    return challenges


def complete_submission(
    submission: Mapping[str, list[dict[str, Any]]], challenges: Challenges
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The submission with every task of `challenges`, in their order, and the names of those that
    hold a PLACEHOLDER, in full or where an attempt held no grid."""
    completed: dict[str, list[dict[str, Any]]] = {}
    unanswered = []
    for name, n_inputs in challenges.items():
        attempts = submission.get(name, [{}] * n_inputs)
        given = [test.get(key) for test in attempts for key in Attempts.model_fields]
        if not all(given):
            unanswered.append(name)
        completed[name] = [
            {key: test.get(key) or PLACEHOLDER for key in Attempts.model_fields}
            for test in attempts
        ]
    return completed, unanswered


def check_submission(submission: object, challenges: Challenges) -> None:
    """TrmError, naming the first wrong task, where Kaggle would not take it for these tasks."""
    if not isinstance(submission, dict):
        raise TrmError("a submission is an object of attempts by task name")
    _refuse_names("misses", [name for name in challenges if name not in submission])
    _refuse_names("has, beyond those asked,", [n for n in submission if n not in challenges])
    for name, n_inputs in challenges.items():
        try:
            attempts = _TASK.validate_python(submission[name])
        except pydantic.ValidationError as error:
            raise TrmError(f"task {name}: {_first_mistake(error)}") from None
        if len(attempts) != n_inputs:
            raise TrmError(f"task {name}: attempts for {len(attempts)} test inputs, not {n_inputs}")


def check_submission_file(path: Path, challenges: Challenges) -> None:
    """Call `check_submission` for a file; TrmError names it."""
    submission = _read_object(path, "write it again with python -m trm.evaluate")
    try:
        check_submission(submission, challenges)
    except TrmError as error:
        raise TrmError(f"{path} is not a valid submission: {error}") from None


def _refuse_names(what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise TrmError(f"it {what} task {names[0]}{more}")


def _first_mistake(error: pydantic.ValidationError) -> str:
    """`test input 1, attempt_2, row 3: ...`, all counted from 1."""
    first = error.errors()[0]
    places = [part + 1 if isinstance(part, int) else part for part in first["loc"]]
    labels = ("test input {}", "{}", "row {}", "cell {}")
    where = ", ".join(label.format(place) for label, place in zip(labels, places, strict=False))
    return f"{where or 'its value'}: {first['msg']}"


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = read_json(Path(path), remedy)
    except FileNotFoundError:
        raise TrmError(f"{path} does not exist: {remedy}") from None
    if not isinstance(content, dict):
        raise TrmError(f"{path} is not an object of tasks by name: {remedy}")
    return content
