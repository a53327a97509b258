"""Settings composed: Hydra reads config/pretrain.yaml, config/arch and what a person types."""

from __future__ import annotations

import copy
import json
import re
from functools import cache, reduce
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import pydantic
import yaml
from pydantic import BaseModel

from trm.config.types import ArchConfig, TrainConfig, _flat
from trm.errors import TrmError, explain, first_line, suggest
from trm.files import RunFile, settings_folder, write_atomically

if TYPE_CHECKING:
    from omegaconf import DictConfig


def known_keys(model: type[BaseModel] = TrainConfig, prefix: str = "") -> list[str]:
    """Every key that an override may name, dotted."""
    keys = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            keys += [prefix + name, *known_keys(nested, f"{prefix}{name}.")]
        else:
            keys.append(prefix + name)
    return keys


def parse_train_config(raw: dict[str, Any], what: str = "training config") -> TrainConfig:
    """Check a plain dictionary, of Hydra or of a saved all_config.yaml; TrmError if wrong."""
    try:
        return TrainConfig(**raw)
    except pydantic.ValidationError as error:
        raise explain(error, what, known_keys()) from None


def arch_files() -> list[str]:
    """What `arch=` may be: the files of config/arch."""
    return sorted(path.stem for path in (settings_folder() / "arch").glob("*.yaml"))


def compose(overrides: list[str]) -> TrainConfig:
    """config/pretrain.yaml with `arch=…`, `arch.L_cycles=…` and the like applied by Hydra."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    folder = settings_folder()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = hydra_compose("pretrain", overrides)
    except HydraException as error:
        raise TrmError(str(error)) from None
    return train_config_of(composed)


def train_config_of(composed: DictConfig) -> TrainConfig:
    """Check what Hydra composed; TrmError if wrong."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        raw = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise TrmError(first_line(error)) from None
    return parse_train_config(raw)


def resolve(overrides: dict[str, Any], what: str) -> TrainConfig:
    """Check `overrides` (dotted keys; `arch` names a file) over the defaults, without Hydra.

    What Hydra composes for the same words, for checking many rows before any job starts.
    """
    from omegaconf import OmegaConf

    name = overrides.get("arch", "trm")
    known = arch_files()
    if name not in known:
        raise TrmError(f"{what}: no arch {name!r}{suggest(str(name), known)}; there are {known}")
    base = copy.deepcopy(_defaults(settings_folder() / "arch" / f"{name}.yaml"))
    changes = {key: value for key, value in overrides.items() if key != "arch"}
    literal = {key: value for key, value in changes.items() if "${" in json.dumps(value)}
    for key, value in changes.items():
        if key not in literal:
            OmegaConf.update(base, key, value, force_add=True)
    raw = OmegaConf.to_container(base, resolve=True)
    for key, value in literal.items():  # a name with `${` in it, not a reference
        *parents, last = key.split(".")
        reduce(lambda node, name: node[name], parents, raw)[last] = value
    return parse_train_config(raw, what)


@cache
def _defaults(arch: Path) -> Any:
    """config/pretrain.yaml with the file `arch`; a table has dozens of rows with few of these."""
    from omegaconf import OmegaConf

    base = copy.deepcopy(_pretrain(arch.parents[1] / "pretrain.yaml"))
    base["arch"] = OmegaConf.merge(base["arch"], OmegaConf.load(arch))
    return base


@cache
def _pretrain(path: Path) -> Any:
    """The defaults that all architectures share."""
    from omegaconf import OmegaConf

    base = OmegaConf.load(path)
    for key in ("defaults", "hydra"):
        del base[key]
    return base


