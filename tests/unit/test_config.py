from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from tests.conftest import ROOT, overrides
from trm.config.architectures import architecture_names
from trm.config.compose import (
    accept_both_spellings,
    compose,
    hydra_word,
    load_train_config,
    parse_train_config,
    resolve,
    save_train_config,
)
from trm.config.types import ArchConfig, TrainConfig
from trm.errors import TrmError
from trm.evaluate.settings import parse_arguments
from trm.files import settings_folder

PUBLISHED = [
    "arch=trm",
    "data_paths=[data/arc1concept-aug-1000]",
    "arch.L_layers=2",
    "arch.H_cycles=3",
    "arch.L_cycles=4",
    "++run_name=pretrain_att_arc1concept_4",
    "ema=True",
]


def test_published_command_resolves_to_the_published_settings() -> None:
    config = compose(PUBLISHED)
    assert config.run_name == "pretrain_att_arc1concept_4"
    assert (config.lr, config.puzzle_emb_lr, config.weight_decay) == (1e-4, 1e-2, 0.1)
    assert (config.global_batch_size, config.epochs, config.lr_warmup_steps) == (768, 100000, 2000)
    assert (config.beta1, config.beta2, config.ema, config.ema_rate) == (0.9, 0.95, True, 0.999)
    assert [e.name for e in config.evaluators] == ["arc@ARC"]
    arch = config.arch
    assert (arch.hidden_size, arch.num_heads, arch.L_layers, arch.L_cycles) == (512, 8, 2, 4)
    assert (arch.puzzle_emb_ndim, arch.prefix_len, arch.halt_max_steps) == (512, 16, 16)
    assert arch.loss.loss_type == "stablemax_cross_entropy"


@pytest.mark.parametrize("arch", architecture_names())
def test_every_arch_file_composes(arch: str) -> None:
    assert compose([f"arch={arch}"]).arch.architecture == arch


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epochs=7", "eval_interval=3"], "epochs=7 is not a multiple of eval_interval=3"),
        (["++nonsense=1"], "unknown key 'nonsense'"),
        (["++arch.L_cycle=1"], "did you mean 'arch.L_cycles'"),
        (["lr=fast"], "lr: .*number"),
        (["seed=18446744073709551616"], "seed: .*less than 18446744073709551616"),
        (["arch.pos_encodings=sine"], "rope"),
        (["arch.puzzle_emb_ndim=64", "arch.hidden_size=16", "arch.puzzle_emb_len=2"], "not fit"),
        (["arch=nope"], "Could not find 'arch/nope'"),
        (["device=tpu"], "device"),
        (["eval_save_outputs=[everything]"], "eval_save_outputs"),
        (["seed=18446744073709551616"], "seed: .*less than 18446744073709551616"),
        (["seed=-1"], "seed: .*greater than or equal to 0"),
        (["run_name=${nothing}"], "Interpolation key 'nothing' not found"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(TrmError, match=message):
        compose(words)


def test_world_size_must_divide_the_batch() -> None:
    config = compose(overrides(global_batch_size=8))
    config.check_world_size(4)
    with pytest.raises(TrmError, match="not divisible by the 3 processes"):
        config.check_world_size(3)


def test_saved_config_reads_back(tmp_path: Path) -> None:
    config = compose(overrides())
    path = tmp_path / "all_config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_train_config(path) == config
    path.write_text("- not\n- a config\n")
    with pytest.raises(TrmError, match="holds no training config"):
        load_train_config(path)
    for content in (b"\x80\x02\xff", b"arch: [", b"\0"):
        path.write_bytes(content)
        with pytest.raises(TrmError, match="cannot read the training config"):
            load_train_config(path)


def test_architecture_by_bare_or_published_name() -> None:
    assert ArchConfig(name="trm").architecture == "trm"
    with pytest.raises(TrmError, match="is not an architecture; .* are eqr, hrm, .*, trm"):
        parse_train_config(compose([]).model_dump() | {"arch": {"name": "gpt"}})


@pytest.mark.parametrize("arch", architecture_names())
def test_resolving_without_hydra_is_what_hydra_composes(arch: str) -> None:
    evaluators = [{"name": "arc@ARC", "pass_Ks": [1, 2]}]
    overrides = {
        "arch": arch,
        "lr": 0.5,
        "arch.hidden_size": 96,
        "evaluators": evaluators,
        "eval_interval": None,
        "ema": True,
    }
    words = [hydra_word(key, value) for key, value in overrides.items()]
    composed = compose([w if w.startswith("arch=") else f"++{w}" for w in words])
    assert resolve(overrides, "row") == composed
    assert composed.evaluators[0].pass_Ks == (1, 2)


def test_resolving_names_the_row() -> None:
    with pytest.raises(TrmError, match=r"a/b: no arch 'trn'; did you mean 'trm'"):
        resolve({"arch": "trn"}, "a/b")
    with pytest.raises(TrmError, match="a/b: epochs=7 is not a multiple"):
        resolve({"epochs": 7, "eval_interval": 2}, "a/b")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr_warmpu_steps=1", "did you mean 'lr_warmup_steps'"),
        ("lr", "lr has no value: write lr=VALUE"),
        ("larning", "unknown key 'larning'"),
        ("arch=tmr", "unknown arch 'tmr'; did you mean 'trm'?; config/arch has"),
        ("arch.hiden_size=8", "did you mean 'arch.hidden_size'"),
    ],
)
def test_a_mistyped_word_of_the_command_is_named(word: str, message: str) -> None:
    """As a process: tests/workflow/test_commands.py."""
    with pytest.raises(TrmError, match=re.escape(message)):
        accept_both_spellings([word])


