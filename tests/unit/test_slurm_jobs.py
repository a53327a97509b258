"""What becomes of Slurm jobs, as small programs in place of Slurm's report it. The real ones are in
tests/slow/slurm."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from trm.runtime.slurm_jobs import (
    SECONDS_BETWEEN_NOTES,
    SECONDS_OF_SILENCE,
    SECONDS_UNTIL_LOST,
    EarlierJob,
    SlurmSilent,
    Watch,
    accepted_later,
    jobs_still_in,
    start_after,
)

SILENT = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"


@dataclass
class Slurm:
    """Programs by the names of Slurm's, and a clock."""

    folder: Path
    seconds: float = 0.0

    def set(self, program: str, script: str) -> None:
        path = self.folder / program
        path.write_text(f"#!/bin/sh\necho {program} $* >> {self.folder}/calls\n{script}\n")
        path.chmod(0o755)

    def prints(self, program: str, *lines: str) -> None:
        self.set(program, "\n".join(f"echo '{line}'" for line in lines))

    def calls(self) -> str:
        return (self.folder / "calls").read_text()

    def watch(self) -> Watch:
        return Watch("run", now=lambda: self.seconds)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    slurm = Slurm(tmp_path)
    for program in ("sbatch", "scontrol", "squeue", "scancel"):
        slurm.prints(program)
    slurm.set("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    return slurm


def test_the_controller_alone_is_enough(slurm: Slurm) -> None:
    slurm.prints(
        "squeue", "1|COMPLETED|None", "2|RUNNING|None", "3|TIMEOUT|TimeLimit", "4_2|FAILED|x"
    )
    ended = slurm.watch().ended(["1", "2", "3", "4_2"])
    assert {*ended} == {"1", "3", "4_2"} and ended["1"] is None
    assert "ended as TIMEOUT: raise its `runtime`" in ended["3"]
    assert "sacct" not in slurm.calls()


def test_accounts_are_asked_for_what_the_controller_has_forgotten(slurm: Slurm) -> None:
    slurm.prints("squeue", "2|RUNNING|None")
    slurm.prints("sacct", "1|COMPLETED", "3|CANCELLED by 1000", "4|PREEMPTED", "5|NODE_FAIL")
    ended = slurm.watch().ended(["1", "2", "3", "4", "5"])
    assert {*ended} == {"1", "3", "4", "5"} and ended["1"] is None
    assert "ended as CANCELLED: somebody" in ended["3"]
    assert "did not requeue it" in ended["4"] and "did not requeue it" in ended["5"]
    assert "-j 1,3,4,5" in slurm.calls()


@pytest.mark.parametrize("accounts", [[], ["1|RUNNING"], ["1|REQUEUED"]])
def test_a_job_that_slurm_has_forgotten_is_lost_after_minutes(
    slurm: Slurm, accounts: list[str]
) -> None:
    if accounts:
        slurm.prints("sacct", *accounts)
    watch = slurm.watch()
    assert watch.ended(["1"]) == {}
    slurm.seconds = SECONDS_UNTIL_LOST - 1
    assert watch.ended(["1"]) == {}
    slurm.seconds += 1
    assert "no longer lists it" in watch.ended(["1"])["1"]


def test_an_end_that_the_accounts_learn_late_is_no_loss(slurm: Slurm) -> None:
    watch = slurm.watch()
    assert watch.ended(["1"]) == {}
    slurm.seconds = SECONDS_UNTIL_LOST
    slurm.prints("sacct", "1|COMPLETED")
    assert watch.ended(["1"]) == {"1": None}


def test_no_job_is_lost_while_slurm_is_silent(
    slurm: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    slurm.set("squeue", SILENT)
    watch = slurm.watch()
    assert watch.ended(["1"]) == {}
    assert capfd.readouterr().err == ""
    notes = 0
    while slurm.seconds < SECONDS_BETWEEN_NOTES + 2 * SECONDS_OF_SILENCE:
        slurm.seconds += SECONDS_OF_SILENCE
        assert watch.ended(["1"]) == {}
        notes += capfd.readouterr().err.count("note: Slurm has not answered for")
    assert notes == 2
    slurm.prints("squeue", "1|COMPLETED|None")
    assert watch.ended(["1"]) == {"1": None}
    slurm.set("squeue", SILENT)
    assert watch.ended(["1"]) == {} and capfd.readouterr().err == ""
    slurm.seconds += SECONDS_OF_SILENCE
    assert watch.ended(["1"]) == {} and "for 60 s" in capfd.readouterr().err


def test_why_a_job_is_pending_is_noted_once(
    slurm: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    reasons = ["Priority", "AssocGrpGRES", "AssocGrpGRES", "JobHeldUser"]
    pending = (f"{i}|PENDING|{reason}" for i, reason in enumerate(reasons, 1))
    slurm.prints("squeue", *pending, "5|SPECIAL_EXIT|None")
    watch = slurm.watch()
    for _ in range(3):
        assert watch.ended(["1", "2", "3", "4", "5"]) == {}
        slurm.seconds += SECONDS_UNTIL_LOST
    said = capfd.readouterr().err
    assert said.count("note: Slurm jobs wait") == 3
    assert "because of AssocGrpGRES: 2, 3 (squeue -j JOB)" in said


@pytest.mark.parametrize(
    "reason",
    [
        "PartitionTimeLimit",
        "BadConstraints",
        "QOSMaxWallDurationPerJobLimit",
        "launch failed requeued held",
    ],
)
def test_a_job_that_would_never_start_is_cancelled_after_minutes(slurm: Slurm, reason: str) -> None:
    slurm.prints("squeue", f"1|PENDING|{reason}")
    watch = slurm.watch()
    assert watch.ended(["1"]) == {}
    assert "scancel" not in slurm.calls()
    slurm.seconds = SECONDS_UNTIL_LOST
    assert f"would not start by itself ({reason})" in watch.ended(["1"])["1"]
    assert "scancel 1" in slurm.calls()


@pytest.mark.parametrize(
    ("refusal", "later"),
    [
        ("AssocMaxSubmitJobLimit", True),
        ("QOSMaxSubmitJobPerUserLimit", True),
        ("AssocGrpSubmitJobsLimit", True),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", True),
        ("Batch job submission failed: Invalid account or account/partition combination", False),
        ("Batch job submission failed: Requested node configuration is not available", False),
        ("QOSMaxWallDurationPerJobLimit", False),
    ],
)
def test_what_slurm_would_accept_later(refusal: str, later: bool) -> None:
    assert (
        accepted_later(f"SLURM sbatch failed. The error message was 'sbatch: error: {refusal}'.")
        is later
    )


def test_jobs_of_an_earlier_snakemake_in_the_same_folder(slurm: Slurm, tmp_path: Path) -> None:
    slurm.prints(
        "squeue",
        f"1|RUNNING|{tmp_path}|rule_train_wildcards_b_v_0",
        f"2|RUNNING|{tmp_path}|my own",
        "3|RUNNING|/elsewhere|rule_train_wildcards_b_v_0",
    )
    (job,) = jobs_still_in(tmp_path)
    assert job == EarlierJob("1", "RUNNING", "rule_train_wildcards_b_v_0")
    assert "scancel 1" in job.note()
    slurm.prints("squeue", "1", "2")
    assert start_after([job], "train", ["b", "v", "0"]) == " --dependency=afterany:1"
    assert start_after([job], "train", ["b", "v", "1"]) == ""
    assert start_after([job], "evaluate", ["b", "v", "0"]) == ""
    slurm.prints("squeue", "2")  # it has ended since
    assert start_after([job], "train", ["b", "v", "0"]) == ""
    slurm.set("squeue", SILENT)
    assert start_after([job], "train", ["b", "v", "0"]) == " --dependency=afterany:1"


def test_without_sbatch_the_remedy_is_named(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        SlurmSilent, match="no sbatch; start Snakemake on the login node.*--cores N"
    ):
        jobs_still_in(Path.cwd())


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'Slurmctld(primary) at head is DOWN'; exit 1", "at head is DOWN"),
        (
            "printf 'error: restart\\nscontrol: error: Munge encode failed: x\\n' >&2; exit 1",
            "Munge encode failed",
        ),
        ("exit 1", "no answer"),
    ],
)
def test_without_an_answer_the_remedy_is_named(slurm: Slurm, script: str, why: str) -> None:
    slurm.set("scontrol", script)
    with pytest.raises(SlurmSilent, match=f"does not answer.*{why}.*--cores N"):
        jobs_still_in(Path.cwd())
