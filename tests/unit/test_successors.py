"""What the architectures after TRM have that the others do not: random starts, noise and dropout,
symbols that are alike, and halting without a head. Their figures: tests/golden/test_models.py."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.runs import ALONE, arc_data, arc_task, config_of, random_run
from tests.trainings import assert_same_run
from trm.config.compose import compose, parse_train_config
from trm.config.types import ArchConfig, ModelConfig
from trm.data.batches import PuzzleData, take_examples
from trm.data.boards import COLUMNS
from trm.data.generate import random_board
from trm.data.read import load_identifiers
from trm.data.specs import SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.errors import TrmError
from trm.evaluate.loop import Evaluation, evaluate
from trm.evaluate.settings import Settings
from trm.evaluate.step_by_step import think
from trm.export import export
from trm.model.act import Batch, act_step, draw_keys, initial_carry, supervision_steps, to_batch
from trm.model.base import RecursiveModel
from trm.model.draws import KEYS, Draws, hashed, keys_of_puzzles
from trm.model.loss import act_loss, decaying_weights
from trm.model.registry import build_model, model_for
from trm.model.se_rrm import dropped_attention
from trm.solve.trained import load
from trm.training.optim import make_optimizer
from trm.training.records import Records
from trm.training.setup import initial_state, set_up
from trm.training.step import Averages, train_step
from trm.training.trainer import train

SUCCESSORS = ("urm", "eqr", "se_rrm", "trm_wta")
SMALL = {
    "urm": {},
    "eqr": {"arch__mlp_t": True, "arch__pos_encodings": "none", "arch__noise_scale": 0.1},
    "se_rrm": {"arch__head_dim": 8, "arch__add_tokens": 2, "arch__dropout": 0.1},
    "trm_wta": {"arch__num_chains": 3, "arch__bounded_glu": True},
}


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 4x4 sudokus, 24 to learn from and 20 to be tested on."""
    folder, draw = tmp_path_factory.mktemp("boards"), np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 20)):
        lines = [",".join(COLUMNS)]
        for _ in range(count):
            pair = ("".join(map(str, b.tolist())) for b in random_board(draw, 2, 2, 6))
            lines.append(",".join(["here", *pair, "0"]))
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    spec = SudokuSpec(builder="sudoku", table="t", allow_test_in_train=True)
    build_sudoku(spec, folder, folder / "data")
    return folder / "data"


def settings(name: str, **changes: object) -> dict[str, object]:
    return {"arch": name, "evaluators": "[]"} | SMALL[name] | changes


def small(name: str, **changes: object) -> RecursiveModel:
    arch = {"hidden_size": 16, "num_heads": 2, "puzzle_emb_ndim": 0, "H_cycles": 2, "L_cycles": 2}
    arch |= {"L_layers": 1, "halt_max_steps": 3, "forward_dtype": "float32"}
    torch.manual_seed(0)
    config = ArchConfig(name=name, **(arch | changes))
    return build_model(ModelConfig.of(config, seq_len=9, vocab_size=6, num_puzzle_identifiers=2))


def batch(rows: int = 4, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 6, (2, rows, 9), generator=draw)
    return Batch(tokens[0], tokens[1], torch.zeros(rows, dtype=torch.int32))


@torch.inference_mode()
def logits_of(model: RecursiveModel, rows: Batch) -> Tensor:
    """Of all steps: [steps, B, S, V]."""
    return torch.stack([output.logits for _, output in supervision_steps(model.eval(), rows)])


# --- numbers that are drawn from keys -------------------------------------------------------------


def off_by(uniform: Tensor) -> float:
    """Kolmogorov and Smirnov's statistic of numbers that should be uniform from 0 to 1."""
    n = len(uniform)
    return (uniform.sort().values - (torch.arange(n) + 0.5) / n).abs().max().item() * n**0.5


def test_draws_have_their_distributions() -> None:
    draws = Draws(hashed(torch.arange(50)))
    uniform = draws.uniform((4000,)).flatten().double()
    assert off_by((1 + uniform) / 2) < 1.95  # 1 in 1,000
    assert uniform.abs().max() < 1
    normal = draws.normal((40, 100)).flatten().double()
    assert off_by(torch.special.ndtr(normal)) < 1.95
    cut = draws.truncated_normal((4000,)).double()
    assert cut.std().item() == pytest.approx(1, abs=0.01)
    assert 2.2 < cut.abs().max().item() < 2.2738  # 2σ of the normal that was cut


