"""ARC's augmentations: the symmetries of the square, permutations of the colours, and their names.

Apart from the builder, so that scoring and figures start without its compiled loops (numba).
"""

from __future__ import annotations

import re

import numpy as np

from trm.errors import TrmError

COLOURS = 10
DIHEDRALS = 8
IDENTITY_COLOURS = np.arange(COLOURS, dtype=np.uint8)
DIHEDRAL_INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)
NAME_SEPARATOR = "|||"
NO_SOLUTION = [[0]]  # in place of a missing solution, as published

_AUGMENTED_NAME = re.compile(r"(?P<base>.+)\|\|\|t(?P<dihedral>[0-7])\|\|\|(?P<colours>\d{10})")


def dihedral_transform(grid: np.ndarray, dihedral: int) -> np.ndarray:
    """One of the eight symmetries of the square, by the published ids.

    grid [R, C] -> [R, C] or [C, R]; 0 identity, 1-3 quarter turns (counter-clockwise), 4 left-right
    flip, 5 up-down flip, 6 transpose, 7 quarter turn then left-right flip.
    """
    match dihedral:
        case 0 | 1 | 2 | 3:
            return np.rot90(grid, k=dihedral)
        case 4:
            return np.fliplr(grid)
        case 5:
            return np.flipud(grid)
        case 6:
            return grid.T
        case 7:
            return np.fliplr(np.rot90(grid))
    raise TrmError(f"dihedral id {dihedral} is not one of 0..7")


def apply_augmentation(grid: np.ndarray, dihedral: int, colour_map: np.ndarray) -> np.ndarray:
    """Recolour, then turn or flip: grid [R, C] of colours 0..9, colour_map [10] (new by old)."""
    return dihedral_transform(colour_map[grid], dihedral)


def invert_augmentation(grid: np.ndarray, dihedral: int, colour_map: np.ndarray) -> np.ndarray:
    """Undo `apply_augmentation` with the same dihedral and colour_map."""
    inverse = np.empty(COLOURS, dtype=grid.dtype)
    inverse[colour_map] = np.arange(COLOURS)
    return inverse[dihedral_transform(grid, DIHEDRAL_INVERSE[dihedral])]


def augmented_name(base: str, dihedral: int, colour_map: np.ndarray) -> str:
    """The published name of an augmentation: `BASE|||t{dihedral}|||{ten digits}`."""
    digits = "".join(map(str, colour_map.tolist()))
    return f"{base}{NAME_SEPARATOR}t{dihedral}{NAME_SEPARATOR}{digits}"


def task_of(name: str) -> str:
    """The task that a puzzle of that name is a version of."""
    return name.partition(NAME_SEPARATOR)[0]


def parse_puzzle_name(name: str) -> tuple[str, int, np.ndarray]:
    """The inverse of `augmented_name`: (base name, dihedral id, colour map [10] uint8).

    A plain name gives the identity. Raises TrmError where what follows `|||` is malformed.
    """
    if NAME_SEPARATOR not in name:
        return name, 0, IDENTITY_COLOURS.copy()
    match = _AUGMENTED_NAME.fullmatch(name)
    if match is None or len(set(match["colours"])) != COLOURS:
        raise TrmError(
            f"puzzle name {name!r} is not NAME|||t<0-7>|||<a permutation of ten digits>: "
            "rebuild the dataset it comes from"
        )
    colour_map = np.array([int(digit) for digit in match["colours"]], dtype=np.uint8)
    return match["base"], int(match["dihedral"]), colour_map
