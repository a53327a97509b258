"""A trained model: found, sized, loaded and run.

    import trm
    model = trm.load("checkpoints/sudoku-6x6/quick/seed-0")
    print(model.solve("1.....").text)

Weights alone do not say which puzzles they are for. Their dataset does, where it is one of plain
boards; else their vocabulary with the length of the puzzles. The weights hold that length where
they mix or number positions; else the dataset does, else `side` gives it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, isqrt
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor

from trm.config.compose import load_train_config, note_other_architecture, parse_train_config
from trm.config.types import ArchConfig, ModelConfig, Strict, TrainConfig
from trm.data.arc import Group, augment_task, known_task
from trm.data.dataset import DatasetMetadata
from trm.data.read import load_identifiers, read_metadata
from trm.data.specs import Kind
from trm.errors import TrmError, explain
from trm.evaluate.weights import find_weights
from trm.files import EXPORTED_FILES, RunFile, file_sha256
from trm.model.base import RecursiveModel
from trm.model.checkpoint import (
    HEAD,
    PUZZLE_EMBEDDING,
    check_exists,
    fit_weights,
    read_state_dict,
)
from trm.model.registry import build_model
from trm.progress import say
from trm.puzzles.arc import check_task, read_task
from trm.puzzles.augmentation import NAME_SEPARATOR
from trm.puzzles.board_look import BOARDS, BoardsLook, read_look
from trm.puzzles.kinds import board_kind, kind_named, kinds
from trm.puzzles.questions import read_puzzle
from trm.runtime.ranks import choose_device
from trm.solve.answer import (
    BoardAnswer,
    TaskAnswer,
    answer_board,
    answer_task,
    embedding_learned,
    search_board,
)
from trm.study.files import ResultFile
from trm.study.puzzle_names import why_other_puzzles
from trm.study.search import Search

WEIGHTS, DESCRIPTION, CARD, NAMES = EXPORTED_FILES
FORMAT = "trm-pipeline export 1"
AUGMENTATIONS = 32  # of a task that is learned, itself among them
MAX_AUGMENTATIONS = 1001  # the same


class Exported(Strict):
    """config.json of an exported folder: what its weights need besides themselves."""

    format: Literal["trm-pipeline export 1"] = FORMAT
    kind: Kind
    side: int = pydantic.Field(ge=1)  # of ARC's canvas; cells of a board's row
    model: ModelConfig
    boards: BoardsLook | None = None  # what the tokens stand for, where the kind does not say it
    weights_sha256: str | None = None
    card_sha256: str | None = None  # of README.md as it was written
    training: dict[str, Any]  # the settings of the training but for the architecture


@dataclass(frozen=True)
class TrainedModel:
    """A model with what it takes to ask it.

    `model` is in evaluation mode and its weights are frozen; `training` are the settings it was
    trained with.
    """

    model: RecursiveModel
    training: TrainConfig
    kind: Kind
    weights: Path
    device: torch.device
    names_in: Path | None = None  # folder with the identifiers.json of the training
    look: BoardsLook | None = None  # of boards

    @property
    def side(self) -> int:
        """The side of ARC's canvas; the cells of a board's row."""
        return isqrt(self.model.config.seq_len) if self.look is None else self.look.columns

    @cached_property
    def names(self) -> Sequence[str]:
        """Names by id of the puzzles it has embeddings of; empty where they are not available."""
        if self.names_in is None:
            return ()
        names = load_identifiers(self.names_in)
        own = self.model.config.num_puzzle_identifiers
        if len(names) != own:
            raise TrmError(
                f"{self.names_in} names {len(names)} puzzles, {self.weights} has embeddings of "
                f"{own}: it was trained on another build; name that by --dataset"
            )
        if self.names_in != self.weights.parent:  # of an exported model, its own
            refusal = why_other_puzzles(self.weights, own, self.names_in, len(names))
            if refusal is not None:
                raise TrmError(f"{refusal}; name that by --dataset")
        return names

    def solve(
        self,
        puzzle: str | Path | Mapping[str, Any],
        *,
        max_steps: int | None = None,
        search: Search | None = None,
        **of_tasks: Any,
    ) -> BoardAnswer | TaskAnswer:
        """Answer a puzzle of the model's kind, as a text, a file or, for ARC, a dictionary.

        `max_steps` supervision steps are made (default: as many as in training), or the rollouts
        of `search`; further arguments are those of `solve_task`. TrmError, naming the cell, where
        it is not such a puzzle.
        """
        if self.kind == "arc" and search is not None:
            raise TrmError(
                "an ARC task is answered by the votes of its augmentations: leave out search"
            )
        if self.kind == "arc":
            return self.solve_task(puzzle, max_steps=max_steps, **of_tasks)
        if isinstance(puzzle, Mapping) or of_tasks:
            raise TrmError(f"{self.weights} solves {self.describe()}, not ARC tasks")
        return self.solve_board(puzzle, max_steps=max_steps, search=search)

    def solve_board(
        self, puzzle: str | Path, *, max_steps: int | None = None, search: Search | None = None
    ) -> BoardAnswer:
        """Answer a sudoku, a maze or another board, given as its text or as the name of a file.

        With `search` it is answered by several rollouts, which make `max_steps` supervision steps
        each where the search does not set their number.
        """
        if self.kind == "arc":
            raise TrmError(f"{self.weights} solves {self.describe()}, not boards")
        kind = board_kind(self.kind, "" if self.look is None else self.look.characters)
        question = kind.read(read_puzzle(puzzle), self.rows, self.side)
        steps = _checked(max_steps)
        if search is None:
            return answer_board(self.model, kind, question, self.device, steps)
        search = search.model_copy(update={"steps": search.steps or steps})
        return search_board(self.model, kind, question, self.device, search)

    @property
    def rows(self) -> int:
        """The rows of a board, or of ARC's canvas."""
        return self.model.config.seq_len // self.side

    def solve_task(
        self,
        task: str | Path | Mapping[str, Any],
        *,
        task_id: str | None = None,
        max_steps: int | None = None,
        augmentations: int | None = None,
        minutes: float = 1.0,
        learning_steps: int = 1000,
        seed: int = 0,
        every_step: bool = False,
    ) -> TaskAnswer:
        """Answer an ARC task by the votes of its augmentations.

        A task that the model was trained on, by the name `task_id` (default: the file's), is solved
        with the embeddings it has, of all its augmentations or of the first few. The embeddings
        of any other, of 32 augmentations by default, are learned first, for `minutes` or
        `learning_steps`, whichever end first.
        """
        if self.kind != "arc":
            raise TrmError(f"{self.weights} solves {self.describe()}, not ARC tasks")
        began = time.monotonic()
        max_steps = _checked(max_steps)
        raw = task if isinstance(task, Mapping) else read_task(Path(task), task_id)
        name = task_id or ("task" if isinstance(task, Mapping) else Path(task).stem)
        if NAME_SEPARATOR in name:
            raise TrmError(f"task {name!r}: give the task's own name, without {NAME_SEPARATOR}")
        checked = check_task(raw, self.side, name)
        _check_limits(augmentations, minutes, learning_steps, seed)
        known = known_task(name, checked, self.names)
        if known is not None:
            group = _first(known, augmentations)
            learned = nullcontext()
        else:
            if (augmentations or 0) > MAX_AUGMENTATIONS:
                raise TrmError(
                    f"{augmentations} augmentations to learn are too many: ask for at most "
                    f"{MAX_AUGMENTATIONS}, as many as the published datasets have of a task"
                )
            group = augment_task(name, checked, (augmentations or AUGMENTATIONS) - 1, seed)
            learned = embedding_learned(
                self.model, self.training, group, self.device, minutes, learning_steps, seed
            )
        with learned as learning:
            steps = answer_task(self.model, group, self.device, max_steps, every_step)
        seconds = time.monotonic() - began
        voters = len(group.dihedrals)
        return TaskAnswer(name, known is not None, voters, steps, learning, seconds)

    def describe(self) -> str:
        """What it solves, in words, such as `sudokus of 9x9`."""
        return kind_named(self.kind).describe(self.rows, self.side)

    def exported(
        self, weights_sha256: str | None = None, card_sha256: str | None = None
    ) -> Exported:
        """What config.json says of it: nothing of this machine's folders."""
        training = self.training.model_dump(mode="json", exclude={"arch"})
        for key in ("checkpoint_path", "load_checkpoint"):
            training[key] = None
        for key in ("data_paths", "data_paths_test"):
            training[key] = [Path(path).name for path in training[key]]
        return Exported(
            kind=self.kind,
            side=self.side,
            model=self.model.config,
            boards=self.look,
            weights_sha256=weights_sha256,
            card_sha256=card_sha256,
            training=training,
        )


