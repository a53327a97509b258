"""thinking.gif: some test puzzles, answered anew after each supervision step."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import FigureBase
from PIL import Image

from trm.errors import TrmError
from trm.files import atomic_write
from trm.report import figures
from trm.report.boards import draw_arc_answer, draw_board
from trm.scoring.gallery import Gallery, Puzzle

MS_PER_STEP, MS_AT_THE_END = 700, 2500
COLOURS = 64  # of the GIF's palette: ten of ARC's, and what smooth edges need

# Boards in a row, and the width and height of each in inches; an ARC task has three grids.
_LAYOUT, _ARC_LAYOUT = (3, 2.5, 2.8), (2, 5.5, 2.4)
_LEAST_CELLS = 6  # across the place of an ARC grid, or small ones would have huge cells
_DPI = 90


def save_animation(thinking: Gallery, path: Path) -> None:
    """A GIF with one frame per supervision step; the same answers give the same bytes.

    Raises:
        TrmError: there is no puzzle to show.
    """
    if not thinking.puzzles:
        raise TrmError("no puzzle to animate: the dataset's test split is empty")
    n_steps = len(thinking.puzzles[0].answers)
    frames = [_frame(thinking, step) for step in range(n_steps)]
    # One palette for all, from the last frame and the first: or colours would flicker.
    both = Image.fromarray(np.concatenate([np.asarray(frames[0]), np.asarray(frames[-1])]))
    palette = both.quantize(COLOURS)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_write(path) as file:
        flat[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=flat[1:],
            duration=[MS_PER_STEP] * (n_steps - 1) + [MS_AT_THE_END],
            loop=0,
        )


def _frame(thinking: Gallery, step: int) -> Image.Image:
    puzzles = thinking.puzzles
    most, width, height = _ARC_LAYOUT if thinking.kind == "arc" else _LAYOUT
    columns = min(most, len(puzzles))
    rows = -(-len(puzzles) // columns)
    with mpl.rc_context(figures.STYLE):
        figure = figures.new_figure(width * columns, height * rows + 0.4)
        figure.suptitle(
            f"after supervision step {step + 1} of {len(puzzles[0].answers)}", fontsize=11
        )
        parts = figure.subfigures(rows, columns, squeeze=False).ravel()
        for part, puzzle in zip(parts, puzzles, strict=False):
            part.suptitle(_title(thinking, puzzle, step), fontsize=8.5)
            if thinking.kind == "arc":
                _draw_task(part, thinking, puzzle, step)
            else:
                _draw_board(part.subplots(), thinking, puzzle, step)
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(_DPI)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _draw_task(figure: FigureBase, thinking: Gallery, puzzle: Puzzle, step: int) -> None:
    """As the report's slider does: one cell size for the input, the truth and all answers."""
    question, truth, *answers = map(_grid, (puzzle.question, puzzle.answer, *puzzle.answers))
    cells = max(_LEAST_CELLS, *(max(grid.shape) for grid in (question, truth, *answers)))
    draw_arc_answer(figure, question, answers[step], truth if thinking.judged else None, cells)


def _draw_board(axes: Axes, thinking: Gallery, puzzle: Puzzle, step: int) -> None:
    columns = thinking.columns or thinking.side
    boards = [
        np.array(list(text)).reshape(-1, columns)
        for text in (puzzle.question, puzzle.answer, puzzle.answers[step])
    ]
    draw_board(axes, thinking.board_kind.style, *boards, box=thinking.box)


def _title(thinking: Gallery, puzzle: Puzzle, step: int) -> str:
    name = puzzle.name if thinking.kind == "arc" else f"no. {puzzle.name}"
    wrong = "wrong ✗" if step == len(puzzle.answers) - 1 else "not yet"
    verdict = "right ✓" if puzzle.answers[step] == puzzle.answer else wrong
    sure = f"halting probability {puzzle.q[step]:.0%}"
    title = f"{name}: {verdict}" if thinking.judged else name
    return f"{title}\n{sure}"


def _grid(text: str) -> np.ndarray:
    rows = [[int(colour) for colour in row] for row in text.split("/")]
    return np.array(rows, dtype=np.uint8) if text else np.empty((0, 0), np.uint8)
