"""One ARC task as a model is asked it: its test inputs, and its demonstration pairs to learn."""

from __future__ import annotations

import numpy as np

from trm.data.arc import Group
from trm.data.arc_kernels import draw_offsets, paint_grids
from trm.data.batches import PuzzleData
from trm.data.dataset import SET, DatasetMetadata, SetArrays
from trm.data.legacy_random import legacy_stream
from trm.data.painted import ArcAugmentations, PaintedExamples
from trm.puzzles.arc import VOCAB_SIZE


def paint_questions(group: Group, canvas: int) -> tuple[np.ndarray, np.ndarray]:
    """Every test input under every one of the A augmentations, at the top left as in evaluation.

    Returns tokens uint8 [A·tests, canvas²] and, for each, the place [A·tests] of its augmentation.
    """
    tests = group.splits["test"]
    places = np.repeat(np.arange(len(group.dihedrals)), len(tests))
    canvases = np.empty((len(places), canvas, canvas), dtype=np.uint8)
    paint_grids(
        tests.cells,
        np.tile(tests.table, (len(group.dihedrals), 1))[:, :3],
        group.dihedrals[places],
        group.colour_maps[places],
        np.zeros((len(places), 2), dtype=np.uint8),
        canvases,
    )
    return canvases.reshape(len(places), -1), places


def demonstrations(group: Group, canvas: int, seed: int) -> PuzzleData:
    """The demonstration pairs under every augmentation, shifted as in training; one group."""
    pairs = group.splits["train"]
    puzzles = len(group.dihedrals)
    examples = puzzles * len(pairs)
    indices = {
        "puzzle_indices": np.arange(puzzles + 1) * len(pairs),
        "group_indices": np.array([0, puzzles]),
    }
    source = ArcAugmentations(
        **indices,
        seq_len=canvas**2,
        cells=pairs.cells,
        pairs=pairs.table,
        first_pair=np.zeros(1, dtype=np.int64),
        dihedrals=group.dihedrals,
        colour_maps=group.colour_maps,
        offsets=draw_offsets(legacy_stream(seed), pairs.table, group.dihedrals, canvas, True),
    )
    inputs, labels = (
        PaintedExamples((examples, canvas**2), lambda rows, side=side: source.paint(rows, side))
        for side in (0, 1)
    )
    metadata = DatasetMetadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=VOCAB_SIZE,
        seq_len=canvas**2,
        num_puzzle_identifiers=puzzles + 1,
        total_groups=1,
        mean_puzzle_examples=len(pairs),
        total_puzzles=puzzles,
        sets=[SET],
    )
    return PuzzleData(metadata, (SetArrays(inputs, labels, group.ids, **indices),))