def _first(group: Group, count: int | None) -> Group:
    """The group with its first `count` augmentations."""
    kept = slice(count)
    return Group(
        group.name,
        group.splits,
        group.raw,
        group.dihedrals[kept],
        group.colour_maps[kept],
        group.ids[kept],
    )


def _check_limits(
    augmentations: int | None, minutes: float, learning_steps: int, seed: int
) -> None:
    if augmentations is not None and augmentations < 1:
        raise TrmError(f"{augmentations} augmentations cast no vote: ask for at least 1")
    if not (isfinite(minutes) and minutes >= 0):
        raise TrmError(f"cannot learn for {minutes} minutes: give a number from 0 on")
    if learning_steps < 0:
        raise TrmError(f"{learning_steps} learning steps cannot be made: give a number from 0 on")
    if not 0 <= seed < 2**64:
        raise TrmError(f"{seed} is not a seed: give a number from 0 to 2^64 - 1")


def _checked(max_steps: int | None) -> int | None:
    if max_steps is not None and max_steps < 1:
        raise TrmError(f"{max_steps} supervision steps answer nothing: ask for at least 1")
    return max_steps


# --- loading --------------------------------------------------------------------------------------


def load(
    checkpoint: str | Path,
    *,
    device: str = "auto",
    train_config: str | Path | None = None,
    dataset: str | Path | None = None,
    side: int | None = None,
    kind: Kind | None = None,
) -> TrainedModel:
    """A trained model from an exported folder, a run's folder (its last weights), or a file.

    Args:
        checkpoint: what `python -m trm.export` wrote; a folder of checkpoints/ or results/; or a
            file of weights, ours or published, beside its all_config.yaml.
        device: auto, cuda, mps or cpu.
        train_config: its all_config.yaml, where that is in another folder.
        dataset: the dataset it was trained on, where that is not where the config says. It is
            looked at only for what the weights leave open.
        side: of the board or canvas, where neither weights nor dataset give it.
        kind: its name, where 6 tokens and 4x4 cells leave it open whether it is sudoku or maze.

    Raises:
        TrmError: there is nothing to load, or the files do not fit together.
    """
    path = Path(checkpoint)
    if path.name in (WEIGHTS, DESCRIPTION) and (path.parent / DESCRIPTION).is_file():
        path = path.parent
    if (path / DESCRIPTION).is_file():
        return _load_exported(path, device)
    weights = find_weights(path)
    training = load_train_config(_config_of(weights, path, train_config))
    if note := note_other_architecture(weights, training.arch):
        say(f"note: {note}")
    state = read_state_dict(weights)
    if HEAD not in state:
        raise TrmError(f"checkpoint {weights} holds no {HEAD}: it is not a model of trm")
    folder = _dataset_of(training, weights, dataset)
    vocab_size = _vocab_size(weights, state, folder)
    look = read_look(folder) if folder is not None and (folder / BOARDS).is_file() else None
    seq_len = _puzzle_length(weights, state, vocab_size, training.arch, side, folder, look)
    kind = _kind_of(vocab_size, seq_len, kind) if look is None else look.kind
    puzzles = state[PUZZLE_EMBEDDING].shape[0] if PUZZLE_EMBEDDING in state else 1
    config = ModelConfig.of(training.arch, seq_len, vocab_size, puzzles)
    model, where = _build(config, weights, state, device)
    names = folder if folder is not None and (folder / NAMES).is_file() else None
    return TrainedModel(model, training, kind, weights, where, names, look)


