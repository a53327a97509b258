"""The code blocks and anchors of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path


def code_blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of each fenced block, from top to bottom."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
