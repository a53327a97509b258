"""docs/reference.md names every option, file and metric, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trm.config.compose import known_keys
from trm.evaluate.settings import EvaluateConfig
from trm.study.table import ARC_FILES, METRICS, RESULT_FILES

PAGE = (Path(__file__).parents[2] / "docs/reference.md").read_text()


def names_of(section: str) -> set[str]:
    """What stands as code in the first column of the section's table."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("Files", {*RESULT_FILES, *ARC_FILES}),
        (
            "Options of `pretrain.py`",
            {key for key in known_keys() if key not in ("arch", "arch.loss")},
        ),
        ("Options of `python -m trm.evaluate`", {*EvaluateConfig.model_fields, "arch.…"}),
    ],
)
def test_every_name_is_explained(section: str, wanted: set[str]) -> None:
    assert names_of(section) == wanted


def test_every_metric_is_explained() -> None:
    wanted = {m for metrics in METRICS.values() for m in metrics}
    wanted = {"ARC/pass@K" if m.startswith("ARC/pass@") else m for m in wanted}
    assert wanted <= names_of("Metrics")
