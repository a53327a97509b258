"""predictions.npz: a checkpoint's answers for all examples of a test split, in its order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm.data.read import ARCHIVE_DAMAGES
from trm.errors import TrmError
from trm.files import atomic_write


@dataclass(frozen=True)
class Predictions:
    """Answers for N examples of seq_len S."""

    preds: np.ndarray  # uint8 [N, S] tokens
    q_halt_logits: np.ndarray  # float32 [N]


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.npz, all of it or nothing."""
    with atomic_write(path) as file:
        np.savez_compressed(file, preds=predictions.preds, q_halt_logits=predictions.q_halt_logits)


def load_predictions(path: Path) -> Predictions:
    """Read predictions.npz; TrmError where it is missing, damaged or lacks an array."""
    try:
        with np.load(path) as arrays:
            return Predictions(arrays["preds"], arrays["q_halt_logits"])
    except FileNotFoundError:
        raise TrmError(f"{path} is missing: evaluate the run first") from None
    except ARCHIVE_DAMAGES as error:
        raise TrmError(f"{path} cannot be read ({error}): evaluate the run again") from None


def exactly_right(preds: np.ndarray, labels: np.ndarray, ignore_label_id: int | None) -> np.ndarray:
    """Which answers [N] are right in every scored cell: preds and labels are tokens [N, S], of
    which cells labelled `ignore_label_id` are not scored. (In training: `trm.model.loss`.)"""
    right = preds == labels
    if ignore_label_id is not None:
        right |= labels == ignore_label_id
    return right.all(axis=1)
