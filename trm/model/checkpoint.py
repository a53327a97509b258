"""Weights on disk, in the published layout: one state dict per file, keys `model.inner.*`."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trm.errors import TrmError, first_line
from trm.files import atomic_write
from trm.model.base import RecursiveModel
from trm.model.run_record import check_checkpoint
from trm.progress import say
from trm.runtime.late import wait_for

PREFIX = "model.inner."
COMPILED = "_orig_mod."
PUZZLE_EMBEDDING = "puzzle_emb.weights"
HEAD = "lm_head.weight"  # every model has it
WRAPPING_MODULES = ("_orig_mod", "module")  # of torch.compile and DistributedDataParallel
WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys that programs save a state dict under
AVERAGES = ("ema", "ema_state_dict", "ema_shadow", "shadow")  # and its moving average


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
    wait_for(path)
    if not path.is_file():
        raise missing_checkpoint(path)


def missing_checkpoint(path: Path) -> TrmError:
    """The error for a path that is not a file."""
    what = "is a folder, not a file" if path.is_dir() else "does not exist"
    folder = path if path.is_dir() else path.parent
    return TrmError(f"checkpoint {path} {what}{_beside(folder)}")


def _beside(folder: Path) -> str:
    """`; there are step_2, step_4`, empty without any."""
    found = sorted(p.name for p in folder.glob("step_*"))
    return f"; there are {', '.join(found)}" if found else ""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """State dict with bare names (`L_level.…`), from a file of ours or of the published code.

    The file is torch's or safetensors', whatever its name; torch.compile, DistributedDataParallel
    and Lightning may have wrapped the names. Only tensors are read: other objects beside the state
    dict are skipped, and a pickle that would run code is refused. Of weights and their moving
    average the average is read. TrmError where the file is missing, damaged, not as its run wrote
    it, or something else.
    """
    return read_saved(path).state


@dataclass(frozen=True)
class StoredWeights:
    """The weights in a file."""

    state: dict[str, Tensor]  # by bare names (`L_level.…`)
    average: str | None  # the keys of the moving average that they are, such as `ema.shadow`


def read_saved(path: Path) -> StoredWeights:
    """The weights of `read_state_dict`, and which part of the file they are.

    Where a training program saved a moving average of the weights too, that is read; what is not
    averaged, such as buffers, is read from the weights beside it. TrmError as `read_state_dict`.
    """
    check_exists(path)
    check_checkpoint(path)
    content = _read(path)
    average, keys = _average_in(content)
    if average is None:
        return StoredWeights(_checked(path, _state_in(content)), None)
    say(f"note: {path} holds a moving average of the weights ({keys}), which is read")
    state = _checked(path, average)
    beside = _state_in(content)
    if beside is not content:
        state = {**_checked(path, beside), **state}
    return StoredWeights(state, keys)


def _checked(path: Path, state: object) -> dict[str, Tensor]:
    """The tensors of a state dict under their bare names; TrmError where it is not one."""
    if not isinstance(state, dict) or not state:
        raise TrmError(f"checkpoint {path} holds no state dict")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TrmError(f"checkpoint {path} holds no state dict: {name!r} is not a tensor")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TrmError(
                f"checkpoint {path} holds {name} as a sparse, quantised or empty tensor: save it "
                "as an ordinary one"
            )
    return _with_bare_names(state)


def _read(path: Path) -> object:
    """What the file holds, by the library that wrote it."""
    start = _first_bytes(path)
    try:
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
            return load_file(path)
        if start.startswith((b"PK", b"\x80")):  # torch's since 1.6, and before
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a pickle that is refused anyway
                return _load_tensors(path)
    except pickle.UnpicklingError as error:
        # torch's own words advise to run that code.
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise TrmError(
            f"checkpoint {path} is refused: it is damaged, or holds more than tensors"
            f"{f' ({named[1]})' if named else ''}, and loading that could run code. Save its state "
            "dict alone"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds over foreign bytes
        raise TrmError(
            f"checkpoint {path} is damaged ({first_line(error)}): copy or download it again"
        ) from None
    raise TrmError(f"checkpoint {path} is {_what_else(start)}{_beside(path.parent)}")


class _Skipped:
    """An object of a checkpoint that is not a tensor: no code of its class is run."""

    def __new__(cls, *_: object, **__: object) -> _Skipped:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _plain_dict(*_: object) -> dict:
    """In place of a defaultdict: torch fills no other objects than plain dictionaries."""
    return {}


STAND_INS = {"collections.defaultdict": _plain_dict}
"""What takes the place of other objects, by their names in a pickle; `_Skipped` where not here."""


def _load_tensors(path: Path) -> object:
    """What torch.save wrote, with `_Skipped` in place of other objects beside a state dict: those
    that a training program saves with it, such as settings or NumPy's random state.

    UnpicklingError where there is no state dict without them.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        skipped = _other_objects(path)
        if not skipped:
            raise
        stand_ins = [(STAND_INS.get(name, _Skipped), name) for name in skipped]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = _average_in(content)[0] or _state_in(content)
        if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
            raise
    say(f"note: {path} also holds {_some(skipped)}; only its tensors are read")
    return content


