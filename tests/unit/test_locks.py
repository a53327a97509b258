"""One process at a time, also on a file system without flock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs import ALONE, config_of
from trm.errors import TrmError, WriteError
from trm.runtime import locks
from trm.runtime.gpus import claim_gpus
from trm.runtime.locks import is_locked, try_lock, try_lock_among_hosts
from trm.runtime.signals import Signals
from trm.study.run_folder import is_held
from trm.training.folder import wait_for_lock
from trm.training.trainer import train

HOLD = """
import errno, fcntl, socket, sys
from pathlib import Path
from trm.runtime.locks import try_lock, try_lock_among_hosts

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

if sys.argv[2] == "without":
    fcntl.flock = flock
if sys.argv[2] == "elsewhere":  # its flock is not seen here
    fcntl.flock, socket.gethostname = lambda *_: None, lambda: "another.host"
hold = try_lock_among_hosts if sys.argv[2] == "elsewhere" else try_lock
lock = hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture(params=["with", "without"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`without`: a file system that has no locks."""
    if request.param == "without":
        no_locks(monkeypatch, errno.ENOLCK)
    return request.param


def no_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_noted", set())


def another_process_holds(path: Path, flock: str) -> subprocess.Popen:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), flock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_one_process_holds_a_file_until_it_lets_go(tmp_path: Path, flock: str) -> None:
    path = tmp_path / "lock"
    holder = another_process_holds(path, flock)
    assert try_lock(path) is None and is_locked(path)
    holder.communicate()
    assert not is_locked(path)
    with try_lock(path):
        assert try_lock(path) is None  # within one process too
    assert try_lock(path) is not None


def test_a_killed_process_holds_nothing(tmp_path: Path, flock: str) -> None:
    path = tmp_path / "lock"
    holder = another_process_holds(path, flock)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_locked(path)
    assert try_lock(path) is not None


def owner_elsewhere(path: Path, **changes: object) -> None:
    owner = {"host": "another.host", "pid": 1, "started": "7", "time": 0.0} | changes
    path.with_name(f"{path.name}.owner").write_text(json.dumps(owner))


def test_an_owner_on_another_host_holds_while_its_time_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch, errno.EOPNOTSUPP)
    now = 1000.0
    monkeypatch.setattr(locks.time, "monotonic", lambda: now)
    path = tmp_path / "lock"
    for beat in range(5):
        owner_elsewhere(path, time=float(beat))
        assert try_lock(path) is None
        now += locks.SECONDS_WITHOUT_A_BEAT - 1
    assert try_lock(path) is None
    assert locks.holder_of(path) == " (process 1 on another.host)"
    now += 2
    assert try_lock(path) is not None


def test_a_process_with_the_number_of_a_dead_owner_is_not_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch, errno.ENOSYS)
    owner_elsewhere(tmp_path / "lock", host=locks.socket.gethostname(), pid=os.getpid())
    assert not is_locked(tmp_path / "lock")
    assert try_lock(tmp_path / "lock") is not None


def test_a_holder_on_another_host_whose_flock_does_not_reach_here_holds(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = another_process_holds(path, "elsewhere")
    assert try_lock_among_hosts(path) is None and is_locked(path)
    assert locks.holder_of(path) == f" (process {holder.pid} on another.host)"
    holder.communicate()
    assert not is_locked(path)
    with try_lock_among_hosts(path):
        assert (tmp_path / "lock.owner").exists()
        assert try_lock_among_hosts(path) is None
    assert not (tmp_path / "lock.owner").exists()


def test_a_holder_that_was_killed_on_another_host_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(locks.time, "monotonic", lambda: now)
    path = tmp_path / "lock"
    path.touch()
    owner_elsewhere(path, time=time.time() - 1)
    assert is_locked(path)
    assert try_lock_among_hosts(path) is None
    with try_lock(path):  # what one refused attempt held is released
        pass
    owner_elsewhere(path, time=time.time() - locks.SECONDS_WITHOUT_A_BEAT - 1)
    assert not is_locked(path)
    assert try_lock_among_hosts(path) is None  # its clock may be behind
    now += locks.SECONDS_WITHOUT_A_BEAT
    assert try_lock_among_hosts(path) is not None


def test_the_beats_of_an_owner_are_in_one_file(tmp_path: Path, monkeypatch) -> None:
    """Where a file system shows new names late, a beat in a new file would come too late."""
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_BEATS", 0.01)
    with try_lock_among_hosts(tmp_path / "lock"):
        owner = tmp_path / "lock.owner"
        first, number = owner.read_text(), owner.stat().st_ino
        while owner.read_text() in ("", first):
            time.sleep(0.01)
        assert owner.stat().st_ino == number


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_each_of_these_errors_means_that_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    no_locks(monkeypatch, number)
    with try_lock(tmp_path / "lock"):
        assert (tmp_path / "lock.owner").exists()
    assert not (tmp_path / "lock.owner").exists()


def test_a_run_without_locks_trains_and_is_guarded(
    sudoku_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr("trm.training.folder.SECONDS_TO_WAIT_FOR_LOCK", 0.5)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    config = config_of(sudoku_data, tmp_path / "run", epochs=1, eval_interval=1)
    with (
        wait_for_lock(tmp_path / "run", Signals()),
        pytest.raises(TrmError, match=rf"process \(process {os.getpid()} on .*\) is training into"),
    ):
        assert is_held(tmp_path / "run")
        train(config, ALONE)
    assert not is_held(tmp_path / "run")
    with claim_gpus(1) as first, claim_gpus(1) as second:
        assert {first.gpus, second.gpus} == {"4", "5"}
    train(config, ALONE)
    assert (tmp_path / "run" / "step_3").is_file()
    assert not list((tmp_path / "run").glob("*.owner"))


def test_it_is_said_once_that_there_are_no_locks(tmp_path: Path, monkeypatch, capsys) -> None:
    no_locks(monkeypatch, errno.ENOLCK)
    for _ in range(3):
        try_lock(tmp_path / "lock").release()
    assert capsys.readouterr().err.count("has no locks (No locks available)") == 1


def test_another_error_of_flock_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    no_locks(monkeypatch, errno.EIO)
    with pytest.raises(WriteError, match="cannot write .*lock: Input/output error"):
        try_lock(tmp_path / "lock")


def test_what_another_process_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "lock"
    path.parent.mkdir()
    holder = another_process_holds(path, "with")
    monkeypatch.setattr(time, "sleep", lambda _: holder.communicate("\n"))  # it lets go
    with locks.held(path, "fetching it"):
        assert is_locked(path)
    assert not path.exists()
    assert capsys.readouterr().err == "waiting for another process to end fetching it\n"


def test_a_file_that_its_last_holder_deleted_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened before it was deleted, locked after: another process may hold a new file."""
    path, flock = tmp_path / "lock", fcntl.flock

    def delete_first(*arguments: object) -> None:
        path.unlink()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    assert try_lock(path) is None
    monkeypatch.setattr(fcntl, "flock", flock)
    lock = try_lock(path)
    assert lock is not None
    lock.release()