def test_draws_differ_by_row_by_place_and_in_turn() -> None:
    keys = torch.randint(KEYS, (40,), generator=torch.Generator().manual_seed(0))
    draws = Draws(keys)
    first, second = draws.normal((3000,)), draws.normal((3000,))
    following = Draws(draws.next_keys()).normal((3000,))
    rows = torch.cat((first, second, following, first.roll(1, 1))).double()
    correlations = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlations.abs().max() < 6 / 3000**0.5
    assert torch.equal(Draws(keys).normal((3000,)), first)


def test_a_hash_is_one_to_one_and_moves_half_of_the_bits() -> None:
    numbers = torch.arange(2**16)
    assert len(hashed(numbers).unique()) == 2**16
    assert hashed(torch.tensor([0, KEYS - 1])).max() < KEYS
    for bit in (0, 13, 31):
        changed = hashed(numbers) ^ hashed(numbers ^ 1 << bit)
        each = torch.stack([(changed >> place & 1).double().mean() for place in range(32)])
        assert each.min() > 0.2 and each.max() < 0.8 and 0.45 < each.mean() < 0.55


def test_keys_follow_from_the_puzzle() -> None:
    rows = batch(50)
    keys = keys_of_puzzles(rows.inputs)
    assert len(keys.unique()) == 50 and keys.min() >= 0 and keys.max() < KEYS
    assert torch.equal(keys_of_puzzles(rows.inputs[7:9]), keys[7:9])
    swapped = rows.inputs.clone()
    swapped[:, [0, 1]] = rows.inputs[:, [1, 0]]
    moved = keys_of_puzzles(swapped) != keys
    assert torch.equal(moved, rows.inputs[:, 0] != rows.inputs[:, 1])


def test_keys_of_a_training_do_not_depend_on_the_ranks() -> None:
    def drawn(rows: slice) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return torch.stack([draw_keys(generator, 8, rows) for _ in range(5)])

    whole = drawn(slice(0, 8))
    assert torch.equal(torch.cat([drawn(slice(0, 4)), drawn(slice(4, 8))], dim=1), whole)
    assert len(whole.unique()) == 40


# --- EqR ------------------------------------------------------------------------------------------


def test_a_row_starts_at_random_each_position_on_its_own() -> None:
    model = small("eqr", H_init_std=0.5)
    y, z, keys = model.initial_state(200, hashed(torch.arange(200)))
    assert y.shape == z.shape == (200, 9, 16)
    assert (y.std().item(), z.std().item()) == pytest.approx((0.5, 1), rel=0.02)
    assert z.std(dim=1).min() > 0.2 and len(keys.unique()) == 200
    again, *_ = model.initial_state(200, hashed(torch.arange(200)))
    assert torch.equal(again, y)


def test_an_update_is_damped_and_noisy() -> None:
    noisy, calm = small("eqr", lambda_=0.75, noise_scale=0.2), small("eqr", noise_scale=0)
    s, inject = torch.randn(2, 50, 9, 16, generator=torch.Generator().manual_seed(0))
    draws = Draws(hashed(torch.arange(50)))
    noise = noisy.update(s, inject, draws) - (
        0.25 * s + 0.75 * noisy.L_level(s, inject, noisy.rotary)
    )
    assert noise.mean().abs() < 0.01 and noise.std().item() == pytest.approx(0.2, rel=0.03)
    assert calm.update(s, inject, draws).shape == s.shape and draws.drawn == 1


def test_other_keys_are_other_answers() -> None:
    model, rows = small("eqr").eval(), batch()
    with torch.no_grad():
        carry = initial_carry(model, rows)
        one, other = (
            act_step(model, carry, rows, keys=keys)[1] for keys in torch.arange(8).view(2, 4)
        )
    assert not torch.allclose(one.logits, other.logits)


# --- SE-RRM ---------------------------------------------------------------------------------------


def relabelled(tokens: Tensor, order: Tensor) -> Tensor:
    """The same puzzles with the symbols from 2 on in another order."""
    return order[tokens]


@pytest.mark.parametrize("equivariant", [True, False])
def test_permuted_symbols_permute_the_answer(equivariant: bool) -> None:
    model, rows = small("se_rrm", equivariant_symbols=equivariant, add_tokens=2), batch()
    order = torch.tensor([0, 1, 4, 2, 5, 3])
    permuted = replace(rows, inputs=relabelled(rows.inputs, order))
    theirs = logits_of(model, permuted)[..., order]
    same = torch.allclose(logits_of(model, rows), theirs, atol=1e-4)
    assert same == equivariant


