from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pretrain import accept_both_spellings
from tests.conftest import overrides
from trm.config import (
    ARCHITECTURE_NAMES,
    ArchConfig,
    compose,
    hydra_word,
    load_train_config,
    parse_train_config,
    resolve,
)
from trm.errors import TrmError

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


@pytest.mark.parametrize("arch", ARCHITECTURE_NAMES)
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


def test_architecture_by_bare_or_published_name() -> None:
    assert ArchConfig(name="trm").architecture == "trm"
    with pytest.raises(TrmError, match="is no architecture"):
        parse_train_config(compose([]).model_dump() | {"arch": {"name": "gpt"}})


@pytest.mark.parametrize("arch", ARCHITECTURE_NAMES)
def test_resolving_without_hydra_is_what_hydra_composes(arch: str) -> None:
    evaluators = [{"name": "arc@ARC", "pass_Ks": [1, 2]}]
    overrides = {"arch": arch, "lr": 0.5, "arch.hidden_size": 96, "evaluators": evaluators,
                 "eval_interval": None, "ema": True}  # fmt: skip
    words = [hydra_word(key, value) for key, value in overrides.items()]
    composed = compose([w if w.startswith("arch=") else f"++{w}" for w in words])
    assert resolve(overrides, "row") == composed
    assert composed.evaluators[0].pass_Ks == (1, 2)


def test_resolving_names_the_row() -> None:
    with pytest.raises(TrmError, match=r"a/b: no arch 'trn'; did you mean 'trm'"):
        resolve({"arch": "trn"}, "a/b")
    with pytest.raises(TrmError, match="a/b: epochs=7 is not a multiple"):
        resolve({"epochs": 7, "eval_interval": 2}, "a/b")


def test_an_architecture_is_known_in_quotes_too() -> None:
    """As the rules of Snakemake write every word."""
    assert accept_both_spellings([hydra_word("arch", "hrm")]) == ['arch="hrm"']
    with pytest.raises(TrmError, match="did you mean 'hrm'"):
        accept_both_spellings([hydra_word("arch", "hrn")])
