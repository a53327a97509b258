"""Files that are whole or absent, and the checkpoints of a run."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from trm.errors import TrmError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well, and else never was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    with atomic_write(path) as file:
        file.write(content)


def refuse_to_overwrite(contents: Mapping[Path, bytes], source: str) -> None:
    """TrmError where a file is there already that differs from what is to be written from `source`,
    or something else than a file."""
    for path, content in contents.items():
        if path.is_file() and path.read_bytes() == content:
            continue
        if os.path.lexists(path):
            raise TrmError(
                f"{path} is there already and differs from what {source} has; nothing was "
                "overwritten. Move it away, or leave that source out"
            )


def write_json(path: Path, content: Any) -> None:
    """A JSON file for programs and people, whole or not there."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file that people may have edited: UTF-8, with or without a byte-order
    mark, or UTF-16.

    FileNotFoundError where there is no such file; TrmError, which names the remedy, where it cannot
    be read or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TrmError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise TrmError(f"{path} is not JSON ({error}): {remedy}") from None


@contextmanager
def new_folder(folder: Path, names: Collection[str], what: str) -> Iterator[Path]:
    """A temporary sibling of `folder` to fill; it takes the place of `folder` only on success.

    `names` are the files that may be written there, as patterns relative to the folder
    (`train/*.npy`). An older folder is replaced only if it holds nothing else: TrmError names the
    first other file, and nothing is deleted. TrmError too where the folder cannot be written. On
    any exception, Ctrl-C included, the sibling is removed and what stood at `folder` stays.
    """
    given, folder = folder, Path(folder).resolve()
    _refuse_to_replace(folder, names, what)
    token = secrets.token_hex(4)
    partial = folder.with_name(f".{folder.name}.partial-{token}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        aside = folder.with_name(f".{folder.name}.old-{token}")
        _replace_folder(folder, partial, aside, names, what)
    except OSError as error:
        raise TrmError(f"cannot write {given}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_to_replace(folder: Path, names: Collection[str], what: str) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise TrmError(f"{folder} is a file: choose another folder for {what}")
    if folder.is_mount():
        raise TrmError(f"{folder} is a mount point: name a folder inside it for {what}")
    other = first_other_file(folder, names)
    if other is not None:
        raise TrmError(
            f"{folder} holds {other}, which does not belong to {what}; nothing was deleted. Choose "
            "another folder, or move that file away"
        )


def first_other_file(folder: Path, names: Collection[str]) -> str | None:
    """The first path in `folder`, relative to it, that matches none of the patterns `names` and is
    no folder on the way to one; None where there is no such path. Links are not followed."""
    for parent, subfolders, files in os.walk(folder):
        inside = Path(parent).relative_to(folder)
        links = [name for name in subfolders if (Path(parent) / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = (inside / name).as_posix()
            if not _matches(path, names):
                return path
        for name in sorted({*subfolders} - {*links}):
            path = (inside / name).as_posix()
            depth = path.count("/") + 1
            if not any(
                pattern.count("/") >= depth
                and fnmatchcase(path, "/".join(pattern.split("/")[:depth]))
                for pattern in names
            ):
                return path
    return None


def remove_files(folder: Path, names: Collection[str]) -> None:
    """Delete the files in `folder` that match one of the patterns `names`, then the folders, itself
    included, that are empty; whatever else is in it stays."""
    for parent, _, files in os.walk(folder, topdown=False):
        inside = Path(parent).relative_to(folder)
        for name in files:
            if _matches((inside / name).as_posix(), names):
                (Path(parent) / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            Path(parent).rmdir()


def _matches(path: str, names: Collection[str]) -> bool:
    return any(
        path.count("/") == pattern.count("/") and fnmatchcase(path, pattern) for pattern in names
    )


def _replace_folder(
    folder: Path, new: Path, aside: Path, names: Collection[str], what: str
) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(aside)
    try:
        # Once more: the build may have taken an hour.
        other = first_other_file(aside, names)
        if other is not None:
            raise TrmError(
                f"{folder} now holds {other}, which does not belong to {what}; it was left as it is"
            )
        new.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    remove_files(aside, names)


def checkpoints_of(folder: Path) -> list[Path]:
    """The `step_N` that the finished run in `folder` wrote, in order; the last is its result.

    From the run's provenance.json, not from what lies there: an earlier run's may lie there too.
    TrmError where the run has not ended well.
    """
    try:
        names = json.loads((folder / "provenance.json").read_text())["checkpoints"]
    except (FileNotFoundError, KeyError, ValueError):
        raise TrmError(f"no run has ended in {folder}: train first") from None
    return [folder / name for name in names]
