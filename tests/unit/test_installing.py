"""What `pip install -e .` puts where Python looks for packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT


def python(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_trm_is_found_from_the_folder_around_a_checkout_called_trm(tmp_path: Path) -> None:
    """There the checkout itself looks like a package called trm, one without __init__.py."""
    checkout = tmp_path / "trm"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("trm", "dataset"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    build = "import setuptools.build_meta as b; print(b.build_editable('..'))"
    wheel = tmp_path / python("-c", build, cwd=checkout)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site-packages")
    # -S: without what is installed where this test runs.
    found = "import site; site.addsitedir('site-packages'); import trm; print(trm.__file__)"
    assert python("-S", "-c", found, cwd=tmp_path) == str(checkout / "trm" / "__init__.py")
