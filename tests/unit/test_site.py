"""The documentation as a site: which pages it has, where their links lead, what stops a build."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

HOOKS = ROOT / ".ci" / "mkdocs_hooks.py"
REPOSITORY = "https://example.org/owner/name"


def load_hooks(path: Path = HOOKS) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mkdocs_hooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


def test_every_page_of_docs_is_in_the_site_once() -> None:
    pages = hooks.pages()
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} < {*pages}
    assert len({hooks.site_path(page) for page in pages}) == len(pages)
    assert pages[:2] == ["README.md", "README.zh.md"]
    assert "CONTRIBUTING.md" in pages  # which the README links to


@pytest.mark.parametrize(
    ("source", "text", "there", "without_a_repository"),
    [
        ("README.md", "[g](docs/guide.md#questions)", "[g](guide.md#questions)", None),
        ("README.md", "[中文](README.zh.md)", "[中文](zh/index.md)", None),
        ("README.zh.md", "[g](docs/zh/guide.md)", "[g](guide.md)", None),
        ("docs/zh/guide.md", "[g](../guide.md)", "[g](../guide.md)", None),
        ("docs/guide.md", "[r](../README.md#run-it)", "[r](index.md#run-it)", None),
        (
            "docs/guide.md",
            "[`c`](../config/config.yaml)",
            f"[`c`]({REPOSITORY}/blob/HEAD/config/config.yaml)",
            "[`c`](config/config.yaml)",
        ),
        (
            "docs/zh/guide.md",
            "[c](../../config/arch)",
            f"[c]({REPOSITORY}/tree/HEAD/config/arch)",
            "c",
        ),
        (
            "README.md",
            '<img src="results/example-run/report.html">',
            f'<img src="{REPOSITORY}/blob/HEAD/results/example-run/report.html">',
            '<img src="results/example-run/report.html">',
        ),
        (
            "docs/guide.md",
            "[a](#questions) [b](https://x.org/README.md)",
            "[a](#questions) [b](https://x.org/README.md)",
            None,
        ),
        ("README.md", "[dead](docs/nowhere.md)", "[dead](docs/nowhere.md)", None),
        ("README.md", "`[g](docs/guide.md)`", "`[g](docs/guide.md)`", None),
        ("README.md", "```\n[g](docs/guide.md)\n```", "```\n[g](docs/guide.md)\n```", None),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(
    source: str, text: str, there: str, without_a_repository: str | None
) -> None:
    assert hooks.rewritten(text, source, REPOSITORY) == there
    assert hooks.rewritten(text, source, None) == (without_a_repository or there)


def test_pictures_are_copied_into_the_site() -> None:
    picture = "results/example-run/sudoku-6x6/quick/seed-0/figures/thinking.gif"
    text = f"![thinking]({picture})"
    assert hooks.rewritten(text, "README.md", REPOSITORY) == text
    assert hooks.rewritten(f"[{text}](docs/guide.md)", "README.md", None) == f"[{text}](guide.md)"
    shown = hooks.rewritten(text.replace("results", "../results", 1), "docs/guide.md", REPOSITORY)
    assert shown == text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of three pages with the site's settings."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    (tmp_path / ".ci").mkdir()
    shutil.copy(HOOKS, tmp_path / ".ci")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Title\n\n[one](docs/one.md#two-words) [l](LICENSE)\n")
    (tmp_path / "README.zh.md").write_text(
        "# 标题\n\n[英文](README.md) [下](#在集群上)\n\n## 在集群上\n"
    )
    (tmp_path / "docs" / "one.md").write_text("# One\n\n## Two words\n\n[back](../README.md)\n")
    (tmp_path / "LICENSE").write_text("free\n")
    return tmp_path


def build(project: Path) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    site = project / "site"
    build(load_config(str(project / "mkdocs.yml"), strict=True, site_dir=str(site)))
    return site


def test_a_site_is_built_in_both_languages(project: Path) -> None:
    site = build(project)
    assert 'href="one.html#two-words"' in (site / "index.html").read_text()
    assert 'lang="zh"' in (site / "zh" / "index.html").read_text()
    assert (site / "LICENSE").read_text() == "free\n"


@pytest.mark.parametrize("target", ["docs/nowhere.md", "docs/one.md#nowhere", "setup.cfg", "#no"])
def test_a_dead_link_stops_the_build(project: Path, target: str) -> None:
    with (project / "README.md").open("a") as file:
        file.write(f"\n[dead]({target})\n")
    from mkdocs.exceptions import Abort

    with pytest.raises(Abort, match="strict mode"):
        build(project)
