"""Files that are whole or absent, and the latest of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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


def checkpoints_of(folder: Path) -> list[Path]:
    """The `step_N` of a run folder, by N."""
    steps = [p for p in folder.glob("step_*") if p.name.removeprefix("step_").isdigit()]
    return sorted(steps, key=lambda p: int(p.name.removeprefix("step_")))


def latest_weights(folder: Path) -> Path:
    """The `step_N` of a run folder with the largest N; TrmError where there is none."""
    steps = checkpoints_of(folder)
    if not steps:
        raise TrmError(f"no checkpoint step_N in {folder}")
    return steps[-1]
