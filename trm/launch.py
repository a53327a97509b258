"""Start a script as one process, or as several ranks under torchrun on this node."""

from __future__ import annotations

import os
import subprocess
import sys

from trm.errors import TrmError


def run_ranks(command: list[str], ranks: int, threads: int) -> None:
    """Run `python COMMAND…` (`-m module …` or a script) to its end, its output passed through.

    `threads` are shared out over the ranks. A failure ends this process too, with its exit status:
    what went wrong is already on stderr.
    """
    if ranks < 1 or threads < 1:
        raise TrmError(f"ranks ({ranks}) and threads ({threads}) must be at least 1")
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // ranks))}
    done = subprocess.run([*launcher, *command], env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.returncode if done.returncode > 0 else 128 - done.returncode)
