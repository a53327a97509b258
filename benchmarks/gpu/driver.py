"""Run every check and measurement that needs a GPU, one after the other, within a budget of time.

    benchmarks/gpu/wheels                          # where there is a network
    benchmarks/gpu/run --out FOLDER                # on the machine with the GPU
    benchmarks/gpu/run --out FOLDER --device cpu   # everything tiny, to test this program

Each part is a process group of its own and is killed at its limit; one that fails, hangs or is
killed costs no other. FOLDER gets

    results.jsonl   a line per result, as soon as it is known
    logs.txt        what each part printed; of the part that is running, NAME.log
    table.md        all results, written at the end and printed

The exit status is 0 if everything that ran has passed. Only Python's standard library is needed.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import findings
from parts import PARTS, Part

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
WHEELS = FOLDER / "wheelhouse"
RESERVE = 15  # seconds of the budget for the table, and for what ends slowly
PATIENCE = {"cuda": 1, "cpu": 10}
"""Factor of all limits: on a CPU it is the program that is tested, not the machine."""
MARK = "TRM_GPU_RUN"
"""Variable in the environment of all processes of a part, whatever their process group."""
LAST_LINES = 12
PIP_FLAGS = ("--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade", "--quiet")


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    out: Path
    device: str
    ends_at: float  # time.monotonic() at which the budget is used up
    hard: Path | None = None
    wheels: Path | None = None

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    @property
    def results(self) -> Path:
        return self.out / "results.jsonl"


def main(words: Sequence[str], parts: Sequence[Part] = PARTS) -> int:
    """Run what `words` ask for; returns the exit status."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--budget", type=float, default=500, help="seconds in all (default 500)")
    parser.add_argument("--only", type=names_in(parts), help="parts to run: a,b")
    parser.add_argument("--skip", type=names_in(parts), default=[], help="parts to leave out: a,b")
    parser.add_argument("--second", action="store_true", help="a selection for about 200 s")
    parser.add_argument("--device", choices=tuple(PATIENCE), default="cuda")
    parser.add_argument("--hard", type=Path, help="folder with train.csv, test.csv of sudokus")
    parser.add_argument(
        "--wheels", type=Path, help="folder of wheels to install (on a GPU: wheelhouse)"
    )
    parser.add_argument("--list", action="store_true", help="list the parts and end")
    args = parser.parse_args(words)
    chosen = [
        part
        for part in parts
        if part.name not in args.skip
        and (part.name in args.only if args.only is not None else part.second or not args.second)
    ]
    if args.list:
        for part in chosen:
            print(f"{part.name:10} {part.limit:4} s  {part.about}")
        return 0
    if args.out is None:
        parser.error("--out FOLDER is missing")
    args.out.mkdir(parents=True, exist_ok=True)
    hard = args.hard.resolve() if args.hard else None
    wheels = args.wheels or (WHEELS if args.device == "cuda" else None)
    ends_at = began + args.budget
    return run(chosen, Settings(args.out.resolve(), args.device, ends_at, hard, wheels))


def names_in(parts: Sequence[Part]) -> Callable[[str], list[str]]:
    """A type of argument: names of parts, separated by commas."""
    known = [part.name for part in parts]

    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0)
                raise argparse.ArgumentTypeError(
                    f"no part {name!r}; the nearest is {close[0]!r}, and all are {', '.join(known)}"
                )
        return given

    return names


def run(parts: Sequence[Part], settings: Settings) -> int:
    """Run the parts; returns the exit status. The table is written however they end."""
    before = len(findings.read(settings.results))
    scratch = Path(tempfile.mkdtemp(prefix="gpu-run-"))
    try:
        environment = environment_of_parts(settings, scratch)
        for part in parts:
            _run_or_skip(part, settings, scratch, environment)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        lines = findings.read(settings.results)[before:]
        text = findings.table(lines)
        (settings.out / "table.md").write_text(text, encoding="utf-8")
        print(text, flush=True)
    return int(any(line.get("ok") is False for line in lines))


