"""Files that are whole or absent, and the checkpoints of a run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from trm.errors import TrmError, WriteError

SETTINGS = Path(__file__).resolve().parents[1] / "config"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def settings_folder() -> Path:
    """config/ of the checkout that this package is part of.

    TrmError where the package is installed without its repository, as from a wheel.
    """
    if not SETTINGS.is_dir():
        raise TrmError(
            f"{SETTINGS} does not exist: this needs the repository; run it in a checkout that is "
            "installed by `pip install -e .`"
        )
    return SETTINGS


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well, and else never was.

    A link stays a link: the file that it points to is replaced. A device or a pipe is written to
    as it is. WriteError where it cannot be written.
    """
    if _is_device(path):
        with writing(path), path.open("wb") as file:
            yield file
        return
    if path.is_symlink():
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()


def _is_device(path: Path) -> bool:
    """Whether `path` is something to write to that is not a file: a device or a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the block `path` is written: what fails of that is a WriteError."""
    try:
        yield
    except TrmError:
        raise
    except Exception as error:
        # torch and zipfile raise errors of their own over that of the file they write to.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or not _is_about(cause, path):
            raise
        raise write_error(path, cause) from error


def _is_about(error: OSError, path: Path) -> bool:
    """Whether the error is of `path` or of its temporary sibling, of what is in either, or of a
    folder on the way there; an error of a file that was read meanwhile is not."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in path.parents or any(
        p.parent == path.parent and (p.name == path.name or p.name.startswith(f".{path.name}."))
        for p in (named, *named.parents)
    )


def write_error(path: Path, error: OSError) -> WriteError:
    """What to say of a `path` that cannot be written."""
    if (blocked := _file_in_the_way(path)) is not None:
        return WriteError(
            f"cannot write {path}: {blocked} is a file, not a folder. Choose another place, or "
            "move that file away"
        )
    if _is_folder(path) and error.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
        return WriteError(f"cannot write {path}: it is a folder. Name a file")
    remedy = "Make room there" if error.errno in NO_ROOM else "Choose another place"
    return WriteError(f"cannot write {path}: {error.strerror or error}. {remedy}")


def _file_in_the_way(path: Path) -> Path | None:
    """The file in the place of a folder on the way to `path`."""
    above = (p for p in path.parents if os.path.lexists(p))
    nearest = next(above, None)
    return None if nearest is None or _is_folder(nearest) else nearest


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # behind a folder that may not be entered
        return False


def check_writable(path: Path) -> None:
    """WriteError, before any work is done, where no file `path` can be written."""
    if _is_folder(path):
        raise write_error(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    folder = next((p for p in path.parents if os.path.lexists(p)), Path())
    if not _is_folder(folder):
        raise write_error(path, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise write_error(path, _why_unwritable(folder))


def check_outputs(outputs: Collection[Path], run: Path, inputs: Collection[Path] = ()) -> None:
    """TrmError where a file would be lost: two outputs are one file, or one is an input, or a file
    that the run, or exported model, in the folder `run` consists of. WriteError as check_writable.
    """
    kept = {path.resolve() for path in (*inputs, *files_of_run(run))}
    named: set[Path] = set()
    for path in outputs:
        check_writable(path)
        real = path.resolve()
        if real in kept:
            raise TrmError(f"{path} is read, or belongs to the run in {run}: name another output")
        if real in named:
            raise TrmError(f"{path} is the name of two outputs: name another one")
        if not _is_device(path):
            named.add(real)


def _why_unwritable(folder: Path) -> OSError:
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    number = errno.EROFS if read_only else errno.EACCES
    return OSError(number, os.strerror(number))


def copy_file(source: Path, target: Path) -> None:
    """Copy the content; `target` is whole or not there. WriteError where it cannot be written."""
    with source.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file, 1 << 20)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    with atomic_write(path) as file:
        file.write(content)


def write_in_place(path: Path, content: bytes) -> None:
    """Write a short file under the name that it has: where a file system shows a new name late, who
    opens the file still reads its newest content."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, content)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_to_overwrite(contents: Mapping[Path, bytes], source: str) -> None:
    """TrmError where a path exists already and is not a file, or differs from what is to be written
    from `source`."""
    for path, content in contents.items():
        if path.is_file() and path.read_bytes() == content:
            continue
        if os.path.lexists(path):
            raise TrmError(
                f"{path} already exists and differs from what {source} has; nothing was "
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
    first other file, and nothing is deleted. WriteError where the folder cannot be written. On any
    exception, Ctrl-C included, the sibling is removed and an older `folder` stays.
    """
    folder = Path(folder).resolve()
    _refuse_to_replace(folder, names, what)
    token = secrets.token_hex(4)
    partial = folder.with_name(f".{folder.name}.partial-{token}")
    with writing(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            yield partial
            aside = folder.with_name(f".{folder.name}.old-{token}")
            _replace_folder(folder, partial, aside, names, what)
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
    not a folder on the way to one; None where there is no such path. Links are not followed."""
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


class RunFile(StrEnum):
    """A file of a run's folder under checkpoints/, beside its checkpoints and snapshots."""

    FINAL = "final"  # the copy of the last checkpoint that Snakemake's training makes
    PROVENANCE = "provenance.json"  # of a run that has ended well
    HISTORY = "history.csv"
    CONFIG = "all_config.yaml"
    RECORD = "run.json"
    SETTINGS = "settings.yaml"  # what Snakemake's training asked for


EXPORTED_FILES = ("model.safetensors", "config.json", "README.md", "identifiers.json")


def files_of_run(folder: Path) -> list[Path]:
    """The files that a run's folder, or an exported model, needs to be one."""
    return [*folder.glob("step_*"), *(folder / name for name in (*RunFile, *EXPORTED_FILES))]


def checkpoints_of(folder: Path) -> list[Path]:
    """The `step_N` that the finished run in `folder` wrote, in order; the last is its result.

    Read from the run's provenance.json: the folder may also hold those of an earlier run.
    TrmError where the run has not ended well.
    """
    try:
        names = json.loads((folder / RunFile.PROVENANCE).read_text())["checkpoints"]
    except (FileNotFoundError, KeyError, ValueError):
        raise TrmError(f"no run has ended in {folder}: train first") from None
    return [folder / name for name in names]


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
