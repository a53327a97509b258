"""Generated puzzles: solved by independent means, none an image of another, the same by seed."""

import csv
import hashlib

import numpy as np
import pytest

from trm.data.generate import (
    canonical_form,
    count_solutions,
    generate_table,
    guesses,
    line_orders,
    random_board,
)
from trm.data.generate_maze import maze_form
from trm.data.legacy_random import legacy_stream
from trm.data.maze import build_maze
from trm.data.read import load_split
from trm.data.specs import GenerateMaze, GenerateSudoku, MazeSpec, TableSource, parse_spec
from trm.data.sudoku_kernels import apply_shuffle, draw_shuffle
from trm.errors import TrmError
from trm.puzzles.maze_kernels import shortest_path
from trm.puzzles.sudoku import box_of

SPEC = GenerateSudoku(kind="sudoku", side=6, clues=12, train=60, test=30, seed=3)
MAZES = GenerateMaze(kind="maze", side=30, min_path=111, train=24, test=12, seed=0)


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sudoku")
    generate_table(SPEC, folder)
    return {name: read(folder / f"{name}.csv") for name in ("train", "test")}


def read(path):
    header, *rows = csv.reader(path.open())
    assert header == ["source", "question", "answer", "rating"]
    return [
        (np.array(list(q.replace(".", "0")), np.uint8), np.array(list(a), np.uint8), int(rating))
        for _, q, a, rating in rows
    ]


def solve(board, box):
    """All solutions, by trying everything: slow, and nothing like the generator's solver."""
    side = box[0] * box[1]
    if board.all():
        return [board]
    cell = int(np.argmin(board))
    row, column = divmod(cell, side)
    grid = board.reshape(side, side)
    top, left = row // box[0] * box[0], column // box[1] * box[1]
    used = {
        *grid[row].tolist(),
        *grid[:, column].tolist(),
        *grid[top : top + box[0], left : left + box[1]].ravel().tolist(),
    }
    found = []
    for digit in set(range(1, side + 1)) - used:
        trial = board.copy()
        trial[cell] = digit
        found += solve(trial, box)
    return found


def test_each_board_has_exactly_its_answer(boards):
    assert (len(boards["train"]), len(boards["test"])) == (60, 30)
    for question, answer, _ in boards["train"][:10] + boards["test"][:10]:
        solutions = solve(question, (2, 3))
        assert len(solutions) == 1
        np.testing.assert_array_equal(solutions[0], answer)
    for question, answer, _ in boards["train"] + boards["test"]:
        assert 12 <= np.count_nonzero(question) <= 13
        assert count_solutions(question, 2, 3, 2) == 1
        np.testing.assert_array_equal(question[question > 0], answer[question > 0])


def test_no_board_is_an_image_of_another(boards):
    orders = line_orders(2, 6), line_orders(3, 6)
    forms = {canonical_form(q, *orders).tobytes() for q, _, _ in boards["train"] + boards["test"]}
    assert len(forms) == 90


@pytest.mark.parametrize(("side", "clues"), [(4, 4), (6, 12), (9, 28)])
def test_the_canonical_form_is_that_of_every_image(side, clues):
    box = box_of(side)
    orders = line_orders(box[0], side), line_orders(box[1], side)
    state, rng = legacy_stream(0), np.random.default_rng(0)
    for _ in range(20):
        question, _ = random_board(rng, *box, clues)
        image = np.empty_like(question)
        apply_shuffle(question, *draw_shuffle(state, *box), image)
        form = canonical_form(question, *orders)
        np.testing.assert_array_equal(canonical_form(image, *orders), form)
        other = question.copy()
        other[np.flatnonzero(other)[0]] = 0
        assert canonical_form(other, *orders).tobytes() != form.tobytes()


def test_the_number_of_line_orders():
    assert [len(line_orders(*case)) for case in ((2, 6), (3, 6), (3, 9))] == [48, 72, 1296]


def test_solutions_are_counted_up_to_the_limit():
    empty = np.zeros(16, dtype=np.uint8)
    assert count_solutions(empty, 2, 2, 1000) == 288  # known number of 4x4 sudokus
    assert count_solutions(empty, 2, 2, 5) == 5
    impossible = np.array([1, 1] + [0] * 14, dtype=np.uint8)
    assert count_solutions(impossible, 2, 2, 5) == 0


