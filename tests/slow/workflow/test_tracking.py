"""The real W&B, offline: one curve over interruptions, equal to history.csv."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT, as_settings, overrides
from tests.trainings import newest, wait_for
from tests.wandb_file import OfflineRun, read_offline

TIMES = ("elapsed_s", "examples_per_s")


def matching(pattern: str) -> list[str]:
    """What a shell makes of it."""
    return sorted(str(p) for p in Path("/").glob(pattern.removeprefix("/")))


def command(script: str, *words: object) -> list[str]:
    return [sys.executable, str(ROOT / "workflow" / "scripts" / script), *map(str, words)]


def start(root: Path, data: Path, *options: str) -> subprocess.Popen:
    words = overrides(wandb="offline", epochs=36, eval_interval=12, ema=True, save_every_steps=10)
    return subprocess.Popen(
        command(
            "train.py",
            "--dataset",
            data,
            "--run-folder",
            "run",
            "--project",
            "small",
            "--run-name",
            "mlp-seed-3",
            "--seed",
            3,
            "--threads",
            1,
            "--out-weights",
            "run/final",
            "--out-history",
            "result/history.csv",
            "--out-config",
            "result/config.yaml",
            "--settings",
            as_settings(
                [*words, "evaluators=[]", "eval_raw=true", "arch.no_ACT_continue=false", *options]
            ),
        ),
        cwd=root,
        env=environment(root),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def environment(root: Path) -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return ours | {"PYTHONPATH": str(ROOT), "WANDB_DIR": str(root)}


@pytest.fixture(scope="module")
def interrupted(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that is told to stop twice; its folder and all that it said."""
    root = tmp_path_factory.mktemp("tracked")
    said = ""
    for number in (signal.SIGTERM, signal.SIGUSR1, None):
        job = start(root, sudoku_data)
        if number is not None:
            before = newest(root / "run")
            wait_for(lambda: newest(root / "run") > before)  # noqa: B023
            job.send_signal(number)
        said += job.communicate(timeout=300)[1]
    assert job.returncode == 0, said
    return root, said


@pytest.fixture(scope="module")
def parts(interrupted: tuple[Path, str]) -> list[OfflineRun]:
    return [read_offline(f) for f in sorted((interrupted[0] / "wandb").glob("offline-run-*"))]


def test_runs_compare_without_clicking(parts: list[OfflineRun]) -> None:
    assert len(parts) == 3
    for part in parts:
        assert (part.run.project, part.run.run_group) == ("small", "small/mlp")
        assert part.run.display_name == "mlp-seed-3"
        assert part.config["seed"] == 3
        assert part.config["arch"]["L_cycles"] == 2
        assert part.config["global_batch_size"] == 8


def test_a_resumed_run_goes_on_with_its_own_curve(parts: list[OfflineRun]) -> None:
    assert len({part.run.run_id for part in parts}) == 1
    rows: dict[int, dict] = {}
    for part in parts:
        steps = [row["_step"] for row in part.rows]
        assert steps == sorted(set(steps))
        for row in part.rows:
            seen = rows.setdefault(row["_step"], row)
            # A step that two parts hold has the same values in both.
            for key in seen.keys() & row.keys():
                if not key.startswith("_") and not key.endswith(TIMES):
                    assert row[key] == seen[key], key
    assert max(rows) == 108


def test_history_holds_the_same_series(
    interrupted: tuple[Path, str], parts: list[OfflineRun]
) -> None:
    tracked: dict[int, dict] = {}
    for part in parts:
        for row in part.rows:
            tracked.setdefault(row["_step"], {}).update(row)
    history = pd.read_csv(interrupted[0] / "result" / "history.csv")
    names = {"train": "train/", "test": "all/", "test-raw": "raw/all/"}
    seen = set()
    for record in history.to_dict("records"):
        prefix = names[record["split"]]
        row = tracked[record["step"]]
        for key, value in record.items():
            name = f"{prefix}{key}"
            of_training = key in (*TIMES, "train_flop") and name not in row
            if key in ("step", "split") or pd.isna(value) or of_training:
                continue
            seen.add(name)
            if key not in TIMES:
                assert row[name] == pytest.approx(value, rel=1e-8), name
    told = {k for row in tracked.values() for k in row if not k.startswith("_")}
    assert told - seen == {"num_params"}  # of the run, in provenance.json
    assert "train/q_continue_loss" in seen and "raw/all/exact_accuracy" in seen