def _other_objects(path: Path) -> list[str]:
    """The classes and functions that the file names and that make no tensor; empty where it is not
    in the present format of torch.save."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError):
        return []


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise TrmError(f"checkpoint {path} cannot be read: {error.strerror}") from None


def _what_else(start: bytes) -> str:
    """What a file is that begins so and holds no weights."""
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights: fetch them by `git lfs pull`"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, not the weights: download the file itself"
    text = start.decode(errors="ignore")  # the last character may be cut
    is_text = "\0" not in text and len(text.encode()) >= len(start) - 3
    return "a text file, not weights" if is_text else "damaged, or not a file of weights"


def _state_in(content: object) -> object:
    """The state dict within what a training program saved around it."""
    if isinstance(content, dict):
        for name in WRAPPERS:
            if isinstance(content.get(name), dict):
                return content[name]
    return content


def _average_in(content: object) -> tuple[dict | None, str]:
    """The moving average within what a training program saved, and its keys; None without one."""
    if isinstance(content, dict):
        for name in AVERAGES:
            average, keys = content.get(name), name
            while isinstance(average, dict):
                # Its rate and other settings may be beside it, or beside the tensors.
                tensors = {key: v for key, v in average.items() if isinstance(v, Tensor)}
                if tensors:
                    return tensors, keys
                inner = next((key for key in (*AVERAGES, *WRAPPERS) if key in average), None)
                average, keys = average.get(inner), f"{keys}.{inner}"
    return None, ""


def _with_bare_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that they have in the model itself."""
    named = {
        ".".join(part for part in name.split(".") if part not in WRAPPING_MODULES): tensor
        for name, tensor in state.items()
    }
    known = min((name for name in named if name.endswith(HEAD)), key=len, default="")
    prefix = known.removesuffix(HEAD)
    return {name.removeprefix(prefix): tensor for name, tensor in named.items()}


def load_weights(path: Path, model: RecursiveModel) -> list[str]:
    """Load a checkpoint into `model`; returns remarks for the log.

    A puzzle embedding of another size is re-initialised by its mean, as published. Anything else
    that does not fit is a TrmError which names the key and both shapes.
    """
    return fit_weights(path, read_state_dict(path), model)


def fit_weights(path: Path, state: dict[str, Tensor], model: RecursiveModel) -> list[str]:
    """`load_weights` with the state dict of `path`, already read."""
    remarks = []
    rows, wanted = embedding_rows(state), embedding_rows(model.state_dict())
    if rows and wanted and rows != wanted:
        remarks.append(
            f"the puzzle embedding of {path} has {rows} rows, the data {wanted}: every row starts "
            "from the mean of the saved ones"
        )
        state = with_mean_embeddings(state, wanted)
    check_fits(path, state, model.state_dict())
    model.load_state_dict(state)
    return remarks


def embedding_rows(state: Mapping[str, Tensor]) -> int:
    """Puzzles that a state dict has embeddings of; 0 where it has none."""
    table = state.get(PUZZLE_EMBEDDING)
    return len(table) if table is not None and table.ndim == 2 else 0


def with_mean_embeddings(state: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """The state dict with a puzzle embedding of `rows` rows, each the mean of those it has."""
    if not embedding_rows(state):
        return {**state}
    table = state[PUZZLE_EMBEDDING]
    mean = table.float().mean(dim=0, keepdim=True)
    return {**state, PUZZLE_EMBEDDING: mean.expand(rows, table.shape[1])}


def check_fits(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """TrmError, with names and shapes, where the state dict `found` of `path` is not one of a model
    with the state dict `wanted`."""
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    problems = []
    if missing:
        problems.append(f"it lacks {_some(missing)}")
    if unknown:
        problems.append(f"it has {_some(unknown)}, which this architecture has not")
    for name in sorted(set(found) & set(wanted)):
        ours, theirs = (_shape_and_type(tensors[name]) for tensors in (wanted, found))
        if ours != theirs:
            problems.append(f"{name} is {theirs} in the file, {ours} in the model")
    if problems:
        raise TrmError(
            f"checkpoint {path} does not fit the model: {'; '.join(problems[:4])}; check arch=… "
            "and arch.* against the all_config.yaml it was trained with, and the dataset"
        )


def _shape_and_type(tensor: Tensor) -> str:
    """`[4, 16]`; with its type where it holds no real numbers, of which any precision will do."""
    return f"{list(tensor.shape)}" + ("" if tensor.is_floating_point() else f" {tensor.dtype}")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
