"""run.json: checkpoints are as they were written, and a run that has ended is not trained again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.runs import ALONE, config_of
from trm.config.types import TrainConfig
from trm.errors import TrmError
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments
from trm.files import copy_file
from trm.model.checkpoint import read_state_dict
from trm.model.run_record import read_record
from trm.solve.trained import load
from trm.study.run_folder import discard_snapshots, forget_end, saved_last
from trm.training.records import Records
from trm.training.trainer import train

SETTINGS = {"epochs": 2, "eval_interval": 1, "evaluators": "[]"}


@pytest.fixture(scope="module")
def ended(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ended") / "run"
    train(config_of(sudoku_data, folder, **SETTINGS), ALONE)
    return folder


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Path:
    """As Snakemake's training leaves it: with `final`, without snapshots."""
    folder = Path(shutil.copytree(ended, tmp_path / "run"))
    copy_file(folder / "step_6", folder / "final")
    discard_snapshots(folder)
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["step_3", "step_6", "final"])
def test_a_flipped_bit_is_seen(run: Path, name: str, sudoku_data: Path, tmp_path: Path) -> None:
    read_state_dict(run / name)
    flip_a_bit(run / name)
    said = rf"{name} is damaged: its SHA-256 is not the one in .*run\.json"
    with pytest.raises(TrmError, match=said):
        evaluate_checkpoint(*parse_arguments([f"checkpoint={run / name}", "device=cpu"]), ALONE)
    with pytest.raises(TrmError, match=said):
        load(run / name, device="cpu")
    with pytest.raises(TrmError, match=said):
        train(config_of(sudoku_data, tmp_path / "new", load_checkpoint=run / name), ALONE)
    (run / name).rename(tmp_path / name)  # changed on purpose
    torch.load(tmp_path / name, weights_only=True)
    read_state_dict(tmp_path / name)


def test_checkpoints_are_known_before_the_run_has_ended(sudoku_data: Path, tmp_path: Path) -> None:
    class Stopped(Records):
        def evaluated(self, *_: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config_of(sudoku_data, tmp_path / "run", **SETTINGS), ALONE, Stopped)
    assert [*read_record(tmp_path / "run").checkpoints] == ["step_3"]
    flip_a_bit(tmp_path / "run" / "step_3")
    with pytest.raises(TrmError, match="is damaged"):
        read_state_dict(tmp_path / "run" / "step_3")
    train(config_of(sudoku_data, tmp_path / "run", **SETTINGS), ALONE)
    for name in ("step_3", "step_6"):
        read_state_dict(tmp_path / "run" / name)


def config(run: Path, sudoku_data: Path, **changes: object) -> TrainConfig:
    return config_of(sudoku_data, run, **SETTINGS | changes)


