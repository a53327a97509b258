"""What is said of a metric, wherever it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

EXAMPLES = "count"  # the metric that counts what most others average over


class Form(Enum):
    """How a value is written."""

    SHARE = auto()  # 0..1, in percent
    COUNT = auto()
    STEPS = auto()
    VALUE = auto()  # a number with four significant digits


@dataclass(frozen=True)
class Metric:
    """One entry of metrics.json."""

    name: str
    label: str  # on the page
    form: Form = Form.VALUE
    short: str = ""  # in figures; default: the label
    over: str = EXAMPLES
    needs_solutions: bool = True

    @property
    def in_figures(self) -> str:
        return self.short or self.label
