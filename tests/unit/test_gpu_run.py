"""The driver of benchmarks/gpu/run, with parts of a few lines: what one does costs no other."""

from __future__ import annotations

import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

GPU = ROOT / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))

import driver  # noqa: E402
import findings  # noqa: E402
from parts import PARTS, Part  # noqa: E402

GOOD = """
from job import run_part
run_part(lambda job: job.measured("speed", ms=1.5, words=list(job.words)))
"""
WRONG = """
from job import run_part
def main(job):
    job.checked("equal", False, worst=0.25)
    with job.case("raises"):
        raise RuntimeError("no such backend")
    job.checked("later", True)
run_part(main)
"""
CRASHES = "import os, signal; print('before'); os.kill(os.getpid(), signal.SIGSEGV)"
NOT_PYTHON = "this is no Python"
HANGS = """
import time
from job import run_part
def main(job):
    job.measured("first", ms=2.0)
    time.sleep(600)
run_part(main)
"""
LEAVES_CHILDREN = """
import subprocess, sys, time
from pathlib import Path
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep, start_new_session=own) for own in (False, True)]
shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $! > {pids}.shell; wait"])
while not Path("{pids}.shell").exists() or not Path("{pids}.shell").read_text():
    time.sleep(0.01)
pids = [*(str(child.pid) for child in (*children, shell)), Path("{pids}.shell").read_text()]
Path("{pids}.new").write_text(" ".join(pids))
Path("{pids}.new").rename("{pids}")
{ending}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run parts, given as name=script, and return (exit status, lines of the results)."""
    monkeypatch.setenv("PYTHONPATH", str(GPU))

    def run(*words: str, limit: int = 60, **scripts: str) -> tuple[int, list[findings.Line]]:
        parts = []
        for name, script in scripts.items():
            path = tmp_path / f"{name}.py"
            path.write_text(script)
            parts.append(Part(name, str(path), "a part", limit, ("a", "b"), least=1))
        out = ("--out", str(tmp_path / "out"), "--wheels", str(tmp_path / "none"))
        status = driver.main([*out, *words], parts)
        return status, findings.read(tmp_path / "out" / "results.jsonl")

    return run


