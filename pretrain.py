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

import sys

from trm.errors import run_cli
from trm.training.command import main

if __name__ == "__main__":
    run_cli(lambda: main(sys.argv[1:]))
