"""A trained model is found, asked and answers; what it cannot be asked is told by its cell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import trm
from tests.conftest import ROOT
from tests.runs import (
    ALONE,
    arc_data,
    arc_task,
    learn_by_heart,
    memorised_sudoku,
    random_run,
)
from trm.data.arc import augment_task, known_task
from trm.data.batches import PuzzleData
from trm.data.plain_boards import build_boards
from trm.data.read import load_identifiers, load_split
from trm.data.specs import BoardsSpec
from trm.errors import TrmError
from trm.evaluate.loop import evaluate
from trm.evaluate.settings import Settings
from trm.export import export
from trm.puzzles.arc import check_task
from trm.puzzles.kinds import board_kind
from trm.puzzles.sudoku import conflicts
from trm.scoring.arc import score_arc
from trm.solve.answer import embedding_learned, predict
from trm.solve.command import draw_grid, main
from trm.solve.trained import TrainedModel, load

MAZES, SUDOKUS = board_kind("maze"), board_kind("sudoku")
MAZE = "#####\n#S  #\n# # #\n# #G#\n#####"
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
OPEN = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def solve_command(capsys: pytest.CaptureFixture, monkeypatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["trm.solve", "--device", "cpu", *words])
    capsys.readouterr()
    main()
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    return memorised_sudoku(tmp_path_factory.mktemp("memorised"))


@pytest.fixture(scope="module")
def maze_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("maze") / "run", Path("nowhere/maze"), 5, 6)


@pytest.fixture(scope="module")
def arc_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    """Random weights with embeddings of the three tasks of a dataset, and the tasks."""
    root = tmp_path_factory.mktemp("arc")
    tasks = arc_data(root / "data" / "arc")
    puzzles = len(load_identifiers(root / "data" / "arc"))
    # The config's path is relative, and not to here: the folders above the weights are tried.
    return random_run(root / "checkpoints" / "run", Path("data/arc"), 5, 12, puzzles), tasks


# --- boards ---------------------------------------------------------------------------------------


def test_a_learned_board_is_solved(learned, capsys, monkeypatch) -> None:
    run, question, answer = learned
    solved = trm.load(run, device="cpu").solve(question)
    assert solved.text.replace("\n", "") == answer
    assert solved.valid
    assert len(solved.steps) == 2
    out = solve_command(capsys, monkeypatch, "--checkpoint", str(run), "--sudoku", question)
    assert "the answer is a valid sudoku" in out
    a, b, c, d = answer[:4]
    assert f"| {a} {b} | {c} {d} |" in out
    shown = json.loads(
        solve_command(
            capsys,
            monkeypatch,
            "--checkpoint",
            str(run),
            "--sudoku",
            question,
            "--json",
            "--steps",
            "--max-steps",
            "5",
        )
    )
    assert "".join(shown["answer"]) == answer
    assert shown["valid"] is True
    assert len(shown["steps"]) == shown["supervision_steps"] == 5
    assert shown["steps"][1]["confidence"] == pytest.approx(solved.confidence, abs=1e-6)


def test_a_wrong_answer_is_said_to_be_wrong(maze_run, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "maze.txt").write_text(MAZE + "\n")
    words = ("--checkpoint", str(maze_run / "final"), "--side", "5", "--maze")
    out = solve_command(capsys, monkeypatch, *words, str(tmp_path / "maze.txt"), "--steps")
    assert "the answer is not a shortest path" in out
    assert out.count("step ") == 3
    assert "\x1b" not in out


def test_the_answers_are_those_of_evaluation(learned) -> None:
    trained = load(learned[0], device="cpu")
    data = PuzzleData.load(trained.training.data_paths, "test")
    wanted = evaluate(
        trained.model, data, Settings("stablemax_cross_entropy", 1), ALONE
    ).predictions
    answer = trained.solve_board(learned[1])
    np.testing.assert_array_equal(answer.answer.ravel(), wanted.preds[0])
    logit = torch.tensor(wanted.q_halt_logits[0])
    assert answer.confidence == pytest.approx(logit.sigmoid().item(), abs=1e-6)


def test_more_steps_than_in_training_go_on_and_do_not_start_again(maze_run) -> None:
    trained = load(maze_run, device="cpu", side=5)
    inputs = MAZES.read(MAZE, 5, 5).reshape(1, 25)
    long = predict(trained.model, inputs, np.zeros(1, np.int32), trained.device, 7)
    again = predict(trained.model, inputs, np.zeros(1, np.int32), trained.device, 3)
    for one, other in zip(long, again, strict=False):
        np.testing.assert_array_equal(one.q_halt_logits, other.q_halt_logits)
    assert long[3].q_halt_logits != long[0].q_halt_logits


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1" + "." * 80 + "1", r"82 cells, not 81: this model's are 9x9"),
        ("." * 36, r"36 cells, not 81: this model's are 9x9"),
        ("." * 11 + "x" + "." * 69, r"row 2, column 3 of the sudoku is 'x'"),
        ("\n".join(["." * 9] * 8 + ["." * 8]), r"row 9 of the sudoku has 8 cells, not 9"),
        ("1...1" + "." * 76, r"1 is at row 1, column 1 and at row 1, column 5, in one row"),
        ("7" + "." * 17 + "7" + "." * 62, r"row 1, column 1 and at row 3, column 1, in one column"),
        (
            "." * 60 + "4" + "." * 9 + "4" + "." * 10,
            r"4 is at row 7, column 7 and at row 8, column 8, in one box",
        ),
        ("5" * 9 + "." * 72, r"contradicts itself: .*; and 33 more"),
        ("nosuchfile.txt", r"no file nosuchfile.txt"),
    ],
)
def test_a_bad_sudoku_is_refused_by_its_cell(tmp_path: Path, text: str, told: str) -> None:
    run = random_run(tmp_path / "run", Path("none"), 9, 11)
    with pytest.raises(TrmError, match=told):
        load(run, device="cpu").solve(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MAZE.replace("S", " "), r"the maze has no start \(S\)"),
        (MAZE.replace("G", "#"), r"the maze has no goal \(G\)"),
        (MAZE.replace("# #G#", "#S#G#"), r"2 cells .* row 2, column 2 and row 4, column 2"),
        (MAZE.replace("# # #", "# x #"), r"row 3, column 3 of the maze is 'x'"),
        (MAZE + "\n#####", r"30 cells, not 25"),
        (MAZE.replace("#S  #", "#S  "), r"row 2 of the maze has 4 cells, not 5"),
        (MAZE.replace("# #G#", "# ###").replace("#S  #", "#S#G#"), r"no path leads from .*row 2"),
    ],
)
def test_a_bad_maze_is_refused_by_its_cell(text: str, told: str) -> None:
    with pytest.raises(TrmError, match=told):
        MAZES.read(text, 5, 5)


def test_text_is_read_as_people_write_it() -> None:
    lines = "\n".join(OPEN[i : i + 9] for i in range(0, 81, 9))
    spaced = "\n".join(" ".join(line) for line in lines.replace(".", "0").split("\n"))
    plain = SUDOKUS.read(OPEN, 9, 9)
    for text in (lines, spaced, lines.replace("\n", "\r\n") + "\r\n\r\n"):
        np.testing.assert_array_equal(SUDOKUS.read(text, 9, 9), plain)
    drawn = "+-------+\n| " + lines[:29].replace("\n", " |\n|") + "|\n+--+--+\n" + lines[30:]
    np.testing.assert_array_equal(SUDOKUS.read(drawn, 9, 9), plain)
    framed = "\n".join(["+-----+", *(f"|{row}|" for row in MAZE.split("\n")), "+-----+"])
    np.testing.assert_array_equal(MAZES.read(framed, 5, 5), MAZES.read(MAZE, 5, 5))
    marked = MAZE.replace("#S  #", "#So #")
    np.testing.assert_array_equal(MAZES.read(marked, 5, 5), MAZES.read(MAZE + "\r\n", 5, 5))


def test_a_drawn_board_is_read_again(learned, capsys, monkeypatch) -> None:
    run, question, answer = learned
    out = solve_command(capsys, monkeypatch, "--checkpoint", str(run), "--sudoku", question)
    board = out.rsplit("\n", 2)[0]
    assert board.startswith("+-----+")
    assert "".join(str(token - 1) for token in SUDOKUS.read(board, 4, 4).ravel()) == answer


def test_a_maze_is_drawn_in_a_frame(maze_run, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "maze.txt").write_text(MAZE)
    words = ("--checkpoint", str(maze_run), "--side", "5", "--maze", str(tmp_path / "maze.txt"))
    lines = solve_command(capsys, monkeypatch, *words).splitlines()
    assert lines[0] == lines[6] == "+-----+"
    assert all(len(line) == 7 and line[0] == line[6] == "|" for line in lines[1:6])


def test_what_is_no_text_file_is_told_as_what_it_is(learned, tmp_path) -> None:
    trained = load(learned[0], device="cpu")
    (tmp_path / "board.txt").write_bytes(b"\xff\xff\x00")
    with pytest.raises(TrmError, match=r"board\.txt is not a text file"):
        trained.solve(tmp_path / "board.txt")
    with pytest.raises(TrmError, match=r"is a folder"):
        trained.solve(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_byte_order_mark_is_no_part_of_a_puzzle(learned, arc_run, tmp_path, encoding) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    run, question, answer = learned
    (tmp_path / "board.txt").write_bytes((mark + question).encode(encoding))
    for puzzle in (tmp_path / "board.txt", f"\ufeff{question}"):
        assert load(run, device="cpu").solve(puzzle).text.replace("\n", "") == answer
    (tmp_path / "first.json").write_bytes((mark + json.dumps(arc_run[1]["first"])).encode(encoding))
    assert load(arc_run[0], device="cpu").solve(tmp_path / "first.json", max_steps=1).known


@pytest.mark.parametrize("option", ["--sudoku", "--maze", "--board", "--arc-task"])
def test_an_empty_option_is_reported_as_empty(learned, capsys, monkeypatch, option) -> None:
    with pytest.raises(TrmError, match=f"^{option} is empty: give the puzzle, or a file"):
        solve_command(capsys, monkeypatch, "--checkpoint", str(learned[0]), option, "")


def test_an_empty_puzzle_is_no_folder(learned, tmp_path) -> None:
    for puzzle in ("", "\n", "\r\n"):
        with pytest.raises(TrmError, match="the puzzle is empty"):
            load(learned[0], device="cpu").solve(puzzle)
    (tmp_path / "board.txt").touch()
    with pytest.raises(TrmError, match="the sudoku has 0 cells, not 16"):
        load(learned[0], device="cpu").solve(tmp_path / "board.txt")


def test_a_sudoku_is_solved_by_its_rules_and_clues() -> None:
    question, answer = (
        SUDOKUS.charset(9).decode(t.encode(), ".123456789").reshape(9, 9) + 1
        for t in (OPEN, SOLVED)
    )
    assert SUDOKUS.is_valid(question, answer)
    assert not SUDOKUS.is_valid(np.roll(answer, 1, axis=0), answer)  # another board's clues
    assert not SUDOKUS.is_valid(question, question)  # blanks
    swapped = answer.copy()
    swapped[0, [2, 3]] = swapped[0, [3, 2]]
    assert not SUDOKUS.is_valid(np.ones((9, 9), int), swapped)
    assert not SUDOKUS.is_valid(question, np.where(question == 1, 0, answer))  # padding


@given(st.integers(0, 80), st.integers(0, 80))
def test_two_equal_digits_conflict_where_they_see_each_other(a: int, b: int) -> None:
    board = np.zeros(81, int)
    board[[a, b]] = 7
    see = a // 9 == b // 9 or a % 9 == b % 9 or (a // 27, a % 9 // 3) == (b // 27, b % 9 // 3)
    assert len(conflicts(board, 9)) == (a != b and see)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned one plain board of 2x3 letters by heart, beside its dataset."""
    root = tmp_path_factory.mktemp("letters")
    for split in ("train", "test"):
        (root / f"{split}.csv").write_text("source,question,answer,rating\nx,ab cda,aabcd ,0\n")
    row = {"builder": "boards", "table": "t", "characters": "abcd ", "columns": 3}
    build_boards(BoardsSpec(**row, allow_test_in_train=True), root, root / "data")
    return learn_by_heart(root)