def test_an_architecture_is_known_in_quotes_too() -> None:
    """As the rules of Snakemake write every word."""
    assert accept_both_spellings([hydra_word("arch", "hrm")]) == ['arch="hrm"']
    with pytest.raises(TrmError, match="did you mean 'hrm'"):
        accept_both_spellings([hydra_word("arch", "hrn")])


# --- words as people type them --------------------------------------------------------------------

NASTY = [
    "a=b",
    "a(b)",
    "a#b",
    "it's",
    "data/é",
    "谜题",
    "😀",
    "a b",
    "a #b",
    "a: b",
    "a,b",
    "a;b",
    "a&b",
    "~/x",
    "!",
    "$x",
    "[x]",
    "{x}",
    "=",
    "5",
    "1e-4",
    "true",
    "null",
    "",
    "a\nb",
    'a"b',
    'a\\"b',
    "a\\",
    "a\\\\",
    '\\"',
    "\\u00e9",
    "${x}",
    "\\${x}",
    "\\\\${x}",
]


def test_every_text_passes_through_hydra() -> None:
    """What the rules and scripts of the workflow write, quotes and all."""
    assert compose([f"++{hydra_word('data_paths', NASTY)}"]).data_paths == NASTY
    names = compose([f"++{hydra_word('run_name', NASTY[3])}", hydra_word("project_name", "a${b}")])
    assert (names.run_name, names.project_name) == (NASTY[3], "a${b}")


def typed(*words: str) -> TrainConfig:
    return compose(accept_both_spellings([*words]))


def test_a_text_is_taken_as_it_is_typed() -> None:
    keys = ("load_checkpoint", "checkpoint_path", "project_name", "run_name", "wandb_group")
    raw = ["runs/lr=1e-4/step_5", "a(b)#c", "it's é", "5", "a,b"]
    config = typed(*(f"{key}={text}" for key, text in zip(keys, raw, strict=True)))
    assert [getattr(config, key) for key in keys] == raw
    paths = ["[a=b,c d]", "[data/é#1, it's (mine)]", "['a,b',\"c\"]", "[5]", "[a: b]"]
    wanted = [["a=b", "c d"], ["data/é#1", "it's (mine)"], ["a,b", "c"], ["5"], ["a: b"]]
    for typed_paths, read in zip(paths, wanted, strict=True):
        assert typed(f"data_paths={typed_paths}").data_paths == read


def test_what_hydra_reads_stays_as_it_was() -> None:
    texts = ("'a b'", '"a"', r"a\,b", "null", "a b", "${project_name}")
    words = ("data_paths=[a,b]", "lr=1e-4", "ema=True", "evaluators=[{name: arc@ARC}]")
    for word in (*(f"run_name={text}" for text in texts), *words):
        assert accept_both_spellings([word]) == [f"++{word}"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr=1(", r"^lr=1\( cannot be read; see lr in config/pretrain.yaml$"),
        ("lr=1,2", "^lr=1,2 cannot be read"),
        ("evaluators=[{name", "cannot be read"),
        ("data_paths=data/x", r"^data_paths takes a list: write data_paths='\[data/x\]'$"),
        ("data_paths=data/(x)", r"write data_paths='\[data/\(x\)\]'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(word: str, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        accept_both_spellings([word])


def test_an_evaluation_takes_texts_as_they_are_typed(tmp_path: Path) -> None:
    folder = tmp_path / "it's #1 (é)=b: c"
    folder.mkdir()
    (folder / "step_1").touch()
    config, _ = parse_arguments(
        [
            f"checkpoint={folder}/step_1",
            f"data_paths=[{folder},data/x=1]",
            f"out={folder}/m.json",
            f'challenges=["{folder}/a,b.json"]',
            "at_steps=[1, 2]",
            f"steps_out='{folder}/s.csv'",
            "predictions=null",
        ]
    )
    assert config.checkpoint == folder / "step_1"
    assert config.data_paths == [str(folder), "data/x=1"]
    assert config.challenges == [folder / "a,b.json"]
    assert (config.out, config.steps_out) == (folder / "m.json", folder / "s.csv")
    assert (config.at_steps, config.predictions) == ([1, 2], None)


# --- defaults -------------------------------------------------------------------------------------


def defaults(model: type[BaseModel]) -> dict[str, object]:
    """By key, of those that a class has a default for."""
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def test_a_default_is_the_same_in_the_code_and_in_the_files() -> None:
    """The code's serve to read a config that lacks a key; everything else reads the files."""
    config = compose([])
    of_files = config.model_dump(mode="json")
    for key, value in defaults(TrainConfig).items():
        assert to_jsonable_python(value) == of_files[key], key
    assert set(of_files) == set(TrainConfig.model_fields)
    raw = yaml.safe_load((settings_folder() / "pretrain.yaml").read_text())
    assert set(raw) - {"defaults", "hydra"} == set(TrainConfig.model_fields)


def test_the_code_s_architecture_is_that_of_its_file() -> None:
    assert ArchConfig() == compose(["arch=trm"]).arch


def test_saved_settings_are_read_as_they_were(tmp_path: Path) -> None:
    changes = {"arch": "hrm", "lr": 1e-5, "run_name": "数据=1#2", "data_paths": NASTY}
    config = resolve(changes, "row")
    assert config.data_paths == NASTY
    save_train_config(config.model_dump(mode="json"), tmp_path / "run" / "settings.yaml")
    assert load_train_config(tmp_path / "run" / "settings.yaml") == config


def test_the_settings_of_the_architectures_are_the_recorded_ones() -> None:
    """Wherever a file has them from: from itself or from what all share."""
    recorded = json.loads((ROOT / "tests/golden/architectures.json").read_text())
    for name, settings in recorded.items():
        assert compose([f"arch={name}"]).arch.model_dump(mode="json") == settings, name
