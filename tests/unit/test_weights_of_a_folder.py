"""The folder of a run in place of its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.runs import ALONE, config_of, random_run
from trm.errors import TrmError
from trm.evaluate.settings import parse_arguments
from trm.model.checkpoint import read_state_dict
from trm.training.setup import initial_state, set_up


def test_a_folder_of_checkpoints_means_its_last(
    sudoku_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """To an evaluation and as the start of a training, as to `trm solve`."""
    run = random_run(tmp_path / "run", sudoku_data, 9, 11)
    for name in ("step_2", "step_10"):
        shutil.copy(run / "final", run / name)
    words = [f"out={tmp_path}/metrics.json", f"checkpoint={run}"]
    assert parse_arguments(words)[0].checkpoint == run / "final"
    (run / "final").unlink()
    config, trained = parse_arguments(words)
    assert config.checkpoint == run / "step_10"
    assert trained.data_paths == [str(sudoku_data)]
    assert "no run is known to have ended" in capsys.readouterr().err
    settings = config_of(sudoku_data, tmp_path / "next", load_checkpoint=run)
    state = initial_state(set_up(settings, ALONE)).model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in read_state_dict(run / "step_10").items())


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrmError, match=f"{tmp_path.name} holds no weights"):
        parse_arguments([f"checkpoint={tmp_path}", f"out={tmp_path}/metrics.json"])


def test_no_output_replaces_a_file_of_the_folder(sudoku_data: Path, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", sudoku_data, 9, 11)
    with pytest.raises(TrmError, match="is read, or belongs to the run"):
        parse_arguments([f"checkpoint={run}", f"out={run}/final"])
