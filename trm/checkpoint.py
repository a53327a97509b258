"""Weights on disk, in the published layout: one state dict per file, keys `model.inner.*`."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trm.errors import TrmError
from trm.files import atomic_write
from trm.model.base import RecursiveModel

PREFIX = "model.inner."
COMPILED = "_orig_mod."
PUZZLE_EMBEDDING = "puzzle_emb.weights"


def save_weights(path: Path, model: RecursiveModel, compiled: bool = False) -> None:
    """Write the model's state dict as the published code names it; all of it or nothing.

    With `compiled` under the names of a published checkpoint, whose model was compiled.
    """
    prefix = COMPILED + PREFIX if compiled else PREFIX
    state = {prefix + name: t.detach().cpu() for name, t in model.state_dict().items()}
    with atomic_write(path) as file:
        torch.save(state, file)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors in safetensors; OSError where the file cannot be written."""
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:
        # The library words the system's error: "I/O error: No space left on device (os error 28)".
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def check_exists(path: Path) -> None:
    """TrmError, naming the checkpoints beside it, where there is no such file."""
    if not path.is_file():
        raise missing_checkpoint(path)


def missing_checkpoint(path: Path) -> TrmError:
    """What to say of a path that is no file."""
    what = "is a folder, not a file" if path.is_dir() else "does not exist"
    folder = path if path.is_dir() else path.parent
    beside = sorted(p.name for p in folder.glob("step_*"))
    there = f"; there are {', '.join(beside)}" if beside else ""
    return TrmError(f"checkpoint {path} {what}{there}")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """State dict with bare names (`L_level.…`), from a file of ours or of the published code.

    A file named *.safetensors is one of an exported folder. Only tensors are read: a pickle that
    would run code is refused. TrmError where the file is missing, damaged or something else.
    """
    check_exists(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise TrmError(f"weights {path} are damaged: {_first_line(error)}") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrmError(
            f"checkpoint {path} is refused: it is damaged, or holds more than tensors and loading "
            f"it could run code ({_first_line(error)})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise TrmError(f"checkpoint {path} is damaged: {_first_line(error)}") from None
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TrmError(f"checkpoint {path} holds no state dict")
    return {name.removeprefix(COMPILED).removeprefix(PREFIX): t for name, t in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def load_weights(path: Path, model: RecursiveModel) -> list[str]:
    """Load a checkpoint into `model`; returns remarks for the log.

    A puzzle embedding of another size is re-initialised by its mean, as published. Anything else
    that does not fit is a TrmError which names the key and both shapes.
    """
    return fit_weights(path, read_state_dict(path), model)


def fit_weights(path: Path, state: dict[str, Tensor], model: RecursiveModel) -> list[str]:
    """`load_weights` with the state dict of `path`, already read."""
    remarks = []
    own = model.state_dict()
    table = state.get(PUZZLE_EMBEDDING)
    if table is not None and PUZZLE_EMBEDDING in own:
        wanted = own[PUZZLE_EMBEDDING].shape
        if table.shape != wanted and table.ndim == 2 and table.shape[1] == wanted[1]:
            remarks.append(
                f"the puzzle embedding of {path} has {table.shape[0]} rows, the data "
                f"{wanted[0]}: every row starts from the mean of the saved ones"
            )
            state[PUZZLE_EMBEDDING] = table.float().mean(dim=0, keepdim=True).expand(wanted)
    _check_fits(path, state, own)
    model.load_state_dict(state)
    return remarks


def _check_fits(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    problems = []
    if missing:
        problems.append(f"it lacks {_some(missing)}")
    if unknown:
        problems.append(f"it has {_some(unknown)}, which this architecture has not")
    problems += [
        f"{name} is {list(found[name].shape)} in the file, {list(wanted[name].shape)} in the model"
        for name in sorted(set(found) & set(wanted))
        if found[name].shape != wanted[name].shape
    ]
    if problems:
        raise TrmError(
            f"checkpoint {path} does not fit the model: {'; '.join(problems[:4])}; check arch=… "
            "and arch.* against the all_config.yaml it was trained with, and the dataset"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
