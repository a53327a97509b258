"""Slurm as Snakemake sees it from the login node: whether it answers, and what became of jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trm.errors import TrmError
from trm.progress import duration, say

SECONDS_FOR_AN_ANSWER = 30.0
SECONDS_OF_SILENCE = 60.0  # before the first line about it
SECONDS_BETWEEN_NOTES = 600.0
SECONDS_UNTIL_LOST = 300.0  # accounts may be behind the controller, and a limit may be raised

REMEDIES = {
    "FAILED": "its log has the cause; if it was killed without a word, raise `mem_mb`",
    "OUT_OF_MEMORY": "raise `mem_mb` under `resources:` of its benchmark",
    "TIMEOUT": "raise its `runtime`, or the seconds of --signal=TERM@120 if saving takes longer",
    "DEADLINE": "its deadline passed before it could end",
    "CANCELLED": "somebody or Slurm cancelled it",
    "PREEMPTED": "it was preempted, and Slurm did not requeue it",
    "NODE_FAIL": "its node failed, and Slurm did not requeue it",
    "BOOT_FAIL": "its node did not boot",
    "REVOKED": "another cluster of the federation has taken it",
}
"""States in which a job has ended without success: what it means, or what to do."""
LOST = "is lost: Slurm's controller no longer lists it, and the accounts record no end"
BLOCKED = (
    "was cancelled, as it would not start by itself ({}): see `resources:` of its benchmark, and "
    "its partition, account and QOS in slurm/config.yaml"
)

# Why a job is pending that will start by itself, and one that will not: it asks for too much, or
# Slurm holds it because a node failed to start it.
_USUAL = re.compile(
    "None|Priority|Resources|Dependency|BeginTime|Prolog|Cleaning|Licenses|Reservation|NodeDown"
    "|JobArrayTaskLimit"
)
_NEVER = re.compile(
    r"PartitionTimeLimit|\w+PerJob\w*|BadConstraints|DependencyNeverSatisfied|Invalid(?:Account|QOS)"
    r"|(?:Account|QOS)NotAllowed|launch failed requeued held|JobHoldMaxRequeue"
)

_HELD = ("REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "SUSPENDED")

# What sbatch prints when it would accept the same job later.
_LATER = re.compile(
    r"\w*Submit\w*Limit|[Uu]nable to contact slurm controller|Socket timed out|Zero Bytes were"
    r"|temporarily un|Connection (?:refused|timed out)|Transport endpoint|Job dependency problem",
)


class SlurmSilent(TrmError):
    """Slurm's programs are missing or get no answer."""


