"""Progress of long work: a bar on a terminal, one plain line a minute in a log file."""

from __future__ import annotations

import os
import sys
import time
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0


def duration(seconds: float) -> str:
    """A duration as exact as a reader needs: `95 s`, `12 min`, `3 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def say(message: str) -> None:
    """One line for the user."""
    print(message, file=sys.stderr, flush=True)


def _terminal_size() -> os.terminal_size:
    """The size of the terminal that stderr is; 0 where it is not one or gives no size."""
    try:
        return os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return os.terminal_size((0, 0))


class Progress:
    """Counts work up to `total` on stderr; silent where `shown` is False (ranks other than 0)."""

    def __init__(
        self, total: int, what: str, unit: str, shown: bool = True, start: int = 0
    ) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.start = self.done = self.told = start
        self.began = self.last_line = time.monotonic()
        self.first: tuple[float, int] | None = None  # when and where the first update came
        self.note = ""
        size = _terminal_size()
        self.lines = shown and not sys.stderr.isatty()
        self.bar = tqdm(
            total=total,
            initial=start,
            desc=what,
            unit=f" {unit}",
            leave=None,  # one below another goes when it is done
            # Some terminals (of containers, of test machines) say that they are 0 wide or 0 high;
            # on those tqdm would show nothing.
            dynamic_ncols=min(size) > 0,
            ncols=None if min(size) > 0 else size.columns or 80,
            nrows=None if size.lines > 0 else 24,
            disable=not shown or self.lines,
        )

    def update(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` (say, a loss) is printed behind the counts."""
        self.done += count
        self.note = note or self.note
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        now = time.monotonic()
        if self.first is None:
            self.first = now, self.done
            self._start_bar(count)
        else:
            self.bar.update(count)
        # The first line comes early, so that a log shows at once that work continues.
        due = SECONDS_BETWEEN_LINES if self.last_line > self.began else 5.0
        if self.lines and now - self.last_line >= due:
            self.last_line = now
            self._print_line(now)

    def _start_bar(self, count: int) -> None:
        """Show the first update, without a rate: what came before it was getting ready too."""
        self.bar.n += count
        if not self.bar.disable:
            self.bar.initial = self.bar.last_print_n = self.bar.n
            self.bar.last_print_t = time.time()
            self.bar.refresh()

    def _print_line(self, now: float) -> None:
        self.told = self.done
        share = self.done / max(self.total, 1)
        note = f"  {self.note}" if self.note else ""
        say(f"{self.what} {self.done}/{self.total} ({share:.0%}){self._pace(now)}{note}")

    def _pace(self, now: float) -> str:
        """Rate and time left, by what was done after the first update; empty where nothing was."""
        since, done = self.first or (self.began, self.start)
        if done == self.done:
            if self.done < self.total:
                return ""
            since, done = self.began, self.start  # all at once, so it took all of the time
        rate = (self.done - done) / max(now - since, 1e-9)
        left = duration((self.total - self.done) / rate) if rate > 0 else "unknown"
        return f"  {rate:.2f} {self.unit}/s  {left} left"

    def end_here(self) -> None:
        """Take what is done for the whole, though more was expected."""
        self.total = self.bar.total = self.done

    def say(self, message: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self.lines:
            say(message)
        elif not self.bar.disable:
            self.bar.write(message, file=sys.stderr)

    def close(self) -> None:
        if self.lines and self.done > self.told:
            self._print_line(time.monotonic())
        self.bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
