"""How far each result of the study is, for the overview: in the words of `trm status`."""

from __future__ import annotations

from dataclasses import dataclass

from trm.study.states import WORDS, Status, statuses
from trm.study.table import Study


@dataclass(frozen=True)
class RunState:
    """A run that has begun, and how far it is."""

    seed: int
    words: str

    def __str__(self) -> str:
        return self.words


def runs_of(study: Study, benchmark: str, variant: str) -> list[RunState]:
    """The runs of a variant that have begun in the working directory, by seed."""
    return [
        RunState(int(status.result.rpartition("-")[2]), _words(status))
        for status in statuses(study, [f"{benchmark}/{variant}"])
        if status.state not in ("not run", "data missing")
    ]


def _words(status: Status) -> str:
    if status.state == "done":
        return "done, not in this report"
    if status.step is None:
        return WORDS.get(status.state, status.state)
    of_all = f" of {status.total_steps:,}" if status.total_steps else ""
    return f"{status.state} at step {status.step:,}{of_all}"