def ask(*command: str) -> str:
    """What one of Slurm's programs prints; SlurmSilent where it fails or is missing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_FOR_AN_ANSWER, check=False
        )
    except OSError as error:
        raise SlurmSilent(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        seconds = SECONDS_FOR_AN_ANSWER
        raise SlurmSilent(f"{command[0]}: no answer within {seconds:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() + done.stdout.strip().splitlines()
        why = next((line for line in lines if "Munge" in line), lines[0] if lines else "no answer")
        raise SlurmSilent(f"{command[0]}: {why.removeprefix(f'{command[0]}: ')}")
    return done.stdout


def accepted_later(refusal: str) -> bool:
    """Whether sbatch would accept later what it has refused: a limit on the number of jobs that a
    user may submit is reached, the controller does not answer, or a predecessor has just ended."""
    return _LATER.search(refusal) is not None


# --- before the first job -------------------------------------------------------------------------


@dataclass(frozen=True)
class EarlierJob:
    """A job of an earlier Snakemake in the same folder that has not ended."""

    id: str
    state: str
    comment: str  # rule and wildcards, as the plugin writes them

    def note(self) -> str:
        return (
            f"note: Slurm job {self.id} of an earlier Snakemake has not ended ({self.state}, "
            f"{self.comment}); where its files are needed again, the new job waits for its end. "
            f"To end it at once: scancel {self.id}"
        )


def jobs_still_in(folder: Path) -> list[EarlierJob]:
    """This user's jobs that were submitted in `folder` and have not ended.

    SlurmSilent with a remedy where this machine has no Slurm that answers.
    """
    otherwise = "or run without `--profile slurm`: give `--cores N` instead"
    if shutil.which("sbatch") is None:
        raise SlurmSilent(
            "--profile slurm: this machine has no sbatch; start Snakemake on the login node of "
            f"your cluster, {otherwise}"
        )
    try:
        ask("scontrol", "ping")  # in a moment, where others try for ten seconds
        lines = ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%Z|%k").splitlines()
    except SlurmSilent as error:
        raise SlurmSilent(
            f"--profile slurm: Slurm does not answer ({error}); start Snakemake where `sinfo` "
            f"lists the cluster's partitions (a login node, with munge running), {otherwise}"
        ) from None
    rows = (line.split("|", 3) for line in lines)
    return [
        EarlierJob(job, state, comment)
        for job, state, where, comment in rows
        if where == str(folder) and comment.startswith("rule_")
    ]


def start_after(earlier: Sequence[EarlierJob], rule: str, wildcards: Sequence[str]) -> str:
    """The option by which sbatch lets a job start only when those of `earlier` for the same files
    have ended; empty where there are none."""
    words = ["rule", rule, *(["wildcards", *wildcards] if wildcards else [])]
    comment = "_".join(words).replace("/", "_")
    ids = [job.id for job in earlier if job.comment == comment]
    if ids:
        with suppress(SlurmSilent):  # then sbatch fails too, and is called again later
            listed = ask("squeue", "--me", "--noheader", "--array", "--format=%i").split()
            # sbatch may refuse to wait for a job that Slurm has forgotten.
            ids = [job for job in ids if job in listed]
    return f" --dependency=afterany:{':'.join(ids)}" if ids else ""


# --- while jobs run -------------------------------------------------------------------------------


@dataclass
class Watch:
    """Finds out which jobs have ended, also when Slurm is silent for a while, keeps no accounts, or
    does not requeue what it preempted."""

    run: str  # the name that all jobs of this Snakemake have in Slurm
    now: Callable[[], float] = time.monotonic
    _silent_since: float | None = None
    _next_note: float = 0.0
    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    def ended(self, jobs: Sequence[str]) -> dict[str, str | None]:
        """Each of `jobs` that has ended: None after a success, else a sentence that says how. Empty
        while Slurm's controller is silent. A job that would never start is cancelled.
        """
        try:
            listed = self._listed()
        except SlurmSilent as error:
            self._note_silence(error)
            return {}
        self._silent_since = None
        missing = [job for job in jobs if job not in listed]
        states = {job: state for job, (state, _) in listed.items()} | _recorded(missing)
        failures = self._blocked(jobs, listed) | self._lost(missing)
        for job in jobs:
            state = states.get(job)
            if state == "COMPLETED":
                failures[job] = None
            elif state in REMEDIES:
                failures[job] = f"Slurm job {job} has ended as {state}: {REMEDIES[state]}. "
        return failures

    def _listed(self) -> dict[str, tuple[str, str]]:
        """Job -> state and reason, from the controller, which forgets a job after its end."""
        words = ("--noheader", "--array", "--states=all", "--format=%i|%T|%r")
        lines = ask("squeue", *words, "--name", self.run).splitlines()
        return {job: (state, why) for job, state, why in (line.split("|", 2) for line in lines)}

    def _blocked(self, jobs: Sequence[str], listed: dict[str, tuple[str, str]]) -> dict[str, str]:
        reasons = {job: why for job, (state, why) in listed.items() if state == "PENDING"}
        reasons |= {job: state for job, (state, _) in listed.items() if state in _HELD}
        unusual = {
            job: reasons[job] for job in jobs if not _USUAL.fullmatch(reasons.get(job, "None"))
        }
        self._note_reasons(unusual)
        failures = {}
        for job, reason in unusual.items():
            if self._seconds_of(job, reason) >= SECONDS_UNTIL_LOST and _NEVER.fullmatch(reason):
                with suppress(SlurmSilent):
                    ask("scancel", job)
                failures[job] = f"Slurm job {job} {BLOCKED.format(reason)}. "
        return failures

    def _note_reasons(self, reasons: dict[str, str]) -> None:
        """One line about each reason, with the jobs that have it for the first time."""
        new: dict[str, list[str]] = {}
        for job, reason in reasons.items():
            if (job, reason) not in self._since:
                new.setdefault(reason, []).append(job)
        for reason, jobs in new.items():
            say(f"note: Slurm jobs wait because of {reason}: {', '.join(jobs)} (squeue -j JOB)")

    def _lost(self, missing: Sequence[str]) -> dict[str, str]:
        return {
            job: f"Slurm job {job} {LOST}. "
            for job in missing
            if self._seconds_of(job, "missing") >= SECONDS_UNTIL_LOST
        }

    def _seconds_of(self, job: str, what: str) -> float:
        """Since when this has been seen of the job."""
        now = self.now()
        return now - self._since.setdefault((job, what), now)

    def _note_silence(self, error: SlurmSilent) -> None:
        now = self.now()
        if self._silent_since is None:
            self._silent_since, self._next_note = now, now + SECONDS_OF_SILENCE
        if now >= self._next_note:
            self._next_note = now + SECONDS_BETWEEN_NOTES
            say(
                f"note: Slurm has not answered for {duration(now - self._silent_since)} ({error}); "
                "its jobs are not lost, and are looked for again"
            )


def _recorded(jobs: Sequence[str]) -> dict[str, str]:
    """Job -> state, from the accounts; empty where there are none, or they do not answer."""
    if not jobs:
        return {}
    words = ("-X", "--noheader", "--parsable2", "--format=JobID,State")
    try:
        lines = ask("sacct", *words, "-j", ",".join(jobs)).splitlines()
    except SlurmSilent:
        return {}
    # "CANCELLED by 1000": the state is the first word.
    return {
        job: state.partition(" ")[0] for job, _, state in (line.partition("|") for line in lines)
    }
