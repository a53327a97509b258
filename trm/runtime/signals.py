"""Signals that ask a run to end: noted at once, obeyed at the next step, when all can be saved."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

EXIT_SAVED = os.EX_TEMPFAIL  # 75: "try again later"
SECONDS_OF_ONE_CTRL_C = 2.0  # a rank hears it from the terminal and from torchrun
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """A signal was obeyed: everything is saved."""


@dataclass
class Signals:
    """The signal that came, if any. Only the first counts; Ctrl-C once more ends at once."""

    noted: signal.Signals | None = None
    at: float = 0.0

    def note(self, number: int, _frame: object) -> None:
        if self.noted is None:
            self.noted, self.at = signal.Signals(number), time.monotonic()
            if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
                # Straight to stderr: a handler may interrupt a print.
                os.write(2, b"\nstopping after this step; Ctrl-C again ends at once\n")
        elif number == signal.SIGINT and time.monotonic() - self.at > SECONDS_OF_ONE_CTRL_C:
            raise KeyboardInterrupt


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
