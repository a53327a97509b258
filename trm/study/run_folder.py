"""What a run folder says about its run, read without torch.

RUN/.lock                      held by the process that trains into it (trm.runtime.locks); says
                               what was saved last, and on which host
RUN/run.json                   what its checkpoints are, and how it ended (trm.model.run_record)
RUN/snapshots/step_00000120/   the whole state (trm.training.snapshot); facts: manifest.json
RUN/snapshots/interrupted      the step at which a signal stopped the run
RUN/provenance.json            of a run that has ended well
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm.errors import TrmError
from trm.files import remove_files, write_atomically, write_in_place, writing
from trm.model.run_record import read_record
from trm.runtime.locks import is_locked

LOCK = ".lock"
FOLDER = "snapshots"
MANIFEST = "manifest.json"
INTERRUPTED = "interrupted"
FORMAT = 1
STEP_FOLDER = "step_" + "[0-9]" * 8  # pattern of a snapshot's name
SNAPSHOT_FILES = (MANIFEST, "shared.safetensors", "rank_*.safetensors", ".*.tmp")


def is_held(run: Path) -> bool:
    """Whether a process trains into the folder, as far as this machine sees its lock."""
    return is_locked(run / LOCK)


# --- what was saved last --------------------------------------------------------------------------

ENDED = "ended"


@dataclass(frozen=True)
class LastSaved:
    """The newest state of a run: its snapshot, by name, or ENDED; and the hosts that saved it."""

    what: str
    hosts: list[str]

    @property
    def is_from_elsewhere(self) -> bool:
        return self.hosts != [socket.gethostname()]


def note_saved(run: Path, what: str, hosts: Collection[str] = ()) -> None:
    """Note in the lock file what has just been saved, by this host unless `hosts` says otherwise.
    Empty: nothing that counts.

    Another node may see a snapshot late, but has the lock file, and reads what it says last.
    """
    line = f"{what} {' '.join(hosts or [socket.gethostname()])}\n" if what else ""
    with writing(run / LOCK):
        write_in_place(run / LOCK, line.encode())


def saved_last(run: Path) -> LastSaved | None:
    """What `note_saved` noted last; None where that is nothing."""
    with suppress(OSError, ValueError):
        what, *hosts = (run / LOCK).read_text().split()
        return LastSaved(what, hosts)
    return None


def forget_end(run: Path) -> None:
    """Let the next training into this folder train, though the run there has ended."""
    record = read_record(run)
    if record is not None and record.provenance is not None:
        record.provenance = None
        record.write(run)
        note_saved(run, "")


# --- snapshots ------------------------------------------------------------------------------------


def snapshots_of(run: Path) -> list[Path]:
    """Complete snapshots of the run, the newest last."""
    return sorted((run / FOLDER).glob(STEP_FOLDER))


def discard_snapshots(run: Path) -> None:
    """Forget the state: what `resume=False` starts from, or a finished result no longer needs.

    Only files that a run writes are deleted; whatever else is in the folder stays.
    """
    folders = (STEP_FOLDER, f".{STEP_FOLDER}.*")
    remove_files(
        run / FOLDER,
        [
            INTERRUPTED,
            ".*.tmp",
            *(f"{folder}/{name}" for folder in folders for name in SNAPSHOT_FILES),
        ],
    )


def mark_interrupted(run: Path, step: int) -> None:
    """Note that a signal stopped the run, with `step` saved."""
    write_atomically(run / FOLDER / INTERRUPTED, f"{step}\n".encode())


def clear_interrupted(run: Path) -> None:
    (run / FOLDER / INTERRUPTED).unlink(missing_ok=True)


def interrupted_at(run: Path) -> int | None:
    """The step at which a signal stopped the run; None where none did."""
    try:
        return int((run / FOLDER / INTERRUPTED).read_text())
    except (OSError, ValueError):
        return None


def read_facts(folder: Path) -> dict[str, Any]:
    """The manifest of a snapshot; TrmError where it is damaged."""
    try:
        facts = json.loads((folder / MANIFEST).read_text())
        if facts["format"] != FORMAT:
            raise TrmError(
                f"{folder} has format {facts['format']}, this version of trm writes {FORMAT}; use "
                "the version that wrote it, or start from scratch with resume=False"
            )
        return facts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrmError(f"{MANIFEST} cannot be read: {error}") from None


def newest_facts(run: Path) -> dict[str, Any] | None:
    """The manifest of the newest snapshot that has a readable one."""
    for folder in reversed(snapshots_of(run)):
        try:
            return read_facts(folder)
        except TrmError:
            continue
    return None
