"""How a checkpoint is evaluated: the keys of `python -m trm.evaluate`, and what its loop takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trm.config.compose import (
    compose,
    load_train_config,
    parse_train_config,
    read_texts,
    text_kinds,
    unquoted,
)
from trm.config.types import Embeddings, Strict, TrainConfig
from trm.data.specs import Kind
from trm.errors import TrmError, explain
from trm.evaluate.weights import find_weights
from trm.files import RunFile, check_outputs
from trm.model.checkpoint import check_exists
from trm.runtime.late import wait_for

TaskIds = Literal["own", "blank", "other"]
"""Which puzzle embedding an example is shown with: its own, the blank one, another puzzle's."""
Halting = Literal["fixed", "act"]
"""Whether every example goes all the way, or leaves as soon as its halting head is sure."""

Compile = Literal["auto", "on", "off"]
"""Whether torch.compile compiles the nets; auto: where the evaluation is long enough to pay."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th (from 1) of `count` shares of a test split's batches."""

    number: int = 1
    count: int = 1

    def batches(self, total: int) -> range:
        """The shard's share of `total` batches; TrmError where there are fewer batches than
        shards."""
        if self.count > total:
            raise TrmError(
                f"{self.count} shards are more than the {total} batches of the test split: choose "
                f"at most {total}, or a smaller global_batch_size"
            )
        first, last = (total * n // self.count for n in (self.number - 1, self.number))
        return range(first, last)


@dataclass(frozen=True)
class Settings:
    """How a test split is evaluated."""

    loss_type: str
    global_batch_size: int
    halting: Halting = "fixed"
    halting_threshold: float = 0  # logit above which an example is sure
    task_ids: TaskIds = "own"
    at_steps: tuple[int, ...] = ()  # supervision steps after which to take the metrics too
    keep: tuple[str, ...] = ()  # of SAVABLE_OUTPUTS, to be returned as tensors
    shard: Shard = Shard()


class EvaluateConfig(Strict):
    """Keys of `python -m trm.evaluate`; `arch.*` overrides the saved architecture besides."""

    checkpoint: Path  # the file, or the folder of its run or result
    data_paths: list[str] | None = None  # default: what the checkpoint was trained on
    out: Path = Path("metrics.json")
    config: Path | None = None  # default: all_config.yaml beside the checkpoint
    predictions: Path | None = None  # where to write predictions.npz
    answers: Path | None = None  # where to write answers.npz, for ARC
    submission: Path | None = None  # default, for ARC: submission.json beside `out`
    challenges: list[Path] = []  # arc-agi_*_challenges.json: answer each of their tasks, and check
    global_batch_size: int | None = pydantic.Field(None, ge=1)
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    compile: Compile = "auto"  # auto: if the evaluation is long enough to be worth it
    eval_halting: Halting | None = None  # act: a sure example leaves early; default: as trained
    # Logit above which it is sure; default: as trained.
    eval_halting_threshold: float | None = pydantic.Field(None, allow_inf_nan=False)
    at_steps: list[int] = []  # supervision steps to take the metrics after
    steps_out: Path | None = None  # CSV of those
    cost_out: Path | None = None  # JSON of what the evaluation took
    kind: Kind | None = None  # its own metrics are computed too
    task_ids_out: Path | None = None  # CSV of metrics under own, blank and another puzzle's ids
    # reinitialise: every puzzle's is the mean of the saved ones, for puzzles of another dataset.
    puzzle_embeddings: Embeddings = "saved"
    shard: str | None = None  # K/N: evaluate the K-th of N shares of the test split into shard_out
    shard_out: Path | None = None
    shards: list[Path] = []  # files of all shards: put together, and nothing is evaluated

    @pydantic.field_validator("compile", mode="before")
    @classmethod
    def _as_typed(cls, value: Any) -> Any:
        """YAML reads on and off as true and false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> EvaluateConfig:
        if bool(self.at_steps) != (self.steps_out is not None):
            raise ValueError("at_steps and steps_out go together")
        if self.at_steps and self.eval_halting == "act":
            raise ValueError("at_steps looks at every example: not with eval_halting=act")
        if (self.shard is None) != (self.shard_out is None):
            raise ValueError("shard and shard_out go together")
        if self.shard is not None:
            self._check_shard(self.shard)
        if (self.shard is not None or self.shards) and (self.steps_out or self.task_ids_out):
            raise ValueError("steps_out and task_ids_out need the whole evaluation, not shards")
        return self

    def _check_shard(self, shard: str) -> None:
        numbers = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard, re.ASCII)
        if numbers is None or int(numbers[1]) > int(numbers[2]):
            raise ValueError(f"shard={shard} is not K/N with K from 1 to N")
        if self.shards or self.predictions or self.answers or self.submission:
            raise ValueError("a shard has no outputs but shard_out: give the others with shards=…")

    @property
    def own_shard(self) -> Shard:
        return Shard() if self.shard is None else Shard(*map(int, self.shard.split("/")))

    def check_outputs(self) -> None:
        """TrmError, before any work, where a file cannot be written or would be lost."""
        files = (
            self.out,
            self.predictions,
            self.answers,
            self.submission,
            self.steps_out,
            self.task_ids_out,
            self.cost_out,
            self.shard_out,
        )
        inputs = (self.checkpoint, self.config, *self.challenges, *self.shards)
        check_outputs(
            [path for path in files if path is not None],
            self.checkpoint.parent,
            [path for path in inputs if path is not None],
        )


def parse_arguments(arguments: list[str]) -> tuple[EvaluateConfig, TrainConfig]:
    """Read `key=value` words; TrmError for anything unknown or wrong."""
    for word in arguments:
        if "=" not in word:
            raise TrmError(f"expected key=value, not {word!r}; see python -m trm.evaluate --help")
    ours = [word for word in arguments if not word.startswith("arch")]
    arch = [word for word in arguments if word.startswith("arch")]
    try:
        config = EvaluateConfig(**_read_words(ours))
    except pydantic.ValidationError as error:
        raise explain(error, "trm.evaluate", list(EvaluateConfig.model_fields)) from None
    wait_for(config.checkpoint)
    if config.checkpoint.is_dir():
        config = config.model_copy(update={"checkpoint": find_weights(config.checkpoint)})
    config.check_outputs()
    check_exists(config.checkpoint)
    beside = config.checkpoint.parent / RunFile.CONFIG
    path = config.config or (beside if beside.is_file() else None)
    # A bare published checkpoint: its architecture is what the command line says.
    trained = compose(arch) if path is None else _with_overrides(path, arch)
    beyond = [step for step in config.at_steps if not 1 <= step <= trained.arch.halt_max_steps]
    if beyond:
        raise TrmError(
            f"at_steps has {beyond}, outside 1..{trained.arch.halt_max_steps}; "
            "arch.halt_max_steps=… runs longer"
        )
    return config, trained


def _read_words(words: list[str]) -> dict[str, Any]:
    """Texts and lists of texts as they are typed, other values as YAML."""
    kinds, values = text_kinds(EvaluateConfig), dict[str, Any]()
    others = []
    for word in words:
        key, _, value = word.partition("=")
        texts = read_texts(value) if kinds.get(key) == "texts" else None
        if "${" in value or (texts is None and kinds.get(key) != "text"):
            others.append(word)
        elif texts is not None:
            values[key] = texts
        else:
            values[key] = None if value in ("", "null") else unquoted(value)
    return _from_yaml(others) | values


def _from_yaml(words: list[str]) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(words), resolve=True)
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise TrmError(f"trm.evaluate: {' '.join(words)}: {error}") from None


def _with_overrides(config: Path, words: list[str]) -> TrainConfig:
    """The settings of the training with other ones of `arch`."""
    wait_for(config)
    saved = load_train_config(config)
    for word in words:
        name = unquoted(word.removeprefix("arch="))
        if word.startswith("arch=") and name != saved.arch.architecture:
            raise TrmError(
                f"arch={name}, but by {config} it was trained with arch={saved.arch.architecture}: "
                "leave arch=… out"
            )
    overrides = _from_yaml([word for word in words if not word.startswith("arch=")])
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(saved.model_dump(), overrides))
    except OmegaConfBaseException as error:
        raise TrmError(f"trm.evaluate: {' '.join(words)}: {error}") from None
    return parse_train_config(merged, str(config))
