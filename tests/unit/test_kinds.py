"""A kind of puzzle is one file: those that exist, and one of our own put beside them."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from pathlib import Path
from runpy import run_module

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import random_run
from trm import puzzles
from trm.data.plain_boards import build_boards
from trm.data.read import load_split
from trm.data.specs import BoardsSpec, parse_spec
from trm.errors import TrmError
from trm.puzzles.kind import BoardKind, BoardStyle, PuzzleKind
from trm.puzzles.kinds import board_kind, kind_named, kinds
from trm.report import boards as drawn
from trm.report.examples import draw_boards
from trm.report.figures import new_figure
from trm.report.page import render_page
from trm.report.results import load_results
from trm.report.thinking import save_animation
from trm.scoring.gallery import gallery_of_boards, load_gallery, save_gallery
from trm.scoring.predictions import Predictions
from trm.solve.command import main as solve
from trm.study.table import Study

OWN = ROOT / "tests/kinds"
PAGES = (ROOT / "docs/adding-a-benchmark.md", ROOT / "docs/zh/adding-a-benchmark.md")
SOURCES = [p for p in sorted((ROOT / "trm").rglob("*")) if p.suffix in (".py", ".js", ".j2")]
# A kind as a value: "maze", or `maze:` as a key of JavaScript.
NAMES_A_KIND = re.compile(r"""["'](?:sudoku|maze)["']|^\s*maze: |[{,] ?maze: """, re.MULTILINE)


def test_the_kinds_are_those_that_have_a_file() -> None:
    assert list(kinds()) == ["arc", "sudoku", "maze", "boards"]
    for name in kinds():
        assert (ROOT / f"trm/puzzles/{name}.py").is_file()


def test_no_other_file_tells_kinds_apart() -> None:
    # The generators of tables, and the stored form of two kinds of augmentation, are not of kinds.
    other = re.compile(r"trm/data/(sudoku|generate\w*|painted|specs)\.py")
    files = [p.relative_to(ROOT).as_posix() for p in SOURCES if NAMES_A_KIND.search(p.read_text())]
    assert [file for file in files if not other.fullmatch(file)] == [
        "trm/puzzles/maze.py",
        "trm/puzzles/sudoku.py",
    ]


def test_figures_and_the_page_have_the_same_drawings() -> None:
    script = (ROOT / "trm/report/page.js").read_text()
    names = re.search(r"const drawings = \{(.*?)\}", script)[1]
    assert re.findall(r"(\w+):", names) == list(drawn.drawings)


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_a_kind_has_what_the_page_names(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file in ("trm/puzzles/kind.py", "trm/report/boards.py", "tests/kinds/binairo.py"):
        assert f"`{file}`" in text
    (item,) = re.findall(r"^1\. `trm/puzzles/NAME.py`.*?(?=^2\. )", text, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(\w+)`", item)) - {"BoardKind", "KIND"}
    assert {"name", "mistake", "images", "style"} <= named
    known = {*dir(BoardKind), *BoardKind.__annotations__, *PuzzleKind.__annotations__}
    assert named - known == set()


# --- one of our own ------------------------------------------------------------------------------

SOLVED = ["0011", "1100", "0101", "1010"]


@pytest.fixture
def binairo(monkeypatch) -> BoardKind:
    """The kind of tests/kinds/binairo.py, as if that file were in trm/puzzles/."""
    monkeypatch.setattr(puzzles, "__path__", [*puzzles.__path__, str(OWN)])
    kinds.cache_clear()
    yield board_kind("binairo")
    kinds.cache_clear()


def tokens(*rows: str) -> np.ndarray:
    return np.array([[".01".index(c) + 1 for c in row] for row in rows], np.uint8)


def boards_of_four(kind: BoardKind) -> list[str]:
    lines = ["0011", "0101", "0110", "1001", "1010", "1100"]
    rows = itertools.permutations(lines, 4)
    return ["".join(board) for board in rows if kind.mistake(tokens(*board)) is None]


@pytest.fixture
def table(binairo, tmp_path) -> Path:
    """Boards of 4x4 with half of their cells open."""
    answers = boards_of_four(binairo)
    draw = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, part in (("train", answers[:20]), ("test", answers[20:24])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["source", "question", "answer", "rating"])
            for answer in part:
                question = "".join(c if draw.random() < 0.5 else "." for c in answer)
                out.writerow(["x", question, answer, 0])
    return folder


def row(**changes: object) -> BoardsSpec:
    return parse_spec(BoardsSpec, {"builder": "boards", "kind": "binairo", "table": "t", **changes})


@pytest.fixture
def dataset(table, tmp_path) -> Path:
    build_boards(row(aug=True), table, tmp_path / "data")
    return tmp_path / "data"


def test_its_dataset_has_its_tokens_and_its_images(binairo, dataset) -> None:
    train, test = (load_split(dataset, split) for split in ("train", "test"))
    assert (train.metadata.vocab_size, train.metadata.seq_len) == (4, 16)
    assert (train.metadata.total_groups, len(train.sets["all"].inputs)) == (20, 20 * 16)
    assert len(test.sets["all"].inputs) == 4
    labels = train.sets["all"].labels.reshape(-1, 4, 4)
    assert {binairo.mistake(board) for board in labels} == {None}
    assert len(np.unique(labels[:16], axis=0)) > 1
    questions = train.sets["all"].inputs.reshape(-1, 4, 4)
    assert all(binairo.is_valid(q, a) for q, a in zip(questions, labels, strict=True))
    look = json.loads((dataset / "boards.json").read_text())
    assert look == {"characters": ".01", "columns": 4, "kind": "binairo"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("0001" + "".join(SOLVED[1:]), "row 2: its answer has not as many 0 as 1 in row 1"),
        ("".join(["0011", "0011", "1100", "1100"]), "has two rows that are the same"),
        ("." + "".join(SOLVED)[1:], "leaves row 1, column 1 open"),
        ("0" * 9, "has 9 characters, expected 16"),
    ],
)
def test_an_answer_that_breaks_its_rules_is_named_by_its_row(table, tmp_path, answer, words):
    header = "source,question,answer,rating"
    (table / "train.csv").write_text(f"{header}\nx,{'.' * 16},{answer},0\n")
    with pytest.raises(TrmError, match=words):
        build_boards(row(), table, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "sudoku"}, r"kind: not a kind of puzzle; there are boards, binairo"),
        ({"kind": "binario"}, r"did you mean 'binairo'\?"),
        ({"characters": "01"}, "kind binairo has its own characters"),
        ({"columns": 4}, "binairos are square: leave columns out"),
        ({"kind": "boards"}, "kind boards needs characters"),
        ({"kind": "boards", "characters": "ab", "aug": True}, "no symmetries are known"),
    ],
)
def test_a_row_that_contradicts_its_kind_is_refused(binairo, changes, words) -> None:
    with pytest.raises(TrmError, match=words):
        row(**changes)


def test_a_row_of_plain_boards_is_written_as_before_there_were_kinds() -> None:
    spec = parse_spec(BoardsSpec, {"builder": "boards", "table": "t", "characters": "ab"})
    assert json.loads(spec.model_dump_json(exclude_none=True)) == {
        "builder": "boards",
        "table": "t",
        "characters": "ab",
        "seed": 42,
        "allow_test_in_train": False,
    }


def predictions_of(dataset: Path) -> Predictions:
    """The right answers but for the second board, of which one cell is wrong and one is padding."""
    preds = np.array(load_split(dataset, "test").sets["all"].labels)
    preds[1, 0], preds[1, 5] = 5 - preds[1, 0], 0
    return Predictions(preds, np.zeros(len(preds), "f4"))


def test_its_own_metric_is_among_those_of_an_evaluation(binairo, dataset, tmp_path, monkeypatch):
    test = load_split(dataset, "test").sets["all"]
    preds = predictions_of(dataset).preds
    assert binairo.further_metrics(np.array(test.inputs), preds) == {"valid": 0.75}
    run = random_run(tmp_path / "run", dataset, 4, 4)
    words = [f"checkpoint={run / 'final'}", f"out={tmp_path / 'metrics.json'}", "device=cpu"]
    for kind in ("binairo", "boards"):
        monkeypatch.setattr("sys.argv", ["evaluate", *words, f"kind={kind}"])
        run_module("trm.evaluate", run_name="__main__")
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        assert ("valid" in metrics) == (kind == "binairo")


def study(metric: str = "valid") -> Study:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["raw"]["tables"]["b"] = {"path": "puzzles"}
    config["datasets"]["b"] = {"builder": "boards", "kind": "binairo", "table": "b"}
    config["benchmarks"]["b"] = {
        "title": "Binairo",
        "kind": "binairo",
        "dataset": "b",
        "metric": metric,
        "variants": {"att": {}},
    }
    return Study.of(config)


def test_it_is_a_row_of_the_study(binairo) -> None:
    assert study().benchmarks["b"].kind == "binairo"
    with pytest.raises(TrmError, match="no metric 'valid_path'.*there are .*valid"):
        study("valid_path")


def test_without_its_file_it_is_not_a_kind() -> None:
    with pytest.raises(TrmError, match=r"benchmarks.b.kind: not a kind of puzzle; there are arc"):
        study()
    with pytest.raises(TrmError, match="no kind of puzzle 'binairo'"):
        kind_named("binairo")


def test_it_is_drawn_in_figures_gallery_and_page(binairo, dataset, tmp_path) -> None:
    predictions = predictions_of(dataset)
    examples = draw_boards(dataset, "binairo", predictions)
    titles = [axes.get_title() for axes in examples.figure.axes]
    assert "Failed ✗: no. 2, 2 wrong cells" in titles
    assert examples.figure.get_supxlabel().startswith("bold on grey: given")
    gallery = gallery_of_boards(dataset, "binairo", predictions)
    assert (gallery.side, gallery.columns, gallery.characters) == (4, 4, ".01")
    folder = tmp_path / "results/b/att/seed-0"
    folder.mkdir(parents=True)
    save_gallery(folder / "gallery.json", gallery)
    assert load_gallery(folder / "gallery.json") == gallery
    save_animation(gallery, tmp_path / "thinking.gif")
    metrics = {"valid": 0.75, "exact_accuracy": 0.75, "accuracy": 0.9, "count": 4}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    table = study()
    page = render_page(load_results([folder], table.benchmarks), table.benchmarks)
    assert "answers by the rules" in page
    assert '"style":{"drawing":"written","shaded":true,"blank":"."}' in page
    assert "Bold on grey: given. Plain: filled in." in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((), r"trm/puzzles/mine.py: its KIND lacks plural, option, characters"),
        (
            ("plural = 'x'", "characters = 'ab'", "option = Option('board', '', '')"),
            "two kinds of puzzles have --board: rename one of them",
        ),
    ],
)
def test_an_incomplete_kind_is_refused(monkeypatch, tmp_path, changes, words) -> None:
    lines = ["from trm.puzzles.kind import BoardKind, Option", "class Mine(BoardKind):"]
    lines += [f"    {line}" for line in ("name = 'mine'", *changes)]
    (tmp_path / "mine.py").write_text("\n".join([*lines, "KIND = Mine()", ""]))
    monkeypatch.setattr(puzzles, "__path__", [*puzzles.__path__, str(tmp_path)])
    kinds.cache_clear()
    with pytest.raises(TrmError, match=words):
        kinds()
    del sys.modules["trm.puzzles.mine"]
    kinds.cache_clear()


def test_a_drawing_of_its_own_is_found_by_its_name(monkeypatch) -> None:
    seen = []
    monkeypatch.setitem(drawn.drawings, "dots", lambda *args: seen.append(args))
    board = np.array([["0", "1"]])
    drawn.draw_board(new_figure(1, 1).add_subplot(), BoardStyle("dots"), board, board, board)
    assert len(seen) == 1


def test_a_trained_model_solves_it(binairo, dataset, tmp_path, capsys, monkeypatch) -> None:
    run = random_run(tmp_path / "run", dataset, 4, 4)
    words = ["solve", "--checkpoint", str(run), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", [*words, "--binairo", "0..." * 4])
    solve()
    assert "the answer is not a valid binairo; " in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*words, "--binairo", "0..x" * 4])
    with pytest.raises(TrmError, match="row 1, column 4 of the board is 'x'"):
        solve()
    monkeypatch.setattr("sys.argv", [*words, "--sudoku", "0..." * 4])
    with pytest.raises(TrmError, match="solves binairos of 4x4, not sudokus"):
        solve()