def test_special_tokens_are_not_alike() -> None:
    model, rows = small("se_rrm"), batch()
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    swapped = replace(rows, inputs=relabelled(rows.inputs, order))
    assert not torch.allclose(logits_of(model, rows), logits_of(model, swapped)[..., order])


def test_dropped_attention_keeps_the_mean_and_needs_no_more_than_a_key() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 200, 2, 9, 8, generator=draw)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    none = dropped_attention(q, k, v, Draws(hashed(torch.arange(100))), 0.0)
    torch.testing.assert_close(none, wanted)
    many = [
        dropped_attention(q, k, v, Draws(hashed(torch.arange(100) + 100 * i)), 0.5)
        for i in range(200)
    ]
    off = torch.stack(many).mean(0) - wanted
    assert off.abs().mean() < 0.1 < (many[0] - wanted).abs().mean()
    assert torch.equal(dropped_attention(q, k, v, Draws(hashed(torch.arange(100))), 0.5), many[0])


def test_without_a_head_the_least_certain_cell_speaks() -> None:
    model, rows = small("se_rrm").eval(), batch()
    with torch.no_grad():
        *_, (_, output) = supervision_steps(model, rows)
    least = output.logits.softmax(-1).amax(-1).amin(-1)
    torch.testing.assert_close(output.q_halt, least)
    torch.testing.assert_close(output.certainty.sigmoid(), least)
    data_free = small("trm").eval()
    with torch.no_grad():
        *_, (_, output) = supervision_steps(data_free, rows)
    assert output.certainty is output.q_halt


def test_rows_of_se_rrm_halt_by_chance_and_for_no_other_reason(boards, tmp_path) -> None:
    def steps_of_halted(probability: float) -> list[float]:
        changes = settings("se_rrm", arch__halt_exploration_prob=probability)
        config = config_of(boards, tmp_path, arch__halt_max_steps=4, **changes)
        run = set_up(config, ALONE)
        state, steps = initial_state(run), []
        rows = to_batch(take_examples(run.data, np.arange(8)), ALONE.device)
        for _ in range(4):
            metrics = train_step(config, state, rows, ALONE)
            steps.append(metrics["steps"].item() / max(metrics["count"].item(), 1))
        return steps

    assert steps_of_halted(0) == [0, 0, 0, 4]
    assert steps_of_halted(1) == [1, 1, 1, 1]
    assert sum(steps_of_halted(0.3)[:3]) > 0


# --- what follows in training, evaluation and elsewhere -------------------------------------------


class Interrupting(Records):
    def stepped(self, averages: Averages | None) -> None:
        super().stepped(averages)
        if self.state.step == 5:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("name", SUCCESSORS)
def test_an_interrupted_run_ends_as_one_that_was_not(
    boards: Path, tmp_path: Path, name: str
) -> None:
    changes = settings(name, save_every_steps=100, ema=True, random_halt_prob=0.1)
    if name == "trm_wta":  # with the rest of its recipe
        changes |= {"optimizer": "muon_adamw", "muon_lr": 0.02, "muon_weight_decay": 0.005}
        changes |= {"max_grad_norm": 1.0, "ema_start": 7, "lr_min_ratio": 0.0}
    if name == "eqr":  # interrupted with rows of three batches unfinished
        changes["batches_in_flight"] = 3
    train(config_of(boards, tmp_path / "whole", **changes), ALONE)
    parts = config_of(boards, tmp_path / "parts", **changes)
    with pytest.raises(SystemExit):
        train(parts, ALONE, Interrupting)
    train(parts, ALONE)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("name", SUCCESSORS)
def test_micro_batches_train_as_the_whole_batch(boards: Path, tmp_path: Path, name: str) -> None:
    """Whatever is drawn is drawn by row."""
    weights = []
    for size in (8, 2):
        changes = settings(name, micro_batch_size=size, arch__forward_dtype="float64")
        config = config_of(boards, tmp_path / str(size), **changes)
        run = set_up(config, ALONE)
        state = initial_state(run)
        for first in (0, 8, 16):
            rows = take_examples(run.data, np.arange(first, first + 8))
            train_step(config, state, to_batch(rows, ALONE.device), ALONE)
        weights.append(torch.cat([p.flatten() for p in state.model.parameters()]))
    torch.testing.assert_close(*weights, atol=1e-9, rtol=1e-9)


