"""Given weights, of `weights:` in config.yaml: downloaded or copied into raw/, and verified.

FOLDER/weights    the file as it is published, in a folder of `trm.data.raw_files`
"""

from __future__ import annotations

from pathlib import Path

from trm.data.download import Address, download, part_of
from trm.data.hub import hub_file
from trm.data.raw_files import CHECKSUMS, RawFolder, Record
from trm.data.specs import WeightsSource
from trm.errors import TrmError
from trm.files import file_sha256

_REMEDY = (
    "Move it away, and the right one is put there; or, to use this one, name it by the weights' "
    "`path` in config.yaml, their `sha256` null"
)


def _folder(weights: Path) -> RawFolder:
    return RawFolder(weights.parent, (weights.name,), "the weights'", _REMEDY)


def fetch_weights(source: WeightsSource, weights: Path) -> None:
    """Put the file of `source` at `weights`, and record its SHA-256 beside it.

    A file that is already right is kept; without `source.sha256` that of the first download counts.
    TrmError where it cannot be fetched, differs from its SHA-256, or would replace a file of the
    user's.
    """
    folder, origin = _folder(weights), str(source)

    def right(record: Record) -> dict[str, str]:
        pinned = {} if source.sha256 is None else {weights.name: source.sha256}
        return {**record.of(origin), **pinned}

    if source.path is not None:
        copy = Path(source.path)
        if not copy.is_file():
            raise TrmError(f"there is no file {copy}: give the file's name as the weights' `path`")
        known = source.sha256 or file_sha256(copy)
        folder.put(f"copied from {copy}", lambda _: copy, lambda _: {weights.name: known})
    else:
        folder.put(origin, lambda path: _fetch(source, part_of(path)), right)


def _fetch(source: WeightsSource, part: Path) -> Path:
    try:
        if source.hub is not None:
            return hub_file(source.hub, str(source.file), source.revision, "model", part)
        return download(Address(str(source.url), str(source.url)), part)
    except TrmError as error:
        raise TrmError(
            f"cannot fetch the weights {source}: {error}. You may also download the file by hand, "
            "and name it by the weights' `path`"
        ) from None


def check_weights(weights: Path, sha256: str | None) -> str:
    """The SHA-256 of fetched weights; TrmError where they are not those of config.yaml (`sha256`),
    or not as they were fetched."""
    if not weights.is_file():
        raise TrmError(f"{weights} does not exist: fetch it first")
    found = file_sha256(weights)
    expected = sha256 or _folder(weights).record().sha256.get(weights.name, found)
    if found != expected:
        who = "config.yaml" if sha256 else f"{weights.parent / CHECKSUMS}"
        raise TrmError(
            f"{weights} has SHA-256 {found}, not {expected} as {who} says: it was altered, or is "
            f"another version. {_REMEDY}"
        )
    return found
