"""Where the tables of puzzles (Sudoku, Maze, boards) come from: fetched, copied or generated.

RAW/train.csv, RAW/test.csv    the table
RAW/SHA256SUMS                 where they are from, and their sizes and SHA-256 as they were written

A file that differs from what was written there, or that was never written by this project, belongs
to the user: it is never overwritten.
"""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from trm.data.arc_versions import read_checksums
from trm.data.generate import generate_table
from trm.data.sources import HTTP_FAULTS, TIMEOUT
from trm.data.specs import Generate, TableSource
from trm.errors import TrmError, first_line
from trm.files import atomic_write, file_sha256, write_atomically
from trm.progress import say

RAW = Path("raw")  # where the published commands keep what they fetch
CSV_FILES = ("train.csv", "test.csv")
CSV_CHECKSUMS = "SHA256SUMS"

_REMEDY = (
    "Move it away, and the right one is put there; or, to use this one, name its folder as the "
    "source (--source-repo of a builder; in config.yaml the table's `path`, its `sha256` null)"
)

Checksums = Mapping[str, str]
"""SHA-256 (hex) by file name."""


# --- sources --------------------------------------------------------------------------------------


def fetch_table(source: TableSource, out_dir: Path) -> None:
    """Put train.csv and test.csv in out_dir: from a folder, from the hub, or generated.

    A file that is already right is kept. TrmError where a file cannot be fetched, differs from
    `source.sha256`, or would replace a file of the user's.
    """
    if source.path is not None:
        _copy_table(local_table(source.path), out_dir, source.sha256 or {})
    elif source.hub is not None:
        fetch_csv(source.hub, source.revision, out_dir, source.sha256)
    elif source.generate is not None:
        _generate_table(source.generate, out_dir)


def table_folder(source_repo: str, revision: str | None, raw_dir: Path) -> Path:
    """The folder with a source's two files: a local folder itself, or a hub dataset's copy in a
    folder of its own under raw_dir."""
    if Path(source_repo).is_dir():
        return local_table(source_repo)
    if source_repo.count("/") != 1 or source_repo.startswith((".", "/", "~")):
        raise TrmError(f"{source_repo} is neither a folder nor a hub dataset (OWNER/NAME)")
    folder = raw_dir / source_repo.replace("/", "--")
    fetch_csv(source_repo, revision, folder)
    return folder


def local_table(path: str) -> Path:
    """A local folder, checked to hold train.csv and test.csv."""
    folder = Path(path)
    missing = [name for name in CSV_FILES if not (folder / name).is_file()]
    if missing:
        raise TrmError(f"{folder} has no {' and no '.join(missing)}")
    return folder


def _copy_table(folder: Path, out_dir: Path, pinned: Checksums) -> None:
    right = {name: pinned.get(name) or file_sha256(folder / name) for name in CSV_FILES}
    record = Record.read(out_dir)
    _put(out_dir, f"copied from {folder}", record, right, lambda name: folder / name)


def _generate_table(spec: Generate, out_dir: Path) -> None:
    record, origin = Record.read(out_dir), f"generated: {spec.model_dump_json()}"
    right = record.sha256 if record.origin == origin else {}
    with TemporaryDirectory() as scratch:

        def generated(name: str) -> Path:
            if not (Path(scratch) / name).exists():
                generate_table(spec, Path(scratch))
            return Path(scratch) / name

        _put(out_dir, origin, record, right, generated)


def fetch_csv(
    repo: str, revision: str | None, out_dir: Path, sha256: Checksums | None = None
) -> None:
    """Put train.csv and test.csv of the hub dataset `repo` in out_dir, checked against `sha256`.

    The first call records their sizes and SHA-256 in out_dir/SHA256SUMS; later calls verify the
    existing files, and whatever is fetched again. TrmError where a file differs or cannot be
    fetched, within seconds when offline.
    """
    record, origin = Record.read(out_dir), f"{repo}, revision {revision or 'main'}"
    right = dict(sha256 or {})
    if record.origin == origin:
        right = record.sha256 | right
    _put(out_dir, origin, record, right, lambda name: _hub_file(repo, name, revision))


# --- putting in place -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """out_dir/SHA256SUMS: what was written there, and from where."""

    origin: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path) -> Record:
        """Empty without the file; TrmError where a file of that name is not one of ours."""
        path = folder / CSV_CHECKSUMS
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            if not re.fullmatch(r"# train\.csv: \d+ bytes", lines[1]):
                raise ValueError
            return Record(lines[0].removeprefix("# "), read_checksums(path))
        except (FileNotFoundError, NotADirectoryError):
            return Record()
        except (IsADirectoryError, ValueError, IndexError):
            raise TrmError(
                f"{path} is not a record of this project, which keeps its own under that name: "
                "move it away"
            ) from None


