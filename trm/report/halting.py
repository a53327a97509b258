"""What the halting head knows, as a picture: its probability against how often it is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from trm.data.read import load_split
from trm.report.drawing import Drawn, Source
from trm.report.figures import BLUE, GREY, ORANGE, STYLE, new_figure
from trm.scoring.arc import check_predictions, lacks_solutions
from trm.scoring.halting import BINS, halting_probability, halting_statistics
from trm.scoring.predictions import Predictions, exactly_right


@dataclass(frozen=True)
class Halting:
    """Halting logits [N] of a test split and which of its answers [N] are right in full; None where
    nobody has the solutions."""

    logits: np.ndarray
    exact: np.ndarray | None

    @staticmethod
    def of(dataset: Path, predictions: Predictions) -> Halting:
        """TrmError where the predictions are not of the dataset's test split."""
        split = load_split(dataset, "test")
        parts = [arrays.labels for arrays in split.sets.values()]
        n_rows = sum(map(len, parts))
        check_predictions(predictions.preds, predictions.q_halt_logits, n_rows, split.metadata)
        if lacks_solutions(dataset):
            return Halting(predictions.q_halt_logits, None)
        exact, start = [], 0
        for labels in parts:
            labels = np.asarray(labels)
            preds = predictions.preds[start : start + len(labels)]
            exact.append(exactly_right(preds, labels, split.metadata.ignore_label_id))
            start += len(labels)
        return Halting(predictions.q_halt_logits, np.concatenate(exact))

    @property
    def probabilities(self) -> np.ndarray:
        return halting_probability(self.logits)


def draw(source: Source) -> Drawn:
    """TrmError as `Halting.of`."""
    halting = Halting.of(source.dataset, source.predictions)
    return Drawn(draw_halting(halting), describe_halting(halting))


def draw_halting(halting: Halting) -> Figure:
    """Share of right answers by halting probability, and below how many answers there are."""
    edges = np.linspace(0, 1, BINS + 1)
    places = np.minimum((halting.probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    if halting.exact is None:
        return _draw_counts(edges, counts)
    right = np.bincount(places, weights=halting.exact, minlength=BINS)
    filled = np.flatnonzero(counts)
    middles = (edges[:-1] + edges[1:]) / 2
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6, 4.0)
        shares, numbers = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        shares.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="if it were exact")
        shares.plot(
            middles[filled],
            right[filled] / counts[filled],
            "o-",
            color=BLUE,
            label="right answers",
        )
        shares.set_ylim(-0.04, 1.04)
        shares.yaxis.set_major_formatter(PercentFormatter(1.0))
        shares.set_ylabel("right answers")
        # Side by side: on a logarithmic axis bars on top of each other have no length to read.
        width = 0.44 / BINS
        numbers.bar(middles - width / 2, right, width, color=BLUE, label="right")
        numbers.bar(
            middles + width / 2,
            counts - right,
            width,
            color="white",
            edgecolor=ORANGE,
            hatch="////",
            label="wrong",
        )
        numbers.set_yscale("symlog", linthresh=1)
        numbers.set_ylim(bottom=0)
        numbers.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        numbers.set_ylabel("answers")
        numbers.set_xlabel("halting probability at the last step")
        numbers.xaxis.set_major_formatter(PercentFormatter(1.0))
        numbers.set_xlim(0, 1)
        for axes in (shares, numbers):
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=8
            )
    return figure


def _draw_counts(edges: np.ndarray, counts: np.ndarray) -> Figure:
    """How many answers there are by halting probability: all that is known without solutions."""
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6, 2.3)
        axes = figure.add_subplot()
        axes.bar((edges[:-1] + edges[1:]) / 2, counts, 0.9 / BINS, color=BLUE)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylabel("answers")
        axes.set_xlabel("halting probability at the last step")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def describe_halting(halting: Halting) -> str:
    """The picture in one sentence, for readers who cannot see it."""
    if halting.exact is None:
        mean = halting.probabilities.mean()
        return (
            f"{len(halting.logits):,} answers without known solutions; the halting head gives "
            f"them {mean:.1%} on average."
        )
    known = halting_statistics(halting.logits, halting.exact)
    words = f"Of {len(halting.exact):,} answers {halting.exact.mean():.1%} are right"
    if not known:
        return f"{words}."
    words += f"; the halting head gives them {known['halting/mean_probability']:.1%} on average"
    auroc = known.get("halting/auroc")
    if auroc is not None:
        words += f", and separates right from wrong with an AUROC of {auroc:.3f}"
    return f"{words}."
