"""The kinds of puzzles, found by their files: every module of this folder that has a `KIND`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from trm import puzzles
from trm.errors import TrmError, suggest
from trm.puzzles.board_look import read_look
from trm.puzzles.kind import BoardKind, PuzzleKind


@cache
def kinds() -> dict[str, PuzzleKind]:
    """Every kind by its name, in the order that they are listed in.

    TrmError for a kind that lacks something, or has the name or option of another one.
    """
    # Compiled loops are never a kind, and importing them would load numba.
    names = [m.name for m in iter_modules(puzzles.__path__) if not m.name.endswith("_kernels")]
    modules = [import_module(f"{puzzles.__name__}.{name}") for name in names]
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    for kind in found:
        _refuse_incomplete(kind)
    for taken in ([kind.name for kind in found], [f"--{kind.option.flag}" for kind in found]):
        if twice := {name for name in taken if taken.count(name) > 1}:
            raise TrmError(f"two kinds of puzzles have {min(twice)}: rename one of them")
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.place, kind.name))}


def _refuse_incomplete(kind: PuzzleKind) -> None:
    needed = ("name", "plural", "option", "builder", "key")
    needed += ("characters",) if isinstance(kind, BoardKind) else ()
    if lacking := [name for name in needed if not hasattr(kind, name)]:
        file = type(kind).__module__.replace(".", "/") + ".py"
        raise TrmError(f"{file}: its KIND lacks {', '.join(lacking)} (trm/puzzles/kind.py)")


def kind_named(name: str) -> PuzzleKind:
    """TrmError, with the nearest name, for an unknown one."""
    if name not in kinds():
        raise TrmError(
            f"no kind of puzzle {name!r}{suggest(name, list(kinds()))}; there are "
            f"{', '.join(kinds())}"
        )
    return kinds()[name]


def board_kind(name: str, characters: str = "") -> BoardKind:
    """A kind of boards, with its dataset's `characters`. TrmError where it is not one of boards."""
    kind = kind_named(name)
    if not isinstance(kind, BoardKind):
        raise TrmError(f"{kind.plural} are not boards")
    return kind.of(characters)


def kind_of_boards(dataset: Path, name: str) -> tuple[BoardKind, int | None]:
    """A kind with the characters of a dataset, and the columns of its boards; None: squares, of a
    dataset that does not say it. TrmError where the dataset should say it and does not."""
    kind = board_kind(name)
    if not kind.is_described:
        return kind, None
    look = read_look(dataset)
    return kind.of(look.characters), look.columns
