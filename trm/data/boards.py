"""Puzzles of one board each, kept as CSV (Sudoku, Maze): read, check, subsample, write."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from trm.data.dataset import BLANK_NAME, SET, DatasetMetadata
from trm.data.legacy_random import legacy_stream, permutation
from trm.data.overlap import Overlap, row_keys
from trm.data.specs import BoardsSpec, MazeSpec, SudokuSpec
from trm.data.write import (
    ArrayWriter,
    new_dataset,
    write_identifiers,
    write_indices,
    write_metadata,
)
from trm.errors import TrmError
from trm.progress import Progress
from trm.puzzles.characters import NO_VALUE, Charset
from trm.puzzles.kind import BoardKind, Fault, Image

COLUMNS = ["source", "question", "answer", "rating"]
BLOCK_ROWS = 4096
_NOT_ASCII, _NO_CHARACTER = re.compile(r"[^\x00-\x7f]"), "\x7f"  # the latter is of no board


def no_rules(answers: np.ndarray) -> Fault | None:
    """No fault: the rules of these boards are not known."""
    return None


@dataclass(frozen=True)
class BoardTable:
    """One CSV file of puzzles: columns source, question, answer, rating; boards [rows, columns].

    The file is UTF-8, with or without a byte-order mark; blank lines are skipped. A row is named by
    its line in the file, from 1.
    """

    path: Path
    charset: Charset
    cells: int  # characters of a question and of an answer
    min_difficulty: int | None = None  # only rows rated this or higher
    find_fault: Callable[[np.ndarray], Fault | None] = no_rules  # of answers [n, cells], values

    def count(self) -> int:
        """Rows kept. TrmError where there are none."""
        rows = sum(1 for _ in self.rows())
        if not rows and self.min_difficulty is None:
            raise TrmError(f"{self.path} has no rows")
        if not rows:
            raise TrmError(
                f"{self.path} has no row that is rated {self.min_difficulty} or higher: lower "
                "min_difficulty"
            )
        return rows

    def first_question(self) -> tuple[int, int]:
        """The first row and the characters of its question, which give the size of the boards."""
        for number, fields in self.rows():
            return number, len(fields[COLUMNS.index("question")])
        raise TrmError(f"{self.path} has no rows")

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Questions and answers [n, cells] uint8 values, file order, up to BLOCK_ROWS at a time.

        Raises TrmError, naming the row, where one is malformed.
        """
        rows = self.rows()
        while block := list(islice(rows, BLOCK_ROWS)):
            questions = self._decode(block, "question", self.charset.questions)
            answers = self._decode(block, "answer", self.charset.answers)
            self._check_pairs(block, questions, answers)
            if (fault := self.find_fault(answers)) is not None:
                raise TrmError(f"{self.path}, row {block[fault[0]][0]}: its answer {fault[1]}")
            yield questions, answers

    def take(self, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows wanted [k], in that order, as one block; the rest is read past."""
        order = np.argsort(wanted)
        questions = np.empty((len(wanted), self.cells), dtype=np.uint8)
        answers = np.empty_like(questions)
        start = 0
        for block_questions, block_answers in self.blocks():
            end = start + len(block_questions)
            first, last = np.searchsorted(wanted[order], [start, end])
            places = order[first:last]
            questions[places] = block_questions[wanted[places] - start]
            answers[places] = block_answers[wanted[places] - start]
            start = end
        yield questions, answers

    def _check_pairs(
        self, block: list[tuple[int, list[str]]], questions: np.ndarray, answers: np.ndarray
    ) -> None:
        if self.charset.open is None:
            return
        altered = (questions != answers) & (
            questions != self.charset.values[ord(self.charset.open)]
        )
        if altered.any():
            row, cell = np.argwhere(altered)[0]
            number, fields = block[row]
            question, answer = (fields[COLUMNS.index(name)][cell] for name in COLUMNS[1:3])
            raise TrmError(
                f"{self.path}, row {number}: its question has {question!r} at cell {cell}, its "
                f"answer {answer!r}: it answers another puzzle"
            )

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, fields) of each row kept."""
        with self._open() as file:
            reader = csv.reader(file)
            try:
                yield from self._checked(reader)
            except csv.Error as error:
                raise TrmError(f"{self.path}, row {reader.line_num}: {error}") from None

    def _open(self) -> TextIO:
        try:
            with self.path.open("rb") as file:
                start = file.read(4)
            if b"\0" in start:
                size = 32 if b"\0\0" in start else 16
                raise TrmError(f"{self.path} is UTF-{size} text: save it as CSV in UTF-8")
            # A byte that is not UTF-8 is accepted in `source`, which is not used; elsewhere it is
            # named like any other character that does not belong there.
            return self.path.open(newline="", encoding="utf-8-sig", errors="surrogateescape")
        except FileNotFoundError:
            raise TrmError(f"{self.path} does not exist: the source needs it") from None
        except OSError as error:
            raise TrmError(f"{self.path} cannot be read: {error.strerror}") from None

    def _checked(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        if (header := next(reader, [])) != COLUMNS:
            raise TrmError(f"{self.path}: its columns are {header}, expected {COLUMNS}")
        least, columns = self.min_difficulty, len(COLUMNS)
        for fields in reader:
            # Its last line: where it has several, that is the one with the boards.
            number = reader.line_num
            if len(fields) == columns:
                if least is None or self._rating(number, fields) >= least:
                    yield number, fields
            elif len(fields) > 1 or "".join(fields).strip():
                raise TrmError(
                    f"{self.path}, row {number}: {len(fields)} columns, expected {columns}"
                )

    def _rating(self, number: int, fields: list[str]) -> int:
        try:
            return int(fields[3])
        except ValueError:
            raise TrmError(
                f"{self.path}, row {number}: rating {fields[3]!r} is not a whole number"
            ) from None

    def _decode(self, block: list[tuple[int, list[str]]], column: str, allowed: str) -> np.ndarray:
        place = COLUMNS.index(column)
        texts = [fields[place] for _, fields in block]
        lengths = [*map(len, texts)]
        if {*lengths} != {self.cells}:
            row = next(i for i, length in enumerate(lengths) if length != self.cells)
            raise TrmError(
                f"{self.path}, row {block[row][0]}: its {column} has {lengths[row]} characters, "
                f"expected {self.cells}"
            )
        together = "".join(texts)
        if not together.isascii():
            together = _NOT_ASCII.sub(_NO_CHARACTER, together)
        values = self.charset.decode(together.encode(), allowed).reshape(-1, self.cells)
        if (values == NO_VALUE).any():
            row, cell = np.argwhere(values == NO_VALUE)[0]
            raise TrmError(
                f"{self.path}, row {block[row][0]}: its {column} has "
                f"{texts[row][cell]!r} at cell {cell}, allowed are {allowed!r}"
            )
        return values


Boards = Iterator[tuple[np.ndarray, np.ndarray]]
"""Questions and answers [n, cells], block by block."""


class BoardVariants(Protocol):
    """What a builder makes of one board: the board itself and its images."""

    count: int  # variants of a board
    dtype: np.dtype  # of the arrays on disk

    def make(self, questions: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [n·count, cells] of the variants of n boards [n, cells], board by board."""
        ...

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        """Write the examples of all `groups` boards, in one form or another."""
        ...


class Images:
    """A board and its images under symmetries, the board itself first."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: Sequence[Image], columns: int) -> None:
        self.images, self.columns = images, columns
        self.count = len(images)

    def make(self, questions: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._of(questions), self._of(answers)

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        paint_examples(split_folder, boards, groups, cells, self)

    def _of(self, boards: np.ndarray) -> np.ndarray:
        rows = (board.reshape(-1, self.columns) for board in boards)
        return np.stack([image(board).ravel() for board in rows for image in self.images])


def choose(state: np.ndarray, total: int, subsample_size: int | None) -> np.ndarray | None:
    """`np.random.choice(total, subsample_size, replace=False)`; None where all rows stay."""
    if subsample_size is None or subsample_size >= total:
        return None
    return permutation(state, total)[:subsample_size]


def build_kind(
    kind: BoardKind,
    shape: tuple[int, int],
    spec: MazeSpec | BoardsSpec,
    table_dir: Path,
    output_dir: Path,
    extra: Mapping[str, str],
) -> None:
    """Build a dataset of a kind's boards of `shape` (rows, columns), with its symmetries as images
    where `spec.aug` asks for them, and `extra` files by name. TrmError, naming the row, for an
    answer that breaks the kind's rules."""
    rows, columns = shape
    images = {"train": kind.images if spec.aug else kind.images[:1], "test": kind.images[:1]}
    tables = {
        split: BoardTable(
            table_dir / f"{split}.csv",
            kind.charset(columns),
            rows * columns,
            find_fault=lambda answers: kind.first_fault(answers.reshape(-1, rows, columns)),
        )
        for split in images
    }
    variants = {split: Images(of_split, columns) for split, of_split in images.items()}
    state = legacy_stream(spec.seed)
    write_boards(output_dir, tables, variants, kind.vocab_size(columns), state, spec, extra)


def write_boards(
    output_dir: Path,
    tables: Mapping[str, BoardTable],
    variants: Mapping[str, BoardVariants],
    vocab_size: int,
    state: np.ndarray,
    spec: SudokuSpec | MazeSpec | BoardsSpec,
    extra: Mapping[str, str],
) -> None:
    """Write the dataset `output_dir`: both splits, each from its table with its variants, and the
    `extra` files by name. The training boards are drawn from `state`."""
    keys = {}
    with new_dataset(output_dir, spec.extra_files, spec.settings) as folder:
        for split, table in tables.items():
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            keys[split] = write_board_split(
                folder, split, table, wanted, vocab_size, variants[split]
            )
        write_identifiers(folder, [BLANK_NAME])  # none has an embedding of its own
        for name, content in extra.items():
            (folder / name).write_text(content)
        refuse_known_questions(keys, spec.allow_test_in_train)


def write_board_split(
    folder: Path,
    split: str,
    table: BoardTable,
    wanted: np.ndarray | None,
    vocab_size: int,
    variants: BoardVariants,
) -> np.ndarray:
    """Write `folder/split`: every board is a group of its variants, each a puzzle of one example.

    total_puzzles counts groups, as in the published files. Returns the keys of the questions.
    """
    groups = table.count() if wanted is None else len(wanted)
    split_folder = folder / split
    split_folder.mkdir()
    blocks = table.blocks() if wanted is None else table.take(wanted)
    keys: list[np.ndarray] = []
    variants.write(split_folder, _noting_keys(blocks, keys), groups, table.cells)
    puzzles = np.arange(groups * variants.count + 1)
    write_indices(split_folder, np.zeros(len(puzzles) - 1), puzzles, puzzles[:: variants.count])
    write_metadata(split_folder, _metadata(table.cells, vocab_size, groups))
    return np.concatenate(keys)


def _noting_keys(boards: Boards, keys: list[np.ndarray]) -> Boards:
    for questions, answers in boards:
        keys.append(row_keys(questions))
        yield questions, answers


def refuse_known_questions(keys: Mapping[str, np.ndarray], allowed: bool) -> None:
    """Say how many of the test split's questions are training questions too, by the keys of both
    splits; TrmError where most are, unless that is `allowed`."""
    overlap = Overlap.of(keys["train"], keys["test"])
    overlap.refuse_most(allowed, lambda number: f"no. {number + 1}")


def paint_examples(
    split_folder: Path, boards: Boards, groups: int, cells: int, variants: BoardVariants
) -> None:
    """Write inputs and labels of every variant of every board."""
    shape = (groups * variants.count, cells)
    with (
        ArrayWriter(split_folder / f"{SET}__inputs.npy", shape, variants.dtype) as inputs,
        ArrayWriter(split_folder / f"{SET}__labels.npy", shape, variants.dtype) as labels,
        Progress(groups, split_folder.name, "boards") as progress,
    ):
        for questions, answers in boards:
            boards_at_a_time = max(1, BLOCK_ROWS // variants.count)
            for start in range(0, len(questions), boards_at_a_time):
                rows = slice(start, start + boards_at_a_time)
                more_inputs, more_labels = variants.make(questions[rows], answers[rows])
                inputs.append(more_inputs)
                labels.append(more_labels)
                progress.update(len(questions[rows]))


def _metadata(cells: int, vocab_size: int, groups: int) -> DatasetMetadata:
    return DatasetMetadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=vocab_size,
        seq_len=cells,
        num_puzzle_identifiers=1,
        total_groups=groups,
        mean_puzzle_examples=1,
        total_puzzles=groups,
        sets=[SET],
    )


def first_question(path: Path) -> tuple[int, int]:
    """The first row of a table and the characters of its question."""
    return BoardTable(path, Charset.of(""), cells=0).first_question()


def side_of(path: Path, sides: Collection[int]) -> int:
    """Side of the square boards in a CSV file, found from its first question.

    Raises TrmError where they are not square, or of another side than `sides` has.
    """
    row, cells = first_question(path)
    side = math.isqrt(cells)
    if side**2 != cells or side not in sides:
        known = ", ".join(map(str, sides)) if len(sides) < 8 else f"{min(sides)} to {max(sides)}"
        raise TrmError(
            f"{path}, row {row}: a question of {cells} characters is not a square board of side "
            f"{known}: take the builder `boards` for boards of any shape"
        )
    return side
