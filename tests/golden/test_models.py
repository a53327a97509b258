"""The architectures against the published code: outputs, twelve training steps, weights.

All in double precision, where a recursion that amplifies a last bit a thousandfold still leaves ten
digits: the figures are those of any processor, and of a GPU where there is one. In single precision
and bfloat16 what matters is where the casts are: tests/unit/test_dtypes.py.

TRM_GOLDEN_DIR names another folder of figures (with model/*.npz) to test against.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.runs import DEVICES
from trm.config.types import LossConfig, ModelConfig
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel, State
from trm.model.checkpoint import PREFIX
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks
from trm.training.ema import EMA
from trm.training.optim import SignSGD, make_optimizer

GOLDEN = Path(os.environ.get("TRM_GOLDEN_DIR", Path(__file__).parent))
FILES = sorted((GOLDEN / "model").glob("*.npz"))

TOLERANCE = 1e-9  # of the largest value of an array
WIDER = 1e-7
"""For metrics, of which accuracy is a mean in fp32, and for learned positions, where the published
code writes √½ as 0.707106781."""

Figures = dict[str, np.ndarray]


class Golden:
    """One file: what the published code was given, and the figures that it computed."""

    def __init__(self, path: Path) -> None:
        self.arrays = dict(np.load(path, allow_pickle=False))
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def given(self, prefix: str) -> dict[str, Tensor]:
        return {
            key.removeprefix(prefix): torch.from_numpy(array)
            for key, array in self.arrays.items()
            if key.startswith(prefix)
        }

    @property
    def figures(self) -> Figures:
        given = ("state/", "start/", "batch")
        return {key: a for key, a in self.arrays.items() if not key.startswith(given)}

    def batches(self, device: torch.device) -> list[Batch]:
        numbers = sorted({k.split("/")[0] for k in self.arrays if k.startswith("batch")})
        return [Batch(**self.given(f"{number}/")).to(device) for number in numbers]

    def model(self, device: torch.device) -> RecursiveModel:
        config = {"puzzle_emb_ndim": 0} | self.meta[
            "config"
        ]  # EqR's published code has no such key
        assert config.pop("causal", False) is False
        assert config.pop("batch_size") == len(self.arrays["batch0/inputs"])
        assert config["forward_dtype"] == "float64"
        assert config.setdefault("halt_exploration_prob", 0.0) == 0.0  # URM's does not explore
        model = build_model(
            ModelConfig(
                name=self.meta["arch"], loss=LossConfig(loss_type=self.meta["loss"]), **config
            )
        )
        model.load_state_dict(self.given(f"state/{PREFIX}"))
        if starts := self.given("start/"):  # what the published code drew
            model = with_starts(model, tuple(starts[f"z_{name}"].double() for name in "HL"))
        return model.to(device)


def with_starts(model: RecursiveModel, starts: tuple[Tensor, ...]) -> RecursiveModel:
    """The model, whose states at random start from these [B, S, D] instead of drawn ones."""

    def initial_state(batch_size: int, keys: Tensor) -> State:
        return (*(start[:batch_size].to(keys.device) for start in starts), keys)

    model.initial_state = initial_state
    return model


def compute(golden: Golden, device: str) -> Figures:
    """Our own figures, under their names in the file."""
    place = torch.device(device)
    computed = evaluation(golden, place) | training(golden, place)
    return {
        name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in computed.items()
    }


def evaluation(golden: Golden, device: torch.device) -> dict[str, object]:
    """Every supervision step's logits, halting, answers, losses and metrics."""
    model, batch = golden.model(device).eval(), golden.batches(device)[0]
    carry = initial_carry(model, batch)
    figures: dict[str, object] = {}
    for step in range(model.config.halt_max_steps):
        with torch.no_grad():
            carry, output = act_step(model, carry, batch)
            loss, metrics, preds = act_loss(golden.meta["loss"], carry, output)
        of_step = {"logits": output.logits, "q_halt_logits": output.q_halt, "preds": preds}
        of_step |= {"loss": loss} | {f"metric/{name}": value for name, value in metrics.items()}
        figures |= {f"eval/step{step}/{name}": value for name, value in of_step.items()}
    return figures | {"eval/all_finish": carry.halted.all()}


