"""Which files this process opens, by Python's audit events: a count that depends on no clock."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_watching: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        for paths in _watching:
            paths.append(os.fsdecode(arguments[0]))


sys.addaudithook(_note)  # for good: Python removes none


@contextmanager
def files_opened() -> Iterator[list[str]]:
    """The paths of all files that are opened within, one for each time."""
    paths: list[str] = []
    _watching.append(paths)
    try:
        yield paths
    finally:
        _watching.remove(paths)
