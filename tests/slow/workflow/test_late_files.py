"""On a file system that shows late what another node has done, nothing is lost or trained twice.

The nodes are processes with a library that hides from each what another one has named, until the
test shows it (tests/late). So these tests need gcc, and no rights.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.late import Nodes, Started, late_library, nodes
from tests.project import FULL, TINY, copy_project
from tests.trainings import assert_same_run, newest, words
from trm.config.compose import compose, save_train_config
from trm.runtime.signals import EXIT_SAVED
from trm.study.run_folder import saved_last

__all__ = ["late_library", "nodes"]  # fixtures

PYTHON = sys.executable
SHORT = {"epochs": 12, "eval_interval": 4, "seed": 1}


# --- the file system itself -----------------------------------------------------------------------


def test_a_node_sees_its_own_files_at_once_and_those_of_others_late(nodes: Nodes) -> None:
    make = "echo 1 > old; mv old file; mkdir folder; echo 2 > folder/inside; echo *; cat file"
    look = "echo *; cat file folder/inside"
    assert nodes.run("a", "sh", "-c", make) == "file folder\n1\n"
    seen = nodes.start("b", "sh", "-c", look).end(1)
    assert seen.startswith("*\n") and seen.count("No such file or directory") == 2
    assert "File exists" in nodes.start("b", "mkdir", "folder").end(1)
    nodes.show()
    assert nodes.run("b", "sh", "-c", look) == "file folder\n1\n2\n"
    nodes.run("b", "sh", "-c", "echo 3 > new; mv new file")
    assert nodes.run("a", "cat", "file") == "1\n" and nodes.run("b", "cat", "file") == "3\n"
    nodes.run("b", "sh", "-c", "echo 4 >> folder/inside")
    assert nodes.run("a", "cat", "folder/inside") == "2\n4\n"  # that it knew already


# --- trainings ------------------------------------------------------------------------------------


def training(settings: Path) -> list[str]:
    """Waits for a lock however busy the machine is."""
    patient = "import trm.training.folder as f; f.SECONDS_TO_WAIT_FOR_LOCK = 600"
    program = "from trm.__main__ import main; from trm.errors import run_cli; run_cli(main)"
    return [PYTHON, "-c", f"{patient}; {program}", "train", "--settings", str(settings)]


def save_settings(data: Path, folder: Path, file: Path, **changes: object) -> Path:
    config = compose(words(data, folder, **SHORT | changes))
    save_train_config(config.model_dump(mode="json"), file)
    return file


@pytest.fixture(scope="module")
def whole(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    settings = save_settings(sudoku_data, folder / "run", folder / "settings.yaml")
    subprocess.run(training(settings), check=True, cwd=ROOT)
    return folder / "run"


def wait_until_saved(node: Started, folder: Path, step: int) -> None:
    deadline = time.monotonic() + 600
    while newest(folder) < f"step_{step:08d}":
        assert node.process.poll() is None and time.monotonic() < deadline, node.said
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_node_resumes_from_what_another_one_saved_a_moment_before(
    sudoku_data: Path, whole: Path, nodes: Nodes, number: int
) -> None:
    folder = nodes.root / "run"
    settings = save_settings(sudoku_data, folder, nodes.root / "settings.yaml")
    first = nodes.start("a", *training(settings))
    wait_until_saved(first, folder, 15)
    first.process.send_signal(number)
    first.end(EXIT_SAVED if number == signal.SIGTERM else -number)
    # Else 40 s are waited for a sign of life (tests/unit/test_locks.py), and all files appear.
    (folder / ".lock.owner").unlink(missing_ok=True)
    # KILL may come after a snapshot has its name and before it is noted for other nodes. Then they
    # wait for the one before, and resume from the newest.
    noted, saved = saved_last(folder).what, newest(folder)
    second = nodes.start("b", *training(settings))
    second.wait_until_said(f"waiting for snapshots/{noted} in {folder}, saved by a, which this")
    nodes.show()
    said = second.end()
    assert f"resuming from step {int(saved.removeprefix('step_'))}, saved" in said
    assert_same_run(whole, folder)


@pytest.mark.parametrize("flock", ["", "local"])
def test_of_two_nodes_that_begin_at_once_one_trains(
    sudoku_data: Path, whole: Path, nodes: Nodes, flock: str
) -> None:
    folder = nodes.root / "run"
    settings = save_settings(sudoku_data, folder, nodes.root / "settings.yaml")
    both = [nodes.start(name, *training(settings), LATE_FLOCK=flock) for name in ("a", "b")]
    while all(node.process.poll() is None for node in both):
        time.sleep(0.05)
    first, second = sorted(both, key=lambda node: node.process.poll() is None)
    assert "trained 36 steps" in first.end()
    second.wait_until_said("waiting for the end of the run in")
    nodes.show()
    said = second.end()
    assert "waiting a minute for its end" in said and "nothing is trained" in said
    assert_same_run(whole, folder)
    assert json.loads((folder / "provenance.json").read_text())["starts"] == 1


# --- a run of several nodes -----------------------------------------------------------------------


def start_ranks(nodes: Nodes, names: list[str], *command: str) -> list[Started]:
    """The command as one rank on each node, with the environment that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [
        nodes.start(
            name,
            *command,
            **meet,
            RANK=str(rank),
            GROUP_RANK=str(rank),
            LOCAL_RANK="0",
            WORLD_SIZE=str(len(names)),
        )
        for rank, name in enumerate(names)
    ]