def _load_exported(folder: Path, device: str) -> TrainedModel:
    described = read_description(folder)
    training = parse_train_config(
        {**described.training, "arch": _arch_of(described.model).model_dump()},
        str(folder / DESCRIPTION),
    )
    weights = folder / WEIGHTS
    check_exists(weights)
    if described.weights_sha256 not in (None, file_sha256(weights)):
        raise TrmError(
            f"{weights} is damaged: its SHA-256 is not the one in {DESCRIPTION}; export it again"
        )
    model, where = _build(described.model, weights, read_state_dict(weights), device)
    names = folder if (folder / NAMES).is_file() else None
    return TrainedModel(model, training, described.kind, weights, where, names, described.boards)


def read_description(folder: Path) -> Exported:
    """Read config.json of an exported folder; TrmError where it is not one of ours."""
    path = folder / DESCRIPTION
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrmError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise TrmError(f"{path} is not a description of an exported model ({FORMAT!r})")
    try:
        return Exported(**raw)
    except pydantic.ValidationError as error:
        raise explain(error, str(path), list(Exported.model_fields)) from None


def _arch_of(config: ModelConfig) -> ArchConfig:
    return ArchConfig(**config.model_dump(include=set(ArchConfig.model_fields)))


def _build(
    config: ModelConfig, weights: Path, state: dict[str, Tensor], device: str
) -> tuple[RecursiveModel, torch.device]:
    model = build_model(config)
    fit_weights(weights, state, model)
    where = choose_device(device)
    return model.to(where).eval().requires_grad_(False), where