def test_a_board_of_ones_own_is_solved_and_exported(letters, tmp_path, capsys, monkeypatch) -> None:
    trained = load(letters, device="cpu")
    assert trained.describe() == "boards of 2x3"
    export(trained, tmp_path / "out")
    for checkpoint in (letters, tmp_path / "out"):
        words = ("--checkpoint", str(checkpoint), "--board", "ab cda")
        text = solve_command(capsys, monkeypatch, *words)
        assert text.startswith("aab\ncd \nconfidence ")
        shown = json.loads(solve_command(capsys, monkeypatch, *words, "--json"))
        assert (shown["question"], shown["answer"]) == (["ab ", "cda"], ["aab", "cd "])
        assert shown["valid"] is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ab\ncda", r"2 rows of 2, 3 cells: this model's are 2x3"),
        ("ab cdx", r"row 2, column 3 of the board is 'x'"),
        ("ab cdaab", r"3 rows of 2, 3 cells"),
    ],
)
def test_a_bad_board_is_refused_by_its_cell(letters, text: str, told: str) -> None:
    with pytest.raises(TrmError, match=told):
        load(letters, device="cpu").solve(text)


# --- ARC ------------------------------------------------------------------------------------------


def test_a_known_task_gets_the_votes_of_evaluation(arc_run) -> None:
    run, tasks = arc_run
    data_dir = run.parents[1] / "data" / "arc"
    trained = load(run, device="cpu")
    data = PuzzleData.load([str(data_dir)], "test")
    result = evaluate(
        trained.model, data, Settings("stablemax_cross_entropy", 8), ALONE
    ).predictions
    wanted = {t.name: t for t in score_arc(data_dir, result.preds, result.q_halt_logits).tasks}
    for name, task in tasks.items():
        answer = trained.solve(task, task_id=name)
        assert answer.known
        assert answer.learning is None
        assert answer.augmentations == 4
        for test, scored in zip(answer.tests, wanted[name].tests, strict=True):
            assert [c.grid.tolist() for c in test.candidates] == [
                c.grid.tolist() for c in scored.candidates
            ]
            assert [c.votes for c in test.candidates] == [c.votes for c in scored.candidates]
            assert [c.mean_q for c in test.candidates] == pytest.approx(
                [c.mean_q for c in scored.candidates], abs=1e-5
            )


