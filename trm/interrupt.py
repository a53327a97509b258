"""Signals that ask a run to end: noted at once, obeyed at the next step, when all can be saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

EXIT_SAVED = os.EX_TEMPFAIL  # 75: "try again later"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """A signal was obeyed: everything is saved."""


@dataclass
class Signals:
    """The signal that came, if any. Only the first counts; a second Ctrl-C ends at once."""

    noted: signal.Signals | None = None

    def note(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and self.noted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.noted is None:
            self.noted = signal.Signals(number)


@contextmanager
def signals_noted() -> Iterator[Signals]:
    """Within the block TERM (a time limit, preemption), USR1 and Ctrl-C are noted, not obeyed."""
    signals = Signals()
    before = {number: signal.signal(number, signals.note) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
