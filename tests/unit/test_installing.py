"""What `pip install -e .` puts where Python looks for packages, and what a wheel holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import trm.files
from tests.conftest import ROOT
from trm.config.compose import compose, resolve
from trm.data.arc_versions import read_checksums
from trm.errors import TrmError
from trm.study.arguments import load_study

NOT_SOURCE = shutil.ignore_patterns("__pycache__")


def python(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_trm_is_found_from_the_folder_around_a_checkout_called_trm(tmp_path: Path) -> None:
    """There the checkout itself looks like a package called trm, one without __init__.py."""
    checkout = tmp_path / "trm"
    for name in ("trm", "dataset"):
        shutil.copytree(ROOT / name, checkout / name, ignore=NOT_SOURCE)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    build = "import setuptools.build_meta as b; print(b.build_editable('..'))"
    wheel = tmp_path / python("-c", build, cwd=checkout)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site-packages")
    # -S: without what is installed where this test runs.
    found = "import site; site.addsitedir('site-packages'); import trm; print(trm.__file__)"
    assert python("-S", "-c", found, cwd=tmp_path) == str(checkout / "trm" / "__init__.py")


def test_the_wheel_has_every_module_and_every_file_that_modules_read(tmp_path: Path) -> None:
    """Packages and their data are found by patterns: a new folder of trm/ is not forgotten."""
    for name in ("trm", "dataset"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=NOT_SOURCE)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    files = {
        path.relative_to(tmp_path / "source").as_posix()
        for name in ("trm", "dataset")
        for path in (tmp_path / "source" / name).rglob("*")
        if path.is_file()
    }
    build = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    wheel = tmp_path / python("-c", build, cwd=tmp_path / "source")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == files


def test_what_needs_the_repository_says_so_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults, checksums and the table of experiments are in config/, which no wheel holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trm.files, "SETTINGS", tmp_path / "config")
    for call in (lambda: compose([]), lambda: resolve({}, "row"), read_checksums):
        with pytest.raises(TrmError, match="needs the repository"):
            call()
    with pytest.raises(TrmError, match="in a checkout of the repository"):
        load_study([])
