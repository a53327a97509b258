"""Where the tables of puzzles (Sudoku, Maze, boards) come from: fetched, copied or generated.

RAW/train.csv, RAW/test.csv    the table, in a folder of `trm.data.raw_files`
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from trm.data.download import part_of
from trm.data.generate import generate_table
from trm.data.hub import hub_file
from trm.data.raw_files import CHECKSUMS, Checksums, RawFolder
from trm.data.specs import Generate, TableSource
from trm.errors import TrmError
from trm.files import file_sha256
from trm.progress import say

RAW = Path("raw")  # where the published commands keep what they fetch
CSV_FILES = ("train.csv", "test.csv")

_REMEDY = (
    "Move it away, and the right one is put there; or, to use this one, name its folder as the "
    "source (--source-repo of a builder; in config.yaml the table's `path`, its `sha256` null)"
)


def _folder(path: Path) -> RawFolder:
    return RawFolder(path, CSV_FILES, "the table's", _REMEDY)


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


def _copy_table(source: Path, out_dir: Path, pinned: Checksums) -> None:
    right = {name: pinned.get(name) or file_sha256(source / name) for name in CSV_FILES}
    _folder(out_dir).put(f"copied from {source}", lambda path: source / path.name, lambda _: right)


def _generate_table(spec: Generate, out_dir: Path) -> None:
    origin = f"generated: {spec.model_dump_json()}"
    with TemporaryDirectory() as scratch:

        def generated(path: Path) -> Path:
            if not (Path(scratch) / path.name).exists():
                generate_table(spec, Path(scratch))
            return Path(scratch) / path.name

        _folder(out_dir).put(origin, generated, lambda record: record.of(origin))


def fetch_csv(
    repo: str, revision: str | None, out_dir: Path, sha256: Checksums | None = None
) -> None:
    """Put train.csv and test.csv of the hub dataset `repo` in out_dir, checked against `sha256`.

    The first call records their sizes and SHA-256 in out_dir/SHA256SUMS; later calls verify the
    existing files, and whatever is fetched again. TrmError where a file differs or cannot be
    fetched, within seconds when offline.
    """
    origin = f"{repo}, revision {revision or 'main'}"
    _folder(out_dir).put(
        origin,
        lambda path: _hub_file(repo, path, revision),
        lambda record: {**record.of(origin), **(sha256 or {})},
    )


def _hub_file(repo: str, path: Path, revision: str | None) -> Path:
    """The file of a hub dataset that belongs at `path`."""
    try:
        return hub_file(repo, path.name, revision, "dataset", part_of(path))
    except TrmError as error:
        raise TrmError(
            f"cannot fetch {path.name} of the hub dataset {repo}: {error}. Fetch it where there is "
            "a network, or name a local folder with train.csv and test.csv as the source"
        ) from None


# --- use ------------------------------------------------------------------------------------------


def check_table(folder: Path, sha256: Checksums) -> None:
    """TrmError where train.csv or test.csv in `folder` is not what config.yaml (`sha256`) says of
    it, or what was put there. Says so where neither is known."""
    recorded = _folder(folder).record().sha256
    for name in CSV_FILES:
        path = folder / name
        if not path.is_file():
            raise TrmError(f"{path} does not exist: the dataset is built from it")
        expected = sha256.get(name) or recorded.get(name)
        if expected is None:
            say(f"note: {path} is used as it is: nothing records which file it should be")
        elif (found := file_sha256(path)) != expected:
            who = "config.yaml says" if name in sha256 else f"{folder / CHECKSUMS} says"
            raise TrmError(
                f"{path} has SHA-256 {found}, not {expected} as {who} of this table: it was "
                f"altered, or is another version. {_REMEDY}"
            )