def hydra_word(key: str, value: Any) -> str:
    """`key=value` in the grammar of Hydra's overrides, where a mapping's keys are not quoted."""

    def text(v: Any) -> str:
        if isinstance(v, dict):
            return "{" + ",".join(f"{k}:{text(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list | tuple):
            return "[" + ",".join(map(text, v)) + "]"
        return _quoted(v) if isinstance(v, str) else json.dumps(v)

    return f"{key}={text(value)}"


def _quoted(text: str) -> str:
    """A text as Hydra's grammar quotes it, which knows no other escapes, and without interpolation
    by OmegaConf."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + m[2].replace('"', '\\"'), text) + '"'


def typed_word(word: str) -> str:
    """`key=value` as a person types it, in the grammar of Hydra's overrides.

    A text (a path, a name) or a list of them may be typed as it is: it is quoted where the grammar
    wants that. TrmError where a value of another kind cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = word.partition("=")
    try:
        override = OverridesParser.create().parse_override(word)
        readable = not override.is_sweep_override()
    except HydraException:
        readable = False
    read = override.value() if readable else None
    kind = _text_kinds().get(key)
    if kind is not None and readable and "${" in value:  # another key's value, or the environment's
        return word
    if kind == "text" and not isinstance(read, str) and value.lower() != "null":
        return hydra_word(key, value)
    if kind == "texts" and not is_list_of(str, read):
        texts = read_texts(value)
        if texts is None:
            raise TrmError(f"{key} takes a list: write {key}='[{value}]'")
        return hydra_word(key, texts)
    if not readable:
        raise TrmError(f"{word} cannot be read; see {key} in config/pretrain.yaml")
    return word


def accept_both_spellings(arguments: list[str]) -> list[str]:
    """`+key=…` and `key=…` mean the same for every key there is.

    The published commands add run_name with a plus, which Hydra refuses for a key that the config
    file already lists. A key or an architecture that does not exist is refused here, with the
    nearest one, and so is a key without a value.
    """
    known = known_keys()
    accepted = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        key, equals, value = word.partition("=")
        key = key.lstrip("+")
        # A word behind an option of Hydra's, as in `--cfg job`, is that option's.
        of_hydra = before.startswith("-") and "=" not in before and not equals
        if word.startswith(("-", "~")) or of_hydra or key.startswith("hydra"):
            accepted.append(word)
        elif key not in known:
            raise TrmError(f"unknown key {key!r}{suggest(key, known)}; keys: config/pretrain.yaml")
        elif not equals:
            raise TrmError(f"{key} has no value: write {key}=VALUE")
        elif key == "arch":  # a file of config/arch, not a value
            _check_architecture(value.strip("\"'"))
            accepted.append(word.lstrip("+"))
        else:
            accepted.append(f"++{typed_word(word.lstrip('+'))}")
    return accepted


def _check_architecture(name: str) -> None:
    known = arch_files()
    if name.removesuffix(".yaml") not in known:
        names = ", ".join(known)
        raise TrmError(f"unknown arch {name!r}{suggest(name, known)}; config/arch has {names}")


def read_texts(value: str) -> list[str] | None:
    """The texts of a list `[a, b]` as a person types it, quoted or not; None for anything else."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    try:
        texts = yaml.safe_load(value)
    except yaml.YAMLError:
        texts = None
    if is_list_of(str, texts):
        return texts
    return [unquoted(text.strip()) for text in value[1:-1].split(",")]


def unquoted(text: str) -> str:
    """`value` without the quotes around it, if there are any."""
    return text[1:-1] if len(text) > 1 and text[0] in "\"'" and text[0] == text[-1] else text


def is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


@cache
def _text_kinds() -> dict[str, Literal["text", "texts"]]:
    """The keys of a training whose values are texts, or lists of them."""
    return text_kinds(TrainConfig)


def text_kinds(model: type[BaseModel], prefix: str = "") -> dict[str, Literal["text", "texts"]]:
    """The keys of a model whose values are texts or paths, or lists of them."""
    kinds: dict[str, Literal["text", "texts"]] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kinds |= text_kinds(annotation, f"{prefix}{name}.")
        is_union = get_origin(annotation) in (Union, UnionType)
        for option in get_args(annotation) if is_union else (annotation,):
            if option in (str, Path):
                kinds[prefix + name] = "text"
            elif option in (list[str], list[Path]):
                kinds[prefix + name] = "texts"
    return kinds


def load_train_config(path: Path) -> TrainConfig:
    """Read the `all_config.yaml` that a run, ours or the published code's, left behind."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: it is not text
        raise TrmError(f"cannot read the training config {path}: {error}") from None
    if not isinstance(raw, dict):
        raise TrmError(f"{path} holds no training config")
    return parse_train_config(raw, str(path))


def save_train_config(settings: dict[str, Any], path: Path) -> None:
    """Write all settings, plain values by key, as YAML, which `load_train_config` reads."""
    write_atomically(path, yaml.safe_dump(settings, sort_keys=False).encode())


NOT_COMPARED = ("arch.halt_max_steps", "arch.halt_exploration_prob", "arch.loss")
"""Settings of `arch` that another training or evaluation is free to choose."""


def note_other_architecture(checkpoint: Path, arch: ArchConfig) -> str | None:
    """What to note where a checkpoint was trained with other settings of the architecture, by the
    all_config.yaml beside it: many change no shape, so that the weights load all the same."""
    try:
        theirs = _flat({"arch": load_train_config(checkpoint.parent / RunFile.CONFIG).arch})
    except TrmError:
        return None
    ours = _flat({"arch": arch})
    differing = [
        f"{key}={ours[key]} here, {theirs[key]} there"
        for key in theirs
        if ours[key] != theirs[key] and not key.startswith(NOT_COMPARED)
    ]
    if not differing:
        return None
    return f"{checkpoint} was trained with other settings: {'; '.join(differing)}"