def trains(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a training step is made; none is made in fact."""

    class Trained(Exception):
        pass

    def stop(*_: object) -> None:
        raise Trained

    monkeypatch.setattr("trm.training.trainer.train_step", stop)
    try:
        train(config, ALONE)
    except Trained:
        return True
    finally:
        monkeypatch.undo()
    return False


def test_a_run_that_has_ended_is_not_trained_again(
    run: Path, sudoku_data: Path, monkeypatch, capsys
) -> None:
    left = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    del left["final"]
    for resume in (True, "or_restart"):
        (run / "final").unlink(missing_ok=True)
        (run / "provenance.json").unlink()
        assert not trains(config(run, sudoku_data, resume=resume), monkeypatch)
        assert "which has ended: nothing is trained" in capsys.readouterr().err
        assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == left


@pytest.mark.parametrize(
    "change",
    [
        {"resume": False},
        {"seed": 1},
        {"lr": 0.5},
        {"eval_halting": "act"},  # decides no weight, but what is written
        {"checkpoint_every_eval": False},
    ],
)
def test_another_run_is_trained(run: Path, sudoku_data: Path, monkeypatch, change: dict) -> None:
    assert trains(config(run, sudoku_data, **change), monkeypatch)


def test_another_dataset_is_trained_on(run: Path, sudoku_data: Path, tmp_path, monkeypatch) -> None:
    other = Path(shutil.copytree(sudoku_data, tmp_path / "data"))
    text = (run / "run.json").read_text().replace(str(sudoku_data), str(other))
    (run / "run.json").write_text(text)
    written = (run / "all_config.yaml").read_text()
    (run / "all_config.yaml").write_text(written.replace(str(sudoku_data), str(other)))
    assert not trains(config(run, other), monkeypatch)
    flip_a_bit(other / "train" / "all__labels.npy")
    assert trains(config(run, other), monkeypatch)


def test_a_run_whose_files_are_not_whole_is_trained(run: Path, sudoku_data: Path, monkeypatch):
    (run / "history.csv").rename(run / "history.bak")
    assert trains(config(run, sudoku_data), monkeypatch)


def test_a_run_whose_last_weights_are_damaged_is_trained(run: Path, sudoku_data, monkeypatch):
    flip_a_bit(run / "step_6")
    assert trains(config(run, sudoku_data), monkeypatch)


def test_an_end_that_is_forgotten_is_trained_again(run: Path, sudoku_data: Path, monkeypatch):
    """As with `snakemake --force`. The checkpoints are still known, until they are replaced."""
    assert saved_last(run).what == "ended"
    forget_end(run)
    assert saved_last(run) is None  # another node waits for no end
    flip_a_bit(run / "step_6")
    with pytest.raises(TrmError, match="is damaged"):
        read_state_dict(run / "step_6")
    assert trains(config(run, sudoku_data), monkeypatch)
    assert read_record(run).checkpoints == {}
    forget_end(run.parent)  # where no run is


# --- settings beside the weights ------------------------------------------------------------------


def noted(run: Path, capsys: pytest.CaptureFixture, *words: str) -> str:
    config, trained = parse_arguments(
        [f"checkpoint={run / 'final'}", f"out={run / 'm.json'}", "device=cpu", *words]
    )
    capsys.readouterr()
    evaluate_checkpoint(config, trained, ALONE)
    return "".join(line for line in capsys.readouterr().err.splitlines() if "note:" in line)


def test_settings_that_change_no_shape_are_noted(run: Path, capsys, tmp_path: Path) -> None:
    changed = ["arch.num_heads=4", "arch.L_cycles=3", "arch.rope_theta=500"]
    said = noted(run, capsys, *changed)
    for words in ("num_heads=4 here, 2 there", "L_cycles=3 here, 2 there", "rope_theta=500.0 here"):
        assert words in said and "was trained with other settings" in said
    # What an evaluation is free to choose, or says once more.
    free = ["arch.halt_max_steps=5", "arch=trm", "arch.num_heads=2"]
    assert not noted(run, capsys, *free)
    with pytest.raises(TrmError, match=r"arch=hrm, but by .*all_config.yaml it was .* arch=trm"):
        noted(run, capsys, "arch=hrm")
    for word in ("arch.L_cycles=[", "arch.loss=1", "arch.L_cycles=${x}", "arch.x.y.z=1"):
        with pytest.raises(TrmError):
            noted(run, capsys, word)


def test_they_are_noted_wherever_weights_are_loaded(
    run: Path, sudoku_data: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    other = config(run, sudoku_data, load_checkpoint=run / "final", arch__L_cycles=1)
    trains(other.model_copy(update={"checkpoint_path": str(tmp_path / "new")}), monkeypatch)
    assert "arch.L_cycles=1 here, 2 there" in capsys.readouterr().err
    settings = tmp_path / "settings.yaml"
    settings.write_text((run / "all_config.yaml").read_text().replace("H_cycles: 2", "H_cycles: 1"))
    load(run, device="cpu", train_config=settings)
    assert "arch.H_cycles=1 here, 2 there" in capsys.readouterr().err
    load(run, device="cpu")
    assert "note:" not in capsys.readouterr().err


def test_provenance_is_that_of_the_record(run: Path) -> None:
    assert read_record(run).provenance == json.loads((run / "provenance.json").read_text())
