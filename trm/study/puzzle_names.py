"""Whether a dataset's puzzles are those that a checkpoint has embeddings of.

A puzzle's embedding is the row of its id, and a dataset of another seed or number of augmentations
gives the same ids to other puzzles. A run folder records the names by id, as one SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from trm.data.read import dataset_fingerprint, load_identifiers
from trm.files import RunFile
from trm.model.run_record import read_record
from trm.progress import say
from trm.study.run_folder import newest_facts

NAMES = "identifiers.json"


def names_sha256(dataset: Path) -> str | None:
    """SHA-256 (hex) of the names by id; None where only the blank puzzle has one, or none are
    there."""
    if not (dataset / NAMES).is_file():
        return None
    names = load_identifiers(dataset)
    return hashlib.sha256(json.dumps(names).encode()).hexdigest() if len(names) > 1 else None


def why_other_puzzles(checkpoint: Path, rows: int, dataset: Path, puzzles: int) -> str | None:
    """What to say where the `rows` embeddings of a checkpoint are not those of the dataset's
    `puzzles`; None where they are, or where that is not known, which is noted."""
    if rows != puzzles:
        return (
            f"{checkpoint} has the embeddings of {rows} puzzles and {dataset} has {puzzles} "
            "puzzles, so that it was trained on others"
        )
    if rows <= 1:  # the blank one, which all puzzles share
        return None
    same = _has_names_of_training(checkpoint, dataset)
    if same is None:
        say(
            f"note: nothing beside {checkpoint} says which puzzles its {rows} embeddings belong "
            f"to; they are taken for those of {dataset}"
        )
    if same is not False:
        return None
    return (
        f"{dataset} gives its ids to other puzzles than those that {checkpoint} has embeddings of: "
        "it is another build (seed, augmentations, subsets) than that of the training"
    )


def _has_names_of_training(checkpoint: Path, dataset: Path) -> bool | None:
    """None where nothing is recorded."""
    here, folder = names_sha256(dataset), checkpoint.parent
    record = read_record(folder)
    if record is not None:
        there = record.puzzle_names_sha256
        return None if None in (here, there) else here == there
    if (folder / NAMES).is_file():  # an exported model
        return names_sha256(folder) == here
    hashes = _dataset_hashes(folder)
    if not hashes:
        return None
    if dataset_fingerprint(dataset) in hashes.values():
        return True
    return any(
        Path(path).is_dir()
        and dataset_fingerprint(Path(path)) == recorded
        and names_sha256(Path(path)) == here
        for path, recorded in hashes.items()
    )


def _dataset_hashes(run: Path) -> dict[str, str]:
    """Of the training's datasets by path, from the other files of a run folder."""
    try:
        facts = json.loads((run / RunFile.PROVENANCE).read_text())
    except (OSError, ValueError):
        facts = newest_facts(run)
    hashes = facts.get("dataset_sha256") if isinstance(facts, dict) else None
    return hashes if isinstance(hashes, dict) else {}
