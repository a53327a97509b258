"""The architectures against the published reference: outputs, twelve training steps, weights.

TRM_GOLDEN_DIR names another folder of figures (with model/*.npz) to test against. A recursion over
a normalisation amplifies a last-bit difference a thousandfold within a dozen steps, so the matrix
products must be summed as the reference summed them: two threads, as set below. On a processor
whose kernels sum otherwise the training of trm_mlp may differ in the third digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trm.checkpoint import PREFIX
from trm.config import LossConfig, ModelConfig
from trm.distributed import Ranks
from trm.ema import EMA
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.optim import SignSGD, make_optimizer

GOLDEN = Path(os.environ.get("TRM_GOLDEN_DIR", Path(__file__).parent))
FILES = sorted((GOLDEN / "model").glob("*.npz"))


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Golden:
    """One file of figures; remembers which were compared, so that none is left out unseen."""

    def __init__(self, path: Path) -> None:
        self.arrays = dict(np.load(path, allow_pickle=False))
        self.meta = json.loads(str(self.arrays.pop("meta")))
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> np.ndarray:
        self.used.add(key)
        return self.arrays[key]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): self[k] for k in self.arrays if k.startswith(prefix)}

    def batch(self, number: int) -> Batch:
        names = ("inputs", "labels", "puzzle_identifiers")
        return Batch(*(torch.from_numpy(self[f"batch{number}/{name}"]) for name in names))

    def batches(self) -> list[Batch]:
        numbers = sorted({k.split("/")[0] for k in self.arrays if k.startswith("batch")})
        return [self.batch(int(n.removeprefix("batch"))) for n in numbers]

    def model(self) -> RecursiveModel:
        config = dict(self.meta["config"])
        assert config.pop("causal") is False
        assert config.pop("batch_size") == len(self.batch(0).inputs)
        model = build_model(
            ModelConfig(
                name=self.meta["arch"], loss=LossConfig(loss_type=self.meta["loss"]), **config
            )
        )
        state = self.under(f"state/{PREFIX}")
        model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        return model


def assert_equal(got: object, wanted: np.ndarray, what: str) -> None:
    """Within 1e-5 relative; a millionth of the array's size where a figure is near zero."""
    if isinstance(got, torch.Tensor):
        got = got.detach().numpy()
    scale = float(np.abs(wanted).max()) if np.size(wanted) else 0.0
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7 * scale, err_msg=what)


def check_outputs(golden: Golden) -> None:
    """Evaluation: every supervision step's logits, halting, answers, losses and metrics."""
    model = golden.model().eval()
    batch = golden.batch(0)
    carry = initial_carry(model, batch)
    steps = sorted({int(k.split("/")[1][4:]) for k in golden.arrays if k.startswith("eval/step")})
    assert steps == list(range(model.config.halt_max_steps))
    for step in steps:
        with torch.no_grad():
            carry, output = act_step(model, carry, batch)
            loss, metrics, preds = act_loss(golden.meta["loss"], carry, output)
        at = f"eval/step{step}"
        assert_equal(output.logits, golden[f"{at}/logits"], f"{at}/logits")
        assert_equal(output.q_halt, golden[f"{at}/q_halt_logits"], f"{at}/q_halt_logits")
        np.testing.assert_array_equal(preds.numpy(), golden[f"{at}/preds"])
        assert_equal(loss, golden[f"{at}/loss"], f"{at}/loss")
        wanted = golden.under(f"{at}/metric/")
        assert set(metrics) == set(wanted)
        for name, value in metrics.items():
            assert_equal(value, wanted[name], f"{at}/{name}")
    assert bool(carry.halted.all()) == bool(golden["eval/all_finish"])


def check_training(golden: Golden) -> None:
    """Twelve steps over the batches in turn: losses, metrics, final and averaged weights."""
    meta = golden.meta
    assert meta["config"]["halt_exploration_prob"] == 0.0
    model = golden.model().train()
    batches = golden.batches()
    alone = Ranks(0, 1, torch.device("cpu"))
    optimizer = make_optimizer("adam_atan2", model, tuple(meta["betas"]), meta["weight_decay"])
    optimizer.param_groups[0]["lr"] = meta["lr"]
    puzzle_optimizer = SignSGD(model.puzzle_emb.weights, meta["puzzle_emb_weight_decay"], alone)
    ema = EMA(model, meta["ema_rate"])
    losses = golden["train/loss"]
    wanted = golden.under("train/metric/")
    carry = initial_carry(model, batches[0])
    for step, wanted_loss in enumerate(losses):
        carry, output = act_step(model, carry, batches[step % len(batches)])
        loss, metrics, _ = act_loss(meta["loss"], carry, output)
        (loss / len(batches[0].inputs)).backward()
        puzzle_optimizer.step(
            meta["puzzle_emb_lr"], carry.current.puzzle_identifiers, output.puzzle_rows.grad
        )
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model, step + 1)
        assert_equal(loss, wanted_loss, f"train/loss at step {step}")
        assert set(metrics) == set(wanted)
        for name, value in metrics.items():
            assert_equal(value, wanted[name][step], f"train/{name} at step {step}")

    final = golden.under(f"final/{PREFIX}")
    state = model.state_dict()
    assert set(final) == set(state)
    for name, tensor in state.items():
        assert_equal(tensor, final[name], f"final/{name}")
    averaged = golden.under(f"ema/{PREFIX}")
    assert set(averaged) == set(ema.shadow)
    for name, tensor in ema.shadow.items():
        assert_equal(tensor, averaged[name], f"ema/{name}")


def test_there_are_figures() -> None:
    assert FILES, f"no model/*.npz in {GOLDEN}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_model(path: Path) -> None:
    golden = Golden(path)
    check_outputs(golden)
    check_training(golden)
    assert golden.used == set(golden.arrays), "figures that no check looks at"


def perturbable(path: Path) -> list[str]:
    golden = Golden(path)
    return [k for k, a in golden.arrays.items() if a.dtype.kind == "f"]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_figure_counts(path: Path) -> None:
    """Change one number of an array, in the fourth digit: the comparison must notice."""
    rng = np.random.default_rng(0)
    for key in rng.choice(perturbable(path), 20, replace=False):
        golden = Golden(path)
        array = golden.arrays[key].copy()
        flat = array.reshape(-1)
        nonzero = np.flatnonzero(flat)
        place = rng.choice(nonzero) if len(nonzero) else 0
        # A start weight reaches the figures through the whole model: a larger change for it.
        flat[place] += 0.05 if key.startswith("state/") else abs(flat[place]) * 1e-3 or 1e-3
        golden.arrays[key] = array
        if key.startswith("state/") and not reaches_output(golden, key, place):
            continue
        with pytest.raises(AssertionError):
            check_outputs(golden)
            check_training(golden)
            pytest.fail(f"{key} was changed and nothing noticed", pytrace=False)


def reaches_output(golden: Golden, key: str, place: int) -> bool:
    """Whether a start weight can matter at all: not the embedding of a token or puzzle not used."""
    if not key.endswith(("embed_tokens.embedding_weight", "puzzle_emb.weights")):
        return True
    row = place // golden.arrays[key].shape[1]
    used = np.concatenate(
        [
            (b.inputs if "embed_tokens" in key else b.puzzle_identifiers).numpy().ravel()
            for b in golden.batches()
        ]
    )
    return row in used
