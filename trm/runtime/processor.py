"""What depends on the processor: how threads wait for each other, where compiled code is kept."""

from __future__ import annotations

import fcntl
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
ALLOCATION = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def let_idle_threads_sleep() -> None:
    """Shorten the busy waiting of torch's threads, unless the user's environment says how to wait.

    It has an effect only before torch is imported, which is why `import trm` does it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def let_segments_grow() -> None:
    """Let torch's memory on a GPU grow in place, unless the user's environment says how it grows:
    sizes that change leave fewer holes. It has an effect only before the GPU is used."""
    if not any(name in os.environ for name in ALLOCATION):
        os.environ[ALLOCATION[0]] = "expandable_segments:True"


def keep_code_by_processor() -> None:
    """Let torch keep compiled code in a folder of this kind of processor, and of this rank, only.

    Code for one kind fails to compile or to run on another, and a home folder is often shared by
    machines of several kinds. Ranks would write the same files at the same time.
    TORCHINDUCTOR_CACHE_DIR is where these folders are; by default a folder that stays, so that a
    job that starts again, perhaps on another node, need not compile again.
    """
    kind = _processor_kind()
    named = os.environ.get(CACHE)
    base = Path(named) if named else _folder_that_stays() or _temporary_folder()
    if kind in base.parts:  # a process that one of ours started has it already
        return
    rank = os.environ.get("RANK", "0") if "LOCAL_RANK" in os.environ else "0"
    os.environ[CACHE] = str(base / kind if rank == "0" else base / kind / f"rank-{rank}")


def _folder_that_stays() -> Path | None:
    """Ours in the user's cache folder; None where nothing can be written to it, or locked in it, as
    torch does."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "trm" / "torchinductor"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return folder


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir(), f"torchinductor_{_user()}")


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
