"""Files that are whole or absent, and the checkpoints of a run."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from trm.errors import TrmError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well, and else never was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    with atomic_write(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """A JSON file for programs and people, whole or not there."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling of `folder` to fill; it takes the place of `folder` only on success.

    On any exception, Ctrl-C included, the sibling is removed and what stood at `folder` stays.
    TrmError where it cannot be written.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    partial = folder.with_name(f".{folder.name}.partial-{token}")
    partial.mkdir()
    try:
        yield partial
        _replace_folder(folder, partial, aside=folder.with_name(f".{folder.name}.old-{token}"))
    except OSError as error:
        raise TrmError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_folder(folder: Path, new: Path, aside: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(aside)
    try:
        new.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


def checkpoints_of(folder: Path) -> list[Path]:
    """The `step_N` that the finished run in `folder` wrote, in order; the last is its result.

    From the run's provenance.json, not from what lies there: an earlier run's may lie there too.
    TrmError where the run has not ended well.
    """
    try:
        names = json.loads((folder / "provenance.json").read_text())["checkpoints"]
    except (FileNotFoundError, KeyError, ValueError):
        raise TrmError(f"no run has ended in {folder}: train first") from None
    return [folder / name for name in names]
