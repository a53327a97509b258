"""A kind of puzzle: named once, and docs/adding-a-benchmark.md lists every file that knows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = (ROOT / "docs/adding-a-benchmark.md", ROOT / "docs/zh/adding-a-benchmark.md")
SOURCES = [p for p in sorted((ROOT / "trm").rglob("*")) if p.suffix in (".py", ".js", ".j2")]
# A kind as a value: "maze", or `maze:` as a key of JavaScript.
NAMES_A_KIND = re.compile(r"""["'](?:sudoku|maze)["']|\bmaze: """)


def test_the_kinds_are_listed_in_one_place() -> None:
    lists = re.compile(r"Literal\[[^\]]*\"maze\"[^\]]*,|Literal\[[^\]]*,[^\]]*\"maze\"")
    having = [p.relative_to(ROOT) for p in SOURCES if lists.search(p.read_text())]
    assert having == [Path("trm/data/specs.py")]


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_the_page_lists_every_file_that_tells_kinds_apart(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Those of a kind's own, and the stored form of two kinds of augmentation.
    own = re.compile(r"trm/(data/(sudoku|maze|generate\w*|painted)|scoring/(sudoku|maze))\.py")
    files = [p.relative_to(ROOT).as_posix() for p in SOURCES if NAMES_A_KIND.search(p.read_text())]
    assert len(files) > 10
    assert [f for f in files if f"`{f}`" not in text and not own.fullmatch(f)] == []


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_the_names_that_the_page_gives_are_in_their_files(page: Path) -> None:
    """An entry is: the file, a colon, and in backquotes the names in it that change."""
    text = page.read_text(encoding="utf-8").replace("\n   ", " ")
    entries = re.findall(r"^\d+\. `([\w/.]+)`[:：](.*)$", text, re.MULTILINE)
    assert len(entries) > 10
    for file, words in entries:
        if "NAME" in file:
            continue
        content = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", words):
            assert re.search(rf"\b{name}\b", content), (file, name)
