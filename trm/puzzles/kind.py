"""What every kind of puzzle says of itself: one object a kind, each in its own file of this folder.

A file of this folder that has a `KIND` is a kind, and `trm.puzzles.kinds` finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from trm.errors import TrmError
from trm.puzzles.characters import Charset
from trm.puzzles.metric import Metric
from trm.puzzles.views import Views, plain_view, refuse_more_views, views_of_images

TerminalStyle = Callable[[str, str], str]
"""(text, ANSI codes) -> the text, styled where the output is a terminal."""

Fault = tuple[int, str]
"""The first wrong row of a block of answers, and what is wrong with it."""

Image = Callable[[np.ndarray], np.ndarray]
"""A symmetry: the board [rows, columns] of values -> another board as good."""

PADDING = "\0"  # written where an answer has the token 0, which no cell has


@dataclass(frozen=True)
class Option:
    """How `trm solve` takes a puzzle: `--flag FILE`."""

    flag: str
    help: str
    example: str  # the file's name in a model card
    is_file: bool = False  # a text would not fit a command line


@dataclass(frozen=True)
class BoardStyle:
    """How figures and the report's page draw a board; both read it."""

    drawing: str = "written"  # of trm/report/boards.py and page.js
    shaded: bool = False  # given cells are bold on grey; else only what changed is blue
    blank: str = PADDING  # the symbol of a cell without an answer


class PuzzleKind:
    """A kind of puzzle.

    The class attributes without a value are those that a kind must have.
    """

    name: str  # in config.yaml, and in files
    place: int = 100  # among the kinds, where they are listed or weights are of several
    builder: str  # in config.yaml, of its datasets
    plural: str  # `sudokus`
    option: Option
    metrics: tuple[Metric, ...] = ()  # those that others lack
    # (inputs, preds) -> the values of those metrics, from a test split's tokens [N, cells].
    further_metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None
    key: str  # to the drawing, in the report

    @property
    def answers(self) -> str:
        """What its models answer, in a model card."""
        return self.plural

    def describe(self, rows: int, columns: int) -> str:
        """The puzzles and their size in words, such as `sudokus of 9x9`."""
        return f"{self.plural} of {rows}x{columns}"

    def sides_of(self, vocab_size: int) -> Collection[int]:
        """The sides of its square boards with that many tokens; only of kinds whose datasets, as
        the published ones, do not say what they hold."""
        return ()

    @property
    def most_views(self) -> int | None:
        """How many symmetric views a puzzle has at most; None: as many as one likes."""
        return 1

    def views(self, rows: int, columns: int, vocab_size: int, count: int, seed: int) -> Views:
        """`count` symmetric views of boards [rows, columns], the plain one first. Which ones
        follows from the seed, where there are more. TrmError where there are fewer."""
        refuse_more_views(count, self.most_views, self.plural)
        return plain_view(rows * columns, vocab_size)


