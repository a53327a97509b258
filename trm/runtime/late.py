"""Files that another node has written, and that this one does not see yet, as on NFS.

Only what is known to exist is waited for: a run's lock file names it (trm.study.run_folder), or the
first node of a run reads it. A name that was mistyped is reported at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trm.errors import TrmError
from trm.progress import duration, say

SECONDS = 60.0  # for so long NFS trusts what it knows of a folder, unless it was mounted otherwise
VARIABLE = "TRM_LATENCY_WAIT"  # other seconds, in the environment
SECONDS_BETWEEN_LOOKS = 0.2


def appears(seen: Callable[[], bool], what: str) -> bool:
    """Whether `seen` becomes true before a file must have appeared; says once what it waits for."""
    seconds = seconds_to_wait()
    deadline = time.monotonic() + seconds
    told = False
    while not seen():
        if time.monotonic() >= deadline:
            return False
        if not told:
            say(
                f"waiting for {what}, which this node does not see yet, for at most "
                f"{duration(seconds)}"
            )
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


def wait_for(path: Path) -> None:
    """Wait for a file or folder that the first node of this run reads too; elsewhere do nothing.

    Whoever reads it then reports one that is still missing.
    """
    if is_another_node():
        appears(lambda: exists(path), str(path))


def is_another_node() -> bool:
    """Whether this process is on another node than rank 0, as torchrun numbers nodes."""
    return os.environ.get("GROUP_RANK", "0") != "0"


def exists(path: Path) -> bool:
    """Whether the path exists. Its folder is opened first: then NFS asks for its newest state."""
    with suppress(OSError):
        os.scandir(path.parent).close()
    return path.exists()


def seconds_to_wait() -> float:
    """TrmError where the environment gives no number."""
    given = os.environ.get(VARIABLE)
    try:
        return SECONDS if given is None else float(given)
    except ValueError:
        raise TrmError(
            f"{VARIABLE}={given!r} in the environment is not a number of seconds"
        ) from None