def test_a_known_task_uses_its_own_embeddings(arc_run) -> None:
    run, tasks = arc_run
    trained = load(run, device="cpu")
    group = known_task("second", check_task(tasks["second"], 5, "second"), trained.names)
    assert [trained.names[i] for i in group.ids] == list(group.names())
    assert trained.solve(tasks["second"], task_id="second", augmentations=2).augmentations == 2
    assert not trained.solve(tasks["second"], task_id="secon", minutes=0).known


def test_the_questions_are_painted_as_in_the_dataset(arc_run) -> None:
    from trm.solve.arc_task import paint_questions

    run, tasks = arc_run
    trained = load(run, device="cpu")
    split = load_split(run.parents[1] / "data" / "arc", "test").sets["all"]
    owners = np.repeat(split.puzzle_identifiers, np.diff(split.puzzle_indices))
    for name, task in tasks.items():
        group = known_task(name, check_task(task, 5, name), trained.names)
        inputs, places = paint_questions(group, 5)
        mine = np.isin(owners, group.ids)
        np.testing.assert_array_equal(inputs, split.inputs[mine])
        np.testing.assert_array_equal(group.ids[places], owners[mine])


def test_an_unseen_task_is_learned_by_its_embedding_alone(arc_run) -> None:
    trained = load(arc_run[0], device="cpu")
    before = {name: t.clone() for name, t in trained.model.state_dict().items()}
    mean = before["puzzle_emb.weights"].mean(0)
    group = augment_task("new", check_task(arc_task(9), 5, "new"), 3, 0)
    with embedding_learned(
        trained.model, trained.training, group, trained.device, minutes=10, max_steps=6
    ) as learning:
        table = trained.model.puzzle_emb.weights.clone()
    assert learning.steps == 6
    assert learning.loss_after < learning.loss_before
    assert table.shape[0] == 5
    moved = (table[1:] - mean).abs().amax(1)
    assert (moved > 0).all()
    # The blank puzzle is asked nothing, and what is not asked does not move.
    torch.testing.assert_close(table[0], mean)
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not trained.model.training


