"""A run's whole state on disk: from it a run resumes as if it had never stopped.

    RUN/snapshots/step_00000120/{manifest.json, shared.safetensors, rank_0.safetensors, …}

A snapshot is written beside its name and renamed when all of it is on the disk, so that what has
the name is whole. `manifest.json` holds the SHA-256 of the other files, checked before they are
used; a damaged snapshot is skipped for the one before it. Tensors are in safetensors, which
execute nothing when read.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trm.errors import TrmError, WriteError
from trm.files import file_sha256, remove_files, write_json
from trm.model.checkpoint import write_safetensors
from trm.progress import say
from trm.runtime.late import wait_for
from trm.runtime.ranks import Ranks
from trm.study.run_folder import (
    FOLDER,
    FORMAT,
    MANIFEST,
    SNAPSHOT_FILES,
    STEP_FOLDER,
    note_saved,
    read_facts,
    snapshots_of,
)

SHARED = "shared.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """`shared` is the same on every rank, `rows` has this rank's rows first; facts are JSON."""

    shared: dict[str, Tensor]
    rows: dict[str, Tensor]  # each [rows of this rank, …]
    own: dict[str, Tensor]  # of this rank alone; empty where the number of ranks has changed
    facts: dict[str, Any]


def write_snapshot(run: Path, step: int, snapshot: Snapshot, ranks: Ranks, keep: int) -> str | None:
    """Write the state at `step`, all ranks together, and drop all but the last `keep`.

    Returns why it could not be written (a full disk), and then leaves nothing; None if all is well.
    """
    final = run / FOLDER / f"step_{step:08d}"
    partial = final.with_name(f".{final.name}.partial")
    problem: str | None = None
    if ranks.is_main:
        try:
            _sweep(run)
            # It exists where a killed process left files in it that this node does not see.
            partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = str(error)
    problem = ranks.same_everywhere(problem)  # also: no rank writes before the folder exists
    sums: dict[str, str] = {}
    if problem is None:
        try:
            if ranks.is_main:
                sums[SHARED] = _write_tensors(partial / SHARED, snapshot.shared)
            else:
                partial.mkdir(parents=True, exist_ok=True)  # another node may not see it yet
            mine = {f"rows.{k}": v for k, v in snapshot.rows.items()}
            mine |= {f"own.{k}": v for k, v in snapshot.own.items()}
            name = _rank_file(ranks.rank)
            sums[name] = _write_tensors(partial / name, mine)
        except OSError as error:
            problem = str(error)
    gathered = ranks.gather_objects((problem, sums, socket.gethostname()))
    problem = next((p for p, _, _ in gathered if p is not None), None)
    if ranks.is_main:
        try:
            if problem is None:
                files = {name: sha for _, part, _ in gathered for name, sha in part.items()}
                _name_it(partial, final, {"format": FORMAT, "files": files, **snapshot.facts})
                note_saved(run, final.name, sorted({host for _, _, host in gathered}))
                _prune(run, final.name, keep)
        except (OSError, WriteError) as error:
            problem = str(error)
        if problem is not None:
            remove_files(partial, SNAPSHOT_FILES)
    return ranks.same_everywhere(problem)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write and flush to the disk; returns the SHA-256."""
    write_safetensors(path, tensors)
    _flush(path)
    return file_sha256(path)


def _name_it(partial: Path, final: Path, manifest: dict[str, Any]) -> None:
    write_json(partial / MANIFEST, manifest)
    _flush(partial)
    _drop([final])  # a damaged one that was skipped
    partial.rename(final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop(folders: list[Path]) -> None:
    for folder in folders:
        # Renamed first: a kill in the middle leaves no half of a snapshot under its name.
        if folder.exists():
            # A new name: the last one may hold files of another node, which this one does not see.
            doomed = folder.rename(folder.with_name(f".{folder.name}.old-{secrets.token_hex(4)}"))
            remove_files(doomed, SNAPSHOT_FILES)


def _prune(run: Path, newest: str, keep: int) -> None:
    """Keep the last `keep` up to `newest`. What counts further was damaged, and skipped. If it is
    sound it is kept: another process saved it, and this run did not see it when it began."""
    found = snapshots_of(run)
    until = [folder for folder in found if folder.name <= newest]
    further = [folder for folder in found if folder.name > newest and _what_is_wrong(folder)]
    _drop(further + until[:-keep])


def _sweep(run: Path) -> None:
    """Remove what a killed process left half written or half removed."""
    for left in (run / FOLDER).glob(f".{STEP_FOLDER}.*"):
        remove_files(left, SNAPSHOT_FILES)


def _rank_file(rank: int) -> str:
    return f"rank_{rank}.safetensors"


def read_snapshot(run: Path, ranks: Ranks) -> Snapshot | None:
    """The newest sound snapshot, for this rank; None where there is none.

    Every damaged one is reported. The rows of one that another number of ranks wrote are shared
    out again.
    """
    chosen = ranks.from_main(lambda: _newest_sound(run))
    if chosen is None:
        return None
    folder = run / FOLDER / str(chosen)
    wait_for(folder / MANIFEST)
    facts = read_facts(folder)
    written_by = int(facts["world_size"])
    if written_by == ranks.world_size:
        files = [_rank_file(ranks.rank)]
    else:
        files = [_rank_file(rank) for rank in range(written_by)]
    for name in (SHARED, *files):
        wait_for(folder / name)
    parts = [load_file(folder / name) for name in files]
    rows = {
        name.removeprefix("rows."): torch.cat([part[name] for part in parts])
        for name in parts[0]
        if name.startswith("rows.")
    }
    own: dict[str, Tensor] = {}
    if written_by == ranks.world_size:
        own = {k.removeprefix("own."): v for k, v in parts[0].items() if k.startswith("own.")}
    else:
        rows = {name: _share(t, ranks) for name, t in rows.items()}
    return Snapshot(load_file(folder / SHARED), rows, own, facts)


def _share(everyones: Tensor, ranks: Ranks) -> Tensor:
    each = len(everyones) // ranks.world_size
    return everyones[ranks.rank * each : (ranks.rank + 1) * each].clone()


def _newest_sound(run: Path) -> str | None:
    for folder in reversed(snapshots_of(run)):
        problem = _what_is_wrong(folder)
        if problem is None:
            return folder.name
        say(f"note: {folder} is damaged ({problem}); looking for the one before")
    if snapshots_of(run):
        say("note: there is no sound one: starting from scratch")
    return None


def _what_is_wrong(folder: Path) -> str | None:
    try:
        files = read_facts(folder)["files"]
        for name, expected in files.items():
            if file_sha256(folder / name) != expected:
                return f"{name} is not as it was written"
    except (TrmError, OSError, KeyError, AttributeError) as error:
        return str(error)
    return None
