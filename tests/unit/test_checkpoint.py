from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.unit.test_model import small
from trm.config.types import ModelConfig
from trm.errors import TrmError
from trm.files import checkpoints_of
from trm.model.checkpoint import load_weights, read_state_dict, save_weights
from trm.model.registry import build_model

GOLDEN = Path(os.environ.get("TRM_GOLDEN_DIR", Path(__file__).parents[1] / "golden"))


def test_what_is_saved_loads_again(tmp_path: Path) -> None:
    model, other = build_model(small()), build_model(small())
    save_weights(tmp_path / "step_3", model)
    assert load_weights(tmp_path / "step_3", other) == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert [p.name for p in tmp_path.iterdir()] == ["step_3"]


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_layout_loads(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    """A state dict under the published names, as torch.save of a compiled or plain model writes."""
    arrays = np.load(GOLDEN / "model" / "trm_att.npz")
    state = {
        prefix + key.removeprefix("state/"): torch.from_numpy(arrays[key])
        for key in arrays.files
        if key.startswith("state/")
    }
    torch.save({"model": state} if wrapped else state, tmp_path / "step_1")
    meta = json.loads(str(arrays["meta"]))
    config = {k: v for k, v in meta["config"].items() if k not in ("causal", "batch_size")}
    model = build_model(ModelConfig(name=meta["arch"], **config))
    load_weights(tmp_path / "step_1", model)
    wanted = arrays["state/model.inner.L_level.layers.1.mlp.down_proj.weight"]
    np.testing.assert_array_equal(
        model.L_level.layers[1].mlp.down_proj.weight.detach().numpy(), wanted
    )


def test_embedding_of_another_size_starts_from_its_mean(tmp_path: Path) -> None:
    model = build_model(small())
    model.puzzle_emb.weights.copy_(torch.arange(4.0)[:, None].expand(4, 16))
    save_weights(tmp_path / "step_1", model)
    larger = build_model(small().model_copy(update={"num_puzzle_identifiers": 9}))
    (remark,) = load_weights(tmp_path / "step_1", larger)
    assert "4 rows" in remark
    assert "9" in remark
    assert torch.equal(larger.puzzle_emb.weights, torch.full((9, 16), 1.5))


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.system, ("echo boom > exploded",))


class Hidden:
    """Runs code by a function that torch does not block by name."""

    def __reduce__(self) -> tuple:
        return (eval, ("open('exploded', 'w')",))


class Settings:
    """Such as a training program pickles beside its weights."""

    def __init__(self) -> None:
        self.lr = 1e-4

    def __setstate__(self, state: object) -> None:
        Path("exploded").touch()


