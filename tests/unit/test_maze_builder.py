"""The maze builder against a plain reading of the specification, and its refusals."""

import csv
from pathlib import Path

import numpy as np
import pytest

from trm.data.boards import COLUMNS
from trm.data.maze import build_maze
from trm.data.read import load_split
from trm.data.specs import MazeSpec
from trm.errors import TrmError
from trm.puzzles.augmentation import dihedral_transform

SOURCE = Path(__file__).parents[1] / "golden/source/maze"
TOKENS = {character: token for token, character in enumerate("# SGo", start=1)}


def spec_of(**settings):
    return MazeSpec(builder="maze", table="t", **settings)


def boards(path, column):
    rows = list(csv.reader(path.open()))[1:]
    return [np.array([TOKENS[c] for c in row[column]]) for row in rows]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("aug", [False, True])
@pytest.mark.parametrize("subsample_size", [None, 5])
def test_the_builder_is_the_plain_reading(tmp_path, seed, aug, subsample_size):
    spec = spec_of(seed=seed, aug=aug, subsample_size=subsample_size)
    build_maze(spec, SOURCE, tmp_path / "out")
    train = load_split(tmp_path / "out", "train")
    for key, column in (("inputs", 1), ("labels", 2)):
        plain = boards(SOURCE / "train.csv", column)
        np.random.seed(seed)
        if subsample_size is not None:
            plain = [plain[i] for i in np.random.choice(len(plain), 5, replace=False)]
        expected = [
            dihedral_transform(board.reshape(30, 30), d).ravel()
            for board in plain
            for d in range(8 if aug else 1)
        ]
        found = getattr(train.sets["all"], key)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8
    assert train.metadata.total_groups == (subsample_size or 20)
    test = load_split(tmp_path / "out", "test").sets["all"]
    np.testing.assert_array_equal(test.labels, boards(SOURCE / "test.csv", 2))


MAZE = "S #" + "# #" + "  G", "So#" + "#o#" + " oG"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("So##o#  G", "marks no path"),
        ("S ##o# oG", "marks no path"),
        ("S ## #ooG", "marks no path"),
        ("SS## #  G", r"has 2 cells that are its start \(S\), not 1"),
    ],
)
def test_an_answer_that_is_no_path_is_refused_by_its_row(tmp_path, answer, message):
    for name in ("train", "test"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = [["s", *MAZE, "1"], ["s", MAZE[0], answer, "1"]]
            csv.writer(file).writerows([COLUMNS, *rows])
    with pytest.raises(TrmError, match=f"train.csv, row 3: its answer {message}"):
        build_maze(spec_of(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("#" * 899, "row 2: a question of 899 characters is not a square board"),
        ("#" * 899 + "x", "row 2: .*'x' at cell 899"),
        ("#" * 899 + "G", "row 2: .*'G' at cell 899, its answer '#': it answers another"),
    ],
)
def test_a_bad_maze_is_refused_by_its_row(tmp_path, question, message):
    for name in ("train", "test"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, ["s", question, "#" * 900, "1"]])
    with pytest.raises(TrmError, match=message):
        build_maze(spec_of(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