@pytest.fixture
def at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Let the limit of a part be reached once a file has a text, however slow the machine is."""

    def reached_with(name: str) -> None:
        wait, file = subprocess.Popen.wait, tmp_path / name

        def until(child: subprocess.Popen, timeout: float | None = None) -> int:
            if timeout is None:
                return wait(child)
            while not _text(file):
                try:
                    return wait(child, 0.005)
                except subprocess.TimeoutExpired:
                    continue
            raise subprocess.TimeoutExpired(child.args, timeout)

        monkeypatch.setattr(subprocess.Popen, "wait", until)

    return reached_with


def statuses(lines: list[findings.Line]) -> dict[str, str]:
    """Part -> the first word of how it ended."""
    return {line["part"]: line["status"].split()[0] for line in lines if "status" in line}


def test_results_logs_and_table(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, lines = run(good=GOOD, also=GOOD)
    assert status == 0
    figures = {"ms": 1.5, "words": ["a", "b"]}
    assert lines[0] == {"part": "good", "case": "speed", "ok": None, "figures": figures}
    assert statuses(lines) == {"good": "passed", "also": "passed"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| good | speed |  | ms 1.5, words ['a', 'b'] |" in table
    assert table.strip() in capsys.readouterr().out
    assert (tmp_path / "out" / "logs.txt").read_text().count("'ms': 1.5") == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.jsonl",
        "logs.txt",
        "table.md",
    }


def test_a_part_that_fails_costs_no_other(run, capsys: pytest.CaptureFixture) -> None:
    status, lines = run(wrong=WRONG, crash=CRASHES, broken=NOT_PYTHON, good=GOOD)
    assert status == 1
    ended = statuses(lines)
    assert ended == {"wrong": "failed", "crash": "failed", "broken": "failed", "good": "passed"}
    of_wrong = {line["case"]: line for line in lines if line["part"] == "wrong" and "case" in line}
    assert of_wrong["equal"]["ok"] is False and of_wrong["later"]["ok"] is True
    assert of_wrong["raises"]["figures"] == {"error": "RuntimeError: no such backend"}
    said = capsys.readouterr().out
    assert "SyntaxError" in said and "    before" in said  # the last lines of each that failed


def test_a_part_that_hangs_is_killed_and_keeps_its_first_results(run, at_its_limit) -> None:
    at_its_limit("out/results.jsonl")
    status, lines = run(hangs=HANGS)
    assert status == 1
    assert lines[0]["case"] == "first" and lines[0]["figures"] == {"ms": 2.0}
    assert statuses(lines) == {"hangs": "killed"}


def test_the_limit_of_a_part_is_kept(run) -> None:
    _, lines = run("--device", "cuda", limit=1, hangs="import time; time.sleep(600)", good=GOOD)
    assert statuses(lines)["hangs"] == "killed"


@pytest.mark.parametrize("ending", ["time.sleep(600)", ""], ids=["killed", "ended"])
def test_nothing_that_a_part_started_is_left(
    run, at_its_limit, tmp_path: Path, ending: str
) -> None:
    """Its children, theirs, and those with a process group of their own; whether it is killed or
    ends well."""
    pids = tmp_path / "pids"
    script = LEAVES_CHILDREN.replace("{pids}", str(pids)).replace("{ending}", ending)
    if ending:
        at_its_limit("pids")
    _, lines = run(leaves=script)
    assert statuses(lines) == {"leaves": "killed" if ending else "passed"}
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] in "ZX", pid


def test_an_exhausted_budget_skips_what_is_left(run) -> None:
    status, lines = run("--budget", str(driver.RESERVE + 0.5), good=GOOD, also=GOOD)
    assert statuses(lines) == {"good": "skipped:", "also": "skipped:"}
    assert status == 0  # all that ran has passed
    assert "it needs 1" in lines[0]["status"]


def test_a_part_gets_no_more_than_is_left_and_leaves_what_it_should(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def note(name: str, command: list[str], limit: float, *_: object) -> driver.Ended:
        limits.append(limit)
        return driver.Ended(0, 0.0, "")

    monkeypatch.setattr(driver, "run_command", note)
    run("--device", "cuda", "--budget", "40", limit=1000, good=GOOD)
    assert 20 < limits.pop() <= 40 - driver.RESERVE
    part = Part("a", "a.py", "", 1000, least=1, leaves=20)
    settings = driver.Settings(Path("/nowhere"), "cuda", time.monotonic() + 40)
    monkeypatch.setattr(driver, "record", lambda *_: None)
    driver._run_or_skip(part, settings, Path("/nowhere"), {})
    assert limits.pop() <= 40 - driver.RESERVE - 20


def test_only_skip_and_the_second_selection(run, capsys: pytest.CaptureFixture) -> None:
    _, lines = run("--only", "also,good", good=GOOD, other=GOOD, also=GOOD)
    assert [*statuses(lines)] == ["good", "also"]
    _, lines = run("--skip", "good", good=GOOD, other=GOOD)
    assert [*statuses(lines[4:])] == ["other"]
    capsys.readouterr()
    assert driver.main(["--list", "--second"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [part.name for part in PARTS if part.second] and "products" in listed


def test_an_unknown_part_gets_the_nearest_right_one(run, capsys: pytest.CaptureFixture) -> None:
    for option in ("--only", "--skip"):
        with pytest.raises(SystemExit) as ended:
            driver.main([option, "machine,step-mpl", "--out", "x"])
        assert ended.value.code == 2
        assert "no part 'step-mpl'; the nearest is 'steps-mlp'" in capsys.readouterr().err


def test_every_part_has_a_script_and_a_name_of_its_own() -> None:
    assert all((GPU / part.script).is_file() for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_the_versions_that_are_collected_are_those_of_the_constraints() -> None:
    wheels = runpy.run_path(str(GPU / "wheels"))
    pins = "a==1.0\nb-c==2 ; sys_platform == 'linux'\n"
    assert wheels["requirements"](["b-c", "a", "d"], pins) == ["b-c==2", "a==1.0", "d"]
    wanted = wheels["requirements"](wheels["PACKAGES"], wheels["CONSTRAINTS"].read_text())
    unpinned = [word for word in wanted if "==" not in word]
    assert unpinned in ([], ["nvidia-ml-py"])  # an option of the project
    assert {*wheels["WITHOUT_WHEEL"]} <= {*wheels["PACKAGES"]}


def test_half_a_line_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    findings.append(file, {"part": "a", "case": "b", "figures": {"x": float("nan"), "y": [1.0]}})
    with file.open("a") as half:
        half.write('{"part": "a", "ca')
    (line,) = findings.read(file)
    assert line == {"part": "a", "case": "b", "figures": {"x": None, "y": [1.0]}}
    assert "| a | b |  | y [1.0] |" in findings.table([line])  # what is not known is left out


def test_a_run_that_is_told_to_stop_writes_its_table(tmp_path: Path) -> None:
    """The program itself, run by its name, with standard library alone."""
    child = subprocess.Popen(
        [str(GPU / "run"), "--out", str(tmp_path), "--device", "cpu", "--only", "machine,ceilings"],
        stdout=subprocess.PIPE,
        text=True,
    )
    while not re.search(r'"case": "python"', _text(tmp_path / "results.jsonl")):
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert "| machine | python |" in (tmp_path / "table.md").read_text()
    assert "| machine | python |" in said


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
