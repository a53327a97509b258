"""What boards look like: boards.json of a dataset, and the names of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from trm.errors import TrmError

BOARDS = "boards.json"
PLAIN = "boards"  # the kind without rules


class BoardsLook(BaseModel):
    """boards.json: what the tokens of a dataset stand for, how wide a board is, and its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    characters: str  # of tokens 1, 2, …
    columns: int
    kind: str = PLAIN

    @model_serializer(mode="wrap")
    def _without_plain(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plain boards are written as they were before there were others."""
        written = write(self)
        return {k: v for k, v in written.items() if (k, v) != ("kind", PLAIN)}


def read_look(dataset: Path) -> BoardsLook:
    """Read boards.json of a dataset; TrmError where it has none."""
    path = Path(dataset) / BOARDS
    try:
        return BoardsLook.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise TrmError(f"{dataset} is not a dataset of boards: it has no {BOARDS}") from None
    except ValidationError as error:
        raise TrmError(f"{path} is damaged ({error}): build the dataset again") from None


def cell_name(cell: int, side: int) -> str:
    """A cell of a square board as a person finds it, counted from 1: `row 2, column 5`."""
    return f"row {cell // side + 1}, column {cell % side + 1}"
