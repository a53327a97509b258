"""The Sudoku builder against a plain reading of the specification, and its refusals."""

import csv
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from trm.data.boards import COLUMNS
from trm.data.legacy_random import legacy_stream
from trm.data.read import load_split
from trm.data.specs import SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.data.sudoku_kernels import apply_shuffle, draw_shuffle
from trm.errors import TrmError
from trm.puzzles.sudoku import SIDES, box_of

SOURCE = Path(__file__).parents[1] / "golden/source/sudoku"


def spec_of(**settings):
    return SudokuSpec(builder="sudoku", table="t", **settings)


def rows_of(path, least=None):
    rows = list(csv.reader(path.open()))[1:]
    rows = [row for row in rows if least is None or int(row[3]) >= least]
    texts = [(row[1].replace(".", "0"), row[2]) for row in rows]
    return [tuple(np.array(list(text), dtype=np.uint8) for text in pair) for pair in texts]


def shuffle_plainly(boards):
    digits = np.pad(np.random.permutation(np.arange(1, 10)), (1, 0))
    transpose = np.random.rand() < 0.5
    orders = []
    for _ in range(2):
        bands = np.random.permutation(3)
        orders.append(np.concatenate([3 * b + np.random.permutation(3) for b in bands]))
    rows, columns = orders
    images = []
    for board in boards:
        grid = board.reshape(9, 9)
        grid = grid.T if transpose else grid
        images.append(digits[grid[rows][:, columns]].ravel())
    return images


def plain_reading(path, spec):
    np.random.seed(spec.seed)
    boards = rows_of(path, spec.min_difficulty)
    if spec.subsample_size is not None and spec.subsample_size < len(boards):
        chosen = np.random.choice(len(boards), size=spec.subsample_size, replace=False)
        boards = [boards[i] for i in chosen]
    images = []
    for board in boards:
        images.append(board)
        images.extend(shuffle_plainly(board) for _ in range(spec.num_aug))
    return tuple(np.array([pair[side] for pair in images]) + 1 for side in (0, 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_aug": 3, "seed": 0},
        {"num_aug": 0, "seed": 7, "subsample_size": 10},
        {"num_aug": 2, "seed": 1, "subsample_size": 300},
        {"num_aug": 2, "seed": 2, "subsample_size": 20, "min_difficulty": 30},
    ],
)
def test_the_builder_is_the_plain_reading(tmp_path, monkeypatch, settings):
    monkeypatch.setattr("trm.data.boards.BLOCK_ROWS", 7)  # several blocks, the last one partial
    spec = spec_of(**settings)
    build_sudoku(spec, SOURCE, tmp_path / "out")
    inputs, labels = plain_reading(SOURCE / "train.csv", spec)
    train = load_split(tmp_path / "out", "train").sets["all"]
    np.testing.assert_array_equal(train.inputs, inputs)
    np.testing.assert_array_equal(train.labels, labels)
    assert train.inputs.dtype == (np.int64 if spec.num_aug else np.uint8)
    count = spec.num_aug + 1
    assert train.group_indices.tolist() == list(range(0, len(inputs) + 1, count))
    test = load_split(tmp_path / "out", "test").sets["all"]
    boards = rows_of(SOURCE / "test.csv", spec.min_difficulty)
    np.testing.assert_array_equal(test.inputs, np.array([q for q, _ in boards]) + 1)