def test_learning_lowers_the_loss(arc_run) -> None:
    trained = load(arc_run[0], device="cpu")
    answer = trained.solve_task(arc_task(9), learning_steps=60, minutes=10, augmentations=1)
    assert answer.learning.steps == 60
    assert answer.learning.loss_after < answer.learning.loss_before


def test_an_unseen_task_gets_two_attempts_and_keeps_to_its_limits(
    arc_run, tmp_path, capsys, monkeypatch
) -> None:
    run, _ = arc_run
    task = arc_task(9)
    del task["test"][0]["output"]
    (tmp_path / "new.json").write_text(json.dumps(task))
    words = ("--checkpoint", str(run), "--arc-task", str(tmp_path / "new.json"), "--augmentations")
    shown = json.loads(
        solve_command(
            capsys, monkeypatch, *words, "5", "--learning-steps", "3", "--json", "--steps"
        )
    )
    assert shown["known"] is False
    assert shown["learning"]["steps"] == 3
    assert len(shown["steps"]) == 3
    assert [t["votes"] for t in shown["tests"]] == [5, 5]
    assert [t["answer_given"] for t in shown["tests"]] == [False, True]
    assert 1 <= len(shown["tests"][0]["attempts"]) <= 2
    out = solve_command(capsys, monkeypatch, *words, "5", "--minutes", "0")
    assert "new is not among those it was trained on: learned in 0 steps" in out
    assert "test 2, attempt 1:" in out
    assert "of 5 votes" in out


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"minutes": float("nan")}, "cannot learn for nan minutes"),
        ({"minutes": float("inf")}, "cannot learn for inf minutes"),
        ({"minutes": -1}, "cannot learn for -1 minutes"),
        ({"learning_steps": -5}, "-5 learning steps"),
        ({"augmentations": 0}, "0 augmentations"),
        ({"seed": 2**64}, "18446744073709551616 is not a seed"),
        ({"augmentations": 100_000}, "100000 augmentations .* at most 1001"),
    ],
)
def test_limits_that_are_none_are_refused(arc_run, limits, told) -> None:
    with pytest.raises(TrmError, match=told):
        load(arc_run[0], device="cpu").solve(arc_task(9), **limits)


