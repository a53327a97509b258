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
from omegaconf import DictConfig, OmegaConf

from trm.config import TrainConfig, known_keys, parse_train_config, suggest
from trm.errors import TrmError, run_cli


def accept_both_spellings(arguments: list[str]) -> list[str]:
    """`+key=…` and `key=…` mean the same for every key there is.

    The published commands add run_name with a plus, which Hydra refuses for a key that the config
    file already lists. A key that does not exist is refused here, with the nearest one.
    """
    known = known_keys()
    accepted = []
    for word in arguments:
        key = word.split("=", 1)[0].lstrip("+")
        if word.startswith(("-", "~")) or "=" not in word or key.startswith("hydra"):
            accepted.append(word)
        elif key not in known:
            raise TrmError(f"unknown key {key!r}{suggest(key, known)}; keys: config/pretrain.yaml")
        elif key == "arch":  # a file of config/arch, not a value
            accepted.append(word.lstrip("+"))
        else:
            accepted.append(f"++{word.lstrip('+')}")
    return accepted


def run(config: TrainConfig) -> None:
    # Imported late: a mistyped key is told before torch is loaded.
    from trm.distributed import start
    from trm.train import train

    ranks = start(config.device)
    try:
        train(config, ranks)
    finally:
        ranks.close()


@hydra.main(version_base="1.3", config_path="config", config_name="pretrain")
def main(composed: DictConfig) -> None:
    raw = OmegaConf.to_container(composed, resolve=True)
    run_cli(lambda: run(parse_train_config(raw)))


def entry() -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.argv[1:] = accept_both_spellings(sys.argv[1:])
    main()


if __name__ == "__main__":
    run_cli(entry)
