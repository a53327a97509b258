"""How loops are compiled here: by numba, with the machine code kept for the next process."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled when it is first called, without holding Python's global lock.

    numba keeps the machine code beside the source or in the user's cache folder. Where it can write
    to neither (a read-only installation, and no home), the code is kept in a temporary folder of
    the user's own, or, where there is no such folder either, not at all.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for its cache
        folder = _folder_of_this_user()
    if folder is None:
        return numba.njit(nogil=True)(function)
    numba.config.CACHE_DIR = str(folder)
    return numba.njit(cache=True, nogil=True)(function)


def _folder_of_this_user() -> Path | None:
    """A temporary folder that only this user can write to, as numba runs what is stored there."""
    try:
        folder = Path(tempfile.gettempdir()) / f"trm-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_own and not found.st_mode & 0o077 else None
