"""The files by which others find, run and contribute to the project: they name what exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from pydantic import BaseModel

from tests.conftest import ROOT
from tests.pages import code_blocks
from tests.project import FULL
from trm.data.specs import (
    ArcSpec,
    BoardsSpec,
    MazeSpec,
    RawSource,
    SudokuSpec,
    TableSource,
    WeightsSource,
)
from trm.study.table import Benchmark, Resources, Study, Table, Variant

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
        Study,
        Benchmark,
        Variant,
        Resources,
        Table,
        RawSource,
        TableSource,
        ArcSpec,
        SudokuSpec,
        MazeSpec,
        BoardsSpec,
        WeightsSource,
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
    assert f"results/{study.default[0]}" in study.trained_results_of("sudoku-6x6")
    assert len(study.results_of("sudoku-6x6", "narrow")) == 3


GITHUB = ROOT / ".github"


def test_github_runs_what_every_machine_runs() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] <= 90
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert all(f"{v}.0" in SpecifierSet(python) for v in job["strategy"]["matrix"]["python"])


def test_the_hooks_of_pre_commit_are_the_checks_of_ci() -> None:
    """By the programs that are installed, so in the versions of constraints.txt."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    checks = (ROOT / ".ci" / "run").read_text()
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        assert re.search(rf"^(.* )?{hook['entry']}( |$)", checks, re.M), hook["entry"]
    missing = {"ruff check", "ruff format --check", "snakefmt --check", "end-of-file-fixer"}
    assert missing - {hook["entry"] for hook in hooks} == set()


def test_who_reports_a_result_is_asked_for_what_it_takes_to_look_into_it() -> None:
    forms = {
        path.name: yaml.safe_load(path.read_text())
        for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("[0-9]-*.yml"))
    }
    assert len(forms) == 3
    for form in forms.values():
        assert {"name", "description", "body"} <= form.keys()
        ids = [field["id"] for field in form["body"]]
        assert len({*ids}) == len(ids)
        assert all(field["attributes"]["label"] for field in form["body"])
    required = {
        field["id"]
        for field in forms["1-result-differs.yml"]["body"]
        if field.get("validations", {}).get("required")
    }
    assert {"command", "provenance", "log"} <= required


def instructions(text: str) -> list[tuple[str, str]]:
    """(name, arguments) of a Dockerfile, from top to bottom."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]


def test_the_container_runs_any_command_as_a_user_with_the_pinned_packages() -> None:
    text = (ROOT / "Dockerfile").read_text()
    found = instructions(text)
    names = [name for name, _ in found]
    last = dict(found)
    assert "ENTRYPOINT" not in names and json.loads(last["CMD"]) == ["snakemake", "--cores", "2"]
    assert int(last["USER"]) > 0 and names.index("USER") > names.index("COPY")
    assert "USER=" in last["ENV"]  # Snakemake does not start for a user without a name
    (pip,) = (words for name, words in found if name == "RUN" and "pip install" in words)
    assert "PIP_CONSTRAINT=constraints.txt" in pip and "--editable ." in pip
    version = re.match(r"python:([\d.]+)-", last["FROM"])[1]
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"{version}.0" in SpecifierSet(python)


def test_what_runs_make_is_kept_outside_the_container_s_image() -> None:
    """The folders that a volume is for are those that git ignores in the root."""
    last = dict(instructions((ROOT / "Dockerfile").read_text()))
    volumes = {Path(folder).name for folder in json.loads(last["VOLUME"])}
    assert volumes == {"raw", "data", "checkpoints", "results", "logs"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(name in ignored or f"{name}/*" in ignored for name in volumes)


def test_the_container_s_image_leaves_out_what_git_ignores() -> None:
    def in_docker(pattern: str) -> str:
        """Docker takes a pattern from the root, git at any depth unless it begins with /."""
        bang = "!" if pattern.startswith("!") else ""
        path = pattern.removeprefix("!").rstrip("/")
        return bang + (path.removeprefix("/") if path.startswith("/") else f"**/{path}")

    def patterns(name: str) -> list[str]:
        lines = (ROOT / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    assert patterns(".dockerignore") == [in_docker(line) for line in patterns(".gitignore")]
