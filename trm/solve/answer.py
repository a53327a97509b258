"""What a trained model answers: one board, or one ARC task by the votes of its augmentations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from trm.config.types import TrainConfig
from trm.data.arc import Group
from trm.data.batches import PuzzleData, Rows, take_examples, train_batches
from trm.data.dataset import BLANK_NAME
from trm.evaluate.rollouts import Searcher, checked_by_rules
from trm.model.act import supervision_steps, to_batch
from trm.model.base import RecursiveModel
from trm.model.loss import act_loss
from trm.progress import Progress, duration, say
from trm.puzzles.arc import NO_OUTPUT
from trm.puzzles.kind import BoardKind
from trm.runtime.ranks import Ranks
from trm.scoring.answers import Candidate
from trm.scoring.arc import ATTEMPTS, Grid, ScoredInput, Votes
from trm.scoring.choices import by_rules, most_frequent
from trm.scoring.halting import halting_probability
from trm.scoring.predictions import Predictions
from trm.solve.arc_task import demonstrations, paint_questions
from trm.study.search import Search
from trm.training.optim import SignSGD
from trm.training.step import TrainState, train_step

ROWS_AT_ONCE = 64
LEARNING_ROWS = 32  # of a batch


@dataclass(frozen=True)
class BoardStep:
    """The answer after one supervision step."""

    answer: np.ndarray  # tokens uint8 [rows, columns]
    confidence: float  # sigmoid(q_halt), 0..1: how likely the model takes it to be right


@dataclass(frozen=True)
class Searched:
    """How several rollouts of one board came to an answer."""

    rollouts: int
    views: int  # symmetric ones of the board, which the rollouts took in turn
    agreed: int  # rollouts that gave the answer
    supervision_steps: int  # of all rollouts together


@dataclass(frozen=True)
class BoardAnswer:
    """The answer to one sudoku, maze or other board."""

    kind: str
    question: np.ndarray  # tokens uint8 [rows, columns]
    steps: tuple[BoardStep, ...]  # after each supervision step; of a search, after the last
    # By the rules of its kind and all that is given; None: of no known rules.
    valid: bool | None
    seconds: float
    characters: str  # of the tokens 1, 2, …
    searched: Searched | None = None  # None: there was one rollout, without noise

    @property
    def supervision_steps(self) -> int:
        """How many were made, in all."""
        return len(self.steps) if self.searched is None else self.searched.supervision_steps

    @property
    def answer(self) -> np.ndarray:
        """Tokens uint8 [rows, columns] after the last step."""
        return self.steps[-1].answer

    @property
    def confidence(self) -> float:
        """The confidence of the last step, 0..1."""
        return self.steps[-1].confidence

    @property
    def text(self) -> str:
        """The answer, one line a row, in the characters of the puzzle."""
        return "\n".join(self.rows(self.answer))

    def rows(self, board: np.ndarray) -> list[str]:
        """Tokens [rows, columns] as lines of text; `?` for a token that no cell has."""
        characters = "?" + self.characters
        return ["".join(characters[token] for token in row) for row in board.tolist()]


@dataclass(frozen=True)
class Learning:
    """How the embedding of an unseen task was learned."""

    steps: int
    seconds: float
    loss_before: float  # on the demonstration pairs, as in evaluation
    loss_after: float


@dataclass(frozen=True)
class TaskInput:
    """One test input of an ARC task with its answers."""

    input: Grid
    candidates: tuple[Candidate, ...]  # best first
    right: int | None  # place, from 1, of the answer that the task gives; None: not among them
    answer_given: bool  # whether the task gives an answer to compare with

    @property
    def attempts(self) -> tuple[Candidate, ...]:
        """The two best answers (one, where all votes agree)."""
        return self.candidates[:ATTEMPTS]


@dataclass(frozen=True)
class TaskAnswer:
    """The answers to one ARC task."""

    task: str
    known: bool  # whether the model was trained on the task, under this name
    augmentations: int  # that voted, the task itself among them
    steps: tuple[tuple[TaskInput, ...], ...]  # after each supervision step asked for
    learning: Learning | None
    seconds: float  # learning included

    @property
    def tests(self) -> tuple[TaskInput, ...]:
        """The answers after the last supervision step, one per test input."""
        return self.steps[-1]


# --- boards ---------------------------------------------------------------------------------------


def answer_board(
    model: RecursiveModel,
    kind: BoardKind,
    question: np.ndarray,
    device: torch.device,
    max_steps: int | None = None,
) -> BoardAnswer:
    """Answer one board of tokens uint8 [rows, columns], in `max_steps` supervision steps (default:
    as many as the training's)."""
    began = time.monotonic()
    flat = question.ravel()
    predictions = predict(model, flat[None], np.zeros(1, np.int32), device, max_steps)
    steps = tuple(
        BoardStep(
            p.preds[0].reshape(question.shape), float(halting_probability(p.q_halt_logits[0]))
        )
        for p in predictions
    )
    valid = kind.is_valid(question, steps[-1].answer)
    seconds = time.monotonic() - began
    return BoardAnswer(kind.name, question, steps, valid, seconds, kind.characters)


def search_board(
    model: RecursiveModel,
    kind: BoardKind,
    question: np.ndarray,
    device: torch.device,
    search: Search,
) -> BoardAnswer:
    """Answer one board of tokens uint8 [rows, columns] by several rollouts: by the first answer
    that is valid, or else (and where no rules are known) by the most frequent one.

    TrmError where the board has fewer views.
    """
    began = time.monotonic()
    views = kind.views(*question.shape, model.config.vocab_size, search.views, search.seed)
    at_once = min(ROWS_AT_ONCE, search.rollouts)
    searcher = Searcher(model, search, views, device, at_once)
    tokens = question.reshape(1, -1).astype(np.int32)
    rows = Rows(tokens, tokens, np.zeros(1, np.int32))
    (found,) = searcher.roll_out(rows, np.zeros(1, np.int64))
    rollouts = checked_by_rules(found, kind, question)
    chosen = (most_frequent if rollouts.valid is None else by_rules)(rollouts).answer
    agreeing = (rollouts.answers == chosen).all(axis=1)
    answer = chosen.reshape(question.shape)
    confidence = float(halting_probability(rollouts.q_halt[agreeing].max()))
    return BoardAnswer(
        kind.name,
        question,
        (BoardStep(answer, confidence),),
        kind.is_valid(question, answer),
        time.monotonic() - began,
        kind.characters,
        Searched(
            search.rollouts, search.views, int(agreeing.sum()), search.rollouts * searcher.steps
        ),
    )


@torch.no_grad()
def predict(
    model: RecursiveModel,
    inputs: np.ndarray,
    identifiers: np.ndarray,
    device: torch.device,
    max_steps: int | None = None,
) -> list[Predictions]:
    """Predictions after each supervision step for tokens [N, S] of puzzles [N]."""
    steps = max_steps or model.config.halt_max_steps
    preds = np.empty((steps, *inputs.shape), dtype=np.uint8)
    q_halt = np.empty((steps, len(inputs)), dtype=np.float32)
    model.eval()
    with Progress(len(inputs), "answering", "grids", shown=len(inputs) > 1) as progress:
        for start in range(0, len(inputs), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            tokens = inputs[part].astype(np.int32)
            batch = to_batch(Rows(tokens, tokens, identifiers[part].astype(np.int32)), device)
            for step, (_, output) in enumerate(supervision_steps(model, batch, steps)):
                preds[step, part] = output.logits.argmax(-1).to(torch.uint8).cpu().numpy()
                q_halt[step, part] = output.certainty.cpu().numpy()
            progress.update(len(tokens))
    return [Predictions(*both) for both in zip(preds, q_halt, strict=True)]


# --- ARC ------------------------------------------------------------------------------------------


def answer_task(
    model: RecursiveModel,
    group: Group,
    device: torch.device,
    max_steps: int | None = None,
    every_step: bool = False,
) -> tuple[tuple[TaskInput, ...], ...]:
    """The ranked answers to each test input, after the last supervision step or after each.

    `group` has the ids of its augmentations' embeddings. TrmError where the weights diverged.
    """
    inputs, places = paint_questions(group, isqrt(model.config.seq_len))
    predictions = predict(model, inputs, group.ids[places], device, max_steps)
    return tuple(
        _vote(group, inputs, places, p) for p in (predictions if every_step else predictions[-1:])
    )


def _vote(
    group: Group, inputs: np.ndarray, places: np.ndarray, predictions: Predictions
) -> tuple[TaskInput, ...]:
    # Numbered by place: a name may have any id in the model's table.
    votes = Votes({group.name: group.raw}, [BLANK_NAME, *group.names()])
    votes.add(places + 1, inputs, predictions.preds, predictions.q_halt_logits)
    (task,) = votes.score((1,)).tasks
    return tuple(_task_input(test) for test in task.tests)


def _task_input(test: ScoredInput) -> TaskInput:
    # Votes has no truth at all where no test pair of the task has an output.
    given = test.truth not in (None, NO_OUTPUT)
    right = None if test.truth_rank is None or not given else test.truth_rank + 1
    return TaskInput(test.input, test.candidates, right, given)


@contextmanager
def embedding_learned(
    model: RecursiveModel,
    training: TrainConfig,
    group: Group,
    device: torch.device,
    minutes: float,
    max_steps: int,
    seed: int = 0,
) -> Iterator[Learning | None]:
    """Within the block the model knows the augmentations of `group`, and nothing else.

    Their embeddings are learned on the demonstration pairs with all weights frozen, for
    `max_steps` steps or `minutes`, whichever end first; every one starts from the mean of the
    model's own, as with freeze_weights. Nothing is learned by a model without a puzzle embedding.
    """
    if model.config.puzzle_emb_ndim == 0:
        yield None
        return
    own = model.puzzle_emb.weights
    table = own.mean(dim=0, keepdim=True).repeat(len(group.ids) + 1, 1)
    model.puzzle_emb.weights = table
    try:
        yield _learn(model, training, group, table, device, minutes, max_steps, seed)
    finally:
        model.puzzle_emb.weights = own
        model.eval()


def _learn(
    model: RecursiveModel,
    training: TrainConfig,
    group: Group,
    table: Tensor,
    device: torch.device,
    minutes: float,
    max_steps: int,
    seed: int,
) -> Learning:
    config = training.model_copy(
        update={
            "freeze_weights": True,
            "global_batch_size": LEARNING_ROWS,
            "micro_batch_size": None,
            # The schedules are of a training of another length.
            "lr_warmup_steps": 0,
            "lr_min_ratio": 1.0,
            "depth_schedule": [],
        }
    )
    ranks = Ranks(0, 1, device)
    state = TrainState(
        model=model,
        optimizer=None,
        puzzle_optimizer=SignSGD(table, config.puzzle_emb_weight_decay, ranks),
        ema=None,
        generator=torch.Generator().manual_seed(seed),
        total_steps=max_steps,
    )
    data = demonstrations(group, isqrt(model.config.seq_len), seed)
    batches = train_batches(
        data, seed, 1, max(1, max_steps) * LEARNING_ROWS, LEARNING_ROWS, slice(0, LEARNING_ROWS)
    )
    say(f"learning the task, for at most {duration(60 * minutes)} or {max_steps} steps")
    before = _loss(model, data, config, device)
    began = time.monotonic()
    model.requires_grad_(False).train()
    with Progress(max_steps, "learning", "steps") as progress:
        for rows in batches:
            if state.step >= max_steps or time.monotonic() - began >= 60 * minutes:
                break
            train_step(config, state, to_batch(rows, device), ranks)
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # the clock counts work, not what is queued
            progress.update(1, f"at most {duration(60 * minutes)}")
        progress.end_here()
    seconds = time.monotonic() - began
    return Learning(state.step, seconds, before, _loss(model, data, config, device))


@torch.no_grad()
def _loss(
    model: RecursiveModel, data: PuzzleData, config: TrainConfig, device: torch.device
) -> float:
    """After the last supervision step, over the pairs of the first augmentation: the task's own."""
    model.eval()
    own = np.arange(data.sets[0].puzzle_indices[1])
    batch = to_batch(take_examples(data, own), device)
    *_, (carry, output) = supervision_steps(model, batch)
    _, metrics, _ = act_loss(config.arch.loss.loss_type, carry, output)
    return metrics["lm_loss"].item() / len(own)
