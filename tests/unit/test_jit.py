"""Compiled loops start wherever the code is installed, also where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from trm.runtime import jit

# In a mount namespace of its own, in which the code is read-only and so is every home inside it.
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && cd / && exec "$@"'
QUESTION = """if True:
    import numba
    import numpy as np
    from trm.puzzles.maze_kernels import steps_to
    print(steps_to(np.ones(4, dtype=bool), 2, 0).tolist(), numba.config.CACHE_DIR)
"""


@pytest.fixture
def unshared() -> list[str]:
    words = [shutil.which("unshare") or "unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    return words


def test_a_read_only_installation_without_a_home_keeps_its_cache_elsewhere(unshared, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))} | {
        "HOME": str(ROOT / "none"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [*unshared, "sh", "-c", READ_ONLY, "sh", str(ROOT), sys.executable, "-c", QUESTION],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("trm-numba-*")
    assert done.stdout == f"[0, 1, 1, 2] {folder}\n"
    assert list(folder.glob("*/*.nbi"))


@pytest.mark.parametrize("mode", [0o777, 0o750, None])
def test_a_folder_that_is_not_this_users_alone_is_not_taken(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(jit.tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"trm-numba-{os.getuid()}"
    if mode is None:
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
        place.chmod(mode)
    assert jit._folder_of_this_user() is None


def test_without_any_folder_loops_are_compiled_each_time(monkeypatch):
    monkeypatch.setattr(jit.tempfile, "tempdir", "/proc")
    assert jit._folder_of_this_user() is None
    # A function without a source file is one that numba has no place for.
    names: dict = {}
    exec(compile("def twice(x): return 2 * x", "/proc/none.py", "exec"), names)
    assert jit.compiled(names["twice"])(21) == 42
