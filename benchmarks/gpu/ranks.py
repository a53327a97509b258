"""One process under torchrun: the collectives that several use, and the published command.

NCCL refuses two processes on one GPU, so that more than one cannot be tried here."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from job import Job, run_part
from sudokus import small
from training import FULL, TINY

from trm.config.compose import hydra_word

FOLDER = Path(__file__).resolve().parent
TORCHRUN = (
    *(sys.executable, "-m", "trm.runtime.torchrun", "--standalone", "--local-addr=127.0.0.1"),
    *("--nnodes=1", "--nproc-per-node=1"),
)


def main(job: Job) -> None:
    with job.case("collectives"):
        done = subprocess.run(
            [*TORCHRUN, str(FOLDER / "collectives.py"), *sys.argv[1:]], check=False
        )
        job.checked("collectives", done.returncode == 0, status=done.returncode)
    with job.case("pretrain.py"):
        settings = (TINY if job.tiny else FULL) | {
            "epochs": 2,
            "eval_interval": 2,
            "device": job.device,
            "data_paths": [str(small(job)[1])],
            "checkpoint_path": str(job.scratch / "ranks"),
        }
        words = [hydra_word(key, value) for key, value in settings.items()]
        began = time.monotonic()
        command = [*TORCHRUN, str(FOLDER.parents[1] / "pretrain.py"), "+run_name=ranks", *words]
        done = subprocess.run(command, check=False)
        job.checked(
            "pretrain.py",
            done.returncode == 0 and any((job.scratch / "ranks").glob("step_*")),
            status=done.returncode,
            seconds=time.monotonic() - began,
        )


if __name__ == "__main__":
    run_part(main)
