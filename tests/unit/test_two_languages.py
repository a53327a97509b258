"""Pages in two languages say the same: commands, names and figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
SAME_CODE = ("following-a-run", "on-a-cluster", "performance", "reference", "using-a-model")
SAME_TABLES = (*SAME_CODE, "specification")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_of(page: Path) -> list[str]:
    """Lines that are fenced or indented by four spaces, without comments."""
    text = text_of(page)
    fenced = re.findall(r"^```\w+\n(.*?)^```$", text, re.M | re.S)
    indented = re.findall(r"^    (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return [re.sub(r"\s+#.*", "", line) for line in [*"".join(fenced).splitlines(), *indented]]


def facts_of_tables(page: Path) -> list[tuple[list[str], list[str]]]:
    """Code and numbers of each row, whatever their order in a sentence."""
    rows = re.findall(r"^\|.*\|$", text_of(page), re.M)
    without_code = [re.sub(r"`[^`]*`", "", re.sub(r"\]\([^)]*\)", "]", row)) for row in rows]
    return [
        (sorted(re.findall(r"`[^`]*`", row)), sorted(re.findall(r"\d[\d.,e-]*\d|\d", rest)))
        for row, rest in zip(rows, without_code, strict=True)
    ]


@pytest.mark.parametrize("name", SAME_TABLES)
def test_each_links_to_the_other_at_its_top(name: str) -> None:
    for page, link in (
        (DOCS / f"{name}.md", f"[中文](zh/{name}.md)"),
        (DOCS / "zh" / f"{name}.md", f"[English](../{name}.md)"),
    ):
        assert link in text_of(page).splitlines()[:4], page


@pytest.mark.parametrize("name", SAME_CODE)
def test_both_show_the_same_code(name: str) -> None:
    assert code_of(DOCS / "zh" / f"{name}.md") == code_of(DOCS / f"{name}.md")


@pytest.mark.parametrize("name", SAME_TABLES)
def test_tables_hold_the_same_names_and_figures(name: str) -> None:
    assert facts_of_tables(DOCS / "zh" / f"{name}.md") == facts_of_tables(DOCS / f"{name}.md")
