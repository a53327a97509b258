"""The board of time to quality: its thresholds, and what others have published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trm.config.types import Strict

Percent = Annotated[float, Field(gt=0, le=100)]


class PublishedRun(Strict):
    """A training of others: what it reached, and when it had ended."""

    name: str
    percent: float = Field(ge=0, le=100)
    metric: str | None = None  # default: the benchmark's
    test_set: Literal["full", "subset"] = "full"
    hours: float | None = Field(None, gt=0)  # wall time; None where the source has none
    devices: int = Field(1, ge=1)
    device: str
    flop: float | None = Field(None, gt=0)  # of the whole training
    source: str
    note: str = ""


class Board(Strict):
    """`board:` of config.yaml."""

    thresholds: Annotated[list[Percent], Field(min_length=1)] = [50, 87, 95]
    published: dict[str, list[PublishedRun]] = {}  # by benchmark
