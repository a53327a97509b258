"""Time what the pipeline itself costs: a dry run, a check of the table, imports, a GIF, the page.

    python benchmarks/overhead.py

Making an optimiser counts, since torch's own import the compiler then. The dry run asks for every
result of config.yaml with five seeds each, and `trm status` looks at 300 trainings that were killed
before their first snapshot, which takes it longest. The GIF and the page are made from
results/example-run, as the rules make them. A dry run of an empty Snakefile says what Snakemake
takes to start. Medians of --rounds, in each of which the commands take turns: seconds, and seconds
of CPU time, which depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SEEDS, KILLED = 5, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    config = ROOT / "config" / "config.yaml"
    study = yaml.safe_load(config.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        empty = Path(scratch) / "Snakefile"
        empty.write_text("rule all:\n    input: []\n")
        more = Path(scratch) / "seeds.yaml"
        seeds = {name: {"seeds": list(range(SEEDS))} for name in study["benchmarks"]}
        more.write_text(yaml.safe_dump({"benchmarks": seeds}))
        example = ROOT / "results" / "example-run"
        results = sorted(str(path.parent) for path in example.glob("*/*/seed-*/metrics.json"))
        page = [
            sys.executable,
            "workflow/scripts/report.py",
            "--config",
            config,
            "--out",
            f"{scratch}/report.html",
            "--results",
            *results,
        ]
        gif = [
            sys.executable,
            "workflow/scripts/thinking_figure.py",
            "--out",
            f"{scratch}/gif.gif",
            "--thinking",
            example / "sudoku-6x6" / "quick" / "seed-0" / "thinking.json",
        ]
        killed = kill_trainings(Path(scratch) / "killed", list_variants(study))
        snakemake = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all"]
        status = [sys.executable, "-c", STATUS]
        complete = [*snakemake, "--configfile", config, more, "--", "complete"]
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "import trm": [sys.executable, "-c", "import trm"],
            "import torch": [sys.executable, "-c", "import torch"],
            "import trm.training.trainer, make an optimiser": [sys.executable, "-c", START],
            "check config.yaml": [sys.executable, "-c", CHECK, config],
            "snakemake -n of an empty Snakefile": [*snakemake, "-s", empty, "-d", scratch],
            f"snakemake -n complete, {SEEDS} seeds": complete,
            f"trm status of {KILLED} trainings": [*status, killed],
            "thinking.gif of sudoku-6x6": gif,
            f"report.html of {len(results)} results": page,
        }
        print(f"{date.today()}, Python {sys.version.split()[0]}")
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                times[name].append(timed([str(word) for word in command]))
        print(" seconds   of CPU")
        for name, taken in times.items():
            wall, cpu = map(statistics.median, zip(*taken, strict=True))
            print(f"{wall:8.2f} {cpu:8.2f}  {name}")


def list_variants(study: dict) -> list[str]:
    return [f"{name}/{v}" for name, row in study["benchmarks"].items() for v in row["variants"]]


def kill_trainings(root: Path, variants: list[str]) -> Path:
    """A checkout's folder where KILLED trainings have left their settings, history and log."""
    example = ROOT / "results" / "example-run" / "sudoku-6x6" / "quick" / "seed-0"
    shutil.copytree(ROOT / "config", root / "config")
    header, *records = (example / "history.csv").read_text().splitlines(keepends=True)
    for i in range(KILLED):
        name = f"{variants[i % len(variants)]}/seed-{i // len(variants)}"
        run, log = root / "checkpoints" / name, root / "logs" / "train" / f"{name}.log"
        run.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(example / "config.yaml", run / "all_config.yaml")
        (run / "history.csv").write_text(header + "".join(records * 100))
        log.write_text("training\n" * 10000)
    return root


CHECK = (
    "import sys, pathlib; from trm.study.table import Study; "
    "Study.load(pathlib.Path(sys.argv[1])); "
    "assert 'torch' not in sys.modules"
)


START = (
    "import torch; import trm.training.trainer; from trm.training.optim import make_optimizer; "
    "make_optimizer('adam_atan2', torch.nn.Linear(1, 1), (0.9, 0.95), 0.1).state_dict()"
)


STATUS = (
    "import os, sys; os.chdir(sys.argv[1]); from trm.study.status import main; main([]); "
    "assert 'torch' not in sys.modules"
)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of CPU time."""
    began, before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began, cpu_seconds() - before


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