def test_the_rating_counts_guesses(boards):
    answer = boards["train"][0][1]
    blank_one = answer.copy()
    blank_one[0] = 0
    assert guesses(blank_one, 2, 3) == 0
    assert guesses(np.zeros(36, dtype=np.uint8), 2, 3) > 0
    assert [guesses(q, 2, 3) for q, _, _ in boards["train"]] == [r for _, _, r in boards["train"]]


def test_nine_by_nine_boards_have_one_solution_and_the_rating_asked_for(tmp_path):
    spec = GenerateSudoku(kind="sudoku", side=9, clues=26, train=4, test=2, seed=0, min_rating=2)
    generate_table(spec, tmp_path)
    for name, number in (("train", 4), ("test", 2)):
        boards = read(tmp_path / f"{name}.csv")
        assert len(boards) == number
        for question, answer, rating in boards:
            assert 26 <= np.count_nonzero(question) <= 27
            (solution,) = solve(question, (3, 3))
            np.testing.assert_array_equal(solution, answer)
            assert rating == guesses(question, 3, 3) >= 2


def test_the_table_of_the_demo_keeps_its_bytes(tmp_path):
    """The row sudoku-6x6 of config.yaml, whose results the documentation reports."""
    generate_table(
        GenerateSudoku(kind="sudoku", side=6, clues=12, train=1000, test=500, seed=0), tmp_path
    )
    for name, expected in (("train", "418b6bb2f6d330c2"), ("test", "7d22f9decd328489")):
        content = (tmp_path / f"{name}.csv").read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(expected)


