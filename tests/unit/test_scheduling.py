"""rules/scheduling.smk: what it changes in Snakemake's scheduler, and whether it still has to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import snakemake
import yaml
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import MaxJobsPerTimespan

from tests.conftest import ROOT

TWO_JOBS = """
rule last:
    input: "first.txt"
    output: "last.txt"
    shell: "touch {output}"
rule first:
    output: "first.txt"
    shell: "touch {output}"
"""
MORE_JOBS = """
rule last:
    input: expand("{n}.txt", n=range(5))
    output: "last.txt"
    shell: "touch {output}"
rule one:
    output: "{n}.txt"
    shell: "touch {output}"
"""
WITH_OURS = f"""
include: {str(ROOT / "rules" / "scheduling.smk")!r}
onstart:
    look_for_jobs_only_when_one_ends(workflow)
"""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """After how many seconds Snakemake wants to look for jobs again, though none has ended."""
    delays: list[float] = []
    monkeypatch.setattr(
        JobScheduler, "_schedule_reevalutation", lambda _, seconds: delays.append(seconds)
    )
    return delays


def run(folder: Path, snakefile: str, *options: str) -> None:
    (folder / "Snakefile").write_text(snakefile)
    words = ["--snakefile", folder / "Snakefile", "--directory", folder, "--cores", 1, *options]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--quiet", "all"])
    assert end.value.code == 0
    assert (folder / "last.txt").exists()


def test_snakemake_still_looks_each_second_by_itself(tmp_path: Path, looks: list[float]) -> None:
    run(tmp_path, TWO_JOBS)
    assert looks and {*looks} == {1.0}, (
        f"Snakemake {snakemake.__version__} no longer does what rules/scheduling.smk mends (seen "
        "in 9.27.1): remove that file, its two lines in the Snakefile, and this test"
    )


def test_here_it_looks_when_a_job_ends(tmp_path: Path, looks: list[float]) -> None:
    run(tmp_path, WITH_OURS + TWO_JOBS)
    assert looks == []


def test_a_limit_that_the_user_gives_stays(tmp_path: Path, looks: list[float]) -> None:
    run(tmp_path, WITH_OURS + TWO_JOBS, "--max-jobs-per-timespan", "7/2s")
    assert {*looks} == {2.0}


def test_under_a_limit_it_looks_once_per_timespan(tmp_path: Path, looks: list[float]) -> None:
    """And not once more for each of the jobs that have ended."""
    run(tmp_path, WITH_OURS + MORE_JOBS, "--max-jobs-per-timespan", "7/1h")
    assert looks == [3600.0]


def test_the_slurm_profile_submits_no_more_than_twenty_jobs_at_once() -> None:
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
    limit = MaxJobsPerTimespan.parse_choice(profile["max-jobs-per-timespan"])
    assert (limit.max_jobs, limit.timespan) == (20, 10)


def test_the_snakefile_uses_it() -> None:
    snakefile = (ROOT / "Snakefile").read_text()
    assert 'include: "rules/scheduling.smk"' in snakefile
    assert re.search(
        r"^onstart:\n(    .*\n)*    look_for_jobs_only_when_one_ends\(", snakefile, re.M
    )
