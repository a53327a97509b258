"""`trm plot`: runs over each other, those of the kept example run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.report.compare import compare, describe_comparison, draw_comparison

EXAMPLES = ROOT / "results" / "example-run"
SUDOKU = EXAMPLES / "sudoku-6x6" / "quick" / "seed-0"
ARC = EXAMPLES / "arc-agi-1-6x6" / "att" / "seed-0"


def copies(tmp_path: Path, *names: str) -> list[Path]:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(SUDOKU / "history.csv", tmp_path / name)
    return [tmp_path / name for name in names]


def test_lines_are_the_histories() -> None:
    comparison = compare([SUDOKU, ARC], "accuracy")
    axes = draw_comparison(comparison).axes[0]
    assert len(axes.get_lines()) == 2
    for folder, line in zip((SUDOKU, ARC), axes.get_lines(), strict=True):
        rows = pd.read_csv(folder / "history.csv").query("split == 'test'")
        assert np.array_equal(line.get_xdata(), rows["step"])
        assert np.array_equal(line.get_ydata(), rows["accuracy"])
    assert axes.get_ylabel() == "accuracy" and "step" in axes.get_xlabel()


def test_six_runs_differ_without_colour(tmp_path: Path) -> None:
    folders = copies(tmp_path, *"abcdef")
    lines = draw_comparison(compare(folders)).axes[0].get_lines()
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 6
    assert len({to_hex(line.get_color()) for line in lines}) == 6


def test_the_metric_is_the_most_telling_that_all_have() -> None:
    assert compare([ARC]).metric == "ARC/pass@2"
    assert compare([ARC, SUDOKU]).metric == "exact_accuracy"


def test_what_only_training_has_is_drawn_of_training() -> None:
    (curve,) = compare([SUDOKU], "loss").curves
    assert curve.split == "train"
    (curve,) = compare([SUDOKU], "lm_loss", split="train").curves
    assert curve.split == "train"


def test_against_time_is_in_hours() -> None:
    comparison = compare([SUDOKU], against="elapsed_s")
    rows = pd.read_csv(SUDOKU / "history.csv").query("split == 'test'")
    assert comparison.curves[0].points[:, 0] == pytest.approx(rows["elapsed_s"] / 3600)
    assert "hours" in draw_comparison(comparison).axes[0].get_xlabel()


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("b/mlp/seed-0", "b/att/seed-0"), ["mlp/seed-0", "att/seed-0"]),
        (("a/mlp/seed-0", "b/att/seed-0"), ["a/mlp/seed-0", "b/att/seed-0"]),
        (("a/mlp/seed-0", "b/mlp/seed-0"), ["a/mlp/seed-0", "b/mlp/seed-0"]),
        (("b/mlp/seed-0", "b/mlp/seed-1"), ["mlp/seed-0", "mlp/seed-1"]),
        (("one", "other"), ["one", "other"]),
    ],
)
def test_labels_tell_apart(tmp_path: Path, names: tuple[str, ...], labels: list[str]) -> None:
    comparison = compare(copies(tmp_path, *names))
    assert [curve.label for curve in comparison.curves] == labels


def test_in_words() -> None:
    words = describe_comparison(compare([SUDOKU, ARC]))
    exact = pd.read_csv(SUDOKU / "history.csv").query("split == 'test'")["exact_accuracy"].iloc[-1]
    assert f"{exact:.1%} for sudoku-6x6/quick/seed-0 (test)" in words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "exact_acuracy"}, "did you mean 'exact_accuracy'.*there are loss, lm_loss"),
        ({"metric": "step"}, "no metric 'step'"),
        ({"split": "tset"}, "of 'tset', only of train, test"),
        ({"folders": [EXAMPLES]}, "has no history.csv: give a result folder"),
    ],
)
def test_mistakes_name_what_there_is(change: dict, said: str) -> None:
    with pytest.raises(TrmError, match=said):
        compare(**{"folders": [SUDOKU], **change})


def test_a_row_being_written_is_passed_over(tmp_path: Path) -> None:
    (folder,) = copies(tmp_path, "run")
    before = compare([folder]).curves[0].points
    with (folder / "history.csv").open("a") as file:
        file.write("99")
    assert np.array_equal(compare([folder]).curves[0].points, before)


def test_an_empty_history_is_told(tmp_path: Path) -> None:
    (folder,) = copies(tmp_path, "run")
    header = (folder / "history.csv").read_text().splitlines()[0]
    (folder / "history.csv").write_text(f"{header}\n")
    with pytest.raises(TrmError, match="has no rows"):
        compare([folder])


@pytest.mark.parametrize("name", ["compare.svg", "compare.png"])
def test_the_command(tmp_path: Path, name: str) -> None:
    words = [str(SUDOKU), str(ARC), "--metric", "accuracy", "--out", name]
    done = subprocess.run(
        [sys.executable, "-m", "trm", "plot", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name}: accuracy at the last record: ")
    assert (tmp_path / name).stat().st_size > 5000
