"""What an evaluation leaves: metrics.json, predictions, curves by step and by ids; for ARC the
answers and the submission."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm.data.batches import PuzzleData
from trm.evaluate.loop import Evaluation
from trm.evaluate.settings import EvaluateConfig
from trm.files import atomic_write, write_json
from trm.progress import say
from trm.puzzles.kinds import kind_named
from trm.runtime.ranks import Ranks
from trm.scoring.answers import Answers, save_answers
from trm.scoring.arc import (
    TEST_PUZZLES,
    ArcScore,
    count_votes,
    score_answers,
    write_submission,
)
from trm.scoring.halting import halting_statistics
from trm.scoring.predictions import exactly_right, save_predictions
from trm.scoring.submission import check_submission, complete_submission, read_challenges


def further_metrics(
    config: EvaluateConfig, data: PuzzleData, result: Evaluation
) -> dict[str, float]:
    """Metrics that need all predictions together: halting, and the kind's own."""
    assert result.predictions is not None
    preds = result.predictions.preds
    labels = np.concatenate([arrays.labels for arrays in data.sets])
    exact = exactly_right(preds, labels, data.metadata.ignore_label_id)
    metrics = halting_statistics(result.predictions.q_halt_logits, exact)
    own = None if config.kind is None else kind_named(config.kind).further_metrics
    if own is not None:
        metrics |= own(np.concatenate([arrays.inputs for arrays in data.sets]), preds)
    return metrics


def write_outputs(
    config: EvaluateConfig, data_path: Path, by_ids: dict[str, Evaluation], suffix: str
) -> dict[str, float]:
    """Predictions, curves and, for ARC, answers and submission; returns ARC's metrics.

    `by_ids` has the evaluation under the puzzles' own ids as `own`; `suffix` ends the names of the
    files, where those of another data path are written beside them.
    """
    result = by_ids["own"]
    assert result.predictions is not None

    def named(path: Path) -> Path:
        return path.with_stem(path.stem + suffix)

    answers = _answers_to(data_path, result)
    own = None if answers is None else score_answers(data_path, answers)

    def row(evaluation: Evaluation) -> dict[str, float]:
        if own is None or evaluation.predictions is result.predictions:
            return evaluation.metrics | ({} if own is None else own.metrics)
        others = _answers_to(data_path, evaluation)
        return evaluation.metrics | score_answers(data_path, others).metrics

    if config.predictions is not None:
        save_predictions(named(config.predictions), result.predictions)
    if config.steps_out is not None:
        after = {step: row(evaluation) for step, evaluation in result.at_steps.items()}
        _write_by(named(config.steps_out), "supervision_steps", after)
    if config.task_ids_out is not None:
        under = {ids: row(evaluation) for ids, evaluation in by_ids.items()}
        _write_by(named(config.task_ids_out), "task_ids", under)
    if own is None:
        return {}
    if config.answers is not None:
        save_answers(named(config.answers), answers)
    submission = named(config.submission or config.out.parent / "submission.json")
    _write_submission(submission, own, config.challenges)
    if not own.metrics:
        return {"tasks_without_solution": own.n_tasks}
    return {**own.metrics, "ARC/tasks": own.n_tasks}


def _answers_to(data_path: Path, evaluation: Evaluation) -> Answers | None:
    """ARC's votes; None for a dataset of other puzzles. The ids that name ARC's augmentations are
    the puzzles' own, whatever the model was shown."""
    if not (data_path / TEST_PUZZLES).is_file():
        return None
    predictions = evaluation.predictions
    assert predictions is not None
    return count_votes(data_path, predictions.preds, predictions.q_halt_logits)


def _write_submission(path: Path, score: ArcScore, challenge_files: list[Path]) -> None:
    """Two attempts per test input; with challenges, for every task there, and checked."""
    submission = score.submission
    if challenge_files:
        challenges = read_challenges(challenge_files)
        submission, unanswered = complete_submission(submission, challenges)
        check_submission(submission, challenges)
        if unanswered:
            say(
                f"{path}: a placeholder replaces missing predictions of {len(unanswered)} of "
                f"{len(challenges)} tasks: {', '.join(unanswered)}"
            )
    write_submission(path, submission)


def _write_by(path: Path, index: str, rows: Mapping[Any, dict[str, float]]) -> None:
    """One row per evaluation, named in the column `index`; for ARC with the votes' pass@1 and 2."""
    names = ["accuracy", "exact_accuracy", "q_halt_accuracy", "count"]
    passed = ["ARC/pass@1", "ARC/pass@2"]
    names += [name for name in passed if all(name in row for row in rows.values())]
    lines = [",".join([index, *names])]
    lines += [
        ",".join([str(key), *(f"{row[name]:.9g}" for name in names)]) for key, row in rows.items()
    ]
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def write_metrics(
    config: EvaluateConfig, results: dict[str, dict[str, float]], wall_s: float, ranks: Ranks
) -> None:
    content: dict[str, Any] = next(iter(results.values())) if len(results) == 1 else results
    write_json(config.out, content)
    for path, metrics in results.items():
        shown = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        print(f"{path}: {shown}")
    print(
        f"evaluated {config.checkpoint} in {wall_s:.0f} s on {ranks.device} "
        f"({ranks.world_size} process{'es' if ranks.world_size > 1 else ''}); wrote {config.out}"
    )