def training(golden: Golden, device: torch.device) -> dict[str, object]:
    """Twelve steps over the batches in turn: losses, metrics, final and averaged weights."""
    meta = golden.meta
    model, batches = golden.model(device).train(), golden.batches(device)
    optimizer = make_optimizer("adam_atan2", model, tuple(meta["betas"]), meta["weight_decay"])
    optimizer.param_groups[0]["lr"] = meta["lr"]
    puzzle_optimizer = None
    if model.config.puzzle_emb_ndim:
        puzzle_optimizer = SignSGD(
            model.puzzle_emb.weights, meta["puzzle_emb_weight_decay"], Ranks(0, 1, device)
        )
    ema = EMA(model, meta["ema_rate"])
    per_step: dict[str, list[float]] = {}
    carry = initial_carry(model, batches[0])
    for step in range(len(golden.arrays["train/loss"])):
        carry, output = act_step(model, carry, batches[step % len(batches)])
        loss, metrics, _ = act_loss(meta["loss"], carry, output)
        (loss / len(batches[0].inputs)).backward()
        if puzzle_optimizer is not None:
            puzzle_optimizer.step(
                meta["puzzle_emb_lr"], carry.current.puzzle_identifiers, output.puzzle_rows.grad
            )
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model, step + 1)
        named = {"train/loss": loss} | {f"train/metric/{k}": v for k, v in metrics.items()}
        for name, value in named.items():
            per_step.setdefault(name, []).append(value.item())
    weights = {f"final/{PREFIX}{k}": v for k, v in model.state_dict().items()}
    return per_step | weights | {f"ema/{PREFIX}{k}": v for k, v in ema.shadow.items()}


def assert_equal(computed: Figures, wanted: Figures, tolerance: float) -> None:
    """Each array within `tolerance` of its largest value; what is no float is equal."""
    assert set(computed) == set(wanted)
    for name, array in wanted.items():
        assert computed[name].shape == array.shape, name
        allowed = 0.0
        if array.dtype.kind == "f" and array.size:
            allowed = (max(tolerance, WIDER) if "/metric/" in name else tolerance) * np.abs(
                array
            ).max()
        off = np.abs(np.asarray(computed[name], np.float64) - array)
        assert np.all(off <= allowed), (  # false where either is NaN
            f"{name}: {np.sum(~(off <= allowed))} of {off.size} figures differ, the worst by "
            f"{np.max(off):.1e} where {allowed:.1e} is allowed"
        )


def tolerance_of(golden: Golden) -> float:
    return WIDER if golden.meta["config"]["pos_encodings"] == "learned" else TOLERANCE


@functools.cache
def computed_on_cpu(path: Path) -> Figures:
    return compute(Golden(path), "cpu")


def test_there_are_figures() -> None:
    assert FILES, f"no model/*.npz in {GOLDEN}"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_model(path: Path, device: str) -> None:
    golden = Golden(path)
    computed = computed_on_cpu(path) if device == "cpu" else compute(golden, device)
    assert_equal(computed, golden.figures, tolerance_of(golden))


def kind_of(key: str) -> str:
    """eval/step2/logits -> eval/logits; final/model.inner.x -> final; batch1/labels -> labels."""
    parts = key.split("/")
    if parts[0].startswith("batch"):
        return parts[-1]
    if parts[0] in ("state", "start", "final", "ema"):
        return parts[0]
    return "/".join(part for part in parts if not re.fullmatch(r"step\d+", part))


def altered(golden: Golden, key: str, rng: np.random.Generator) -> None:
    """Change one number of an array: a float in its sixth digit, anything else by one."""
    array = golden.arrays[key].copy()
    flat = array.reshape(-1)
    largest = int(np.argmax(np.abs(flat))) if array.dtype.kind == "f" else rng.integers(len(flat))
    match array.dtype.kind:
        case "f":
            flat[largest] = flat[largest] * (1 + 1e-5) or 1e-5
        case "b":
            flat[largest] = ~flat[largest]
        case _:
            flat[largest] = 1 if flat[largest] != 1 else 2
    golden.arrays[key] = array


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_kind_of_figure_counts(path: Path) -> None:
    """Whatever is changed in the file is noticed, in what the code is given as in what it gives."""
    rng = np.random.default_rng(0)
    golden = Golden(path)
    kinds: dict[str, list[str]] = {}
    for key in golden.arrays:
        kinds.setdefault(kind_of(key), []).append(key)
    assert {
        "state",
        "inputs",
        "labels",
        "puzzle_identifiers",
        "train/loss",
        "final",
        "ema",
        "eval/logits",
        "eval/loss",
        "eval/q_halt_logits",
        "eval/preds",
        "eval/metric/steps",
    } <= set(kinds)
    if not golden.meta["config"].get("puzzle_emb_ndim"):
        del kinds["puzzle_identifiers"]  # which a model without embeddings does not look at
    for keys in kinds.values():
        golden = Golden(path)
        key = keys[rng.integers(len(keys))]
        altered(golden, key, rng)
        given = key not in golden.figures
        computed = compute(golden, "cpu") if given else computed_on_cpu(path)
        with pytest.raises(AssertionError):
            assert_equal(computed, golden.figures, tolerance_of(golden))
            pytest.fail(f"{key} was changed and nothing noticed", pytrace=False)
