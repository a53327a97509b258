"""Search at test time: views, rollouts, choices among them, and what they cost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from tests.conftest import ROOT, overrides
from tests.kinds import binairo
from tests.runs import ALONE, memorised_sudoku, random_run
from tests.unit.test_solve import MAZE, solve_command
from tests.unit.test_training import halting_model
from trm.config.architectures import architecture_names
from trm.config.compose import compose
from trm.data.batches import PuzzleData, take_examples
from trm.data.generate import random_board
from trm.errors import TrmError
from trm.evaluate import search as command
from trm.evaluate.compiling import flop_of_step
from trm.evaluate.loop import evaluate
from trm.evaluate.rollouts import Searcher, keys_of_rollouts
from trm.evaluate.search import (
    Boards,
    drawn_sample,
    numbers_of_rollouts,
    search_sample,
    table_of,
    views_of,
)
from trm.evaluate.settings import Settings
from trm.model.act import supervision_steps, to_batch
from trm.model.base import Depth, Heads, RecursiveModel, State
from trm.model.draws import KEYS
from trm.model.registry import build_model, model_for
from trm.model.trm import TRM
from trm.puzzles.kinds import board_kind, kind_named
from trm.puzzles.sudoku import box_of
from trm.puzzles.views import Views
from trm.report.drawing import Source, draw_figure
from trm.report.search import with_prefix
from trm.scoring.choices import (
    CHOICES,
    Rollouts,
    best_halting_logit,
    by_rules,
    choices_of,
    first_to_halt,
    most_frequent,
    smallest_residual,
    votes,
)
from trm.solve.trained import load
from trm.study.search import Search
from trm.study.table import Study
from trm.study.targets import all_files, unknown_target_pattern

LOSS = "stablemax_cross_entropy"
SUDOKU, MAZES = board_kind("sudoku"), board_kind("maze")


# --- views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [4, 6, 8, 9])
def test_a_view_of_a_sudoku_is_a_sudoku_and_is_undone_exactly(side: int) -> None:
    question, answer = random_board(np.random.default_rng(side), *box_of(side), side**2 // 2)
    boards = np.stack([question, answer]).astype(np.uint8) + 1
    views = SUDOKU.views(side, side, side + 2, 12, 5)
    assert len(np.unique(views.cells, axis=0)) > 6
    assert len(np.unique(views.tokens, axis=0)) > 6
    for view in range(12):
        which = np.full(2, view)
        seen = views.apply(boards, which)
        shape = (side, side)
        assert SUDOKU.is_valid(seen[0].reshape(shape), seen[1].reshape(shape))
        assert ((seen[0] == 1).sum(), seen.dtype) == ((boards[0] == 1).sum(), np.uint8)
        np.testing.assert_array_equal(views.undo(seen, which), boards)
        if view == 0:
            np.testing.assert_array_equal(seen, boards)


def test_boxes_of_nine_are_transposed_too_and_oblong_ones_never() -> None:
    def turned(side: int) -> int:
        """How many views have cells of one row of the board in one column."""
        cells = SUDOKU.views(side, side, side + 2, 40, 0).cells.reshape(40, side, side)
        return sum((board[:, 0] // side == board[0, 0] // side).all() for board in cells)

    assert 5 < turned(9) < 35
    assert turned(6) == 0


def test_the_views_of_a_maze_are_its_turns_and_flips() -> None:
    maze = MAZES.read(MAZE, 5, 5)
    views = MAZES.views(5, 5, 6, 8, 0)
    which = np.arange(8)
    seen = views.apply(np.tile(maze.reshape(1, -1), (8, 1)), which)
    for image, board in zip(MAZES.images, seen, strict=True):
        np.testing.assert_array_equal(image(maze).ravel(), board)
    np.testing.assert_array_equal(views.undo(seen, which), np.tile(maze.reshape(1, -1), (8, 1)))


def test_images_that_exchange_tokens_are_views_too() -> None:
    kind = binairo.KIND
    board = np.random.default_rng(0).integers(1, 4, (4, 4)).astype(np.uint8)
    views = kind.views(4, 4, 4, 16, 0)
    seen = views.apply(np.tile(board.reshape(1, -1), (16, 1)), np.arange(16))
    for image, row in zip(kind.images, seen, strict=True):
        np.testing.assert_array_equal(image(board).ravel(), row)
    np.testing.assert_array_equal(views.undo(seen, np.arange(16)), np.tile(board.ravel(), (16, 1)))
    # A turn makes another shape of an oblong board: only half turns and two flips are left.
    oblong = kind.views(2, 4, 4, 8, 0)
    assert len(oblong) == 8
    with pytest.raises(TrmError, match=r"binairos of 2x4 have 8 views, not 9: ask for at most 8"):
        kind.views(2, 4, 4, 9, 0)


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        ("maze", 9, r"mazes have 8 views, not 9: ask for at most 8"),
        ("boards", 2, r"boards have 1 view, not 2"),
        ("arc", 2, r"ARC tasks have 1 view, not 2"),
    ],
)
def test_more_views_than_there_are_is_an_error(kind: str, count: int, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        kind_named(kind).views(5, 5, 12, count, 0)
    assert len(kind_named(kind).views(5, 5, 6, 1, 0)) == 1


# --- choices --------------------------------------------------------------------------------------


def rollouts(**changes: object) -> Rollouts:
    """Five of boards of one cell: their answers are 1 2 2 3 4."""
    values = {
        "answers": np.array([[1], [2], [2], [3], [4]], dtype=np.uint8),
        "q_halt": np.array([0.5, -1, 2, 3, 1], dtype=np.float32),
        "residuals": np.array([0.4, 0.3, 0.9, 0.8, 0.1], dtype=np.float32),
        "halted_at": np.array([3, 5, 2, 2, 9], dtype=np.int32),
        "answers_at_halt": np.array([[5], [6], [7], [8], [9]], dtype=np.uint8),
        "q_at_halt": np.array([9, 9, 0.1, 0.2, 9], dtype=np.float32),
    }
    return Rollouts(**{**values, **changes})


def test_each_choice_takes_its_answer() -> None:
    found = rollouts()
    assert best_halting_logit(found) == 3
    assert most_frequent(found) == 2
    assert smallest_residual(found) == 4
    assert first_to_halt(found) == 8  # of two after step 2, the one that is surer there
    assert by_rules(replace(found, valid=np.array([0, 0, 0, 0, 1], dtype=bool))) == 4
    assert by_rules(replace(found, valid=np.zeros(5, dtype=bool))) == 2
    np.testing.assert_array_equal(votes(found.answers), [1, 2, 2, 1, 1])


def test_ties_go_to_the_best_halting_logit() -> None:
    assert most_frequent(rollouts(answers=np.arange(5, dtype=np.uint8)[:, None])) == 3
    assert smallest_residual(rollouts(residuals=np.zeros(5, dtype=np.float32))) == 3
    equal = rollouts(q_halt=np.zeros(5, dtype=np.float32))
    assert best_halting_logit(equal) == 1


def test_choices_look_at_the_first_rollouts_only() -> None:
    first = rollouts(valid=np.ones(5, dtype=bool))[:2]
    assert len(first) == len(first.valid) == 2
    chosen = {name: int(answer[0]) for name, answer in choices_of(first).items()}
    assert chosen == {
        "best_halting_logit": 1,
        "most_frequent": 1,
        "smallest_residual": 2,
        "first_to_halt": 5,
        "by_rules": 1,
    }
    assert "by_rules" not in choices_of(rollouts())


# --- rollouts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(sudoku_data: Path) -> PuzzleData:
    return PuzzleData.load([str(sudoku_data)], "test")


@pytest.fixture(scope="module")
def model(data: PuzzleData) -> TRM:
    """Untrained, with a halting head that is sure of some examples after some steps."""
    return halting_model(data).eval()


def searcher_of(
    model: TRM, rows: int = 8, seen: Views | None = None, **settings: object
) -> Searcher:
    search = Search(**settings)
    own = SUDOKU.views(9, 9, 11, search.views, search.seed) if seen is None else seen
    return Searcher(model, search, own, torch.device("cpu"), rows)


def roll_out(searcher: Searcher, data: PuzzleData, examples: np.ndarray) -> list[Rollouts]:
    return list(searcher.roll_out(take_examples(data, examples), examples))


PLAIN = {"rollouts": 1, "noise": 0}


def test_one_plain_rollout_is_the_evaluation_to_the_bit(data, model) -> None:
    wanted = evaluate(model, data, Settings(LOSS, 8), ALONE).predictions
    searcher = searcher_of(model, **PLAIN)
    for start in range(0, 100, 8):
        examples = np.arange(start, min(start + 8, 100))
        found = roll_out(searcher, data, examples)
        answers = np.concatenate([r.answers for r in found])
        np.testing.assert_array_equal(answers, wanted.preds[examples])
        logits = np.concatenate([r.q_halt for r in found])
        np.testing.assert_array_equal(logits, wanted.q_halt_logits[examples])


def of_architecture(name: str, data: PuzzleData) -> RecursiveModel:
    own = (f"arch={name}", *(w for w in overrides() if w.startswith("arch") and "_len" not in w))
    trained = compose([*own])
    torch.manual_seed(0)
    return build_model(model_for(trained, data)).eval()


@pytest.mark.parametrize("name", architecture_names())
def test_every_architecture_is_rolled_out(data, name: str) -> None:
    """From its own start without noise as in evaluation; else each rollout on its own."""
    own, examples = of_architecture(name, data), np.arange(8)
    steps = supervision_steps(own, to_batch(take_examples(data, examples), torch.device("cpu")))
    with torch.no_grad():
        *_, (_, output) = steps
    plain = roll_out(searcher_of(own, **PLAIN), data, examples)
    np.testing.assert_array_equal(
        np.concatenate([r.answers for r in plain]), output.logits.argmax(-1)
    )
    np.testing.assert_array_equal([r.q_halt[0] for r in plain], output.certainty.float())
    for way in ({"noise": 0, "start": "random"}, {"noise": 0.5}):
        found = roll_out(searcher_of(own, rollouts=4, **way), data, examples[:2])
        assert len({*np.concatenate([r.residuals for r in found]).tolist()}) == 8, way


def test_eqr_s_own_noise_follows_from_the_rollout(data) -> None:
    """Its keys are a part of its state, and stay whole numbers."""
    eqr = of_architecture("eqr", data)
    seen: list[State] = []
    eqr.register_forward_pre_hook(lambda _, words: seen.append(words[0]))
    roll_out(searcher_of(eqr, rows=4, rollouts=2, noise=0.5, start="random"), data, np.arange(2))
    keys = torch.stack([state[2] for state in seen])
    assert keys.dtype == torch.int64
    assert len(keys.unique()) == keys.numel()


def test_what_is_kept_is_that_of_the_steps(data, model) -> None:
    """Residuals and halts, against a loop of supervision steps; more steps than in training."""
    examples = np.arange(100)
    found = roll_out(searcher_of(model, rows=100, steps=5, **PLAIN), data, examples)
    with torch.no_grad():
        batch = to_batch(take_examples(data, examples), torch.device("cpu"))
        outputs = [output for _, output in supervision_steps(model, batch, 5)]
    logits = torch.stack([output.logits for output in outputs])  # [5, 8, S, vocab]
    q_halt = torch.stack([output.q_halt for output in outputs])
    changes = logits.diff(dim=0)[-3:].norm(dim=-1).mean((0, 2))
    np.testing.assert_allclose([r.residuals[0] for r in found], changes, rtol=1e-5)
    halts = {int(r.halted_at[0]) for r in found}
    assert len(halts) > 2  # the model is sure of some at once, and never of others
    assert 6 in halts
    for row, rollout in enumerate(found):
        sure = (q_halt[:, row] > 0).nonzero().flatten().tolist()
        step = sure[0] if sure else 4
        assert rollout.halted_at[0] == (step + 1 if sure else 6)
        np.testing.assert_array_equal(rollout.answers_at_halt[0], logits[step, row].argmax(-1))
        assert rollout.q_at_halt[0] == q_halt[step, row]


def halts_at(model: TRM, data: PuzzleData, threshold: float) -> list[int]:
    """The steps after which the first 40 examples halt."""
    searcher = searcher_of(model, rows=40, halting_threshold=threshold, **PLAIN)
    return [int(r.halted_at[0]) for r in roll_out(searcher, data, np.arange(40))]


def test_the_threshold_decides_when_a_rollout_halts(data, model) -> None:
    assert halts_at(model, data, -1e6) == [1] * 40
    assert halts_at(model, data, 1e6) == [6] * 40
    assert len({*halts_at(model, data, 0)}) > 1


def test_rollouts_follow_from_seed_example_and_number_alone(data, model) -> None:
    """Whatever the batch, and the other examples in it."""
    settings = {"rollouts": 6, "noise": 1.0, "views": 2, "start": "random"}
    examples = np.arange(10, 16)
    wanted = roll_out(searcher_of(model, rows=36, **settings), data, examples)
    for rows, some in ((5, examples), (64, examples), (7, examples[2:4])):
        found = roll_out(searcher_of(model, rows=rows, **settings), data, some)
        for one, other in zip(found, wanted[some[0] - 10 :], strict=False):
            np.testing.assert_array_equal(one.answers, other.answers)
            np.testing.assert_allclose(one.q_halt, other.q_halt, rtol=1e-4, atol=1e-5)
    other_seed = roll_out(searcher_of(model, rows=36, seed=1, **settings), data, examples)
    assert not np.array_equal(other_seed[0].answers, wanted[0].answers)
    distinct = {answer.tobytes() for rollout in wanted for answer in rollout.answers}
    assert len(distinct) == 36


def test_fewer_rollouts_are_the_first_of_more(data, model) -> None:
    examples = np.arange(2)
    few, many = (
        roll_out(searcher_of(model, rows=12, rollouts=count, noise=0.5), data, examples)
        for count in (2, 6)
    )
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one.answers, other.answers[:2])


def test_noise_start_and_its_place_each_change_the_answers(data, model) -> None:
    ways = [
        PLAIN,
        {"rollouts": 1, "noise": 1.0},
        {"rollouts": 1, "noise": 1.0, "on": ["z_H"]},
        {"rollouts": 1, "noise": 1.0, "on": ["z_L"]},
        {"rollouts": 1, "noise": 0, "start": "random"},
    ]
    examples = np.arange(4)
    found = {
        tuple(r.answers.tobytes() for r in roll_out(searcher_of(model, **way), data, examples))
        for way in ways
    }
    assert len(found) == len(ways)


def test_noise_on_a_state_that_the_architecture_lacks_is_an_error(data) -> None:
    single = of_architecture("trm_singlez", data)
    with pytest.raises(TrmError, match=r"arch=trm_singlez has one state, z_H: set on: \[z_H\]"):
        searcher_of(single, on=["z_L"])
    assert len(roll_out(searcher_of(single, rollouts=2), data, np.arange(1))[0]) == 2


def test_diverged_weights_are_an_error(data, model) -> None:
    diverged = build_model(model.config).eval()
    torch.nn.init.constant_(diverged.q_head.weight, torch.nan)
    with pytest.raises(TrmError, match=r"the weights have diverged"):
        roll_out(searcher_of(diverged, **PLAIN), data, np.arange(2))


def test_no_more_rows_are_on_the_device_than_asked_for(data, model) -> None:
    """However many rollouts there are; and every batch has the same size."""
    seen = []
    hook = model.register_forward_pre_hook(lambda _, words: seen.append(len(words[0][0])))
    for count in (3, 40):
        searcher = searcher_of(model, rows=8, rollouts=count, noise=0.1)
        assert searcher.examples_at_once == max(1, 8 // count)
        roll_out(searcher, data, np.arange(searcher.examples_at_once))
    hook.remove()
    assert {*seen} == {8}


class Copying(TRM):
    """Answers with its question, and so alike in every view: equivariant by construction."""

    def forward(
        self,
        state: State,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        depth: Depth | None = None,
        labels: Tensor | None = None,
    ) -> tuple[State, Heads]:
        logits = F.one_hot(inputs.long(), self.config.vocab_size).float()
        q_halt = inputs[:, 0].float()  # which is not alike
        return state, (logits, q_halt, q_halt)


def test_noise_is_drawn_for_each_step_state_row_and_position(data, model) -> None:
    """A model that leaves its states as they are adds up what it is given."""
    copying = Copying(model.config).eval()
    seen: list[State] = []
    copying.register_forward_pre_hook(lambda _, words: seen.append(words[0]))
    searcher = searcher_of(copying, rollouts=4, noise=0.5, steps=3, start="random")
    roll_out(searcher, data, np.arange(2))
    y, z = (torch.stack([state[i] for state in seen]) for i in range(2))  # [3, 8, length, D]
    drawn = torch.cat([y.diff(dim=0), z.diff(dim=0)]).flatten(1)  # of steps 2 and 3
    assert drawn.std(dim=1).tolist() == pytest.approx([0.5] * 4, rel=0.05)
    assert (torch.corrcoef(drawn) - torch.eye(4)).abs().max() < 0.05
    rows = (y[1] - y[0]).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(8)).abs().max() < 0.1
    first = torch.stack([y[0], z[0]]).flatten(1)  # start and noise: 1 + 0.25
    assert first.var(dim=1).tolist() == pytest.approx([1.25] * 2, rel=0.05)
    assert torch.corrcoef(torch.cat([first, drawn]))[0, 1:].abs().max() < 0.05


def test_answers_are_seen_in_the_puzzles_own_view(data, model) -> None:
    copying = Copying(model.config).eval()
    examples = np.arange(5)
    found = roll_out(searcher_of(copying, rollouts=12, views=12, noise=0), data, examples)
    questions = take_examples(data, examples).inputs
    for question, rollout in zip(questions, found, strict=True):
        np.testing.assert_array_equal(rollout.answers, np.tile(question, (12, 1)))
        np.testing.assert_array_equal(rollout.answers_at_halt, np.tile(question, (12, 1)))
        assert len({*rollout.q_halt.tolist()}) > 3


def test_keys_differ_and_stay_in_their_range() -> None:
    examples, numbers = (
        t.flatten() for t in torch.meshgrid(*[torch.arange(200)] * 2, indexing="ij")
    )
    for seed in (0, 2**64 - 1):
        keys = keys_of_rollouts(seed, examples, numbers)
        assert len(keys.unique()) > 39_990  # as many as chance leaves different
        assert keys.min() >= 0
        assert keys.max() < KEYS


# --- a sample of a test split ---------------------------------------------------------------------


def test_a_sample_is_seeded_and_ascending() -> None:
    sample = drawn_sample(100, 10, 3)
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(sample, drawn_sample(100, 10, 3))
    assert not np.array_equal(sample, drawn_sample(100, 10, 4))
    np.testing.assert_array_equal(drawn_sample(5, 10, 3), np.arange(5))


def test_numbers_of_rollouts() -> None:
    assert [numbers_of_rollouts(n) for n in (1, 2, 12)] == [[1], [1, 2], [1, 2, 4, 8, 12]]


def test_the_table_counts_right_answers(data, sudoku_data) -> None:
    """A model that copies its question solves those that are solved already: every second one."""
    config = compose([w for w in overrides() if w.startswith("arch")])
    copying = Copying(model_for(config, data)).eval()
    boards = Boards.of(sudoku_data, "sudoku", data.metadata)
    assert (boards.rows, boards.columns, boards.vocab_size) == (9, 9, 11)
    solved = replace(
        data,
        sets=tuple(replace(arrays, inputs=_half_solved(arrays)) for arrays in data.sets),
    )
    searcher = searcher_of(copying, rollouts=3, views=3, noise=0)
    tally = search_sample(searcher, solved, boards, np.arange(0, 100, 5), ALONE)
    table = table_of(tally, 7, 3).set_index("rollouts")
    assert list(table.index) == [1, 2, 3]
    for name in ("pass", *CHOICES, "by_rules"):
        assert (table[name] == 0.5).all(), name
    assert list(table["flop"]) == [7, 14, 21]
    assert (table["count"] == 20).all()
    assert (table["steps_to_halt"] == 1).all()
    assert (table["seconds"] > 0).all()


def test_the_steps_to_halt_are_those_of_the_first_rollout_that_halts(
    data, model, sudoku_data
) -> None:
    boards, examples = Boards.of(sudoku_data, "sudoku", data.metadata), np.arange(20)
    searcher = searcher_of(model, rows=40, rollouts=2, noise=0.5)
    tally = search_sample(searcher, data, boards, examples, ALONE)
    at = np.array([r.halted_at for r in roll_out(searcher, data, examples)])  # [20, 2]
    assert (at[:, 0] != at[:, 1]).any()
    assert tally.steps_to_halt[1] == np.minimum(at[:, 0], 5).sum()
    assert tally.steps_to_halt[2] == np.minimum(at.min(axis=1), 5).sum()


def _half_solved(arrays) -> np.ndarray:
    """Of every ten examples, the first five have their answer as the question."""
    solved = (np.arange(len(arrays.inputs)) % 10 < 5)[:, None]
    return np.where(solved, arrays.labels, arrays.inputs)


def test_flop_are_those_of_a_step(data, model) -> None:
    one, many = (to_batch(take_examples(data, np.arange(n)), torch.device("cpu")) for n in (1, 4))
    flop = flop_of_step(model, one)
    assert flop == flop_of_step(model, many)
    config = model.config
    passes = config.H_cycles * (config.L_cycles + 1)
    weights = sum(p.numel() for p in model.L_level.parameters())
    matrices = 2 * (config.seq_len + config.prefix_len) * weights * passes
    assert matrices < flop < 1.6 * matrices  # attention and the heads come on top


# --- the table of experiments, and the figure -----------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.load(ROOT / "config/config.yaml")


def with_search(**rows: object) -> Study:
    table = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    table["search"] = {"rollouts": 2}
    del table["benchmarks"]["maze-hard"]["search"]
    for name, search in rows.items():
        benchmark, _, variant = name.partition("__")
        row = table["benchmarks"][benchmark.replace("_", "-")]
        (row["variants"][variant] if variant else row)["search"] = search
    return Study.of(table)


def test_a_variant_s_search_comes_before_its_benchmark_s_and_the_study_s() -> None:
    of_mlp = {"rollouts": 5, "start": "random"}
    study = with_search(sudoku_extreme={"rollouts": 3}, sudoku_extreme__mlp=of_mlp)
    assert study.search_of("sudoku-extreme", "mlp") == Search(**of_mlp)
    assert study.search_of("sudoku-extreme", "att") == Search(rollouts=3)
    assert study.search_of("maze-hard", "att") == Search(rollouts=2)


def test_the_tiny_study_searches_little() -> None:
    """Whatever the full study asks for."""
    config = ROOT / "config"
    tiny = Study.load(config / "config.yaml", config / "tiny.yaml")
    for name in tiny.result_names():
        search = tiny.search_of(*name.split("/"))
        assert (search.rollouts, search.steps) == (4, 2), name


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"maze_hard": {"views": 9}}, "mazes have 8 views, not 9: ask for at most 8"),
        ({"arc_agi_1__att": {"views": 2}}, "ARC tasks have 1 view, not 2"),
        ({"maze_hard": {"noise": -1}}, "noise"),
        ({"maze_hard": {"on": ["z"]}}, "on"),
    ],
)
def test_a_mistaken_search_is_reported_before_any_job(rows: dict, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        with_search(**rows)


def test_a_search_on_any_number_of_puzzles_is_a_target(study: Study) -> None:
    unknown = re.compile(unknown_target_pattern(study))
    known = "sudoku-extreme/mlp/seed-3/search-{}.csv"
    assert [n for n in ("1", "20", "1000") if unknown.fullmatch(known.format(n))] == []
    for mistaken in ("0", "01", "x", ""):
        assert unknown.fullmatch(known.format(mistaken))
    assert f"results/{known.format(1000)}".replace("seed-3", "seed-0") in all_files(study)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    (tmp_path / "search-1000.csv").write_text(
        "rollouts,supervision_steps,steps_to_halt,flop,seconds,pass,best_halting_logit,"
        "most_frequent,smallest_residual,first_to_halt,count\n"
        "1,16,9.5,1.2e12,0.011,0.5,0.5,0.5,0.5,0.5,500\n"
        "32,16,3,3.84e13,0.352,0.9,0.8,0.75,0.7,0.6,500\n"
    )
    return tmp_path


def test_the_figure_has_a_line_for_each_choice_and_the_costs(result: Path) -> None:
    drawn = draw_figure(Source(result), "search")
    (axes,) = drawn.figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert lines == {
        "best halting logit": [0.5, 0.8],
        "most frequent": [0.5, 0.75],
        "smallest residual": [0.5, 0.7],
        "first to halt": [0.5, 0.6],
        "any rollout right": [0.5, 0.9],
    }
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["1\n1.2 T\n0.011 s", "32\n38 T\n0.35 s"]
    assert "500 test puzzles" in axes.get_ylabel()
    assert drawn.description == (
        "best halting logit is 50.0% with 1 rollout, 80.0% with 32 rollouts, "
        "80.0% at best, with 32 rollouts; of 500 test puzzles."
    )


def test_numbers_get_the_prefix_of_their_thousands() -> None:
    written = [with_prefix(value) for value in (5, 1234, 99.6e9, 999.6e9, 3e18)]
    assert written == ["5", "1.2 k", "100 G", "1 T", "3000 P"]


# --- commands -------------------------------------------------------------------------------------


def test_the_command_writes_a_table(sudoku_data, tmp_path, monkeypatch) -> None:
    run = random_run(tmp_path / "run", sudoku_data, 9, 11)
    settings = {"rollouts": 4, "noise": 0.5, "views": 2, "steps": 2}

    def search(*further: str) -> None:
        words = [
            *("--dataset", str(sudoku_data), "--kind", "sudoku", "--sample", "10"),
            *("--weights", str(run / "final"), "--train-config", str(run / "all_config.yaml")),
            *("--search", json.dumps(settings), "--out", str(tmp_path / "search-10.csv")),
            *further,
        ]
        monkeypatch.setattr("sys.argv", ["search", *words])
        command.main()

    monkeypatch.setenv("TRM_DEVICE", "cpu")
    search()
    table = pd.read_csv(tmp_path / "search-10.csv")
    assert list(table.columns) == [
        *("rollouts", "supervision_steps", "steps_to_halt", "flop", "seconds", "pass"),
        *CHOICES,
        *("by_rules", "count"),
    ]
    assert list(table.rollouts) == [1, 2, 4]
    assert (table["count"] == 10).all()
    for words, message in (
        (("--sample", "0"), "--sample 0 is not a number of puzzles"),
        (("--search", "{"), r"search: '\{' is not a JSON object of settings"),
        (("--search", '{"rolouts": 3}'), "unknown key 'rolouts'; did you mean 'rollouts'?"),
        (("--search", '{"rollouts": 0}'), "rollouts: Input should be greater"),
    ):
        with pytest.raises(TrmError, match=message):
            search(*words)


def test_arc_has_one_view_and_no_rules(tmp_path) -> None:
    from tests.runs import arc_data

    arc_data(tmp_path / "data" / "arc")
    data = PuzzleData.load([str(tmp_path / "data" / "arc")], "test")
    boards = Boards.of(tmp_path / "data" / "arc", "arc", data.metadata)
    assert (boards.rows, boards.columns, boards.kind) == (5, 5, None)
    assert len(views_of(boards, "arc", Search())) == 1
    config = compose([w for w in overrides() if w.startswith("arch")])
    model = build_model(model_for(config, data)).eval()
    searcher = searcher_of(model, seen=views_of(boards, "arc", Search()), rollouts=2, noise=0.1)
    tally = search_sample(searcher, data, boards, np.arange(3), ALONE)
    assert {*tally.right[2]} == {"pass", *CHOICES}


def test_rollouts_that_repeat_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="repeat each other: set noise"):
        Search(rollouts=3, views=2, noise=0)
    Search(rollouts=3, views=3, noise=0)
    Search(rollouts=3, noise=0, start="random")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    return memorised_sudoku(tmp_path_factory.mktemp("memorised"))


def test_solve_prints_how_many_rollouts_agree(learned, capsys, monkeypatch) -> None:
    run, question, answer = learned
    words = ("--checkpoint", str(run), "--sudoku", question, "--rollouts", "6", "--noise", "0.01")
    text = solve_command(capsys, monkeypatch, *words)
    assert "the answer is a valid sudoku; 6 of 6 rollouts agree; confidence " in text
    assert ", 12 steps, " in text
    shown = json.loads(solve_command(capsys, monkeypatch, *words, "--max-steps", "3", "--json"))
    assert "".join(shown["answer"]) == answer
    assert (shown["rollouts"], shown["views"], shown["agreed"]) == (6, 1, 6)
    assert shown["supervision_steps"] == 18


def test_solve_takes_the_valid_answer(learned) -> None:
    """The board is known by heart in its plain view only, which is one of eight rollouts."""
    run, question, answer = learned
    found = load(run, device="cpu").solve(question, search=Search(rollouts=8, views=8, noise=0))
    assert found.text.replace("\n", "") == answer
    assert found.valid
    assert found.searched.agreed < 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rollouts", "0"), r"trm solve: rollouts: Input should be greater"),
        (("--rollouts", "3", "--noise", "0"), r"repeat each other: set noise"),
        (("--views", "2", "--steps"), r"--steps shows one rollout: leave out --rollouts"),
        (("--noise", "nan"), r"noise: "),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(
    learned, capsys, monkeypatch, words, message
) -> None:
    run, question, _ = learned
    with pytest.raises(TrmError, match=message):
        solve_command(capsys, monkeypatch, "--checkpoint", str(run), "--sudoku", question, *words)


def test_arc_tasks_are_not_searched(tmp_path, capsys, monkeypatch) -> None:
    from tests.runs import arc_data
    from trm.data.read import load_identifiers

    tasks = arc_data(tmp_path / "data" / "arc")
    puzzles = len(load_identifiers(tmp_path / "data" / "arc"))
    run = random_run(tmp_path / "checkpoints" / "run", Path("data/arc"), 5, 12, puzzles)
    (tmp_path / "first.json").write_text(json.dumps(tasks["first"]))
    words = ("--checkpoint", str(run), "--arc-task", str(tmp_path / "first.json"))
    with pytest.raises(TrmError, match=r"leave out --rollouts, --views and --noise"):
        solve_command(capsys, monkeypatch, *words, "--views", "2")
    with pytest.raises(TrmError, match=r"solves ARC tasks .*, not boards"):
        load(run, device="cpu").solve("first.json", search=Search())
