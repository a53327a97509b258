"""Nodes of a cluster, as processes whose file system shows late what other nodes do (late.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

HERE = Path(__file__).parent
NEVER = 1e9


def why_no_nodes(library: Path) -> str | None:
    """Why there can be none here; None where the library was built."""
    if sys.platform != "linux":
        return "late.c is written for Linux"
    if shutil.which("gcc") is None:
        return "no gcc: apt-get install gcc"
    words = ["gcc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "late.c", "-ldl"]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"late.c does not compile: {built.stderr[:300]}" if built.returncode else None


@dataclass(frozen=True)
class Started:
    """A process of a node, and the file that takes its stdout and stderr."""

    process: subprocess.Popen
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_said(self, text: str) -> None:
        deadline = time.monotonic() + 600
        while text not in self.said:
            assert self.process.poll() is None or text in self.said, self.said[-4000:]
            assert time.monotonic() < deadline, self.said[-4000:]
            time.sleep(0.02)

    def end(self, status: int = 0) -> str:
        """What it has said when it has ended with this status."""
        self.process.wait(600)
        assert self.process.returncode == status, self.said[-4000:]
        return self.said


@dataclass(frozen=True)
class Nodes:
    """Nodes that share the folder `root`. What one names there the others see after `show`."""

    root: Path
    library: Path
    ledger: Path

    def show(self, after: float = NEVER) -> None:
        """Show what was made until now, and what comes later after so many seconds."""
        (self.ledger / "next").symlink_to(f"{after} {time.time()}")
        (self.ledger / "next").replace(self.ledger / "shown")

    def environment(self, node: str, **variables: str) -> dict[str, str]:
        return (
            os.environ
            | {
                "LD_PRELOAD": str(self.library),
                "LATE_ROOT": str(self.root),
                "LATE_LEDGER": str(self.ledger),
                "LATE_NODE": node,
                "TRM_LATENCY_WAIT": "600",  # however busy the machine is
                "PYTHONPATH": str(ROOT),
                "WANDB_MODE": "disabled",
                "GLOO_SOCKET_IFNAME": "lo",  # the names of the nodes do not resolve
            }
            | variables
        )

    def start(self, node: str, *command: str, **variables: str) -> Started:
        descriptor, log = tempfile.mkstemp(dir=self.ledger, suffix=".log")
        with os.fdopen(descriptor, "w") as file:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment(node, **variables),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return Started(process, Path(log))

    def run(self, node: str, *command: str, **variables: str) -> str:
        """What a command says that succeeds."""
        return self.start(node, *command, **variables).end()


@pytest.fixture(scope="session")
def late_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("late") / "late.so"
    reason = why_no_nodes(library)
    if reason is not None:
        pytest.skip(f"no late file system here: {reason}")
    return library


@pytest.fixture
def nodes(late_library: Path, tmp_path: Path) -> Nodes:
    root, ledger = tmp_path / "shared", tmp_path / "ledger"
    root.mkdir()
    ledger.mkdir()
    nodes = Nodes(root, late_library, ledger)
    nodes.show()
    return nodes
