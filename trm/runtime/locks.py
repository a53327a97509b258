"""Files that one process holds at a time: by flock, or by its name where that is not supported.

A lock by flock ends with the last process that has the file open. Where the file system has none
(Lustre, NFS without lockd), FILE.owner names the holder: host, process and a time that it renews.
Some file systems have it for the processes of one host only (NFS with `local_lock`, Lustre with
`localflock`), and do not say so: `try_lock_among_hosts` keeps FILE.owner too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from trm.files import write_in_place, writing
from trm.progress import say

NOT_SUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
SECONDS_BETWEEN_BEATS = 10.0
SECONDS_WITHOUT_A_BEAT = 40.0  # then an owner on another host has ended
SECONDS_TO_SETTLE = 0.2  # between taking an owner's place and being sure of it
SECONDS_BETWEEN_TRIES = 0.2
SECONDS_OF_A_GLANCE = 600.0  # a beat this young is a holder's, whatever the two clocks say

_watched: dict[Path, tuple[str, float]] = {}  # what an owner file said, and since when
_noted: set[Path] = set()


class Lock:
    """A file that this process holds until `release`, or until it ends."""

    def __init__(self, path: Path, file: TextIO, beat: _Beat | None = None) -> None:
        self.path, self._file, self._beat = path, file, beat

    def fileno(self) -> int:
        """Descriptor that a child inherits to hold the lock too; by flock only."""
        return self._file.fileno()

    def share(self) -> None:
        """Let other processes hold the file too, by `join_lock`; by flock only."""
        if self._beat is None:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    @property
    def has_beat(self) -> bool:
        return self._beat is not None

    def with_beat(self, beat: _Beat) -> Lock:
        return Lock(self.path, self._file, beat)

    def release(self) -> None:
        if self._beat is not None:
            self._beat.stop()
        self._file.close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def try_lock(path: Path) -> Lock | None:
    """Hold `path`, a file that is made where there is none; None where another process holds it.

    WriteError where the file cannot be written.
    """
    with writing(path):
        file = path.open("a")  # what the file says stays
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_deleted(file, path):  # by its last holder (`held`), after it was opened here
                file.close()
                return None
            return Lock(path, file)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                file.close()
                raise
            _note(path, error)
        beat = _take(_owner_file(path))
        if beat is None:
            file.close()
            return None
        return Lock(path, file, beat)


def try_lock_among_hosts(path: Path) -> Lock | None:
    """`try_lock`, also where flock does not reach the other hosts that have the file. A holder that
    was killed on another host keeps it for SECONDS_WITHOUT_A_BEAT."""
    lock = try_lock(path)
    if lock is None or lock.has_beat:
        return lock
    beat = _take(_owner_file(path))
    if beat is None:
        lock.release()
        return None
    return lock.with_beat(beat)


def join_lock(path: Path) -> Lock | None:
    """Hold `path` beside the process that shares it; None where the file system has no flock."""
    with suppress(OSError), ExitStack() as unless_held:
        file = unless_held.enter_context(path.open())
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        unless_held.pop_all()
        return Lock(path, file)
    return None


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold `path` within the block; it is deleted at its end.

    While another process holds it this one waits, and says so: `what` is what it waits for.
    """
    told = False
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    while (lock := try_lock(path)) is None:
        if not told:
            say(f"waiting for another process{holder_of(path)} to end {what}")
            told = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Whether another process holds `path`, as far as can be seen at a glance from here."""
    owner = _read_owner(_owner_file(path))
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of as the file is closed
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NOT_SUPPORTED or owner is None:
            return False
        return owner.is_alive() if owner.is_here() else owner.age() < SECONDS_OF_A_GLANCE
    # Nobody holds it here. On another host the clock may differ, but not by much.
    return owner is not None and not owner.is_here() and owner.age() < SECONDS_WITHOUT_A_BEAT


def holder_of(path: Path) -> str:
    """The owner, as ` (process 123 on node7)`, where a file names one; else empty."""
    owner = _read_owner(_owner_file(path))
    return "" if owner is None else f" (process {owner.pid} on {owner.host})"


def _is_deleted(file: TextIO, path: Path) -> bool:
    """Whether `path` no longer names the open file."""
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return True


# --- where there is no flock ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Owner:
    host: str
    pid: int
    started: str  # of the process, so that another one with its number is not taken for it
    time: float  # of the last beat, seconds since 1970 by the owner's clock

    @staticmethod
    def this() -> _Owner:
        return _Owner(socket.gethostname(), os.getpid(), _started(os.getpid()), time.time())

    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether the owner, a process of this host, still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started == _started(self.pid)

    def age(self) -> float:
        return abs(time.time() - self.time)

    def is_same(self, other: _Owner | None) -> bool:
        return other is not None and (self.host, self.pid, self.started) == (
            other.host,
            other.pid,
            other.started,
        )


class _Beat:
    """Renews the time in an owner file, by a thread that ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path, self._ended = path, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            with suppress(Exception):  # a full disk, say: the next beat may succeed
                _write_owner(self._path)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=SECONDS_BETWEEN_BEATS)
        if _Owner.this().is_same(_read_owner(self._path)):
            self._path.unlink(missing_ok=True)


def _take(path: Path) -> _Beat | None:
    """Become the owner; None where another one is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        if not _has_ended(path):
            return None
    _write_owner(path)
    # Of several that take the place of the same ended owner, the last one has it.
    time.sleep(SECONDS_TO_SETTLE)
    return _Beat(path) if _Owner.this().is_same(_read_owner(path)) else None


def _has_ended(path: Path) -> bool:
    """Whether the owner is gone: its process, or on another host its beat, as watched from here."""
    owner = _read_owner(path)
    if owner is not None and owner.is_here():
        return not owner.is_alive()
    said, now = str(owner), time.monotonic()
    before, since = _watched.setdefault(path, (said, now))
    if said != before:
        _watched[path] = said, now
        return False
    return now - since >= SECONDS_WITHOUT_A_BEAT


def _write_owner(path: Path) -> None:
    write_in_place(path, json.dumps(asdict(_Owner.this())).encode())


def _read_owner(path: Path) -> _Owner | None:
    """None where there is no owner, or none that has written its name yet."""
    try:
        return _Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _started(pid: int) -> str:
    """When a process on this host began, in the kernel's ticks; empty where that is not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _owner_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.owner")


def _note(path: Path, error: OSError) -> None:
    if path not in _noted:
        _noted.add(path)
        say(
            f"note: the file system of {path} has no locks ({error.strerror}); "
            f"{_owner_file(path).name} beside it names the process that holds it"
        )
