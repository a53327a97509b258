"""The pages of the documentation: their links exist, and both languages show the same code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path, PurePath

import pytest
import yaml

from tests.conftest import ROOT
from tests.pages import anchors, code_blocks
from tests.project import FULL
from trm.study.files import FIGURES, ResultFile
from trm.study.table import Study

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "results" / "README.md",
    ROOT / "tests" / "README.md",
]
ENGLISH, CHINESE = (ROOT / "docs" / folder / "adding-a-benchmark.md" for folder in (".", "zh"))


def test_the_page_is_short_and_both_languages_show_the_same_code() -> None:
    assert len(ENGLISH.read_text().splitlines()) <= 130

    def without_comments(page: Path) -> list[list[str]]:
        return [
            [re.sub(r"\s+#.*", "", line) for line in content.splitlines()]
            for _, content in code_blocks(page)
        ]

    assert without_comments(CHINESE) == without_comments(ENGLISH)


def test_the_files_that_it_names_exist() -> None:
    for page in (ENGLISH, CHINESE):
        for name in re.findall(r"`((?:trm|workflow|config|tests)/[\w/.-]+)`", page.read_text()):
            made_here = name == "config/sort-rows.yaml" or "NAME" in name
            assert made_here or (ROOT / name.rstrip("/")).exists(), (page, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if ":" in link:  # another site
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_settings_of_the_page_about_following_a_run(tmp_path: Path) -> None:
    ((_, snippet),) = code_blocks(ROOT / "docs" / "following-a-run.md")
    (tmp_path / "change.yaml").write_text(snippet)
    study = Study.load(FULL, tmp_path / "change.yaml")
    changed = yaml.safe_load(snippet)["benchmarks"]["sudoku-6x6"]["overrides"]
    assert changed.items() <= study.row("sudoku-6x6", "mlp").overrides.items()


def test_every_caption_file_of_snakemake_s_report_is_used() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    files = [ResultFile[name] for name in re.findall(r"in_report\(ResultFile\.(\w+)\)", rules)]
    captions = {PurePath(file).stem for file in (*files, *FIGURES)}
    captions |= {*re.findall(r"/(\w+)\.rst\"", rules), "workflow"}
    assert {path.stem for path in (ROOT / "workflow/report").glob("*.rst")} == captions


def test_every_figure_of_a_result_is_listed_and_has_a_drawing() -> None:
    assert {*FIGURES} == {file for file in ResultFile if file.endswith(".svg")}
    for figure in FIGURES:
        assert callable(import_module(f"trm.report.{PurePath(figure).stem}").draw)
