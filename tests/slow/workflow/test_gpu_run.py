"""benchmarks/gpu/run as it will run on a machine with a GPU, but tiny and on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT, SOURCES
from tests.project import environment

GPU = ROOT / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))

from parts import PARTS  # noqa: E402


def start(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(GPU / "run"), "--device", "cpu", *words],
        env=environment(ROOT),
        capture_output=True,
        text=True,
        check=False,
    )


def lines_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def a_wheel(folder: Path) -> None:
    """A package of one module, that no machine has."""
    folder.mkdir()
    record = "carried-1.dist-info/"
    with zipfile.ZipFile(folder / "carried-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "here = True\n")
        wheel.writestr(record + "METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1\n")
        wheel.writestr(record + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(record + "RECORD", "")


def test_every_part_passes_at_tiny_sizes(tmp_path: Path) -> None:
    out, hard = tmp_path / "out", SOURCES / "sudoku"
    a_wheel(tmp_path / "wheels")
    words = ("--hard", str(hard), "--wheels", str(tmp_path / "wheels"), "--budget", "3000")
    done = start("--out", str(out), *words)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    lines = lines_of(out)
    ended = {line["part"]: line["status"] for line in lines if "status" in line}
    assert [*ended] == ["wheels", *(part.name for part in PARTS)]
    assert all(status.startswith("passed") for status in ended.values()), ended
    assert all(line["ok"] in (True, None) for line in lines)
    cases = {(line["part"], line.get("case")) for line in lines}
    assert {
        ("training", "resumed = not stopped"),
        ("training", "solve"),
        ("steps-arc", "losses of eager and compiled"),
        ("published", "compiled: published / ours"),
        ("ranks", "barrier and control"),
        ("goldens", "trm_singlez"),
        ("state", "att: restored, three steps later"),
    } <= cases
    (source,) = (
        line["figures"]["source"] for line in lines if line.get("case") == "dataset sudoku-9x9"
    )
    assert source == str(hard)
    assert {path.name for path in out.iterdir()} == {"results.jsonl", "logs.txt", "table.md"}
    assert (out / "table.md").read_text().strip() in done.stdout
