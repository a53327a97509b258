"""The files of a result, each with what it needs to exist, for rules, report and messages.

A rule makes a file, and docs/reference.md says what it contains.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from trm.data.specs import Kind


class Shown(Enum):
    """Whether the report of a result is made from a file."""

    NEVER = auto()
    ALWAYS = auto()
    IF_ASKED = auto()  # where the benchmark has `steps_in_report`: it costs an evaluation more
    IF_MADE = auto()  # where it exists; it is not made for the report


SEARCH_OF = "search-{sample}.csv"
"""A search on that many test puzzles, or ARC tasks; any number can be asked for."""
SAMPLE = "[1-9][0-9]*"
SAMPLE_SHOWN = 1000  # the one that is listed and drawn


class ResultFile(StrEnum):
    """A file of a result's folder, by its path in there.

    `kind` is the only kind of puzzle whose results have the file, or None. `counts_right` says that
    it compares answers with solutions, so that it does not exist where a test set has none;
    `of_training` that it describes a training, so that it does not exist where weights are given.
    """

    kind: Kind | None
    shown: Shown
    counts_right: bool
    of_training: bool

    METRICS = "metrics.json", Shown.ALWAYS
    PREDICTIONS = "predictions.npz"
    HISTORY = "history.csv", Shown.ALWAYS, False, None, True
    CONFIG = "config.yaml", Shown.ALWAYS
    PROVENANCE = "provenance.json", Shown.ALWAYS
    STEPS = "steps.csv", Shown.IF_ASKED, True
    TASK_IDS = "task-ids.csv", Shown.NEVER, True
    SEARCH = SEARCH_OF.format(sample=SAMPLE_SHOWN), Shown.IF_MADE, True
    GALLERY = "gallery.json", Shown.ALWAYS
    THINKING = "thinking.json", Shown.ALWAYS
    LEARNING_CURVE = "figures/learning_curve.svg", Shown.ALWAYS, False, None, True
    EXAMPLES = "figures/examples.svg", Shown.ALWAYS
    HALTING = "figures/halting.svg", Shown.ALWAYS
    STEPS_FIGURE = "figures/steps.svg", Shown.IF_ASKED, True
    SEARCH_FIGURE = "figures/search.svg", Shown.IF_MADE, True
    THINKING_FIGURE = "figures/thinking.gif", Shown.ALWAYS
    ANSWERS = "answers.npz", Shown.NEVER, False, "arc"
    SUBMISSION = "submission.json", Shown.NEVER, False, "arc"
    VOTES = "votes.csv", Shown.ALWAYS, True, "arc"
    POOLED = "pooled.csv", Shown.NEVER, True, "arc", True
    VOTES_FIGURE = "figures/votes.svg", Shown.ALWAYS, True, "arc"

    def __new__(
        cls,
        path: str,
        shown: Shown = Shown.NEVER,
        counts_right: bool = False,
        kind: Kind | None = None,
        of_training: bool = False,
    ) -> ResultFile:
        file = str.__new__(cls, path)
        file._value_ = path
        file.shown, file.counts_right, file.kind = shown, counts_right, kind
        file.of_training = of_training
        return file


def files_of_all_kinds() -> list[ResultFile]:
    return [file for file in ResultFile if file.kind is None]


def files_of_one_kind(kind: Kind) -> list[ResultFile]:
    """The files that only results of this kind have."""
    return [file for file in ResultFile if file.kind == kind]


@dataclass(frozen=True)
class Figure:
    """What a figure is called above it, and what of the same result it is drawn from."""

    title: str
    drawn_from: tuple[ResultFile, ...]
    of_dataset: bool = False  # whether the dataset is needed too


FIGURES = {
    ResultFile.LEARNING_CURVE: Figure("Learning curves", (ResultFile.HISTORY,)),
    ResultFile.STEPS_FIGURE: Figure("Accuracy against supervision steps", (ResultFile.STEPS,)),
    ResultFile.SEARCH_FIGURE: Figure("Accuracy against rollouts", (ResultFile.SEARCH,)),
    ResultFile.VOTES_FIGURE: Figure("Accuracy against votes", (ResultFile.VOTES,)),
    ResultFile.HALTING: Figure("Halting", (ResultFile.PREDICTIONS,), of_dataset=True),
    ResultFile.EXAMPLES: Figure(
        "Solved and failed test puzzles",
        (ResultFile.PREDICTIONS, ResultFile.ANSWERS),
        of_dataset=True,
    ),
}
"""The figures in the order of the report. figures/NAME.svg is drawn by trm/report/NAME.py, and its
caption in Snakemake's own report is workflow/report/NAME.rst."""

FIGURES_OF_ALL = [
    file
    for file in FIGURES
    if file.shown is Shown.ALWAYS and file.kind is None and not file.counts_right
]
"""Those that every result has, which one job draws; each other one has a rule of its own."""

SHOWN_FILES = [file for file in ResultFile if file.shown is not Shown.NEVER]
"""All that a report may be made from."""
