"""The on-disk dataset: what a builder writes, what training and evaluation read.

NAME/identifiers.json                      name by puzzle id, `<blank>` at 0
NAME/{train,test}/dataset.json             DatasetMetadata
NAME/{train,test}/SET__inputs.npy          [N, seq_len] tokens
                                           (or, with SET__labels.npy, SET__augmentations.npz)
NAME/{train,test}/SET__labels.npy          [N, seq_len] tokens
NAME/{train,test}/SET__puzzle_identifiers.npy  [P] int32, puzzle id
NAME/{train,test}/SET__puzzle_indices.npy  [P+1] int32, example offsets of a puzzle
NAME/{train,test}/SET__group_indices.npy   [G+1] int32, puzzle offsets of a group
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from trm.data.painted import PaintedExamples


ARRAYS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")


BLANK_NAME = "<blank>"


SET = "all"  # the one set that every builder here writes


SPLITS = ("train", "test")


AUGMENTATIONS = "__augmentations.npz"


SETTINGS = ".settings.json"  # what it was built with; the fingerprint leaves hidden files out


class DatasetMetadata(BaseModel):
    """dataset.json, with its fields in the published order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pad_id: int
    ignore_label_id: int | None
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: list[str]


@dataclass(frozen=True)
class SetArrays:
    """One set of a split; N examples, P puzzles, G groups, S = seq_len."""

    inputs: np.ndarray | PaintedExamples  # [N, S], memory-mapped or painted when read
    labels: np.ndarray | PaintedExamples  # [N, S]
    puzzle_identifiers: np.ndarray  # [P]
    puzzle_indices: np.ndarray  # [P + 1]
    group_indices: np.ndarray  # [G + 1]


@dataclass(frozen=True)
class Split:
    """A split as read from disk."""

    metadata: DatasetMetadata
    sets: dict[str, SetArrays]


def dataset_files(extra_files: Collection[str] = ()) -> list[str]:
    """Every path, relative to a dataset's folder, that a builder writes."""
    arrays = [f"{SET}__{key}.npy" for key in ARRAYS]
    in_split = ["dataset.json", *arrays, f"{SET}{AUGMENTATIONS}"]
    return [
        "identifiers.json",
        *extra_files,
        SETTINGS,
        ".snakemake_timestamp",  # Snakemake's, in a folder that is its output
        *(f"{split}/{name}" for split in SPLITS for name in in_split),
    ]