def environment_of_parts(settings: Settings, scratch: Path) -> dict[str, str]:
    """The environment of every part; missing packages are installed into `scratch` first."""
    site = scratch / "site"
    paths = [site, ROOT, ROOT / "benchmarks"]
    given = os.environ.get("PYTHONPATH")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *([given] if given else [])]),
        "PYTHONUNBUFFERED": "1",
        "WANDB_MODE": "disabled",
    }
    if settings.device == "cuda":
        # Compiled for the first time, as in a first training, and once for all parts.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "inductor")
        environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        environment.setdefault("OMP_NUM_THREADS", "8")
    wheels = sorted(settings.wheels.glob("*.whl")) if settings.wheels else []
    if wheels:
        command = [sys.executable, "-m", "pip", "install", *PIP_FLAGS, "--target", str(site)]
        command += map(str, wheels)
        ended = run_command("wheels", command, 60, settings.out, environment)
        record("wheels", ended, settings, packages=len(wheels))
    return environment


def _run_or_skip(
    part: Part, settings: Settings, scratch: Path, environment: dict[str, str]
) -> None:
    patience = PATIENCE[settings.device]
    left = settings.seconds_left - RESERVE - part.leaves
    limit = min(part.limit * patience, left)
    if limit < part.least:
        status = f"skipped: {max(left, 0):.0f} s are left, it needs {part.least}"
        findings.append(settings.results, {"part": part.name, "ok": None, "status": status})
        print(f"{part.name}: {status}", flush=True)
        return
    command = [
        sys.executable,
        str(FOLDER / part.script),
        f"--part={part.name}",
        f"--device={settings.device}",
        f"--seconds={limit:.0f}",
        f"--results={settings.results}",
        f"--scratch={scratch}",
        *([f"--hard={settings.hard}"] if settings.hard else []),
        *part.words,
    ]
    record(part.name, run_command(part.name, command, limit, settings.out, environment), settings)


@dataclass(frozen=True)
class Ended:
    """How a process group ended: its exit status, None where it was killed."""

    code: int | None
    seconds: float
    last_lines: str

    @property
    def status(self) -> str:
        if self.code is None:
            return f"killed after {self.seconds:.0f} s"
        how = "passed in" if self.code == 0 else f"failed ({self.code}) after"
        return f"{how} {self.seconds:.0f} s"


def run_command(
    name: str, command: list[str], limit: float, out: Path, environment: dict[str, str]
) -> Ended:
    """Run in a process group of its own; afterwards nothing that it started is left."""
    mark = uuid.uuid4().hex
    log, began = out / f"{name}.log", time.monotonic()
    with log.open("wb") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=environment | {MARK: mark},
            cwd=ROOT,
        )
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_all(child, mark)
    seconds = time.monotonic() - began
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    with (out / "logs.txt").open("a", encoding="utf-8") as logs:
        logs.write(f"\n==== {name}: {seconds:.1f} s, {' '.join(command)}\n{text}")
    log.unlink()  # a few large files travel better than many small ones
    lines = [line for line in text.splitlines() if line.strip()]
    return Ended(code, seconds, "\n".join(lines[-LAST_LINES:]))


def _kill_all(child: subprocess.Popen, mark: str) -> None:
    """Kill the process group, and whoever of its descendants left it (torchrun's workers)."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 5
    while (left := _marked(mark)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: str) -> list[int]:
    """Processes whose environment holds `mark`, where there is a /proc (Linux)."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # another user's, or ended in between
            continue
    return found


def record(name: str, ended: Ended, settings: Settings, **figures: object) -> None:
    """Note how a part ended, and show what a failed one printed last."""
    line = {"part": name, "ok": ended.code == 0, "status": ended.status, "figures": figures}
    findings.append(settings.results, line)
    print(f"{name}: {ended.status}, {settings.seconds_left:.0f} s left", flush=True)
    if ended.code != 0:
        print("\n".join(f"    {text}" for text in ended.last_lines.splitlines()), flush=True)
