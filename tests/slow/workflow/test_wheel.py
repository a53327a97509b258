"""The wheel installed alone: an exported model solves puzzles where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs import random_run
from trm.export import export
from trm.solve.trained import load


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Without PYTHONPATH, by which the tests' own processes find the checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has the wheel and not the checkout.

    The packages that the project needs are those installed here, named by a .pth file. Python does
    not read the .pth files of a folder found that way, so the project's editable install stays out.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files beside its sources
    for name in ("trm", "dataset"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv")}))
    pip = (sys.executable, "-m", "pip", "--quiet")
    for words in (
        (*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", folder),
        (sys.executable, "-m", "venv", "--without-pip", folder / "venv"),
        (
            *pip,
            "install",
            "--no-deps",
            "--no-index",
            "--find-links",
            folder,
            "--target",
            packages,
            "trm-pipeline",
        ),
    ):
        done = run(*words, cwd=source)
        assert done.returncode == 0, done.stderr
    here = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages / "here.pth").write_text("\n".join(sorted(here)) + "\n")
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_package_is_the_wheel_s(python: Path, empty: Path) -> None:
    found = run(python, "-c", "import trm; print(trm.__file__)", cwd=empty).stdout
    assert Path(found.strip()).is_relative_to(python.parents[1])


def test_an_exported_model_solves(python: Path, empty: Path) -> None:
    options = {"arch__mlp_t": True, "arch__pos_encodings": "none"}
    trained = load(random_run(empty.parent / "run", Path("data/none"), 4, 6, **options))
    export(trained, empty.parent / "exported")
    question = "1...2....3....4."
    done = run(
        python, "-m", "trm.solve", "--checkpoint", "../exported", "--sudoku", question, cwd=empty
    )
    assert done.returncode == 0, done.stderr
    assert "confidence" in done.stdout
    again = run(
        python, "-m", "trm.export", "--checkpoint", "../exported", "--out", "copy", cwd=empty
    )
    assert again.returncode == 0, again.stderr
    assert (empty / "copy" / "README.md").is_file()  # rendered by a template of the wheel


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("-m trm list", "in a checkout of the repository"),
        ("-m trm status", "in a checkout of the repository"),
        (
            "-m trm.evaluate checkpoint=step_1 data_paths=[data/none]",
            "checkpoint step_1 does not exist",
        ),
        (
            "-m dataset.build_arc_dataset --input-file-prefix kaggle/arc-agi --output-dir data "
            "--subsets training --test-set-name training",
            "needs the repository",
        ),
    ],
)
def test_what_needs_a_checkout_is_refused_in_one_sentence(
    python: Path, empty: Path, command: str, said: str
) -> None:
    done = run(python, *command.split(), cwd=empty)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(empty.iterdir()) == []