def is_valid(board, box):
    side = box[0] * box[1]
    grid = board.reshape(side, side)
    boxes = grid.reshape(side // box[0], box[0], side // box[1], box[1]).swapaxes(1, 2)
    units = [*grid, *grid.T, *boxes.reshape(side, side)]
    return all(sorted(unit.tolist()) == list(range(1, side + 1)) for unit in units)


@pytest.mark.parametrize("side", SIDES)
def test_shuffles_keep_a_board_valid(side):
    rows, columns = box = box_of(side)
    i, j = np.mgrid[:side, :side]
    board = (((i % rows) * columns + i // rows + j) % side + 1).ravel()
    assert is_valid(board, box)
    state = legacy_stream(0)
    images = set()
    for _ in range(100):
        image = np.empty_like(board)
        apply_shuffle(board, *draw_shuffle(state, *box), image)
        assert is_valid(image, box)
        images.add(image.tobytes())
    assert len(images) > 50


def test_oblong_boxes_are_never_transposed():
    state = legacy_stream(0)
    assert box_of(6) == (2, 3)
    assert not any(draw_shuffle(state, 2, 3)[1] for _ in range(100))
    assert {draw_shuffle(state, 3, 3)[1] for _ in range(100)} == {True, False}


GOOD = ["s", "12" + "." * 14, "1234341221434321", "0"]
OTHER = ["s", "21" + "." * 14, "2134341212434321", "0"]


def write_table(folder, rows, header=COLUMNS):
    """train.csv with these rows, and test.csv with one other."""
    for name, part in {"train": rows, "test": [OTHER]}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *part])


def test_a_smaller_board_has_a_smaller_vocabulary(tmp_path):
    write_table(tmp_path, [GOOD])
    build_sudoku(spec_of(num_aug=3), tmp_path, tmp_path / "out")
    split = load_split(tmp_path / "out", "train")
    assert (split.metadata.vocab_size, split.metadata.seq_len) == (6, 16)
    assert split.sets["all"].inputs[0].tolist() == [2, 3] + [1] * 14


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, "1" * 15, "row 3: its question has 15 characters, expected 16"),
        (2, "1" * 17, "row 3: its answer has 17 characters, expected 16"),
        (1, "5" + "." * 15, "row 3: its question has '5' at cell 0"),
        (2, "." + "1" * 15, "row 3: its answer has '.' at cell 0"),
        (3, "hard", "row 3: rating 'hard'"),
        (1, "." * 15 + "2", "row 3: .*'2' at cell 15, its answer '1': it answers another"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(tmp_path, column, value, message):
    bad = list(GOOD)
    bad[column] = value
    write_table(tmp_path, [GOOD, bad])
    with pytest.raises(TrmError, match=message):
        build_sudoku(spec_of(min_difficulty=0), tmp_path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test.csv", "train.csv"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([GOOD], ["question", "answer"], "its columns are"),
        ([GOOD[:3]], COLUMNS, "row 2: 3 columns"),
        ([], COLUMNS, "has no rows"),
        ([["s", "1" * 25, "1" * 25, "0"]], COLUMNS, "25 characters is not a square board"),
        ([GOOD, ["s", "1é" + "." * 14, GOOD[2], "0"]], COLUMNS, "row 3: its question has 'é' at"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, rows, header, message):
    write_table(tmp_path, rows, header)
    with pytest.raises(TrmError, match=message):
        build_sudoku(spec_of(), tmp_path, tmp_path / "out")


def test_a_table_without_rows_is_not_blamed_on_a_difficulty(tmp_path):
    write_table(tmp_path, [GOOD])
    (tmp_path / "test.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(TrmError, match=r"test.csv has no rows$"):
        build_sudoku(spec_of(), tmp_path, tmp_path / "out")


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\ns,", "\né,".encode()),
        lambda text: text.replace(b"\ns,", b"\n\xe9,"),
        lambda text: text.replace(b"\n", b"\r\n\r\n"),
        lambda text: text.replace(b"\ns,", b"\n  \ns,") + b"\n",
        lambda text: text.replace(b"\ns,", b'\n"two\nlines",'),
    ],
    ids=["byte-order mark", "UTF-8", "Latin-1", "blank lines", "spaces", "a quoted line end"],
)
def test_what_does_not_concern_the_boards_changes_nothing(tmp_path, change):
    write_table(tmp_path, [GOOD, GOOD])
    build_sudoku(spec_of(), tmp_path, tmp_path / "plain")
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    build_sudoku(spec_of(), tmp_path, tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("source", "row"), [("é", 1002), ("two\nlines", 2002), ("", 1002)], ids=["é", "lines", "blank"]
)
def test_a_row_is_named_by_its_line_in_the_file(tmp_path, source, row):
    bad = ["s", "13" + "." * 14, GOOD[2], "0"]
    write_table(tmp_path, [[source, *GOOD[1:]]] * 1000 + [bad])
    with pytest.raises(TrmError, match=f"train.csv, row {row}: its question has '3' at cell 1"):
        build_sudoku(spec_of(), tmp_path, tmp_path / "out")
    lines = (tmp_path / "train.csv").read_bytes().splitlines()
    assert b",13.." in lines[row - 1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(tmp_path, encoding):
    write_table(tmp_path, [GOOD])
    path = tmp_path / "train.csv"
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(TrmError, match=r"train.csv is UTF-\d+ text: save it as CSV in UTF-8"):
        build_sudoku(spec_of(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("1134341221434321", "1 at row 1, column 1 and at row 1, column 2, in one row"),
        ("1234143221434321", "1 at row 1, column 1 and at row 2, column 1, in one column"),
        ("1234214334124321", "1 at row 1, column 1 and at row 2, column 2, in one box"),
    ],
)
def test_an_answer_against_the_rules_is_refused_by_its_cells(tmp_path, answer, message):
    write_table(tmp_path, [GOOD, ["s", "." * 16, answer, "0"]])
    with pytest.raises(TrmError, match=f"train.csv, row 3: its answer has {message}"):
        build_sudoku(spec_of(), tmp_path, tmp_path / "out")


def test_a_difficulty_that_no_row_has_is_refused(tmp_path):
    with pytest.raises(TrmError, match="no row that is rated 1000000 or higher: lower min_diff"):
        build_sudoku(spec_of(min_difficulty=10**6), SOURCE, tmp_path / "out")


@pytest.mark.parametrize(
    "settings", [{"subsample_size": 0}, {"num_aug": -1}, {"seed": -1}, {"seed": 2**64}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        spec_of(**settings)
