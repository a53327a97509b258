"""Boards of any characters: tokens, what is refused, and how they are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trm.data.plain_boards import build_boards
from trm.data.read import load_split
from trm.data.specs import BoardsSpec, parse_spec
from trm.errors import TrmError
from trm.puzzles.board_look import read_look
from trm.report.examples import draw_boards
from trm.report.figures import save_figure
from trm.scoring.predictions import Predictions

ROWS = {"train": ["ab cda", "dcb aa", "aaaaaa"], "test": ["cbad a", "  abcd"]}


def spec(**changes: object) -> BoardsSpec:
    row = {"builder": "boards", "table": "t", "characters": "abcd ", "columns": 3}
    return parse_spec(BoardsSpec, {**row, **changes})


@pytest.fixture
def table(tmp_path):
    for name, questions in ROWS.items():
        lines = [f"x,{q},{''.join(sorted(q))},0" for q in questions]
        text = "\n".join(["source,question,answer,rating", *lines, ""])
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_tokens_are_places_among_the_characters(table) -> None:
    build_boards(spec(), table, table / "data")
    test = load_split(table / "data", "test")
    arrays = test.sets["all"]
    letters = np.array(list("?abcd "))
    assert ["".join(row) for row in letters[arrays.inputs]] == ROWS["test"]
    assert ["".join(row) for row in letters[arrays.labels]] == [" aabcd", "  abcd"]
    assert (test.metadata.vocab_size, test.metadata.seq_len) == (6, 6)
    assert read_look(table / "data").columns == 3
    assert (table / "data/boards.json").read_text() == '{"characters":"abcd ","columns":3}'


def test_a_subsample_is_drawn_of_train_alone(table) -> None:
    build_boards(spec(subsample_size=2), table, table / "data")
    assert load_split(table / "data", "train").metadata.total_groups == 2
    assert load_split(table / "data", "test").metadata.total_groups == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"characters": "abc "}, "row 2: its question has 'd' at cell 4"),
        ({"columns": 4}, "not rows of 4"),
        ({"columns": None}, "not a square: set `columns`"),
        ({"characters": "aab"}, "has one twice"),
        ({"characters": "ä"}, "characters"),
    ],
)
def test_what_does_not_fit_is_named(table, changes: dict, words: str) -> None:
    with pytest.raises(TrmError, match=words):
        build_boards(spec(**changes), table, table / "data")
    assert not (table / "data").exists()


def test_every_token_can_be_drawn(table) -> None:
    """A prediction may be of any token, padding too."""
    build_boards(spec(), table, table / "data")
    labels = np.array(load_split(table / "data", "test").sets["all"].labels)
    labels[1] = np.arange(6)
    examples = draw_boards(table / "data", "boards", Predictions(labels, np.zeros(2)))
    assert examples.description.startswith("1 solved and 1 failed")
    save_figure(examples.figure, table / "x.png", examples.description)
    assert (table / "x.png").stat().st_size > 1000
    titles = [axes.get_title() for axes in examples.figure.axes]
    assert titles == ["Solved ✓: no. 1", "Failed ✗: no. 2, 6 wrong cells"]


def test_a_dataset_of_another_kind_is_refused(table) -> None:
    build_boards(spec(), table, table / "data")
    (table / "data" / "boards.json").write_text(json.dumps({"characters": "ab"}))
    with pytest.raises(TrmError, match="is damaged"):
        read_look(table / "data")
    (table / "data" / "boards.json").unlink()
    with pytest.raises(TrmError, match="has no boards.json"):
        read_look(table / "data")