def _config_of(weights: Path, given: Path, train_config: str | Path | None) -> Path:
    if train_config is not None:
        return Path(train_config)
    for path in (weights.parent / RunFile.CONFIG, given / ResultFile.CONFIG):
        if path.is_file():
            return path
    raise TrmError(
        f"no all_config.yaml beside {weights}, which says what it was trained with: name it by "
        "--train-config"
    )


def _dataset_of(training: TrainConfig, weights: Path, given: str | Path | None) -> Path | None:
    """The folder of the training's dataset; None where it is not available.

    Its path in the config is taken from here, or from a folder above the weights.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise TrmError(f"no dataset {given}: give its folder")
        return Path(given)
    written = Path(training.data_paths[0])
    roots = (Path(), *weights.resolve().parents)
    return next((root / written for root in roots if (root / written).is_dir()), None)


def _vocab_size(weights: Path, state: dict[str, Tensor], data: Path | None) -> int:
    """Tokens that there are. TrmError where neither the weights nor a dataset give it."""
    rows = state[HEAD].shape[0]
    if rows > 1:
        return rows
    # One row for all tokens, of a model that treats them alike.
    metadata = _metadata_of(data)
    if metadata is None:
        raise TrmError(
            f"the vocabulary of {weights} is unknown: its weights are for any number of symbols, "
            "and its dataset is not here. Name that by --dataset"
        )
    return metadata.vocab_size


def _metadata_of(data: Path | None) -> DatasetMetadata | None:
    split = next((data / s for s in ("test", "train") if data and (data / s).is_dir()), None)
    return None if split is None else read_metadata(split)


def _puzzle_length(
    weights: Path,
    state: dict[str, Tensor],
    vocab_size: int,
    arch: ArchConfig,
    side: int | None,
    data: Path | None,
    look: BoardsLook | None,
) -> int:
    """Tokens of a puzzle. TrmError where nothing gives them, or two sources contradict."""
    told = _length_in_weights(state, arch)
    if told is None and look is None:
        sides = [side for kind in kinds().values() for side in kind.sides_of(vocab_size)]
        told = sides[0] ** 2 if len(sides) == 1 else None
    if told is not None:
        if side is not None and side**2 != told:
            raise TrmError(f"{weights} is for puzzles of {told} cells, not of {side}x{side}")
        return told
    if side is not None:
        return side**2
    metadata = _metadata_of(data)
    if metadata is None:
        raise TrmError(
            f"the size of the puzzles of {weights} is unknown: its dataset is not here. Name "
            "it by --dataset, or give the side of its board or canvas by --side (30 for the "
            "published ARC and Maze-Hard)"
        )
    if metadata.vocab_size != vocab_size:
        raise TrmError(
            f"{data} has {metadata.vocab_size} tokens, {weights} {vocab_size}: it was trained on "
            "another dataset; name that by --dataset"
        )
    return metadata.seq_len


def _length_in_weights(state: dict[str, Tensor], arch: ArchConfig) -> int | None:
    """Tokens of a puzzle, where the weights mix or number positions."""
    for name, tensor in state.items():
        if name == "pos_embedding":
            return tensor.shape[2]
        if name == "embed_pos.embedding_weight":
            return tensor.shape[0] - arch.prefix_len
        if name.endswith("mlp_t.gate_up_proj.weight"):
            return tensor.shape[1] - arch.prefix_len
    return None


def _kind_of(vocab_size: int, seq_len: int, wanted: Kind | None) -> Kind:
    """What puzzles have that vocabulary and length; `wanted` where there is a choice."""
    side = isqrt(seq_len)
    fitting = [
        name
        for name, kind in kinds().items()
        if side**2 == seq_len and side in kind.sides_of(vocab_size)
    ]
    if not fitting:
        raise TrmError(
            f"a model of {vocab_size} tokens and {seq_len} cells is for none of the puzzles known "
            "here, ARC, sudoku and mazes. Where it is of boards of your own, their dataset says "
            "what its tokens stand for: name that by --dataset"
        )
    return wanted if wanted in fitting else fitting[0]