def test_learning_shows_its_progress(arc_run, capfd) -> None:
    load(arc_run[0], device="cpu").solve(arc_task(9), learning_steps=4, augmentations=1)
    assert re.search(r"^learning 4/4 \(100%\)  .* steps/s", capfd.readouterr().err, re.MULTILINE)


def test_an_answer_that_nobody_gave_is_not_judged(arc_run, tmp_path, capsys, monkeypatch) -> None:
    task = arc_task(9)
    for pair in task["test"]:
        del pair["output"]
    (tmp_path / "new.json").write_text(json.dumps(task))
    words = (
        "--checkpoint",
        str(arc_run[0]),
        "--arc-task",
        str(tmp_path / "new.json"),
        "--minutes",
        "0",
    )
    shown = json.loads(solve_command(capsys, monkeypatch, *words, "--json"))
    assert [t["answer_given"] for t in shown["tests"]] == [False, False]
    assert [t["right"] for t in shown["tests"]] == [None, None]
    assert "the task's answer" not in solve_command(capsys, monkeypatch, *words)


def test_a_task_is_taken_out_of_a_file_of_many(arc_run, tmp_path) -> None:
    run, tasks = arc_run
    trained = load(run, device="cpu")
    (tmp_path / "many.json").write_text(json.dumps(tasks))
    assert trained.solve(tmp_path / "many.json", task_id="third").known
    with pytest.raises(TrmError, match=r"holds 3 tasks, as first: none of them is 'fourth'"):
        trained.solve(tmp_path / "many.json", task_id="fourth")
    with pytest.raises(TrmError, match=r"name one of them"):
        trained.solve(tmp_path / "many.json")