def test_what_a_training_saves_beside_the_weights_is_skipped(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """Optimiser, NumPy's random state, settings: none of their code is run."""
    monkeypatch.chdir(tmp_path)
    model, other = build_model(small()), build_model(small())
    optimizer = torch.optim.AdamW(model.parameters())
    model.lm_head.weight.sum().backward()
    optimizer.step()
    content = {
        "config": Settings(),
        "rng": {"numpy": np.random.default_rng(0).bit_generator.state, "torch": torch.rand(2)},
        "legacy rng": np.random.RandomState(0).get_state(),
        "best": np.float64(0.5),
        "path": Path("here"),
        "hidden": Hidden(),
        "optimizer": optimizer.state_dict(),
        "model": {f"_orig_mod.model.inner.{k}": t for k, t in model.state_dict().items()},
    }
    torch.save(content, "eqr.pth")
    load_weights(Path("eqr.pth"), other)
    assert torch.equal(other.lm_head.weight, model.lm_head.weight)
    said = capsys.readouterr().err
    assert said.startswith("note: eqr.pth also holds ")
    assert "only its tensors are read" in said
    assert not Path("exploded").exists()
    torch.save(content | {"bomb": Bomb()}, "bomb.pth")
    with pytest.raises(TrmError, match=r"holds more than tensors \(posix.system\), and loading"):
        read_state_dict(Path("bomb.pth"))
    torch.save({"model": Settings()}, "object.pth")
    with pytest.raises(TrmError, match=r"holds more than tensors .*Settings"):
        read_state_dict(Path("object.pth"))
    assert not Path("exploded").exists()


def test_bad_checkpoints_are_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = build_model(small())
    save_weights(tmp_path / "step_5", model)
    whole = (tmp_path / "step_5").read_bytes()

    with pytest.raises(TrmError, match=r"step_6 does not exist; there are step_5"):
        read_state_dict(tmp_path / "step_6")
    with pytest.raises(TrmError, match="is a folder"):
        read_state_dict(tmp_path)
    foreign = {
        "cut": (whole[: len(whole) // 2], r"is damaged \(.*\): copy or download it again"),
        "short": (whole[:9], "is damaged"),
        "empty": (b"", "is empty; there are step_5"),
        "page": (b"\n<!DOCTYPE html><html>no such file</html>", "is a web page"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1a\n", "is a Git LFS"),
        "all_config.yaml": (b"arch:\n  name: trm\n", "is a text file, not weights; there"),
        "history.csv": (b"step,split,loss\n1,train,0.5\n", "is a text file, not weights"),
        "words": ("é".encode() * 400, "is a text file, not weights"),
        "zeros": (bytes(100), "is damaged, or not a file of weights"),
        "noise": (bytes(range(255, 0, -1)), "is damaged, or not a file of weights"),
        "numbers": (pickle.dumps({"a": 1}, protocol=4), "is refused: it is damaged, or holds more"),
        "cut.safetensors": (safetensors.torch.save(model.state_dict())[:-5], "is damaged"),
    }
    for name, (content, said) in foreign.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TrmError, match=f"checkpoint .*{name} {said}") as refused:
            read_state_dict(tmp_path / name)
        assert "weights_only" not in str(refused.value) and "\x1b" not in str(refused.value)
    torch.save(model, tmp_path / "whole model")
    with pytest.raises(TrmError, match=r"more than tensors \(trm\.model\..*could run code\. Save"):
        read_state_dict(tmp_path / "whole model")
    (tmp_path / "code").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(TrmError, match="could run code"):
        read_state_dict(tmp_path / "code")
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(TrmError, match=r"does not fit the model.*lacks .*self_attn"):
        load_weights(tmp_path / "step_5", build_model(small(mlp_t=True)))
    with pytest.raises(TrmError, match=r"H_init is \[16\] in the file, \[32\] in the model"):
        load_weights(tmp_path / "step_5", build_model(small(hidden_size=32, puzzle_emb_ndim=32)))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.model.inner.",
        "model.inner.module.",
        "net.inner.",
        "_orig_mod.module.model.inner.",
        "",
    ],
)
def test_names_that_other_programs_wrap_load(tmp_path: Path, prefix: str) -> None:
    model, other = build_model(small()), build_model(small())
    state = {prefix + name: t for name, t in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2"}, tmp_path / "a")
    safetensors.torch.save_file(state, tmp_path / "b.safetensors")
    safetensors.torch.save_file(state, tmp_path / "step_7")  # whatever its name
    for name in ("a", "b.safetensors", "step_7"):
        load_weights(tmp_path / name, other)
        for key, tensor in model.state_dict().items():
            assert torch.equal(other.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.to_sparse(), "holds model.inner.lm_head.weight as a sparse, quantised"),
        (lambda t: t.to("meta"), "as a sparse, quantised or empty"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "as a sparse, quantised"),
        (lambda t: t.long(), r"lm_head\.weight is \[7, 16\] torch.int64 in the file"),
        (lambda t: t.to(torch.complex64), "torch.complex64 in the file"),
        (lambda _: 7, "holds no state dict: 'model.inner.lm_head.weight' is not a tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantiz")
def test_tensors_of_other_kinds_are_refused(tmp_path: Path, change, said: str) -> None:
    model = build_model(small())
    name = "model.inner.lm_head.weight"
    state = {f"model.inner.{key}": t for key, t in model.state_dict().items()}
    torch.save(state | {name: change(state[name])}, tmp_path / "step_1")
    with pytest.raises(TrmError, match=said):
        load_weights(tmp_path / "step_1", model)
    torch.save({}, tmp_path / "step_1")
    with pytest.raises(TrmError, match="holds no state dict"):
        load_weights(tmp_path / "step_1", model)


def test_checkpoints_are_those_of_the_run_that_ended(tmp_path: Path) -> None:
    """A shorter run in a folder where a longer one left its own."""
    for name in ("step_4", "step_16", "step_2"):
        (tmp_path / name).touch()
    with pytest.raises(TrmError, match="no run has ended"):
        checkpoints_of(tmp_path)
    (tmp_path / "provenance.json").write_text('{"checkpoints": ["step_2", "step_4"]}')
    assert [p.name for p in checkpoints_of(tmp_path)] == ["step_2", "step_4"]