def evaluated(model: RecursiveModel, data: PuzzleData, **changes: object) -> Evaluation:
    usual = Settings("stablemax_cross_entropy", 50, at_steps=(1, 2, 3))
    return evaluate(model, data, replace(usual, **changes), ALONE)


@pytest.mark.parametrize("name", SUCCESSORS)
def test_an_answer_does_not_depend_on_the_batch_it_is_in(boards: Path, name: str) -> None:
    """In evaluation, in the report's thinking, and where sure rows leave."""
    data = PuzzleData.load([str(boards)], "test")
    torch.manual_seed(0)
    words = config_of(boards, Path("unused"), **settings(name))
    model = build_model(model_for(words, data)).eval()
    whole, halves = evaluated(model, data), evaluated(model, data, global_batch_size=7)
    np.testing.assert_array_equal(whole.predictions.preds, halves.predictions.preds)
    rows = np.array([0, 7, 13, 19])
    thoughts = think(model, take_examples(data, rows), ALONE.device)
    certainty = whole.predictions.q_halt_logits
    for step, preds in enumerate(thoughts.preds, start=1):
        np.testing.assert_array_equal(preds, whole.at_steps[step].predictions.preds[rows])
    np.testing.assert_allclose(thoughts.q_halt_logits[-1], certainty[rows], atol=1e-4)
    never = {"halting": "act", "halting_threshold": 1e9, "global_batch_size": 9, "at_steps": ()}
    stayed = evaluated(model, data, **never)
    np.testing.assert_array_equal(stayed.predictions.preds, whole.predictions.preds)
    np.testing.assert_allclose(stayed.predictions.q_halt_logits, certainty, atol=1e-4)
    at_once = evaluated(model, data, **never | {"halting_threshold": -1e9})
    assert at_once.metrics["steps"] == 1


@pytest.mark.parametrize("name", SUCCESSORS)
def test_a_run_is_loaded_solves_and_is_exported(boards: Path, tmp_path: Path, name: str) -> None:
    run = random_run(tmp_path / "run", boards, 4, 6, **settings(name))
    board = "1" + "." * 15
    answer = load(run).solve(board)
    data = PuzzleData.load([str(boards)], "test")
    first = data.sets[0].inputs[:1]
    trained = load(run)
    text = "".join("?.1234"[token] for token in first[0])
    predictions = evaluated(trained.model, data).predictions
    solved = trained.solve(text)
    np.testing.assert_array_equal(solved.answer.ravel(), predictions.preds[0])
    sure = 1 / (1 + np.exp(-predictions.q_halt_logits[0]))
    assert solved.confidence == pytest.approx(sure, rel=1e-3)
    export(trained, tmp_path / "exported")
    again = load(tmp_path / "exported").solve(board)
    np.testing.assert_array_equal(again.answer, answer.answer)
    assert again.confidence == pytest.approx(answer.confidence, rel=1e-4)


def test_a_network_with_an_embedding_for_each_colour_solves_and_learns_tasks(
    tmp_path: Path,
) -> None:
    tasks = arc_data(tmp_path / "data")
    puzzles = len(load_identifiers(tmp_path / "data"))
    changes = settings("se_rrm", arch__puzzle_emb_ndim=1, arch__add_tokens=0)
    run = random_run(tmp_path / "run", tmp_path / "data", 5, 12, puzzles, **changes)
    model = load(run)
    assert model.model.puzzle_emb.weights.shape == (puzzles, 32 + 12)
    known = model.solve(tasks["first"], task_id="first")
    assert known.known and known.learning is None and len(known.tests) == 2
    unseen = model.solve(arc_task(9), minutes=1, learning_steps=3, augmentations=4)
    assert unseen.learning.steps == 3 and len(unseen.tests) == 2