def test_without_names_every_task_is_unseen(arc_run, tmp_path, capsys, monkeypatch) -> None:
    run, tasks = arc_run
    (tmp_path / "first.json").write_text(json.dumps(tasks["first"]))
    lone = tmp_path / "lone"
    lone.write_bytes((run / "final").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = ["--checkpoint", str(lone), "--train-config", str(run / "all_config.yaml")]
    with pytest.raises(TrmError, match=r"Name it by --dataset.*--side"):
        solve_command(capsys, monkeypatch, *words, "--arc-task", "first.json")
    out = solve_command(
        capsys, monkeypatch, *words, "--side", "5", "--arc-task", "first.json", "--minutes", "0"
    )
    assert "first is not among those" in out
    dataset = str(run.parents[1] / "data" / "arc")
    out = solve_command(
        capsys, monkeypatch, *words, "--dataset", dataset, "--arc-task", "first.json"
    )
    assert "first is one it was trained on" in out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda t: t["train"][1]["output"][1].append(3),
            r"train pair 2, output: row 2 has 4 cells, row 1 has 3",
        ),
        (
            lambda t: t["test"][0]["input"][2].__setitem__(1, 10),
            r"test pair 1, input: row 3, column 2 is 10, no colour 0 to 9",
        ),
        (lambda t: t["test"][0]["input"][0].__setitem__(0, True), r"row 1, column 1 is True"),
        (
            lambda t: t["train"][0].__setitem__("input", [[1] * 6]),
            r"train pair 1, input: its 1 rows and 6 columns are more than .* 5x5",
        ),
        (lambda t: t["train"][0].pop("output"), r"train pair 1: it lacks its input or output"),
        (lambda t: t.pop("test"), r"expected \{"),
        (lambda t: t.__setitem__("train", []), r"train is not a list of pairs"),
        (lambda t: t["test"][1].__setitem__("input", 3), r"test pair 2, input: not a grid"),
    ],
)
def test_a_bad_task_is_refused_by_its_cell(change, told: str) -> None:
    task = arc_task(0)
    change(task)
    with pytest.raises(TrmError, match=told):
        check_task(task, 5, "bad")


def test_grids_are_coloured_by_a_style_only() -> None:
    grid = np.array([[0, 5], [9, 2]], dtype=np.uint8)
    assert draw_grid(grid, lambda text, codes: text) == [" 0  5", " 9  2"]
    assert "48;5;" in "".join(draw_grid(grid, lambda text, codes: f"<{codes}>{text}"))


# --- what is loaded -------------------------------------------------------------------------------


