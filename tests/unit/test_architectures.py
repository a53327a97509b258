"""What a new architecture costs: its module in trm/model/ and its file in config/arch/."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trm.model
from tests.conftest import ROOT, overrides
from tests.runs import ALONE
from trm import files
from trm.config.architectures import architecture_names, options_of
from trm.config.compose import accept_both_spellings, compose, resolve
from trm.errors import TrmError
from trm.model.base import RecursiveModel
from trm.model.registry import architecture
from trm.training.trainer import train

MODULE = """
from trm.model.base import RecursiveModel


class Toy(RecursiveModel):
    states = ("H",)
    options = ("one_step_gradient",)

    def build_nets(self):
        self.L_level = self.make_net(self.config.L_layers)

    def recurse(self, state, x, depth):
        return (self.L_level(state[0], x, self.rotary),)
"""
SETTINGS = """
name: toy
L_layers: 1
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A checkout with two files more."""
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    (config / "arch" / "toy.yaml").write_text(SETTINGS)
    models = tmp_path / "model"
    models.mkdir()
    (models / "toy.py").write_text(MODULE)
    monkeypatch.setattr(files, "SETTINGS", config)
    trm.model.__path__.append(str(models))
    options_of.cache_clear()
    yield
    trm.model.__path__.remove(str(models))
    sys.modules.pop("trm.model.toy", None)
    options_of.cache_clear()


@pytest.mark.usefixtures("toy")
def test_an_architecture_is_two_files(sudoku_data: Path, tmp_path: Path) -> None:
    words = overrides(
        arch="toy",
        data_paths=f"[{sudoku_data}]",
        checkpoint_path=tmp_path / "run",
        epochs=1,
        eval_interval=1,
        global_batch_size=12,
        evaluators="[]",
    )
    config = compose(accept_both_spellings(words))
    assert config.arch.prefix_len == 1  # as many as it needs: it does not have puzzle_emb_len
    folder = train(config, ALONE)
    assert (folder / "step_2").is_file()
    assert architecture("toy").__name__ == "Toy"
    assert resolve({"arch": "toy", "arch.one_step_gradient": True}, "row").arch.L_layers == 1
    with pytest.raises(TrmError, match="option of arch=toy and arch=trm and arch=trm_separate"):
        resolve({"arch": "hrm", "arch.one_step_gradient": True}, "row")


@pytest.mark.parametrize("name", architecture_names())
def test_a_class_has_the_options_that_are_read_from_its_source(name: str) -> None:
    assert issubclass(architecture(name), RecursiveModel)
    assert architecture(name).options == options_of(name)
    assert "options" in vars(architecture(name))


def test_each_architecture_has_a_file_of_settings() -> None:
    assert architecture_names() == sorted(p.stem for p in (ROOT / "config/arch").glob("*.yaml"))


def test_the_options_of_a_class_may_be_annotated(toy: None, tmp_path: Path) -> None:
    annotated = MODULE.replace("options =", "options: tuple[str, ...] =")
    (tmp_path / "model" / "toy.py").write_text(annotated)
    assert options_of("toy") == ("one_step_gradient",)


@pytest.mark.parametrize("name", ["base", "loss", "nothing", "", "a.b", "../trm"])
def test_nothing_else_is_an_architecture(name: str) -> None:
    assert options_of(name) is None
