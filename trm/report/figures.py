"""Figures, drawn without pyplot: nothing global, same input, same bytes.

Outside ARC's own ten colours the palette is Okabe and Ito's (safe for colour-blind readers), and
no meaning rests on colour alone: wrong cells carry a mark, train lines are dashed.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from trm.errors import TrmError
from trm.files import atomic_write

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, GREY, CLUE_BACKGROUND, WALL = "#222222", "#777777", "#E4E4E4", "#4A4A4A"

STYLE = {
    "svg.hashsalt": "trm",  # element ids from content, not from a random seed
    "svg.fonttype": "path",  # readable on machines without the font
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 9.0,
}


def new_figure(width: float, height: float) -> Figure:
    """A white figure of width x height inches that keeps its labels apart by itself."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: Path, description: str) -> None:
    """Write SVG or PNG by `path`'s suffix; `description` travels inside as the picture's text.

    The report reads it back as the alternative text. No date and no version is written, so that
    the same figure gives the same bytes.

    Raises:
        TrmError: another suffix.
    """
    path = Path(path)
    metadata = {"Title": path.stem, "Description": description}
    match path.suffix:
        case ".svg":
            metadata |= {"Date": None, "Creator": None}
        case ".png":
            metadata |= {"Software": None}
        case suffix:
            raise TrmError(f"cannot draw {path}: {suffix!r} is neither .svg nor .png")
    with mpl.rc_context(STYLE), atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=160)