class BoardKind(PuzzleKind):
    """A puzzle of one board, whose question and answer have one character a cell.

    A kind needs a name, a plural, an option, its characters and, if it has rules, `valid_name` and
    `mistake`; all else has a default that fits most boards.
    """

    builder = "boards"
    characters: str  # of the tokens 1, 2, …
    open: str | None = None  # where an answer differs from its question; None: anywhere
    sides: Collection[int] | None = None  # of its boards, which are square; None: of any shape
    images: tuple[Image, ...] = (np.asarray,)  # of a board under its symmetries, itself first
    has_boxes: bool = False
    valid_name: str = ""  # what an answer by the rules is; empty: there are no known rules
    style = BoardStyle()

    @property
    def key(self) -> str:
        given = "Bold on grey: given. Plain:" if self.style.shaded else "Black: as given. Blue:"
        return f"{given} filled in. Framed and struck: wrong, the right one beside it."

    @property
    def figure_key(self) -> str:
        """The same in a line, below a figure."""
        given = "bold on grey: given   plain:" if self.style.shaded else "black: as given   blue:"
        return f"{given} filled in   framed and struck: wrong (bold: right)"

    def of(self, characters: str) -> BoardKind:
        """The kind with a dataset's characters, where it has none of its own."""
        return self

    @property
    def is_described(self) -> bool:
        """Whether its datasets have a boards.json, as those of the builder `boards`."""
        return self.builder == BoardKind.builder

    @property
    def most_views(self) -> int | None:
        return len(self.images)

    def views(self, rows: int, columns: int, vocab_size: int, count: int, seed: int) -> Views:
        refuse_more_views(count, self.most_views, self.plural)
        own = views_of_images(self.images, rows, columns, vocab_size)
        refuse_more_views(count, len(own), self.describe(rows, columns))
        return Views(own.cells[:count], own.tokens[:count])

    # --- characters and tokens ------------------------------------------------------------------

    @property
    def symbols(self) -> str:
        """How a board is written in gallery.json: a character per token, from token 0 on."""
        return PADDING + self.characters

    def charset(self, side: int) -> Charset:
        """The characters of a table's questions and answers, and the values they stand for."""
        return Charset.of(self.characters, open=self.open)

    def vocab_size(self, side: int) -> int:
        """Tokens, the padding token among them."""
        return len(self.characters) + 1

    def box(self, side: int) -> tuple[int, int] | None:
        """Rows and columns of the boxes that thick lines set apart; None without boxes."""
        return None

    # --- typed and printed ----------------------------------------------------------------------

    def read(self, text: str, rows: int, columns: int) -> np.ndarray:
        """Tokens uint8 [rows, columns] of a board as a person types it: one line a row, or all in
        one line. TrmError, naming the cell, where it is not such a board."""
        lines = text.replace("\r", "").strip("\n").split("\n")
        if len(lines) == 1 and rows > 1:
            lines = [lines[0][i : i + columns] for i in range(0, len(lines[0]), columns)]
        for r, line in enumerate(lines, start=1):
            for c, character in enumerate(line, start=1):
                if character not in self.characters:
                    raise TrmError(
                        f"row {r}, column {c} of the board is {character!r}, not one of its "
                        f"characters {self.characters!r}"
                    )
        if [len(line) for line in lines] != [columns] * rows:
            lengths = ", ".join(map(str, sorted({*map(len, lines)})))
            raise TrmError(
                f"the board has {len(lines)} rows of {lengths} cells: this model's are "
                f"{rows}x{columns}"
            )
        tokens = [[self.characters.index(character) + 1 for character in line] for line in lines]
        return np.array(tokens, dtype=np.uint8)

    def draw(self, question: np.ndarray, lines: list[str], style: TerminalStyle) -> str:
        """An answer's lines of text on the terminal; `question` has tokens [rows, columns]."""
        return "\n".join(lines)

    # --- rules ----------------------------------------------------------------------------------

    def mistake(self, answer: np.ndarray) -> str | None:
        """What an answer, tokens [rows, columns], breaks: words that follow `its answer`; None
        where it is valid, or where no rules are known."""
        return None

    def first_fault(self, answers: np.ndarray) -> Fault | None:
        """The first of the answers, tokens [n, rows, columns], with a mistake."""
        found = ((row, self.mistake(answer)) for row, answer in enumerate(answers))
        return next(((row, mistake) for row, mistake in found if mistake is not None), None)

    def is_valid(self, question: np.ndarray, answer: np.ndarray) -> bool | None:
        """Whether an answer keeps what the question gives, and breaks no rule; None without rules.

        Both are tokens [rows, columns]; the answer may have the padding token too.
        """
        if not self.valid_name:
            return None
        kept = answer == question
        if self.open is not None:
            kept |= question == self.characters.index(self.open) + 1
        return bool(kept.all()) and self.mistake(answer) is None
