"""What a part of `benchmarks/gpu/run` is given, and how it says what it finds."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import findings


@dataclass
class Job:
    """One part: its name, where it runs, how long it may take, where its results go."""

    part: str
    device: str  # cuda or cpu
    ends_at: float  # time.time() at which it is killed
    results: Path
    scratch: Path  # a folder for all parts of the run, deleted at its end
    hard: Path | None  # a folder with train.csv and test.csv of sudokus
    words: tuple[str, ...]
    failed: bool = False

    @property
    def tiny(self) -> bool:
        """Whether sizes are those of a try on the CPU."""
        return self.device == "cpu"

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.time()

    def measured(self, case: str, **figures: Any) -> None:
        """Record figures that only inform. Their names end in their unit."""
        self._record(case, None, figures)

    def checked(self, case: str, ok: bool, **figures: Any) -> None:
        """Record whether something is as it should be; the part fails where it is not."""
        self._record(case, bool(ok), figures)
        self.failed |= not ok

    def _record(self, case: str, ok: bool | None, figures: dict[str, Any]) -> None:
        line = {"part": self.part, "case": case, "ok": ok, "figures": figures}
        findings.append(self.results, line)
        print(line, flush=True)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """An exception inside is the result of this case, and does not end the part."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.checked(name, False, error=f"{type(error).__name__}: {first[:200]}")

    def earlier(self, part: str, case: str) -> dict[str, Any]:
        """The figures that a part of this run recorded last; empty where there are none."""
        found = [
            line["figures"]
            for line in findings.read(self.results)
            if (line["part"], line.get("case")) == (part, case)
        ]
        return found[-1] if found else {}


def run_part(main: Callable[[Job], None]) -> None:
    """The entry point of a part's script: exit status 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description="a part of benchmarks/gpu/run")
    parser.add_argument("--part", required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="until it is killed")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--hard", type=Path)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    job = Job(
        part=args.part,
        device=args.device,
        ends_at=time.time() + args.seconds,
        results=args.results,
        scratch=args.scratch,
        hard=args.hard,
        words=tuple(args.words),
    )
    main(job)
    sys.exit(job.failed)
