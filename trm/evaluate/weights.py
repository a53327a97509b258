"""The weights of a run, found by its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trm.errors import TrmError
from trm.files import RunFile, checkpoints_of
from trm.model.checkpoint import missing_checkpoint
from trm.progress import say
from trm.runtime.late import wait_for
from trm.study.paths import run_of_result


def find_weights(path: Path) -> Path:
    """The file of weights that `path` means: itself, or the last of a run's folder.

    TrmError where there is none.
    """
    wait_for(path)
    if path.is_file():
        return path
    for folder in _run_folders(path):
        with suppress(TrmError):  # a run that has not ended well, or was not ours
            last = checkpoints_of(folder)[-1]
            if last.is_file():
                return last
        if (folder / RunFile.FINAL).is_file():
            return folder / RunFile.FINAL
        steps = [p for p in folder.glob("step_*") if p.name.removeprefix("step_").isdigit()]
        if steps:
            last = max(steps, key=lambda p: int(p.name.removeprefix("step_")))
            say(f"note: no run is known to have ended in {folder}; {last.name} is taken")
            return last
    if path.is_dir():
        raise TrmError(
            f"{path} holds no weights: neither a run's step_N or final, nor an exported model"
        )
    raise missing_checkpoint(path)


def _run_folders(path: Path) -> Iterator[Path]:
    """Where the weights of a run, or of a result, may be."""
    yield path
    run = run_of_result(path)
    if run is not None:
        yield run
