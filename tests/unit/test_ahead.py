"""Batches drawn ahead: the same ones, one in advance, and no thread left behind."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.runs import ALONE, config_of
from trm.errors import TrmError
from trm.training.ahead import drawn_ahead
from trm.training.records import Records
from trm.training.step import Averages
from trm.training.trainer import train


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not {t for t in threading.enumerate() if t.name.startswith("batches")} - before


def test_one_item_is_drawn_while_another_is_in_use() -> None:
    drawn = [threading.Event() for _ in range(4)]

    def draw() -> Iterator[int]:
        for number, event in enumerate(drawn):
            event.set()
            yield number

    taken = []
    with drawn_ahead(draw()) as numbers:
        for number in numbers:
            for event in drawn[: number + 2]:
                assert event.wait(60)
            assert not any(event.is_set() for event in drawn[number + 2 :])
            taken.append(number)
    assert taken == [0, 1, 2, 3]


def test_what_drawing_raises_is_raised_where_the_item_is_taken() -> None:
    def draw() -> Iterator[int]:
        yield 1
        raise TrmError("the dataset is gone")

    taken = []
    with pytest.raises(TrmError, match="gone"), drawn_ahead(draw()) as numbers:
        for number in numbers:
            taken.append(number)
    assert taken == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrmError("the loss is nan")])
def test_an_error_of_the_step_ends_the_drawing(error) -> None:
    with pytest.raises((KeyboardInterrupt, TrmError)), drawn_ahead(itertools.count()) as numbers:
        for _ in numbers:
            raise error


def test_a_run_resumes_at_the_batch_after_the_last_one_trained_on(
    sudoku_data: Path, tmp_path: Path
) -> None:
    """Not after the last one drawn. The signal comes while a batch is waiting to be taken."""

    class Interrupting(Records):
        def stepped(self, averages: Averages | None) -> None:
            super().stepped(averages)
            signal.raise_signal(signal.SIGTERM)

    whole, parts = (
        config_of(sudoku_data, tmp_path / name, eval_interval=4, arch__halt_max_steps=2)
        for name in ("whole", "parts")
    )
    train(whole, ALONE)
    with pytest.raises(SystemExit):
        train(parts, ALONE, Interrupting)
    train(parts, ALONE)
    one, other = (torch.load(tmp_path / name / "step_12") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
