"""The figures of a result: figures/NAME.svg is drawn by `draw` of trm/report/NAME.py.

`trm.study.files.FIGURES` lists them, each with what it is drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePath

from matplotlib.figure import Figure

from trm.data.specs import Kind
from trm.errors import TrmError, suggest
from trm.scoring.answers import load_answers
from trm.scoring.arc import ArcScore, score_answers
from trm.scoring.predictions import Predictions, load_predictions
from trm.study.files import FIGURES, ResultFile


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows in words."""

    figure: Figure
    description: str


@dataclass(frozen=True)
class Source:
    """What figures are drawn from: a result's folder and, where they need it, the dataset that it
    was tested on. Several figures of one source share what is read."""

    result: Path
    dataset: Path | None = None
    kind: Kind | None = None

    @cached_property
    def predictions(self) -> Predictions:
        return load_predictions(self.result / ResultFile.PREDICTIONS)

    @cached_property
    def score(self) -> ArcScore:
        """The ranked answers to ARC's test inputs."""
        return score_answers(self.dataset, load_answers(self.result / ResultFile.ANSWERS))


def draw_figure(source: Source, name: str) -> Drawn:
    """The figure NAME of one result.

    Raises:
        TrmError: it is not a figure, or what it is drawn from cannot be read.
    """
    names = [PurePath(file).stem for file in FIGURES]
    if name not in names:
        raise TrmError(f"no figure {name!r}{suggest(name, names)}; there are {', '.join(names)}")
    return import_module(f"trm.report.{name}").draw(source)
