"""The on-disk dataset: what a builder writes, what training and evaluation read.

NAME/identifiers.json                      name by puzzle id, `<blank>` at 0
NAME/{train,test}/dataset.json             DatasetMetadata
NAME/{train,test}/SET__inputs.npy          [N, seq_len] tokens
                                           (or, with SET__labels.npy, SET__augmentations.npz)
NAME/{train,test}/SET__labels.npy          [N, seq_len] tokens
NAME/{train,test}/SET__puzzle_identifiers.npy  [P] int32, puzzle id
NAME/{train,test}/SET__puzzle_indices.npy  [P+1] int32, example offsets of a puzzle
NAME/{train,test}/SET__group_indices.npy   [G+1] int32, puzzle offsets of a group
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from trm.errors import TrmError
from trm.files import new_folder

if TYPE_CHECKING:
    from trm.data.on_the_fly import PaintedExamples

ARRAYS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")
BLANK_NAME = "<blank>"
SET = "all"  # the one set that every builder here writes
SPLITS = ("train", "test")
AUGMENTATIONS = "__augmentations.npz"
DAMAGES = (LookupError, ValueError, TypeError, OSError, EOFError, NotImplementedError)
"""What numpy and zipfile raise at damaged files."""


class DatasetMetadata(BaseModel):
    """dataset.json, with its fields in the published order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pad_id: int
    ignore_label_id: int | None
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: list[str]


@dataclass(frozen=True)
class SetArrays:
    """One set of a split; N examples, P puzzles, G groups, S = seq_len."""

    inputs: np.ndarray | PaintedExamples  # [N, S], memory-mapped or painted when read
    labels: np.ndarray | PaintedExamples  # [N, S]
    puzzle_identifiers: np.ndarray  # [P]
    puzzle_indices: np.ndarray  # [P + 1]
    group_indices: np.ndarray  # [G + 1]


@dataclass(frozen=True)
class Split:
    """A split as read from disk."""

    metadata: DatasetMetadata
    sets: dict[str, SetArrays]


# --- reading ------------------------------------------------------------------------------------


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

    Hidden files (a workflow's timestamps) are no part of the dataset.
    """
    folder = Path(folder)
    relative = sorted(path.relative_to(folder).as_posix() for path in _visible_files(folder))
    if not relative:
        raise _missing(folder)
    lines = (f"{file_sha256(folder / name)}  {name}\n" for name in relative)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def read_metadata(split_folder: Path) -> DatasetMetadata:
    """dataset.json of one split; TrmError where it is missing or damaged."""
    path = split_folder / "dataset.json"
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
    from trm.data.on_the_fly import painted_examples  # numba, which most readers can do without

    try:
        return painted_examples(
            path, indices["puzzle_indices"], indices["group_indices"], metadata.seq_len
        )
    except (*DAMAGES, zipfile.BadZipFile, zlib.error) as error:
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


# --- writing ------------------------------------------------------------------------------------


@contextmanager
def new_dataset(folder: Path, extra_files: Collection[str] = ()) -> Iterator[Path]:
    """A temporary folder to build a dataset in, which takes the place of `folder` on success.

    `extra_files` are those that the builder writes beside the files of every dataset. Raises
    TrmError at once, and deletes nothing, where `folder` holds any other file, or lies inside
    another dataset.
    """
    for parent in Path(folder).resolve().parents:
        if (parent / "identifiers.json").is_file() and any(
            (parent / split / "dataset.json").is_file() for split in SPLITS
        ):
            raise TrmError(f"{folder} lies inside the dataset {parent}: choose another folder")
    with new_folder(folder, dataset_files(extra_files), "the dataset that is built") as partial:
        yield partial


def dataset_files(extra_files: Collection[str] = ()) -> list[str]:
    """Every path, relative to a dataset's folder, that a builder writes."""
    arrays = [f"{SET}__{key}.npy" for key in ARRAYS]
    in_split = ["dataset.json", *arrays, f"{SET}{AUGMENTATIONS}"]
    return [
        "identifiers.json",
        *extra_files,
        ".snakemake_timestamp",  # Snakemake's, in a folder that is its output
        *(f"{split}/{name}" for split in SPLITS for name in in_split),
    ]


class ArrayWriter:
    """An .npy file of known shape, appended to block by block (plain writes, so that pages
    written do not count as this process's memory, as those of a memory map would).
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.path, self.rows, self.dtype = path, shape[0], np.dtype(dtype)
        self._written = 0
        self._file = path.open("wb", buffering=0)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, block: np.ndarray) -> None:
        """Write the rows of block [n, ...], cast to the file's dtype."""
        data = memoryview(np.ascontiguousarray(block, dtype=self.dtype)).cast("B")
        while data:  # one raw write takes at most 2 GiB
            data = data[self._file.write(data) :]
        self._written += len(block)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None and self._written != self.rows:
            raise RuntimeError(f"{self.path}: {self._written} rows written of {self.rows}")


def write_indices(
    split_folder: Path,
    puzzle_identifiers: npt.ArrayLike,
    puzzle_indices: npt.ArrayLike,
    group_indices: npt.ArrayLike,
) -> None:
    """The three small arrays of the set `all`, as int32."""
    arrays = {
        "puzzle_identifiers": puzzle_identifiers,
        "puzzle_indices": puzzle_indices,
        "group_indices": group_indices,
    }
    for key, values in arrays.items():
        np.save(split_folder / f"{SET}__{key}.npy", np.asarray(values, dtype=np.int32))


def write_metadata(split_folder: Path, metadata: DatasetMetadata) -> None:
    """dataset.json."""
    (split_folder / "dataset.json").write_text(json.dumps(metadata.model_dump()))


def write_identifiers(folder: Path, names: Iterable[str]) -> None:
    """identifiers.json, piece by piece: ARC has a million names."""
    names = iter(names)
    with (folder / "identifiers.json").open("w") as file:
        file.write("[")
        separator = ""
        while piece := list(islice(names, 65536)):
            file.write(separator + json.dumps(piece)[1:-1])
            separator = ", "
        file.write("]")


# --- what the user is told ----------------------------------------------------------------------


def _missing(path: Path) -> TrmError:
    return TrmError(
        f"no dataset file {path}: build the dataset first "
        "(python -m dataset.build_{arc,sudoku,maze}_dataset --output-dir ..., or Snakemake)"
    )


def _damaged(path: Path, why: str) -> TrmError:
    return TrmError(f"damaged dataset, {path}: {why}; delete the folder and build it again")
