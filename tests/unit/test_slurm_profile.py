"""rules/slurm.smk in Snakemake and its Slurm plugin, with small programs in place of Slurm's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.cli import main
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from tests.conftest import ROOT

SNAKEFILE = f"""
rule one:
    output: "{{name}}.txt"
    shell: "exit 1"
include: {str(ROOT / "rules" / "slurm.smk")!r}
"""
# A job of an earlier run has this folder and these wildcards; the first submission is refused; each
# job has made its output as soon as it is submitted.
PROGRAMS = {
    "sinfo": "echo 'main*'",
    "scontrol": "exit 0",
    "sacct": "exit 1",
    "sacctmgr": "exit 1",
    "squeue": """
case "$*" in
    *--me*%Z*) echo "5|RUNNING|$PWD|rule_one_wildcards_made" ;;
    *--me*) echo 5 ;;
    *) echo "7|COMPLETED|None" ;;
esac""",
    "sbatch": """
if [ ! -e refused ]; then touch refused; echo AssocMaxSubmitJobLimit >&2; exit 1; fi
touch made.txt; echo 7""",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `calls`: what the programs were called with."""
    (tmp_path / "bin").mkdir()
    for name, script in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/calls\n{script}\n")
        path.chmod(0o755)
    path = [str(tmp_path / "bin"), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("USER", "somebody")
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def run(folder: Path, *options: str) -> int:
    words = ["--snakefile", str(folder / "Snakefile"), "--directory", str(folder)]
    waits = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--executor", "slurm", "--jobs", "2", *waits, *options, "made.txt"])
    return int(end.value.code)


def test_a_refused_job_is_submitted_again_and_waits_for_that_of_an_earlier_run(
    slurm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(slurm) == 0
    said = capfd.readouterr().err
    assert "Slurm job 5 of an earlier Snakemake has not ended" in said
    assert said.count("is submitted again until Slurm accepts it") == 1
    calls = (slurm / "calls").read_text().splitlines()
    submissions = [call for call in calls if call.startswith("sbatch")]
    assert len(submissions) == 2
    assert all("--dependency=afterany:5 " in call for call in submissions)


def test_it_needs_slurm_and_a_dry_run_does_not(
    slurm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (slurm / "bin" / "scontrol").write_text("#!/bin/sh\necho head is DOWN\nexit 1\n")
    assert run(slurm, "-n") == 0
    capfd.readouterr()
    assert run(slurm) == 1
    said = capfd.readouterr().err
    assert "Slurm does not answer (scontrol: head is DOWN)" in said and "Traceback" not in said
    assert not (slurm / "calls").exists() or "sbatch" not in (slurm / "calls").read_text()


def test_it_may_be_called_before_the_executor_is_complete(slurm: Path) -> None:
    """By the thread that the plugin's base class starts; an error there would end it silently."""
    assert run(slurm, "-n") == 0
    executor_class = ExecutorPluginRegistry().plugins["slurm"].executor
    assert executor_class.__name__ == "Following"
    executor = object.__new__(executor_class)
    settings = SimpleNamespace(init_seconds_before_status_checks=40)
    executor.workflow = SimpleNamespace(
        executor_settings=settings,
        remote_execution_settings=SimpleNamespace(seconds_between_status_checks=10),
    )
    executor._next_seconds_between_status_checks = None

    async def look() -> list[object]:
        return [job async for job in executor.check_active_jobs([])]

    assert asyncio.run(look()) == []
    assert executor.next_seconds_between_status_checks == 40


def test_the_snakefile_uses_it() -> None:
    assert 'include: "rules/slurm.smk"' in (ROOT / "Snakefile").read_text()
