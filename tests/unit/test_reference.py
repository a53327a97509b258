"""docs/reference.md, in both languages, names every option, file and metric, and no other."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from trm.config.compose import known_keys
from trm.evaluate.settings import EvaluateConfig
from trm.scoring.choices import BY_RULES, CHOICES, PASS
from trm.scoring.metrics import all_metrics
from trm.study.files import ResultFile
from trm.study.search import Search

PAGES = [ROOT / "docs/reference.md", ROOT / "docs/zh/reference.md"]
FILES, METRICS_SECTION, TRAINING, EVALUATION, SEARCH = range(5)
SEARCHED = {"rollouts", "supervision_steps", "steps_to_halt", "flop", "seconds", "count"}


def sections(page: int) -> list[set[str]]:
    """The code in the first column of each section's tables."""
    texts = re.split(r"^## ", PAGES[page].read_text(encoding="utf-8"), flags=re.M)[1:]
    cells = [re.findall(r"^\| (`[^|]*)\|", text, re.M) for text in texts]
    return [
        {name for cell in column for name in re.findall(r"`([^`]+)`", cell)} for column in cells
    ]


@pytest.mark.parametrize("page", range(len(PAGES)), ids=("en", "zh"))
@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        (FILES, {*ResultFile}),
        (TRAINING, {key for key in known_keys() if key not in ("arch", "arch.loss")}),
        (EVALUATION, {*EvaluateConfig.model_fields, "arch.…"}),
        (SEARCH, {*Search.model_fields, *SEARCHED, *CHOICES, BY_RULES, PASS}),
    ],
    ids=("files", "training", "evaluation", "search"),
)
def test_every_name_is_explained(page: int, section: int, wanted: set[str]) -> None:
    assert sections(page)[section] == wanted


@pytest.mark.parametrize("page", range(len(PAGES)), ids=("en", "zh"))
def test_every_metric_is_explained(page: int) -> None:
    wanted = {"ARC/pass@K" if m.startswith("ARC/pass@") else m for m in all_metrics()}
    assert wanted == sections(page)[METRICS_SECTION]