def test_weights_for_any_number_of_symbols_need_their_dataset(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", tmp_path / "nowhere", 4, 6, **settings("se_rrm"))
    with pytest.raises(TrmError, match="vocabulary of .* is unknown: .* Name that by --dataset"):
        load(run)


def test_the_length_of_puzzles_is_in_learned_positions(tmp_path: Path) -> None:
    changes = settings("se_rrm", arch__pos_encodings="learned", arch__equivariant_symbols=False)
    run = random_run(tmp_path / "run", tmp_path / "nowhere", 4, 6, **changes)
    assert load(run, kind="sudoku").side == 4


def test_muon_takes_the_matrices_of_every_successor() -> None:
    for name in SUCCESSORS:
        model = small(name)
        muon, _ = make_optimizer("muon", model, (0.9, 0.95), 0.1).parts
        names = {id(p): n for n, p in model.named_parameters()}
        taken = {names[id(p)] for group in muon.param_groups for p in group["params"]}
        assert taken == {n for n in names.values() if n.endswith("proj.weight")}, name


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["arch.dropout=0.5"], "arch.dropout is an option of arch=se_rrm"),
        (["arch=urm", "arch.lambda_=0.5"], "arch.lambda_ is an option of arch=eqr"),
        (["arch=urm", "arch.mlp_t=True"], "arch.mlp_t is an option of arch=eqr and arch=hrm"),
        (["arch.pos_encodings=rope2d"], "pos_encodings=rope2d is an option of arch=se_rrm"),
        (["arch=se_rrm", "arch.head_dim=6"], "divisible by 4, not 6"),
        (["arch=eqr", "arch.lambda_=0"], "lambda_: .*greater than 0"),
        (["supervision_decay=0"], "supervision_decay: .*greater than 0"),
    ],
)
def test_options_of_others_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(TrmError, match=message):
        compose([w if w.startswith("arch=") else f"++{w}" for w in words])


def test_rows_and_columns_need_a_square() -> None:
    with pytest.raises(ValueError, match="rope2d needs square boards, not 12 cells"):
        ModelConfig.of(compose(["arch=se_rrm"]).arch, 12, 6, 1)


def test_settings_of_one_architecture_are_not_in_the_files_of_another() -> None:
    saved = {name: compose([f"arch={name}"]).arch.model_dump() for name in ("trm", "eqr", "se_rrm")}
    assert "lambda_" in saved["eqr"] and "dropout" not in saved["eqr"]
    assert "dropout" in saved["se_rrm"] and "lambda_" not in saved["se_rrm"]
    assert not {"lambda_", "dropout", "head_dim"} & {*saved["trm"]}


def test_published_names_are_understood() -> None:
    urm = compose(["arch=urm"]).model_dump()
    arch = urm["arch"]
    arch |= {"loops": arch.pop("halt_max_steps"), "num_layers": 7}
    del arch["L_layers"]
    read = parse_train_config(urm).arch
    assert (read.halt_max_steps, read.L_layers) == (16, 7)
    assert ArchConfig(name="recursive_reasoning.trm_equi@SERRM").architecture == "se_rrm"


# --- weights of supervision steps -----------------------------------------------------------------


def test_later_steps_count_less() -> None:
    weights = decaying_weights(torch.arange(1, 17), 0.7, 16)
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights[1:], 0.7 * weights[:-1])
    torch.testing.assert_close(
        decaying_weights(torch.tensor([1, 9]), 1.0, 4), torch.tensor([0.25] * 2)
    )


@pytest.mark.parametrize("name", ["trm", "hrm"])
def test_weights_are_of_the_loss_and_not_of_the_metrics(name: str) -> None:
    model, rows = small(name, H_layers=1).train(), batch()
    carry, output = act_step(model, initial_carry(model, rows), rows)
    usual, metrics, _ = act_loss("stablemax_cross_entropy", carry, output)
    double = act_loss("stablemax_cross_entropy", carry, output, weights=torch.full((4,), 2.0))
    assert double[0].item() == pytest.approx(2 * usual.item())
    assert {k: v.item() for k, v in double[1].items()} == {k: v.item() for k, v in metrics.items()}
    of_rows = [
        act_loss("stablemax_cross_entropy", carry, output, weights=row)[0].item()
        for row in torch.eye(4)
    ]
    assert sum(of_rows) == pytest.approx(usual.item()) and len({*of_rows}) == 4


def test_a_training_weighs_each_row_by_its_own_step(boards: Path, tmp_path: Path) -> None:
    losses = []
    for decay in ("null", 0.5):
        config = config_of(boards, tmp_path, supervision_decay=decay, arch__halt_max_steps=3)
        run = set_up(config, ALONE)
        state = initial_state(run)
        rows = to_batch(take_examples(run.data, np.arange(8)), ALONE.device)
        losses.append(train_step(config, state, rows, ALONE)["loss"].item())
    assert losses[1] == pytest.approx(losses[0] / (1 + 0.5 + 0.25), rel=1e-5)