def _put(
    out_dir: Path,
    origin: str,
    record: Record,
    right: Checksums,
    get: Callable[[str], Path],
) -> None:
    """Put both files of `origin` in place, and record them.

    `right` has the SHA-256 of those that are known; `get`, which fetches a file, is called for
    files that are not known to be right.
    """
    wanted = {}
    for name in CSV_FILES:
        path = out_dir / name
        found = file_sha256(path) if path.is_file() else None
        if found is not None and found == right.get(name):
            continue
        is_ours = found is not None and found == record.sha256.get(name)
        if found is not None and name in right and not is_ours:
            raise _users_own(path, origin, found, right[name])
        file = get(name)
        fetched = file_sha256(file)
        if fetched != right.get(name, fetched):
            raise TrmError(
                f"{file} has SHA-256 {fetched}, expected {right[name]} (config.yaml, or the record "
                f"{out_dir / CSV_CHECKSUMS} of an earlier download): it is damaged or another "
                "version. To use it, change the table's `sha256` or set it to null, and remove the "
                "record"
            )
        if found == fetched:
            continue
        if found is not None and not is_ours:
            raise _users_own(path, origin, found, fetched)
        if found is None and (path.exists() or path.is_symlink()):
            raise TrmError(f"{path} is in the way of the file that belongs there: move it away")
        wanted[path] = file
    for path, file in wanted.items():
        _copy_atomically(file, path)
    _write_record(out_dir, origin)


def _users_own(path: Path, origin: str, found: str, expected: str) -> TrmError:
    return TrmError(
        f"{path} is not the file from its source ({origin}): it has SHA-256 {found}, expected "
        f"{expected}. Nothing was overwritten. {_REMEDY}"
    )


def _write_record(out_dir: Path, origin: str) -> None:
    lines = [f"# {origin}"]
    for path in (out_dir / name for name in CSV_FILES):
        lines += [
            f"# {path.name}: {path.stat().st_size} bytes",
            f"{file_sha256(path)}  {path.name}",
        ]
    path, content = out_dir / CSV_CHECKSUMS, "\n".join([*lines, ""]).encode()
    if not (path.is_file() and path.read_bytes() == content):
        write_atomically(path, content)


def _copy_atomically(source: Path, target: Path) -> None:
    with source.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)


# --- use ------------------------------------------------------------------------------------------


def check_table(folder: Path, sha256: Checksums) -> None:
    """TrmError where train.csv or test.csv in `folder` is not what config.yaml (`sha256`) says of
    it, or what was put there. Says so where neither is known."""
    recorded = Record.read(folder).sha256
    for name in CSV_FILES:
        path = folder / name
        if not path.is_file():
            raise TrmError(f"{path} does not exist: the dataset is built from it")
        expected = sha256.get(name) or recorded.get(name)
        if expected is None:
            say(f"note: {path} is used as it is: nothing records which file it should be")
        elif (found := file_sha256(path)) != expected:
            who = "config.yaml says" if name in sha256 else f"{folder / CSV_CHECKSUMS} says"
            raise TrmError(
                f"{path} has SHA-256 {found}, not {expected} as {who} of this table: it was "
                f"altered, or is another version. {_REMEDY}"
            )


# --- the hub --------------------------------------------------------------------------------------


def _hub_file(repo: str, name: str, revision: str | None) -> Path:
    """A file of a hub dataset, in the hub's own cache."""
    from huggingface_hub import hf_hub_download

    offline = _why_offline()
    try:
        path = hf_hub_download(
            repo,
            name,
            repo_type="dataset",
            revision=revision,
            etag_timeout=TIMEOUT,
            # Asked first: left alone, the client retries for half a minute.
            local_files_only=offline is not None,
        )
    except Exception as error:  # those of its HTTP client too
        reason = offline or first_line(error)
        raise TrmError(
            f"cannot fetch {name} of the hub dataset {repo}: {reason}. Fetch it where there is a "
            "network, or name a local folder with train.csv and test.csv as the source"
        ) from None
    return Path(path)


def _why_offline() -> str | None:
    """Why the hub cannot be reached; None where it answers, whatever it says."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return None
    except HTTP_FAULTS as error:
        return f"{constants.ENDPOINT} does not answer ({first_line(error)})"
    return None
