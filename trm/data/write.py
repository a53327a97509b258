"""A dataset written to disk, split by split."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trm.data.dataset import (
    SET,
    SETTINGS,
    SPLITS,
    DatasetMetadata,
    dataset_files,
)
from trm.errors import TrmError
from trm.files import new_folder, read_json, write_json
from trm.progress import say


@contextmanager
def new_dataset(
    folder: Path, extra_files: Collection[str] = (), settings: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """A temporary folder to build a dataset in, which takes the place of `folder` on success.

    `extra_files` are those that the builder writes beside the files of every dataset, and
    `settings` those of the build. Raises TrmError at once, and deletes nothing, where `folder`
    holds any other file, or a dataset that was built with other settings, or is inside another
    dataset.
    """
    settings = settings or {}
    for parent in Path(folder).resolve().parents:
        if (parent / "identifiers.json").is_file() and any(
            (parent / split / "dataset.json").is_file() for split in SPLITS
        ):
            raise TrmError(f"{folder} is inside the dataset {parent}: choose another folder")
    with new_folder(folder, dataset_files(extra_files), "the dataset that is built") as partial:
        _refuse_other_settings(Path(folder), settings)
        yield partial
        write_json(partial / SETTINGS, settings)


def _refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """TrmError where the dataset in `folder` was built with other settings; a note where nothing
    says with which."""
    if not (folder / "identifiers.json").is_file():
        return
    remedy = f"delete {folder}, or choose another folder"
    try:
        before = read_json(folder / SETTINGS, remedy)
    except FileNotFoundError:
        say(f"note: {folder} is replaced; it does not say with which settings it was built")
        return
    before = before if isinstance(before, dict) else {}
    other = [name for name in settings if before.get(name, settings[name]) != settings[name]]
    if other:
        was, wanted = (
            ", ".join(f"{name}={json.dumps(of[name])}" for name in other)
            for of in (before, settings)
        )
        raise TrmError(
            f"{folder} holds a dataset that was built with {was}, not {wanted}; nothing was "
            f"changed. To build this one, {remedy}"
        )


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
    """Write dataset.json."""
    (split_folder / "dataset.json").write_text(json.dumps(metadata.model_dump()))


def write_identifiers(folder: Path, names: Iterable[str]) -> None:
    """Write identifiers.json piece by piece: ARC has a million names."""
    names = iter(names)
    with (folder / "identifiers.json").open("w") as file:
        file.write("[")
        separator = ""
        while piece := list(islice(names, 65536)):
            file.write(separator + json.dumps(piece)[1:-1])
            separator = ", "
        file.write("]")
