"""Files that are fetched into raw/: verified, recorded, and put in place.

FOLDER/NAME           a file
FOLDER/SHA256SUMS     where the files are from, and their sizes and SHA-256 as they were written

A file that differs from what was written there, or that was never written by this project, belongs
to the user: it is never overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trm.data.arc_versions import read_checksums
from trm.data.download import discard, part_of
from trm.errors import TrmError
from trm.files import copy_file, file_sha256, write_atomically, writing
from trm.runtime.locks import held

CHECKSUMS = "SHA256SUMS"

Checksums = Mapping[str, str]
"""SHA-256 (hex) by file name."""


@dataclass(frozen=True)
class RawFolder:
    """A folder with the files `names`, all of one source."""

    path: Path
    names: tuple[str, ...]
    of: str  # whose `sha256` in config.yaml is theirs: `the table's`
    remedy: str  # for a file of the user's own

    def record(self) -> Record:
        """What was written there. Empty without the file; TrmError where a file of that name is not
        one of ours."""
        path = self.path / CHECKSUMS
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            if not re.fullmatch(rf"# {re.escape(self.names[0])}: \d+ bytes", lines[1]):
                raise ValueError
            return Record(lines[0].removeprefix("# "), read_checksums(path))
        except (FileNotFoundError, NotADirectoryError):
            return Record()
        except (IsADirectoryError, ValueError, IndexError):
            raise TrmError(
                f"{path} is not a record of this project, which keeps its own under that name: "
                "move it away"
            ) from None

    def put(
        self, origin: str, get: Callable[[Path], Path], right: Callable[[Record], Checksums]
    ) -> None:
        """Put all files of `origin` in place, and record them.

        `get` is given the place of a file that is not known to be right, and returns a file to take
        its content from; `right` returns the SHA-256 of the files that are known. A second process
        that puts files here waits for the first.
        """
        if self._is_right(origin, right):  # also where nothing can be written
            return
        with held(self.path.with_name(f".{self.path.name}.lock"), f"fetching {self.path}"):
            record = self.record()
            fetched = [
                self._fetch(self.path / name, origin, record, right(record), get)
                for name in self.names
            ]
            for name, (file, _) in zip(self.names, fetched, strict=True):
                if file is not None:
                    _put_in_place(file, self.path / name)
            self._write_record(origin, [sha256 for _, sha256 in fetched])

    def _is_right(self, origin: str, right: Callable[[Record], Checksums]) -> bool:
        """Whether all files are those of `origin`, and recorded."""
        record = self.record()
        known = {name: right(record).get(name) for name in self.names}
        return (
            record.origin == origin
            and known == record.sha256
            and all((self.path / name).is_file() for name in self.names)
            and all(file_sha256(self.path / name) == known[name] for name in self.names)
        )

    def _fetch(
        self,
        path: Path,
        origin: str,
        record: Record,
        right: Checksums,
        get: Callable[[Path], Path],
    ) -> tuple[Path | None, str]:
        """The file to put at `path`, None where the right one is there; and its SHA-256."""
        name = path.name
        found = file_sha256(path) if path.is_file() else None
        if found is not None and found == right.get(name):
            return None, found
        is_ours = found is not None and found == record.sha256.get(name)
        if found is not None and name in right and not is_ours:
            raise self._users_own(path, origin, found, right[name])
        file = get(path)
        fetched = file_sha256(file)
        is_right = fetched == right.get(name, fetched)
        if file == part_of(path) and (found == fetched or not is_right):
            discard(file)
        if not is_right:
            what = f"{origin}: {name}" if file == part_of(path) else file
            raise TrmError(
                f"{what} has SHA-256 {fetched}, expected {right[name]} (config.yaml, or the record "
                f"{self.path / CHECKSUMS} of an earlier download): it is damaged or another "
                f"version. To use it, change {self.of} `sha256` or set it to null, and remove the "
                "record"
            )
        if found == fetched:
            return None, fetched
        if found is not None and not is_ours:
            raise self._users_own(path, origin, found, fetched)
        if found is None and (path.exists() or path.is_symlink()):
            raise TrmError(f"{path} is in the way of the file that belongs there: move it away")
        return file, fetched

    def _users_own(self, path: Path, origin: str, found: str, expected: str) -> TrmError:
        return TrmError(
            f"{path} is not the file from its source ({origin}): it has SHA-256 {found}, expected "
            f"{expected}. Nothing was overwritten. {self.remedy}"
        )

    def _write_record(self, origin: str, sha256: Sequence[str]) -> None:
        lines = [f"# {origin}"]
        for name, hashed in zip(self.names, sha256, strict=True):
            lines += [
                f"# {name}: {(self.path / name).stat().st_size} bytes",
                f"{hashed}  {name}",
            ]
        path, content = self.path / CHECKSUMS, "\n".join([*lines, ""]).encode()
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)


@dataclass(frozen=True)
class Record:
    """FOLDER/SHA256SUMS: what was written there, and from where."""

    origin: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    def of(self, origin: str) -> Checksums:
        """The SHA-256 of the files, where they are from `origin`; else none."""
        return self.sha256 if self.origin == origin else {}


def _put_in_place(file: Path, path: Path) -> None:
    """A download beside its place is moved there; any other file is copied."""
    if file != part_of(path):
        copy_file(file, path)
        return
    with writing(path):
        file.replace(path)
    discard(file)
