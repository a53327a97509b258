"""What is installed by conda is what pyproject.toml names."""

from __future__ import annotations

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_IN_A_RULE = {"snakemake"}  # starts the rules' commands, and is imported by none


def bounds(lines: list[str]) -> dict[str, SpecifierSet]:
    return {r.name: r.specifier for r in map(Requirement, lines)}


def pip_lines(name: str) -> list[str]:
    """What pip installs in an environment, its options included."""
    dependencies = yaml.safe_load((ROOT / "envs" / name).read_text())["dependencies"]
    return next(entry["pip"] for entry in dependencies if isinstance(entry, dict))


@pytest.mark.parametrize("name", ["cpu.yaml", "cuda.yaml"])
def test_a_conda_environment_has_the_packages_of_pyproject(name: str) -> None:
    wanted = bounds(PROJECT["dependencies"])
    packages = bounds([line for line in pip_lines(name) if not line.startswith("-")])
    assert packages == {n: b for n, b in wanted.items() if n not in NOT_IN_A_RULE}


def test_the_environments_differ_in_the_build_of_torch_alone() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "envs").iterdir()}
    assert set(files) == {"cpu.yaml", "cuda.yaml"}
    lines = [text.splitlines() for text in files.values()]
    assert len(lines[0]) == len(lines[1])
    differ = [(a, b) for a, b in zip(*lines, strict=True) if a != b]
    assert len(differ) <= 2 and "--extra-index-url" in differ[-1][0]
    python = yaml.safe_load(files["cpu.yaml"])["dependencies"][0].removeprefix("python =")
    assert f"{python}.0" in SpecifierSet(PROJECT["requires-python"])
