"""What the pages of the documentation show as code."""

from __future__ import annotations

import re
from pathlib import Path


def code_blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of each fenced block, from top to bottom."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