def test_more_boards_than_there_are_is_refused(tmp_path):
    spec = GenerateSudoku(kind="sudoku", side=4, clues=4, train=1000, test=1)
    with pytest.raises(TrmError, match="of 1001 different boards of side 4 .*: allow more clues$"):
        generate_table(spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_rating_that_no_board_has_is_refused(tmp_path):
    spec = GenerateSudoku(kind="sudoku", side=4, clues=6, train=1, test=1, min_rating=50)
    with pytest.raises(TrmError, match="found 0 of 2 .* 50 guesses or more: .*min_rating"):
        generate_table(spec, tmp_path)


def test_a_side_without_boxes_is_refused(tmp_path):
    spec = GenerateSudoku(kind="sudoku", side=7, clues=12, train=1, test=1)
    with pytest.raises(TrmError, match="no sudoku of side 7"):
        generate_table(spec, tmp_path)


# --- mazes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mazes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maze")
    generate_table(MAZES, folder)
    return {name: read_mazes(folder / f"{name}.csv") for name in ("train", "test")}


def read_mazes(path):
    """(question, answer, rating); boards as arrays [side, side] of characters."""
    header, *rows = csv.reader(path.open())
    assert header == ["source", "question", "answer", "rating"]
    side = round(len(rows[0][1]) ** 0.5)
    return [
        (*(np.array(list(text)).reshape(side, side) for text in row[1:3]), int(row[3]))
        for row in rows
    ]


def steps_between(board, start, goal):
    """Steps of a shortest path, from a wave that grows over the board; None without a path."""
    reached = board == start
    for steps in range(board.size):
        if (reached & (board == goal)).any():
            return steps
        padded = np.pad(reached, 1)
        wave = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        reached = reached | (wave & (board != "#"))
    return None


def assert_sound(question, answer, rating):
    assert ((question == "S").sum(), (question == "G").sum()) == (1, 1)
    assert set(question.ravel()) == set("# SG")
    np.testing.assert_array_equal(np.where(answer == "o", " ", answer), question)
    assert steps_between(question, "S", "G") == rating
    only_marked = np.where(answer == " ", "#", answer)
    assert steps_between(only_marked, "S", "G") == rating
    assert (answer == "o").sum() == rating - 1


def test_each_maze_has_its_shortest_path_marked(mazes):
    assert (len(mazes["train"]), len(mazes["test"])) == (24, 12)
    for question, answer, rating in mazes["train"] + mazes["test"]:
        assert_sound(question, answer, rating)
        assert rating > 110
        assert 0.3 <= (question == "#").mean() <= 0.5


def test_no_maze_is_an_image_of_another(mazes):
    images = [
        {turn(board, k).tobytes() for turn in (np.rot90, mirrored) for k in range(4)}
        for board, _, _ in mazes["train"] + mazes["test"]
    ]
    assert len(set().union(*images)) == sum(map(len, images))


def mirrored(board, k):
    return np.rot90(board.T, k)


def test_the_form_of_a_maze_is_that_of_its_images(mazes):
    (board, _, _), (other, _, _) = mazes["train"][:2]
    codes = board.view(np.uint32).astype(np.uint8)
    forms = {
        maze_form(np.ascontiguousarray(turn(codes, k)).ravel())
        for turn in (np.rot90, mirrored)
        for k in range(4)
    }
    assert len(forms) == 1
    assert maze_form(other.view(np.uint32).astype(np.uint8).ravel()) not in forms


def test_of_several_shortest_paths_the_first_of_up_left_right_down_is_taken():
    free = np.ones(9, dtype=bool)
    assert shortest_path(free, 3, 0, 8).tolist() == [0, 1, 2, 5, 8]
    assert shortest_path(free, 3, 8, 0).tolist() == [8, 5, 2, 1, 0]
    assert shortest_path(free, 3, 2, 6).tolist() == [2, 1, 0, 3, 6]
    free[[1, 4, 7]] = False
    assert shortest_path(free, 3, 0, 8).tolist() == []


@pytest.mark.parametrize(
    ("side", "min_path", "density"),
    [(5, 10, (0.2, 0.33)), (6, 10, (0.3, 0.5)), (13, 40, (0.35, 0.35)), (30, 130, (0.1, 0.14))],
)
def test_mazes_of_other_sides_and_densities(tmp_path, side, min_path, density):
    low, high = density
    if low == high:  # a whole number of walls
        low = high = round(low * side**2) / side**2
    spec = MAZES.model_copy(
        update={"side": side, "min_path": min_path, "wall_density": (low, high), "train": 4}
    )
    generate_table(spec, tmp_path)
    for question, answer, rating in read_mazes(tmp_path / "train.csv"):
        assert_sound(question, answer, rating)
        assert question.shape == (side, side)
        assert rating >= min_path
        assert low <= (question == "#").mean() <= high


def test_generated_mazes_make_a_dataset(tmp_path):
    generate_table(MAZES.model_copy(update={"train": 3, "test": 2}), tmp_path / "raw")
    build_maze(MazeSpec(builder="maze", table="t", aug=True), tmp_path / "raw", tmp_path / "data")
    assert load_split(tmp_path / "data", "train").sets["all"].inputs.shape == (24, 900)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 5, "min_path": 17}, "no maze of side 5 .* 17 steps: min_path may be 16 at most"),
        ({"wall_density": (0.6, 0.7)}, "no maze of side 30 .* 60% walls: .* begin at 0.501"),
        ({"wall_density": (0.4001, 0.4002)}, "no whole number of walls"),
        ({"min_path": 448}, "found 0 of 36 different mazes of side 30 .*: lower min_path"),
        ({"side": 5, "min_path": 16, "train": 5000}, "of 5012 different mazes of side 5"),
    ],
)
def test_mazes_that_cannot_be_made_are_refused(tmp_path, changes, message):
    with pytest.raises(TrmError, match=message):
        generate_table(MAZES.model_copy(update=changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SPEC, MAZES.model_copy(update={"train": 5, "test": 3})])
def test_the_same_seed_gives_the_same_files(tmp_path, spec):
    for name, seed in (("a", spec.seed), ("b", spec.seed), ("c", spec.seed + 1)):
        generate_table(spec.model_copy(update={"seed": seed}), tmp_path / name)
    for split in ("train.csv", "test.csv"):
        contents = [(tmp_path / name / split).read_bytes() for name in "abc"]
        assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        ({"side": 6}, "generate: .*'kind'"),
        ({"kind": "chess", "side": 8}, "generate: .*'sudoku', 'maze'"),
        (MAZES.model_dump() | {"side": 31}, "generate.maze.side: .* less than or equal to 30"),
        (MAZES.model_dump() | {"wall_density": [0.5, 0.3]}, "low <= high"),
        (MAZES.model_dump() | {"clues": 3}, "generate.maze.clues: Extra"),
    ],
)
def test_a_wrong_row_is_refused_by_its_key(generate, message):
    with pytest.raises(TrmError, match=message):
        parse_spec(TableSource, {"generate": generate})


def test_a_row_names_its_generator():
    source = parse_spec(
        TableSource, {"generate": {**MAZES.model_dump(), "wall_density": [0.3, 0.5]}}
    )
    assert source.generate == MAZES
