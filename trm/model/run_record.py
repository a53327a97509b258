"""RUN/run.json: what the checkpoints of a run folder are, and how the run ended.

Unlike provenance.json it is not an output that Snakemake knows, and deletes when a job fails.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm.errors import TrmError
from trm.files import RunFile, file_sha256, write_json


@dataclass
class RunRecord:
    """What the weights in a run folder were trained on, and what they are."""

    dataset_sha256: dict[str, str]  # by path of `data_paths`
    puzzle_names_sha256: str | None  # trm.study.puzzle_names; None where they have no embeddings
    checkpoints: dict[str, str] = field(default_factory=dict)  # SHA-256 of each step_N
    provenance: dict[str, Any] | None = None  # provenance.json of a run that has ended well

    def write(self, run: Path) -> None:
        write_json(run / RunFile.RECORD, asdict(self))

    def sha256_of(self, name: str) -> str | None:
        """SHA-256 of the checkpoint `name`; None where it is not recorded."""
        if name == RunFile.FINAL and self.provenance is not None:
            name = self.provenance["checkpoints"][-1]
        return self.checkpoints.get(name)

    def has_ended(self, run: Path) -> bool:
        """Whether the run has ended well, and its last checkpoint is still as it was written."""
        if self.provenance is None or not (run / RunFile.HISTORY).is_file():
            return False
        last = self.provenance["checkpoints"][-1]
        try:
            return file_sha256(run / last) == self.checkpoints.get(last)
        except OSError:
            return False


def read_record(run: Path) -> RunRecord | None:
    """Read run.json of a run folder; None where there is none, or none that can be read."""
    try:
        return RunRecord(**json.loads((run / RunFile.RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def check_checkpoint(path: Path) -> None:
    """TrmError where a checkpoint in a run folder is not as its training wrote it."""
    record = read_record(path.parent)
    expected = None if record is None else record.sha256_of(path.name)
    if expected is not None and file_sha256(path) != expected:
        raise TrmError(
            f"checkpoint {path} is damaged: its SHA-256 is not the one in "
            f"{path.parent / RunFile.RECORD}. Copy or train it again; a file that "
            "was changed on purpose needs another folder"
        )