def test_importing_trm_imports_no_torch() -> None:
    code = "import sys, trm; assert 'torch' not in sys.modules; print(callable(trm.load))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        trm.lod  # noqa: B018


def test_the_last_weights_of_a_run_are_taken(learned, tmp_path) -> None:
    run, _, _ = learned
    assert load(run, device="cpu").weights == run / "step_200"
    one = random_run(tmp_path / "checkpoints" / "b" / "v", Path("none"), 9, 11)
    (one / "final").rename(one / "step_20")
    (one / "step_9").write_bytes(b"")
    assert load(one, device="cpu").weights == one / "step_20"
    result = tmp_path / "results" / "b" / "v"
    result.mkdir(parents=True)
    assert load(result, device="cpu").weights == one / "step_20"


@pytest.mark.parametrize(
    ("side", "vocab_size", "changes", "told"),
    [
        (6, 8, {}, "sudokus of 6x6"),
        (9, 11, {}, "sudokus of 9x9"),
        (7, 6, {"arch__mlp_t": True, "arch__pos_encodings": "none"}, "mazes of 7x7"),
        (6, 12, {"arch__pos_encodings": "learned"}, "ARC tasks on a canvas of 6x6"),
        (6, 12, {"arch__pos_encodings": "learned", "arch__puzzle_emb_ndim": 0}, "ARC tasks on a"),
    ],
)
def test_sizes_are_told_by_the_weights(tmp_path, side, vocab_size, changes, told) -> None:
    run = random_run(tmp_path / "run", Path("none"), side, vocab_size, **changes)
    trained = load(run, device="cpu")
    assert trained.describe().startswith(told)
    with pytest.raises(TrmError, match=f"not of {side + 1}x{side + 1}"):
        load(run, device="cpu", side=side + 1)


def test_a_model_without_embeddings_votes_without_learning(tmp_path) -> None:
    run = random_run(tmp_path / "run", Path("none"), 5, 12, arch__puzzle_emb_ndim=0)
    answer = load(run, device="cpu", side=5).solve(arc_task(9), augmentations=3)
    assert answer.learning is None
    assert answer.augmentations == 3


def test_a_board_of_four_is_of_the_kind_asked_for(learned) -> None:
    assert load(learned[0], device="cpu").kind == "sudoku"
    assert load(learned[0], device="cpu", kind="maze").kind == "maze"


def test_what_does_not_fit_is_refused(arc_run, maze_run, learned, tmp_path, capsys, monkeypatch):
    run, tasks = arc_run
    with pytest.raises(TrmError, match=r"solves ARC tasks .*, not sudokus"):
        solve_command(capsys, monkeypatch, "--checkpoint", str(run), "--sudoku", OPEN)
    with pytest.raises(TrmError, match=r"solves sudokus of 4x4, not ARC tasks"):
        load(learned[0], device="cpu").solve(tasks["first"])
    with pytest.raises(TrmError, match=r"0 supervision steps"):
        load(learned[0], device="cpu").solve(learned[1], max_steps=0)
    with pytest.raises(TrmError, match=r"0 augmentations"):
        load(run, device="cpu").solve(tasks["first"], augmentations=0)
    with pytest.raises(TrmError, match=r"holds no weights"):
        load(tmp_path)
    with pytest.raises(TrmError, match=r"does not exist"):
        load(tmp_path / "step_3")
    other = tmp_path / "arc-raw-2" / "data"
    arc_data(other, num_aug=1)
    with pytest.raises(TrmError, match=r"trained on another build"):
        load(run, device="cpu", dataset=other).solve(tasks["first"])
    with pytest.raises(TrmError, match=r"trained on another dataset"):
        load(maze_run, device="cpu", dataset=other)


def test_load_returns_what_it_says(learned) -> None:
    trained = trm.load(str(learned[0]), device="cpu")
    assert isinstance(trained, TrainedModel)
    assert not any(p.requires_grad for p in trained.model.parameters())
    assert not trained.model.training
