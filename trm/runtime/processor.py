"""What depends on the processor: how threads wait for each other, where compiled code is kept."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import tempfile
from pathlib import Path

CACHE = "TORCHINDUCTOR_CACHE_DIR"

SPINS = "10000"
"""How often an idle thread of torch's OpenMP (GNU's) looks for work before it sleeps. By default it
looks 30 times as often, which keeps cores busy: beside one other busy process a training then takes
three to four times as long (docs/performance.md)."""
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def let_idle_threads_sleep() -> None:
    """Shorten the busy waiting of torch's threads, unless the user's environment says how to wait.

    It has an effect only before torch is imported, which is why `import trm` does it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def keep_code_by_processor() -> None:
    """Let torch keep compiled code in a folder of this kind of processor only.

    Code for one kind fails to compile or to run on another, and a home folder is often shared by
    machines of several kinds. TORCHINDUCTOR_CACHE_DIR is where these folders are.
    """
    kind = _processor_kind()
    base = os.environ.get(CACHE) or str(Path(tempfile.gettempdir(), f"torchinductor_{_user()}"))
    if Path(base).name != kind:  # a process that one of ours started has it already
        os.environ[CACHE] = str(Path(base, kind))


def _processor_kind() -> str:
    """The vector instructions that torch uses, and a digest of all that the processor has."""
    import torch  # slow, and this module is for what starts before torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = f"{platform.machine()} {platform.processor()}"
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"{torch.backends.cpu.get_cpu_capability().replace(' ', '-')}-{digest}".lower()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
