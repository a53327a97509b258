"""The files by which others find, run and contribute to the project: they name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tests.conftest import ROOT
from tests.pages import code_blocks
from tests.project import FULL
from trm.data.specs import ArcSpec, BoardsSpec, MazeSpec, RawSource, SudokuSpec, TableSource
from trm.study import Benchmark, Resources, Study, Table, Variant

CONFIGURING = ROOT / "config" / "README.md"


def test_the_catalogue_s_file_is_true_of_the_workflow() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    deployment = usage["software-stack-deployment"]
    rules = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    assert deployment["conda"] == ("conda:" in rules)
    assert deployment["apptainer"] == deployment["apptainer+conda"] == ("container:" in rules)
    assert usage["report"] == ("report(" in rules)
    for name in ("workflow/Snakefile", "config/README.md"):  # which the catalogue asks for
        assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    "kind",
    [
        *(Study, Benchmark, Variant, Resources, Table, RawSource, TableSource),
        *(ArcSpec, SudokuSpec, MazeSpec, BoardsSpec),
    ],
)
def test_config_readme_names_every_setting(kind: type[BaseModel]) -> None:
    text = CONFIGURING.read_text()
    named = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}
    assert set(kind.model_fields) - named == set()


def test_config_readme_names_every_file_beside_it() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", CONFIGURING.read_text())
    assert all((CONFIGURING.parent / link).exists() for link in links)
    beside = {p.name for p in CONFIGURING.parent.iterdir()} - {"README.md"}
    assert beside == {Path(link).parts[0] for link in links if not link.startswith("..")}


def test_the_settings_that_config_readme_shows_are_valid(tmp_path: Path) -> None:
    ((_, mine),) = code_blocks(CONFIGURING)
    (tmp_path / "mine.yaml").write_text(mine)
    study = Study.load(FULL, tmp_path / "mine.yaml")
    assert study.row("sudoku-6x6", "narrow").overrides["arch.hidden_size"] == 64
    assert f"results/{study.default[0]}" in study.results_of("sudoku-6x6")
    assert len(study.results_of("sudoku-6x6", "narrow")) == 3
