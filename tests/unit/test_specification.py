"""docs/specification.md is where the code says it is: every mention names one of its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT
from tests.pages import anchors

SPECIFICATION = ROOT / "docs/specification.md"
FOLDERS = ("benchmarks", "config", "dataset", "docs", "rules", "tests", "trm", "workflow")
ENDINGS = (".md", ".py", ".smk", ".toml", ".yaml")


def texts() -> Iterator[Path]:
    yield ROOT / "Snakefile"
    for place in (ROOT.glob("*"), *((ROOT / folder).rglob("*") for folder in FOLDERS)):
        yield from (path for path in place if path.suffix in ENDINGS and path != Path(__file__))


def test_every_mention_names_a_section() -> None:
    chinese = ROOT / "docs/zh"
    english_anchors, chinese_anchors = anchors(SPECIFICATION), anchors(chinese / SPECIFICATION.name)
    mentions = 0
    for path in texts():
        known = chinese_anchors if chinese in path.parents else english_anchors
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bSPEC \d", text), f"{path}: name a section of {SPECIFICATION.name}"
        for anchor in re.findall(r"specification\.md#([\w-]+)", text):
            mentions += 1
            assert anchor in known, (path, anchor)
    assert mentions >= 13


def test_readers_find_it() -> None:
    for page, folder in (("README.md", "docs"), ("README.zh.md", "docs/zh")):
        assert f"({folder}/specification.md)" in (ROOT / page).read_text(encoding="utf-8")
