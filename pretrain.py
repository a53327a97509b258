"""Train a model, with the published commands.

    python pretrain.py arch=trm data_paths="[data/sudoku-extreme-1k-aug-1000]" evaluators="[]" \
        epochs=50000 eval_interval=5000 lr=1e-4 puzzle_emb_lr=1e-4 weight_decay=1.0 \
        puzzle_emb_weight_decay=1.0 arch.mlp_t=True arch.pos_encodings=none arch.L_layers=2 \
        arch.H_cycles=3 arch.L_cycles=6 +run_name=pretrain_mlp_t_sudoku ema=True

    torchrun --nproc-per-node 4 --rdzv_backend=c10d --rdzv_endpoint=localhost:0 --nnodes=1 \
        pretrain.py arch=trm data_paths="[data/arc1concept-aug-1000]" …

Keys and their defaults: config/pretrain.yaml and config/arch/.
"""

from __future__ import annotations

import logging
import sys

import hydra
from omegaconf import DictConfig

from trm.config.compose import arch_files, known_keys, train_config_of, typed_word
from trm.config.types import TrainConfig
from trm.errors import TrmError, run_cli, suggest


def accept_both_spellings(arguments: list[str]) -> list[str]:
    """`+key=…` and `key=…` mean the same for every key there is.

    The published commands add run_name with a plus, which Hydra refuses for a key that the config
    file already lists. A key or an architecture that does not exist is refused here, with the
    nearest one, and so is a key without a value.
    """
    known = known_keys()
    accepted = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        key, equals, value = word.partition("=")
        key = key.lstrip("+")
        # A word behind an option of Hydra's, as in `--cfg job`, is that option's.
        of_hydra = before.startswith("-") and "=" not in before and not equals
        if word.startswith(("-", "~")) or of_hydra or key.startswith("hydra"):
            accepted.append(word)
        elif key not in known:
            raise TrmError(f"unknown key {key!r}{suggest(key, known)}; keys: config/pretrain.yaml")
        elif not equals:
            raise TrmError(f"{key} has no value: write {key}=VALUE")
        elif key == "arch":  # a file of config/arch, not a value
            _check_architecture(value.strip("\"'"))
            accepted.append(word.lstrip("+"))
        else:
            accepted.append(f"++{typed_word(word.lstrip('+'))}")
    return accepted


def _check_architecture(name: str) -> None:
    known = arch_files()
    if name.removesuffix(".yaml") not in known:
        names = ", ".join(known)
        raise TrmError(f"unknown arch {name!r}{suggest(name, known)}; config/arch has {names}")


def run(config: TrainConfig) -> None:
    # Imported late: a mistyped key is told before torch is loaded.
    from trm.runtime.ranks import start
    from trm.training.trainer import train

    ranks = start(config.device)
    try:
        train(config, ranks)
    finally:
        ranks.close()


@hydra.main(version_base="1.3", config_path="config", config_name="pretrain")
def main(composed: DictConfig) -> None:
    run_cli(lambda: run(train_config_of(composed)))


def entry() -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.argv[1:] = accept_both_spellings(sys.argv[1:])
    main()


if __name__ == "__main__":
    run_cli(entry)