def run_ranks(nodes: Nodes, names: list[str], *command: str, wait: str) -> None:
    """To their end; what the others wait for is shown when they do."""
    first, *others = start_ranks(nodes, names, *command)
    for node in others:
        node.wait_until_said(f"waiting for {wait}")
    nodes.show()
    for node in (first, *others):
        node.end()


def test_ranks_on_two_nodes_train_on_what_one_of_them_has_just_written(
    sudoku_data: Path, nodes: Nodes
) -> None:
    """Settings that replace others, a dataset, and snapshots."""
    data, folder, settings = (nodes.root / name for name in ("data", "run", "settings.yaml"))
    save_settings(data, folder, settings, lr=0.5)  # which the second node sees
    new = save_settings(data, folder, nodes.root / "new.yaml")
    make = f"cp -r {sudoku_data} partial && mv partial {data} && mv {new} {settings}"
    nodes.run("a", "sh", "-c", make)
    ranks = start_ranks(nodes, ["a", "b"], *training(settings))
    ranks[1].wait_until_said(f"waiting for {data}/train/dataset.json")
    nodes.show()
    wait_until_saved(ranks[0], folder, 15)
    for rank in ranks:
        rank.process.terminate()
    assert "could not be saved" not in ranks[0].end(EXIT_SAVED) + ranks[1].end(EXIT_SAVED)
    saved = newest(folder)
    ranks = start_ranks(nodes, ["a", "c"], *training(settings))
    ranks[0].wait_until_said(f"waiting for snapshots/{saved} in {folder}, saved by a, b")
    nodes.show()
    for rank in ranks:
        rank.end()

    alone = save_settings(data, nodes.root / "alone", nodes.root / "alone.yaml")
    for rank in start_ranks(nodes, ["d", "d"], *training(alone)):
        rank.end()
    assert_same_run(nodes.root / "alone", folder)


def test_ranks_on_two_nodes_evaluate_the_same_weights(
    sudoku_data: Path, whole: Path, nodes: Nodes
) -> None:
    weights = nodes.root / "weights"
    weights.write_bytes((whole / "step_12").read_bytes())  # which the second node sees
    nodes.run("a", "sh", "-c", f"cp {whole}/step_36 new && mv new {weights}")
    evaluate = [PYTHON, "-m", "trm.evaluate", f"checkpoint={weights}"]
    evaluate += [f"data_paths=[{sudoku_data}]", f"config={whole}/all_config.yaml"]
    outputs = "out=two.json", "predictions=two.npz"
    run_ranks(nodes, ["a", "b"], *evaluate, *outputs, wait=f"the newest {weights}")
    nodes.run("a", *evaluate, "out=one.json", "predictions=one.npz")
    one, two = ((nodes.root / f"{name}.npz").read_bytes() for name in ("one", "two"))
    assert one == two


# --- Snakemake ------------------------------------------------------------------------------------

RESULT = "results/tiny/sudoku-6x6/mlp/seed-0"


def snakemake(nodes: Nodes, target: str, wait: int, *files: str, **variables: str) -> Started:
    """On the node `login`, each job on one of its own."""
    flags = ["--executor", "nodes", "--jobs", "2", "--latency-wait", str(wait)]
    flags += ["--seconds-between-status-checks", "1", "--rerun-incomplete", "--show-failed-logs"]
    command = [PYTHON, "-m", "snakemake", *flags, "--configfile", str(FULL), str(TINY), *files]
    path = f"{nodes.root}:{ROOT / 'tests' / 'late'}"
    return nodes.start("login", *command, "--", target, PYTHONPATH=path, **variables)


def test_snakemake_and_its_jobs_on_other_nodes(nodes: Nodes) -> None:
    """From a dataset to an evaluation in two shards. The training's files are later than Snakemake
    waits for, then the same command waits longer."""
    copy_project(nodes.root)
    resources = {"ranks": 1, "threads": 1, "mem_mb": 2000, "runtime": 10, "evaluate_shards": 2}
    overlay = {"benchmarks": {"sudoku-6x6": {"resources": resources}}}
    (nodes.root / "shards.yaml").write_text(yaml.safe_dump(overlay))
    nodes.show(after=3)
    snakemake(nodes, "data/tiny/sudoku-6x6-1k-aug-50", 600).end()

    nodes.show()
    said = snakemake(nodes, f"{RESULT}/config.yaml", 1, LATE_LOGIN="1").end(1)
    assert "Missing files after 1 seconds" in said
    run = nodes.root / "checkpoints/tiny/sudoku-6x6/mlp/seed-0"
    log = nodes.root / "logs/tiny/train/sudoku-6x6/mlp/seed-0.log"
    assert log.read_text().count("trained ") == 1
    first = {path.name: path.stat().st_mtime_ns for path in run.glob("step_*")}

    nodes.show(after=3)
    snakemake(nodes, f"{RESULT}/metrics.json", 600, "shards.yaml").end()
    assert log.read_text().count("trained ") == 1
    assert {path.name: path.stat().st_mtime_ns for path in run.glob("step_*")} == first
    assert json.loads((nodes.root / RESULT / "metrics.json").read_text())
    assert not list(run.rglob("*-of-2.npz"))
