"""What conda and pip install: the packages of pyproject.toml, by pip in pinned versions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
OPTIONAL = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
INSTALL = "PIP_CONSTRAINT=constraints.txt pip install -e "
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


def pins() -> dict[str, Requirement]:
    """Those for this Python on this system, by name."""
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    every = map(Requirement, lines)
    return {pin.name: pin for pin in every if pin.marker is None or pin.marker.evaluate()}


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def with_all_they_need(requirements: list[Requirement]) -> Iterator[str]:
    """Names of the installed packages among these, and of those that they need in turn."""
    seen: set[tuple[str, str]] = set()
    queue = [(r, extra) for r in requirements for extra in ("", *r.extras)]
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        yield name
        for r in map(Requirement, needed):
            if r.marker is None or r.marker.evaluate({"extra": extra}):
                queue += [(r, e) for e in ("", *r.extras)]


def test_every_package_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    for requirement in map(Requirement, [*PROJECT["dependencies"], *OPTIONAL]):
        pin = pinned[canonicalize_name(requirement.name)]
        assert version_of(pin) in requirement.specifier, (
            f"{requirement.name} is pinned outside its bounds: run .ci/pin"
        )


def test_what_the_packages_need_in_turn_is_pinned_too() -> None:
    needed = with_all_they_need([*map(Requirement, [*PROJECT["dependencies"], *OPTIONAL])])
    assert sorted({*needed} - {*pins()}) == [], "run .ci/pin"


def test_what_builds_the_project_is_pinned_within_its_bounds() -> None:
    """pip before 25.3 builds with the pinned version, as PIP_CONSTRAINT reaches the build too."""
    (requirement,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert version_of(pins()[requirement.name]) in requirement.specifier


def test_pins_are_names_and_versions_alone() -> None:
    """No index, no host, no path, no label of a build."""
    for line in CONSTRAINTS.splitlines()[1:]:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line), line


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_commands_of_the_readme_install_the_pins(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^    .*pip install -e.*$", text, re.MULTILINE)
    assert len(lines) == 3 and all(INSTALL in line for line in lines)
    assert f"'torch=={version_of(pins()['torch'])}' --index-url" in text
