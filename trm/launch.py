"""Start a script as one process, or as several ranks under torchrun on this node."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from trm.errors import TrmError


def run_ranks(command: list[str], ranks: int, threads: int) -> None:
    """Run `python COMMAND…` (`-m module …` or a script) to its end, its output passed through.

    `threads` are shared out over the ranks. A failure ends this process too, with its exit status:
    what went wrong is already on stderr.
    """
    if ranks < 1 or threads < 1:
        raise TrmError(f"ranks ({ranks}) and threads ({threads}) must be at least 1")
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // ranks))}
    done = subprocess.run([*launcher, *command], env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.returncode if done.returncode > 0 else 128 - done.returncode)


def add_evaluation_arguments(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """What every script that evaluates a result is told; without `weights` it finds its own."""
    parser.add_argument("--dataset", required=True, help="data/NAME")
    if weights:
        parser.add_argument("--weights", required=True, help="a checkpoint")
    parser.add_argument("--train-config", required=True, help="the all_config.yaml of its training")
    parser.add_argument("--ranks", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads over all ranks")


def run_evaluation(args: argparse.Namespace, **keys: object) -> None:
    """`python -m trm.evaluate` for `add_evaluation_arguments`, with further keys of its own."""
    words = {
        "checkpoint": args.weights,
        "config": args.train_config,
        "data_paths": f"[{args.dataset}]",
        **keys,
    }
    command = ["-m", "trm.evaluate", *(f"{key}={value}" for key, value in words.items())]
    run_ranks(command, args.ranks, args.threads)