def test_what_to_sync_is_told_once(interrupted: tuple[Path, str]) -> None:
    root, said = interrupted
    (pattern,) = re.findall(r"wandb sync (\S+)", said)
    assert matching(pattern) == sorted(map(str, (root / "wandb").glob("offline-run-*")))


def test_the_run_ends_with_its_figures(parts: list[OfflineRun]) -> None:
    summary = parts[-1].summary
    assert summary["all/exact_accuracy"] == parts[-1].rows[-1]["all/exact_accuracy"]
    assert summary["train_wall_s"] > 0


def test_metrics_and_figures_come_to_the_same_run(
    interrupted: tuple[Path, str], parts: list[OfflineRun], sudoku_data: Path
) -> None:
    root, _ = interrupted
    provenance = json.loads((root / "run" / "provenance.json").read_text())
    assert provenance["wandb_id"] == parts[0].run.run_id
    dataset = root / "data"
    dataset.symlink_to(sudoku_data)
    recorded = {**provenance, "dataset_sha256": {"data": "0" * 64}}
    (root / "run" / "provenance.json").write_text(json.dumps(recorded))
    for words in (
        command(
            "evaluate.py",
            "--dataset",
            "data",
            "--weights",
            "run/final",
            "--kind",
            "sudoku",
            "--train-config",
            "result/config.yaml",
            "--train-provenance",
            "run/provenance.json",
            "--benchmark",
            "small",
            "--variant",
            "mlp",
            "--threads",
            1,
            "--out-metrics",
            "result/metrics.json",
            "--out-predictions",
            "result/predictions.npz",
            "--out-provenance",
            "result/provenance.json",
        ),
        command(
            "figures.py",
            "--result",
            "result",
            "--dataset",
            "data",
            "--kind",
            "sudoku",
            "--out-figures",
            *(f"result/figures/{name}.svg" for name in ("learning_curve", "examples", "halting")),
            "--out-gallery",
            "result/gallery.json",
        ),
    ):
        done = subprocess.run(
            words, cwd=root, env=environment(root), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    (pattern,) = re.findall(r"wandb sync (\S+)", done.stderr)
    folder = max((root / "wandb").glob("offline-run-*"))
    assert str(folder) in matching(pattern)
    added = read_offline(folder)
    assert added.run.run_id == provenance["wandb_id"]
    metrics = json.loads((root / "result" / "metrics.json").read_text())
    assert added.summary["final/exact_accuracy"] == metrics["exact_accuracy"]
    assert added.rows[-1]["_step"] == provenance["steps"] + 1
    pictures = list((folder / "files" / "media" / "images").glob("*.png"))
    assert {re.sub(r"_\d.*", "", p.stem) for p in pictures} == {"learning_curve", "examples"}

    config = yaml.safe_load((root / "result" / "config.yaml").read_text())
    (root / "result" / "config.yaml").write_text(yaml.safe_dump(config | {"wandb": "disabled"}))
    again = subprocess.run(
        words, cwd=root, env=environment(root), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and "wandb" not in again.stderr
    assert max((root / "wandb").glob("offline-run-*")) == folder


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place to work in, logged in to a server that is not there."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return tmp_path


TRACKED = """
from trm.training import tracking

tracking.SECONDS_TO_CONNECT = 2.0
mode = tracking.wandb_mode("auto")
tracker = tracking.Tracker(mode, "small", "small/mlp", "mlp-seed-3", {"seed": 3}, "abcd1234")
tracker.log({"train/loss": 1.5}, 1)
print(mode, tracker.finish())
"""


def test_without_a_server_the_run_is_an_offline_one(unreachable: Path) -> None:
    """In a process of its own, as W&B's service outlives a run within one."""
    done = subprocess.run(
        [sys.executable, "-c", TRACKED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    mode, pattern = done.stdout.split()
    assert mode == "online"
    (folder,) = matching(pattern)
    found = read_offline(Path(folder))
    assert (found.run.project, found.run.run_group, found.run.run_id) == (
        "small",
        "small/mlp",
        "abcd1234",
    )
    assert found.rows[-1]["train/loss"] == 1.5
    assert "W&B: connecting, for at most 2 s" in done.stderr
    assert done.stderr.count("W&B cannot be reached, so this run is recorded offline: ") == 1
