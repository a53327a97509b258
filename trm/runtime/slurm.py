"""What a job does with Slurm itself: put itself back into the queue when its time is up."""

from __future__ import annotations

import os
import re
import subprocess
import time

from trm.progress import say

SECONDS_FOR_SLURM = 30.0  # scontrol, and the end of a job that was put back


def put_back_into_queue() -> None:
    """Requeue this Slurm job, if it is one that Slurm would still let run; else do nothing.

    Under the same job id it starts again by itself, so that neither Snakemake nor anybody else sees
    a failure. A job that somebody cancelled is left alone. Does not come back after a success:
    Slurm ends the job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    shown = _scontrol("show", "job", job)
    state = re.search(r"JobState=(\w+)", shown or "")
    if shown is None or state is None or state[1] != "RUNNING" or "Requeue=0" in shown:
        return
    if _scontrol("requeue", job) is None:
        return
    say(f"Slurm job {job} is back in the queue and resumes when Slurm starts it again")
    time.sleep(SECONDS_FOR_SLURM)


def _scontrol(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=SECONDS_FOR_SLURM
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        say(f"note: scontrol {arguments[0]} failed: {done.stderr.strip()}")
        return None
    return done.stdout
