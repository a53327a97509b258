"""The maze score against a slow reading of its definition, and its refusals."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.errors import TrmError
from trm.puzzles.kinds import kind_named
from trm.puzzles.maze_kernels import valid_shortest_path


def tokens(*rows):
    return np.array([["# SGo".index(c) + 1 for c in "".join(rows)]], dtype=np.uint8)


QUESTION = tokens("S  ", " # ", "  G")


@pytest.mark.parametrize(
    ("prediction", "valid"),
    [
        (("Soo", " #o", "  G"), True),
        (("S  ", "o# ", "ooG"), True),  # the other shortest path
        (("S  ", " # ", "  G"), False),  # nothing marked
        (("So ", " #o", "  G"), False),  # a gap
        (("Soo", "o#o", "  G"), False),  # a cell too many
        (("Soo", "o# ", "  G"), False),  # as many as needed, but astray
        (("S  ", "oo ", " oG"), False),  # through the wall
        (("Soo", "  o", "  G"), False),  # the wall is gone
        (("Soo", "##o", "  G"), False),  # a wall of its own
        (("ooo", " #o", "  G"), False),  # the start is gone
        (("Soo", " #o", "  o"), False),  # the goal is gone
        (("Soo", " #o", "S G"), False),  # a second start
    ],
)
def test_a_prediction_and_its_worth(prediction, valid):
    assert valid_shortest_path(QUESTION, tokens(*prediction)).tolist() == [valid]


def test_a_detour_is_no_shortest_path():
    question = tokens("S  G", "    ", "    ", "    ")
    detour = tokens("S  G", "oooo", "    ", "    ")
    assert valid_shortest_path(question, detour).tolist() == [False]


def test_neighbours_need_nothing_between():
    question = tokens("SG", "  ")
    assert valid_shortest_path(question, question).tolist() == [True]
    assert valid_shortest_path(question, tokens("SG", "oo")).tolist() == [False]


def test_a_maze_without_a_way_has_no_valid_answer():
    question = tokens("S#G", " # ", " # ")
    assert valid_shortest_path(question, question).tolist() == [False]


def shortest_paths(question):
    """All sets of inner cells of a shortest path, by trying sets of all sizes; side 3."""
    start, goal = question.index(3), question.index(4)
    floor = [cell for cell, token in enumerate(question) if token == 2]
    paths = [
        {cell for cell, used in zip(floor, choice, strict=True) if used}
        for choice in product((False, True), repeat=len(floor))
    ]
    paths = [path for path in paths if connected(path | {start, goal}, start, goal)]
    fewest = min(map(len, paths), default=0)
    return [path for path in paths if len(path) == fewest]


def connected(cells, start, goal):
    reached = {start}
    for _ in cells:
        reached |= {
            cell
            for cell in cells
            for other in reached
            if abs(cell // 3 - other // 3) + abs(cell % 3 - other % 3) == 1
        }
    return goal in reached


@st.composite
def boards(draw):
    """A 3x3 question and a prediction that is often nearly right."""
    question = draw(st.lists(st.sampled_from([1, 2, 2]), min_size=9, max_size=9))
    start, goal = draw(st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True))
    question[start], question[goal] = 3, 4
    paths = shortest_paths(question)
    prediction = list(question)
    for cell in draw(st.sampled_from(paths)) if paths else ():
        prediction[cell] = 5
    changes = st.dictionaries(st.integers(0, 8), st.integers(1, 5), max_size=2)
    for cell, token in draw(changes).items():
        prediction[cell] = token
    return question, prediction


@given(st.lists(boards(), min_size=1, max_size=5))
def test_the_score_is_that_of_trying_every_path(cases):
    inputs, preds = (np.array(part, dtype=np.uint8) for part in zip(*cases, strict=True))
    expected = []
    for question, prediction in cases:
        marked = {c for c in range(9) if (question[c], prediction[c]) == (2, 5)}
        kept = all(
            q == p
            for c, (q, p) in enumerate(zip(question, prediction, strict=True))
            if c not in marked
        )
        expected.append(kept and marked in shortest_paths(question))
    assert valid_shortest_path(inputs, preds).tolist() == expected


def test_the_answers_of_a_table_are_valid():
    """Their paths need not be those that our tie-break takes; the rating is their steps."""
    table = Path(__file__).parents[1] / "golden/source/maze/train.csv"
    _, *rows = csv.reader(table.open())
    inputs, preds = (np.concatenate([tokens(row[k]) for row in rows]) for k in (1, 2))
    assert valid_shortest_path(inputs, preds).all()
    assert ((preds == 5).sum(axis=1) + 1).tolist() == [int(row[3]) for row in rows]


def test_the_metric_is_a_share():
    answers = [("Soo", " #o", "  G"), ("S  ", "o# ", "ooG"), ("S  ", " # ", "  G")]
    preds = np.concatenate([tokens(*answer) for answer in answers])
    assert kind_named("maze").further_metrics(np.repeat(QUESTION, 3, axis=0), preds) == {
        "valid_path": 2 / 3
    }


@pytest.mark.parametrize(
    ("inputs", "preds", "message"),
    [
        (QUESTION, QUESTION[:, :8], r"predictions \(1, 8\) do not fit .*\(1, 9\)"),
        (QUESTION[:, :8], QUESTION[:, :8], "8 cells is no square"),
        (tokens("S  ", " # ", "   "), QUESTION, "row 0 is no maze: its goals are 0"),
        (tokens("S  ", " # ", " SG"), QUESTION, "row 0 is no maze: its starts are 2"),
    ],
)
def test_what_is_no_maze_is_refused(inputs, preds, message):
    with pytest.raises(TrmError, match=message):
        valid_shortest_path(inputs, preds)
