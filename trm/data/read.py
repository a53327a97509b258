"""A dataset read from disk: whole, or refused with the reason."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from trm.data.dataset import (
    ARRAYS,
    AUGMENTATIONS,
    DatasetMetadata,
    SetArrays,
    Split,
)
from trm.errors import TrmError
from trm.files import file_sha256
from trm.runtime.late import wait_for

if TYPE_CHECKING:
    from trm.data.painted import PaintedExamples

DAMAGES = (LookupError, ValueError, TypeError, OSError, EOFError, NotImplementedError)
"""What numpy and zipfile raise at damaged files."""
ARCHIVE_DAMAGES = (*DAMAGES, zipfile.BadZipFile, zlib.error)
"""The same at archives of arrays, .npz."""


def load_split(folder: Path, split: str) -> Split:
    """Read `folder/split`; inputs and labels stay on disk (memory-mapped).

    Raises TrmError where the dataset is missing, truncated or contradicts its dataset.json.
    """
    split_folder = Path(folder) / split
    metadata = read_metadata(split_folder)
    sets = {name: _load_set(split_folder, name, metadata) for name in metadata.sets}
    groups = sum(len(arrays.group_indices) - 1 for arrays in sets.values())
    if groups != metadata.total_groups:
        raise _damaged(split_folder, f"{groups} groups, dataset.json says {metadata.total_groups}")
    return Split(metadata, sets)


def load_identifiers(folder: Path) -> list[str]:
    """Puzzle names by puzzle id, from `folder/identifiers.json`."""
    path = Path(folder) / "identifiers.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise _missing(path) from None
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from None


def dataset_fingerprint(folder: Path) -> str:
    """SHA-256 (hex) over the sorted lines `<sha256 of file>  <relative path>`.

    Hidden files (a workflow's timestamps) are not part of the dataset.
    """
    folder = Path(folder)
    relative = sorted(path.relative_to(folder).as_posix() for path in _visible_files(folder))
    if not relative:
        raise _missing(folder)
    lines = (f"{file_sha256(folder / name)}  {name}\n" for name in relative)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def read_metadata(split_folder: Path) -> DatasetMetadata:
    """Read dataset.json of one split; TrmError where it is missing or damaged."""
    path = split_folder / "dataset.json"
    wait_for(path)
    try:
        return DatasetMetadata.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(path, f"{where}: {first['msg']}") from None


def _load_set(split_folder: Path, name: str, metadata: DatasetMetadata) -> SetArrays:
    augmentations = split_folder / f"{name}{AUGMENTATIONS}"
    stored = ARRAYS[2:] if augmentations.is_file() else ARRAYS
    found: dict[str, Any] = {key: _load_array(split_folder, name, key) for key in stored}
    if stored is not ARRAYS:
        found["inputs"], found["labels"] = _painted(augmentations, found, metadata)
    arrays = SetArrays(**found)
    examples, puzzles = len(arrays.inputs), len(arrays.puzzle_identifiers)
    expected = {"inputs": (examples, metadata.seq_len), "labels": (examples, metadata.seq_len)}
    for key, shape in expected.items():
        found = getattr(arrays, key).shape
        if found != shape:
            raise _damaged(
                split_folder / f"{name}__{key}.npy",
                f"its shape is {found}, {shape} follows from dataset.json and the inputs",
            )
    _check_offsets(split_folder / f"{name}__puzzle_indices.npy", arrays.puzzle_indices, examples)
    _check_offsets(split_folder / f"{name}__group_indices.npy", arrays.group_indices, puzzles)
    if len(arrays.puzzle_indices) != puzzles + 1:
        raise _damaged(
            split_folder / f"{name}__puzzle_indices.npy",
            f"{len(arrays.puzzle_indices)} offsets for {puzzles} puzzles",
        )
    ids = arrays.puzzle_identifiers
    if puzzles and not (ids.min() >= 0 and ids.max() < metadata.num_puzzle_identifiers):
        raise _damaged(
            split_folder / f"{name}__puzzle_identifiers.npy",
            f"an id outside 0..{metadata.num_puzzle_identifiers - 1}",
        )
    return arrays


def _painted(
    path: Path, indices: dict[str, np.ndarray], metadata: DatasetMetadata
) -> tuple[PaintedExamples, PaintedExamples]:
    from trm.data.painted import painted_examples  # numba, which most readers can do without

    try:
        return painted_examples(
            path, indices["puzzle_indices"], indices["group_indices"], metadata.seq_len
        )
    except ARCHIVE_DAMAGES as error:
        raise _damaged(path, str(error)) from None


def _load_array(split_folder: Path, name: str, key: str) -> np.ndarray:
    path = split_folder / f"{name}__{key}.npy"
    big = key in ("inputs", "labels")
    try:
        array = np.load(path, mmap_mode="r" if big else None, allow_pickle=False)
    except FileNotFoundError:
        raise _missing(path) from None
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(path, str(error)) from None
    if array.ndim != (2 if big else 1) or not np.issubdtype(array.dtype, np.integer):
        raise _damaged(path, f"it holds {array.dtype} of shape {array.shape}")
    return array


def _check_offsets(path: Path, offsets: np.ndarray, end: int) -> None:
    """Offsets start at 0, never fall and end at the number of things they cut up."""
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise _damaged(path, f"its offsets do not run from 0 up to {end}")


def _missing(path: Path) -> TrmError:
    return TrmError(
        f"no dataset file {path}: build the dataset first "
        "(python -m dataset.build_{arc,sudoku,maze}_dataset --output-dir ..., or Snakemake)"
    )


def _damaged(path: Path, why: str) -> TrmError:
    return TrmError(f"damaged dataset, {path}: {why}; delete the folder and build it again")
