"""Start a script as one process, or as several ranks under torchrun, on one node or on several."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from trm.errors import TrmError
from trm.progress import say
from trm.runtime.gpus import claim_gpus
from trm.runtime.signals import SIGNALS

SECONDS_TO_SAVE = 300  # what torchrun gives its ranks after a signal, before it kills them


def run_ranks(
    command: Sequence[str], ranks: int, threads: int, gpus: int = 0, nodes: int = 1
) -> None:
    """Run `python COMMAND…` (`-m module …` or a script) to its end, its output passed through.

    `threads` are a node's, shared out over its ranks; `ranks` and `gpus` are of all nodes together.
    Several nodes are those of the Slurm job that this runs in, one torchrun on each. Signals are
    forwarded to the ranks, which may save before they end. A failure ends this process too, with
    its exit status: what went wrong is already on stderr.
    """
    if ranks < 1 or threads < 1:
        raise TrmError(f"ranks ({ranks}) and threads ({threads}) must be at least 1")
    if ranks % nodes:
        raise TrmError(
            f"{ranks} ranks cannot be shared out evenly over {nodes} nodes: choose a multiple of "
            f"{nodes}"
        )
    per_node = ranks // nodes
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // per_node))}
    launcher = [sys.executable]
    if ranks > 1:
        launcher += [
            "-m",
            "trm.runtime.torchrun",
            f"--nnodes={nodes}",
            f"--nproc-per-node={per_node}",
            f"--shutdown-timeout={SECONDS_TO_SAVE}",
            f"--signals-to-handle={','.join(s.name for s in SIGNALS)}",
        ]
        # Else torchrun waits for ever for a host name that does not resolve.
        here = ["--standalone", "--local-addr=127.0.0.1"]
        launcher += _rendezvous() if nodes > 1 else here
    if nodes > 1:
        launcher = [
            "srun",
            f"--nodes={nodes}",
            "--ntasks-per-node=1",
            f"--cpus-per-task={threads}",
            "--kill-on-bad-exit=1",
            *launcher,
        ]
        status = _run([*launcher, *command], environment)
    else:
        # Slurm's own nodes bring their devices; on one machine jobs side by side share them out.
        with claim_gpus(gpus) as claim:
            if claim.gpus:
                say(f"on GPUs {claim.gpus}")
            status = _run([*launcher, *command], environment | claim.environment, claim.files)
    if status:
        raise SystemExit(status if status > 0 else 128 - status)


def _rendezvous() -> list[str]:
    """Where the nodes' torchruns meet: on this host, the job's first, at the job's own port."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        raise TrmError("several nodes need a Slurm job: snakemake --profile slurm")
    port = 20000 + int(job) % 20000
    return [
        "--rdzv-backend=c10d",
        f"--rdzv-id={job}",
        f"--rdzv-endpoint={socket.gethostname()}:{port}",
    ]


def _run(command: list[str], environment: dict[str, str], files: Sequence[int] = ()) -> int:
    """Exit status of the command; what signals come here are passed on and waited out."""
    child = subprocess.Popen(command, env=environment, pass_fds=files)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        # Ctrl-C reaches the whole foreground group by itself; twice would mean "at once".
        if number != signal.SIGINT:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """What a job was given: processes, CPU threads, GPUs, nodes."""
    parser.add_argument("--ranks", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads per node (default 2)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs over all nodes (default 0)")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the Slurm job (default 1)")


def run_job(args: argparse.Namespace, command: Sequence[str]) -> None:
    """Call `run_ranks` with what `add_job_arguments` read."""
    run_ranks(command, args.ranks, args.threads, args.gpus, args.nodes)


def add_evaluation_arguments(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """Arguments of every script that evaluates a result; without `weights` it finds its own."""
    parser.add_argument("--dataset", required=True, help="data/NAME")
    if weights:
        parser.add_argument("--weights", required=True, help="a checkpoint")
    parser.add_argument("--train-config", required=True, help="the all_config.yaml of its training")
    add_job_arguments(parser)


def run_evaluation(args: argparse.Namespace, **keys: object) -> None:
    """Run `python -m trm.evaluate` for `add_evaluation_arguments`, with further keys `keys`."""
    words = {
        "checkpoint": args.weights,
        "config": args.train_config,
        "data_paths": [args.dataset],
        **keys,
    }
    run_job(
        args,
        [
            "-m",
            "trm.evaluate",
            *(f"{k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in words.items()),
        ],
    )
