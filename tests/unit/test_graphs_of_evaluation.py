"""An evaluation uses the graphs that torch compiled for training: it compiles eight at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo import config as dynamo
from torch._dynamo.utils import counters

from tests.conftest import overrides
from tests.runs import ALONE
from trm.config.compose import compose
from trm.data.batches import PuzzleData, take_examples
from trm.evaluate.loop import evaluate
from trm.evaluate.rollouts import Searcher
from trm.evaluate.settings import Settings
from trm.evaluate.step_by_step import think
from trm.model.act import act_step, initial_carry, to_batch
from trm.model.layers import Net
from trm.model.loss import act_loss
from trm.model.registry import build_model, model_for
from trm.puzzles.views import plain_view
from trm.solve.answer import predict
from trm.study.search import Search

LOSS = "stablemax_cross_entropy"


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    with dynamo.patch(fail_on_recompile_limit_hit=True):
        yield
    torch.compiler.reset()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_an_evaluation_adds_no_graph(sudoku_data: Path) -> None:
    """Under inference_mode every graph without gradient would be compiled a second time."""
    data = PuzzleData.load([str(sudoku_data)], "test")
    config = compose([word for word in overrides() if word.startswith("arch")])
    model = build_model(model_for(config, data))
    for net in model.modules():
        if isinstance(net, Net):
            net.compile(backend="eager", dynamic=False)
    rows = take_examples(data, np.arange(50))
    batch = to_batch(rows, ALONE.device)
    carry = initial_carry(model.train(), batch)
    for _ in range(3):
        carry, output = act_step(model, carry, batch)
        loss, _, _ = act_loss(LOSS, carry, output)
        loss.backward()
    before = graphs()
    assert before > 0
    evaluate(model, data, Settings(LOSS, 50), ALONE)
    think(model, rows, ALONE.device)
    predict(model, rows.inputs, rows.puzzle_identifiers, ALONE.device)
    views = plain_view(rows.inputs.shape[1], data.metadata.vocab_size)
    for start in ("trained", "random"):
        searcher = Searcher(model, Search(rollouts=3, start=start), views, ALONE.device, 50)
        assert len([*searcher.roll_out(rows, np.arange(50))]) == 50
    assert graphs() == before
