"""What an evaluation leaves: metrics.json, predictions, submission, curves by step and by ids."""

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
from trm.runtime.ranks import Ranks
from trm.scoring.arc import TEST_PUZZLES, ArcScore, score_arc, write_submission
from trm.scoring.halting import halting_statistics
from trm.scoring.predictions import exactly_right, save_predictions
from trm.scoring.submission import check_submission, complete_submission, read_challenges


def further_metrics(
    config: EvaluateConfig, data: PuzzleData, result: Evaluation
) -> dict[str, float]:
    """What only all predictions together tell: halting, and shortest paths of mazes."""
    assert result.predictions is not None
    preds = result.predictions.preds
    labels = np.concatenate([arrays.labels for arrays in data.sets])
    exact = exactly_right(preds, labels, data.metadata.ignore_label_id)
    metrics = halting_statistics(result.predictions.q_halt_logits, exact)
    if config.kind == "maze":
        from trm.scoring.maze import maze_metrics  # numba, which other puzzles can do without

        inputs = np.concatenate([arrays.inputs for arrays in data.sets])
        metrics |= maze_metrics(inputs, preds)
    return metrics


def write_outputs(
    config: EvaluateConfig, data_path: Path, by_ids: dict[str, Evaluation], suffix: str
) -> dict[str, float]:
    """Predictions, curves and, for ARC, the submission; returns ARC's metrics.

    `by_ids` has the evaluation under the puzzles' own ids as `own`; `suffix` ends the names of the
    files, where those of another data path stand beside them.
    """
    result = by_ids["own"]
    assert result.predictions is not None

    def named(path: Path) -> Path:
        return path.with_stem(path.stem + suffix)

    if config.predictions is not None:
        save_predictions(named(config.predictions), result.predictions)
    if config.steps_out is not None:
        _write_by(named(config.steps_out), "supervision_steps", data_path, result.at_steps)
    if config.task_ids_out is not None:
        _write_by(named(config.task_ids_out), "task_ids", data_path, by_ids)
    if not (data_path / TEST_PUZZLES).is_file():
        return {}
    score = score_arc(data_path, result.predictions.preds, result.predictions.q_halt_logits)
    _write_submission(
        named(config.submission or config.out.parent / "submission.json"), score, config.challenges
    )
    if not score.metrics:
        return {"tasks_without_solution": score.n_tasks}
    return {**score.metrics, "ARC/tasks": score.n_tasks}


def _write_submission(path: Path, score: ArcScore, challenge_files: list[Path]) -> None:
    """Two attempts per test input; with challenges, for every task there, and checked."""
    submission = score.submission
    if challenge_files:
        challenges = read_challenges(challenge_files)
        submission, unanswered = complete_submission(submission, challenges)
        check_submission(submission, challenges)
        if unanswered:
            say(
                f"{path}: a placeholder stands in for predictions of {len(unanswered)} of "
                f"{len(challenges)} tasks: {', '.join(unanswered)}"
            )
    write_submission(path, submission)


def _write_by(path: Path, index: str, data_path: Path, results: Mapping[Any, Evaluation]) -> None:
    """One row per evaluation, named in the column `index`; for ARC with the votes' pass@1 and 2.

    The ids that name ARC's augmentations are the puzzles' own, whatever the model was shown.
    """
    names = ["accuracy", "exact_accuracy", "q_halt_accuracy", "count"]
    rows = {key: dict(result.metrics) for key, result in results.items()}
    if (data_path / TEST_PUZZLES).is_file():
        names += ["ARC/pass@1", "ARC/pass@2"]
        for key, result in results.items():
            assert result.predictions is not None
            p = result.predictions
            rows[key] |= score_arc(data_path, p.preds, p.q_halt_logits, (1, 2)).metrics
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
