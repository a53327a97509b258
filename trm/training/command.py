"""Train a model.

    trm train arch=trm data_paths="[data/sudoku-extreme-1k-aug-1000]" evaluators="[]" \\
        epochs=50000 eval_interval=5000 lr=1e-4 arch.mlp_t=True +run_name=pretrain_mlp_t_sudoku
    torchrun --nproc-per-node 4 pretrain.py data_paths="[data/arc1concept-aug-1000]" ema=True

    trm train --settings checkpoints/PROJECT/RUN/all_config.yaml

`python pretrain.py`, the published command, is the same. Words are key=value; the keys and their
defaults are in config/pretrain.yaml and config/arch/. --settings takes a saved file instead.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from trm.config.compose import accept_both_spellings, known_keys, load_train_config, train_config_of
from trm.config.types import TrainConfig
from trm.errors import TrmError, run_cli
from trm.files import SETTINGS, settings_folder
from trm.runtime.late import wait_for
from trm.runtime.processor import let_segments_grow

known_words = known_keys


def main(words: Sequence[str]) -> None:
    if {"-h", "--help"} & {*words}:
        print(__doc__, "keys:", *(f"  {key}" for key in known_words()), sep="\n")
        return
    if words[0:1] == ["--settings"]:
        if len(words) != 2:
            raise TrmError(
                "--settings takes one file, which holds all settings, and no other words"
            )
        wait_for(Path(words[1]))
        _run(load_train_config(Path(words[1])))
        return
    settings_folder()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.argv[1:] = accept_both_spellings([*words])  # where Hydra reads them
    _composed()


@hydra.main(version_base="1.3", config_path=str(SETTINGS), config_name="pretrain")
def _composed(composed: DictConfig) -> None:
    run_cli(lambda: _run(train_config_of(composed)))


def _run(config: TrainConfig) -> None:
    let_segments_grow()
    # Imported late: a mistyped key is reported before torch is loaded.
    from trm.runtime.ranks import joined
    from trm.training.trainer import train

    with joined(config.device) as ranks:
        train(ranks.same_everywhere(config), ranks)  # another node may read an older file
