"""Time what the pipeline itself costs: a dry run, a check of the table, imports, a GIF, the page.

    python benchmarks/overhead.py

Making an optimiser counts, since torch's own import the compiler then. The dry run asks for every
result of config.yaml with five seeds each. The GIF and the page are made from results/example-run,
as the rules make them. A dry run of an empty Snakefile says what Snakemake takes to start. Medians
of --rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 5


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
        snakemake = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all"]
        complete = [*snakemake, "--configfile", config, more, "--", "complete"]
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "import trm": [sys.executable, "-c", "import trm"],
            "import torch": [sys.executable, "-c", "import torch"],
            "import trm.training.trainer, make an optimiser": [sys.executable, "-c", START],
            "check config.yaml": [sys.executable, "-c", CHECK, config],
            "snakemake -n of an empty Snakefile": [*snakemake, "-s", empty, "-d", scratch],
            f"snakemake -n complete, {SEEDS} seeds": complete,
            "thinking.gif of sudoku-6x6": gif,
            f"report.html of {len(results)} results": page,
        }
        print(f"{date.today()}, Python {sys.version.split()[0]}")
        for name, command in commands.items():
            times = [timed([str(word) for word in command]) for _ in range(args.rounds)]
            print(f"{statistics.median(times):6.2f} s  {name}", flush=True)


CHECK = (
    "import sys, pathlib; from trm.study.table import Study; "
    "Study.load(pathlib.Path(sys.argv[1])); "
    "assert 'torch' not in sys.modules"
)


START = (
    "import torch; import trm.training.trainer; from trm.training.optim import make_optimizer; "
    "make_optimizer('adam_atan2', torch.nn.Linear(1, 1), (0.9, 0.95), 0.1).state_dict()"
)


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
