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
from itertools import takewhile
from pathlib import Path

from trm.errors import TrmError
from trm.files import writing
from trm.progress import say
from trm.runtime.locks import Lock, join_lock, try_lock

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_OF_A_LOOK = 0.05
VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = "TRM_GPU_LOCKS"  # the files of a claim
UUIDS = ("GPU-", "MIG-")
DRIVER = Path("/proc/driver/nvidia/gpus")

_joined: list[Lock] = []  # until this process ends


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES lists, or all of the machine; each in a form CUDA accepts."""
    listed = os.environ.get(VISIBLE)
    if listed is not None:
        return _up_to_the_first_invalid(listed)
    return [str(index) for index in range(len(_names()))]


def given_gpus() -> str:
    """The GPUs that the environment gives this process, by CUDA_VISIBLE_DEVICES or by Slurm; empty
    where it names none."""
    if VISIBLE in os.environ:
        return ",".join(_up_to_the_first_invalid(os.environ[VISIBLE]))
    return os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS", "")


def _up_to_the_first_invalid(listed: str) -> list[str]:
    """What CUDA takes from such a list: -1, or Slurm's NoDevFiles, hides all that follows."""
    words = (word.strip() for word in listed.split(","))
    gpus = takewhile(lambda w: w.isdecimal() or w.startswith(UUIDS), words)
    return [*dict.fromkeys(gpus)]


def _names() -> list[str]:
    """The machine's GPUs in the order of the PCI bus: UUIDs from nvidia-smi or, where that is
    missing, the addresses under which the driver lists them; [] where there is none."""
    return _uuids() or sorted(folder.name for folder in DRIVER.glob("*"))


def _uuids() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    # Some print "No devices were found", and succeed.
    return [word for word in done.stdout.split() if word.startswith(UUIDS)]


@dataclass(frozen=True)
class Claim:
    """The environment that shows a job its own GPUs, and the locks that its children keep open."""

    environment: dict[str, str]
    files: tuple[int, ...]

    @property
    def gpus(self) -> str:
        """The GPUs as CUDA_VISIBLE_DEVICES lists them; empty where nothing is claimed."""
        return self.environment.get(VISIBLE, "")


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
        environment = {
            VISIBLE: ",".join(locks),
            # CUDA's own order is the fastest first; that of the indices here is the bus's.
            "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
            LOCKS: os.pathsep.join(str(lock.path) for lock in locks.values()),
        }
        yield Claim(environment, tuple(lock.fileno() for lock in locks.values()))


def hold_claimed_gpus() -> None:
    """Hold the GPUs of the job that started this process until the process ends: torchrun leaves
    no file open for its ranks, which run on when it is killed."""
    for path in filter(None, os.environ.get(LOCKS, "").split(os.pathsep)):
        lock = join_lock(Path(path))
        if lock is not None:
            _joined.append(lock)


def _hold(gpus: list[str], count: int, held: ExitStack) -> dict[str, Lock]:
    """GPU -> its lock, held until `held` is closed, which processes of this job may join."""
    folder = Path(tempfile.gettempdir()) / f"trm-gpus-{os.getuid()}"
    with writing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    names = _names()
    told = False
    while True:
        with ExitStack() as looking, ExitStack() as attempt:
            # One job looks at a time: two that want two each would otherwise hold one each.
            looking.enter_context(_wait_for(folder / "looking"))
            free: dict[str, Lock] = {}
            for gpu in gpus:
                if len(free) < count:
                    lock = try_lock(folder / _name(gpu, names))
                    if lock is not None:
                        free[gpu] = attempt.enter_context(lock)
            if len(free) == count:
                for lock in free.values():
                    lock.share()
                held.enter_context(attempt.pop_all())
                return free
        if not told:
            say(f"waiting for {count} of the {len(gpus)} GPUs; other jobs hold them")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _name(gpu: str, names: list[str]) -> str:
    """A device's own name where it can be known: inside a Slurm job indices start from 0 again."""
    if gpu.isdecimal() and int(gpu) < len(names):
        return names[int(gpu)]
    return f"{os.environ.get('SLURM_JOB_ID', 'local')}-{gpu}" if gpu.isdecimal() else gpu


def _wait_for(path: Path) -> Lock:
    while (lock := try_lock(path)) is None:
        time.sleep(SECONDS_OF_A_LOOK)
    return lock
