"""The run folder of weights that were trained elsewhere: checked once, then used as a run's.

RUN/final              a link to the weights
RUN/run.json           their SHA-256, and the puzzles that their embeddings are taken for
RUN/all_config.yaml    the settings of the row, which decide how they are run
RUN/provenance.json    where they are from
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from trm.config.compose import save_train_config
from trm.config.types import ModelConfig, TrainConfig
from trm.data.overlap import overlap_of_datasets
from trm.data.read import dataset_fingerprint, read_metadata
from trm.data.specs import WeightsSource
from trm.data.weights import check_weights
from trm.errors import TrmError
from trm.files import RunFile, write_json, writing
from trm.model.checkpoint import check_fits, embedding_rows, read_saved
from trm.model.registry import build_model
from trm.model.run_record import RunRecord
from trm.progress import say
from trm.runtime.provenance import code_and_packages
from trm.study.puzzle_names import names_sha256


def adopt(weights: Path, source: WeightsSource, config: TrainConfig) -> None:
    """Make the folder `config.checkpoint_path` that of a run with these weights.

    TrmError where they are not those of `source`, or do not fit the architecture or the dataset of
    `config`. WriteError where the folder cannot be written.
    """
    dataset, run = Path(config.data_paths[0]), Path(str(config.checkpoint_path))
    sha256 = check_weights(weights, source.sha256)
    saved = read_saved(weights)
    parameters = _check_fits(weights, saved.state, source, config, dataset)
    _link(weights, run / RunFile.FINAL)
    record = RunRecord({}, names_sha256(dataset), {RunFile.FINAL: sha256})
    record.write(run)
    save_train_config(config.model_dump(mode="json"), run / RunFile.CONFIG)
    content = code_and_packages() | {
        "weights": str(source),
        "weights_sha256": sha256,
        **({} if saved.average is None else {"weights_average": saved.average}),
        "checkpoints": [RunFile.FINAL],
        "num_params": parameters,
        "data_paths": config.data_paths,
        "dataset_sha256": {config.data_paths[0]: dataset_fingerprint(dataset)},
        "test_in_train": overlap_of_datasets(config.data_paths, config.test_paths).facts(),
    }
    write_json(run / RunFile.PROVENANCE, content)


def _check_fits(
    weights: Path,
    state: dict[str, Tensor],
    source: WeightsSource,
    config: TrainConfig,
    dataset: Path,
) -> int:
    """The number of parameters; TrmError where the row's architecture or dataset has others."""
    m = read_metadata(dataset / "test")
    rows, puzzles = embedding_rows(state), m.num_puzzle_identifiers
    if rows and rows != puzzles:
        raise TrmError(
            f"the weights {source} have embeddings of {rows:,} puzzles, and {dataset} has "
            f"{puzzles:,} puzzles, so that they were trained on another dataset. Give the row a "
            "dataset with the subsets, num_aug and seed of their training"
        )
    with torch.device("meta"):
        model = build_model(
            ModelConfig.of(config.arch, m.seq_len, m.vocab_size, m.num_puzzle_identifiers)
        )
    check_fits(weights, state, model.state_dict())
    if rows > 1:
        say(
            f"note: nothing says which puzzles the {rows:,} embeddings of {source} belong to; they "
            f"are taken for those of {dataset}"
        )
    return sum(p.numel() for p in model.parameters())


def _link(weights: Path, path: Path) -> None:
    """A relative link, as weights may have gigabytes; one that exists is replaced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        # Between the real folders: checkpoints/ may itself be a link to another file system.
        temporary.symlink_to(os.path.relpath(weights.resolve(), path.parent.resolve()))
        temporary.replace(path)
