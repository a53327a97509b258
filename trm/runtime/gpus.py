"""GPUs of one machine, shared out among the jobs that run on it side by side.

Snakemake counts GPUs (`--resources gpu=4`) but says no job which of them is its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trm.errors import TrmError
from trm.files import writing
from trm.progress import say
from trm.runtime.locks import Lock, try_lock

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_OF_A_LOOK = 0.05


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES lists, or all that nvidia-smi does; each in a form CUDA accepts."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    return [str(index) for index in range(len(_uuids()))]


def _uuids() -> list[str]:
    """UUIDs of the machine's GPUs by index; [] where there is no nvidia-smi, or no GPU."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


@dataclass(frozen=True)
class Claim:
    """The environment that shows a job its own GPUs, and the locks that its children keep open."""

    environment: dict[str, str]
    files: tuple[int, ...]

    @property
    def gpus(self) -> str:
        """The GPUs as CUDA_VISIBLE_DEVICES lists them; empty where nothing is claimed."""
        return self.environment.get("CUDA_VISIBLE_DEVICES", "")


@contextmanager
def claim_gpus(count: int) -> Iterator[Claim]:
    """Hold `count` GPUs that no other job of this user holds here; waits until they are free.

    An empty claim where count is 0 or the machine has no GPU (the work then runs on the CPU).
    TrmError where fewer are visible than asked for. A claim is a lock on a file
    (trm.runtime.locks): it ends with the processes that have the file open, however they end.
    """
    gpus = visible_gpus() if count else []
    if not gpus:
        yield Claim({}, ())
        return
    if len(gpus) < count:
        raise TrmError(
            f"the job asks for {count} GPUs, but only {len(gpus)} can be seen here "
            f"({', '.join(gpus)}): set `gpus` and `ranks` of its resources in config/config.yaml"
        )
    with ExitStack() as held:
        locks = _hold(gpus, count, held)
        files = tuple(file.fileno() for file in locks.values())
        yield Claim({"CUDA_VISIBLE_DEVICES": ",".join(locks)}, files)


def _hold(gpus: list[str], count: int, held: ExitStack) -> dict[str, Lock]:
    """GPU -> its lock, held until `held` is closed."""
    folder = Path(tempfile.gettempdir()) / f"trm-gpus-{os.getuid()}"
    with writing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    uuids = _uuids()
    told = False
    while True:
        with ExitStack() as looking, ExitStack() as attempt:
            # One job looks at a time: two that want two each would otherwise hold one each.
            looking.enter_context(_wait_for(folder / "looking"))
            free: dict[str, Lock] = {}
            for gpu in gpus:
                if len(free) < count:
                    lock = try_lock(folder / _name(gpu, uuids))
                    if lock is not None:
                        free[gpu] = attempt.enter_context(lock)
            if len(free) == count:
                held.enter_context(attempt.pop_all())
                return free
        if not told:
            say(f"waiting for {count} of the {len(gpus)} GPUs; other jobs hold them")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _name(gpu: str, uuids: list[str]) -> str:
    """A device's own name where it can be known: inside a Slurm job indices start from 0 again."""
    if gpu.isdigit() and int(gpu) < len(uuids):
        return uuids[int(gpu)]
    return f"{os.environ.get('SLURM_JOB_ID', 'local')}-{gpu}" if gpu.isdigit() else gpu


def _wait_for(path: Path) -> Lock:
    while (lock := try_lock(path)) is None:
        time.sleep(SECONDS_OF_A_LOOK)
    return lock
