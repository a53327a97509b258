"""Evaluate a checkpoint: accuracy, exact accuracy and steps; for ARC pass@K and a submission.

    python -m trm.evaluate checkpoint=checkpoints/P/R/step_N data_paths="[data/D]" out=metrics.json

Under torchrun the rows are shared out and the answers gathered in order, so that predictions,
metrics and submission do not depend on the number of processes.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from trm.config.compose import (
    compose,
    load_train_config,
    note_other_architecture,
    parse_train_config,
    read_texts,
    text_kinds,
    unquoted,
)
from trm.config.types import Embeddings, ModelConfig, Strict, TrainConfig
from trm.data.batches import PuzzleData, Rows, eval_batches, rank_rows, take_examples
from trm.data.dataset import DatasetMetadata
from trm.data.specs import Kind
from trm.errors import TrmError, explain
from trm.evaluate.early_exit import answer_until_sure
from trm.files import atomic_write, check_writable, write_json
from trm.model.act import Batch, StepOutput, supervision_steps, to_batch
from trm.model.base import RecursiveModel
from trm.model.checkpoint import (
    check_exists,
    embedding_rows,
    fit_weights,
    read_state_dict,
    with_mean_embeddings,
)
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.progress import Progress, say
from trm.runtime.cost import CostMeter
from trm.runtime.ranks import Ranks, start
from trm.scoring.arc import (
    TEST_PUZZLES,
    ArcScore,
    lacks_solutions,
    refuse_without_solutions,
    score_arc,
    without_accuracy,
    write_submission,
)
from trm.scoring.halting import halting_statistics
from trm.scoring.predictions import Predictions, save_predictions
from trm.scoring.submission import check_submission, complete_submission, read_challenges
from trm.study.puzzle_names import why_other_puzzles

TaskIds = Literal["own", "blank", "other"]
Halting = Literal["fixed", "act"]


@dataclass
class Evaluation:
    """Metrics are complete on every rank, predictions on rank 0 only; `saved` is this rank's."""

    metrics: dict[str, float]
    predictions: Predictions | None
    at_steps: dict[int, Evaluation] = field(default_factory=dict)
    saved: dict[str, Tensor] = field(default_factory=dict)


def model_for(arch: TrainConfig, data: PuzzleData) -> ModelConfig:
    m = data.metadata
    return ModelConfig.of(arch.arch, m.seq_len, m.vocab_size, m.num_puzzle_identifiers)


@torch.inference_mode()
def evaluate(
    model: RecursiveModel,
    data: PuzzleData,
    loss_type: str,
    global_batch_size: int,
    ranks: Ranks,
    keep: tuple[str, ...] = (),
    at_steps: tuple[int, ...] = (),
    task_ids: TaskIds = "own",
    before_batch: Callable[[], None] | None = None,
    halting: Halting = "fixed",
    halting_threshold: float = 0,
) -> Evaluation:
    """Run halt_max_steps supervision steps on every test example, as published.

    With `halting` "act" an example leaves as soon as its halting logit (where going on is learned:
    its lead over that logit) is above `halting_threshold`: what comes later is neither computed nor
    in `at_steps` or `saved`.

    `keep` names outputs (of SAVABLE_OUTPUTS) to return as tensors of this rank's rows; `at_steps`
    are supervision steps after which to take the metrics too. `task_ids` gives every example its
    own puzzle embedding, the blank one, or that of another puzzle. `before_batch` may raise, on
    every rank alike, to end it.
    """
    was_training = model.training
    model.eval()
    if halting == "act":
        result = _evaluate_until_sure(
            model, data, loss_type, global_batch_size, ranks, task_ids, before_batch,
            halting_threshold,
        )  # fmt: skip
        model.train(was_training)
        return result
    total = sum(len(a.inputs) for a in data.sets)
    rows = rank_rows(ranks.rank, ranks.world_size, global_batch_size)
    last = model.config.halt_max_steps
    sums: dict[int, dict[str, float]] = {step: {} for step in sorted({*at_steps, last})}
    preds: dict[int, list[np.ndarray]] = {step: [] for step in sums}
    q_halts: dict[int, list[np.ndarray]] = {step: [] for step in sums}
    kept: dict[str, list[Tensor]] = {name: [] for name in keep}

    with Progress(total, "evaluating", "examples", shown=ranks.is_main) as progress:
        lengths = _batch_lengths(data, global_batch_size)
        for batch_rows, length in zip(
            eval_batches(data, global_batch_size, rows), lengths, strict=True
        ):
            if before_batch is not None:
                before_batch()
            batch_rows = _with_task_ids(batch_rows, task_ids, data.metadata)
            batch = to_batch(batch_rows, ranks.device)
            for step, (carry, output) in enumerate(supervision_steps(model, batch), start=1):
                if step in sums:
                    everyone = replace(carry, halted=torch.ones_like(carry.halted))
                    _, metrics, answer = act_loss(loss_type, everyone, output)
                    for name, value in metrics.items():
                        sums[step][name] = sums[step].get(name, 0.0) + value.item()
                    everyones = ranks.all_gather(answer.to(torch.uint8))
                    q_halt = ranks.all_gather(output.q_halt)
                    if ranks.is_main:
                        preds[step].append(everyones[:length].cpu().numpy())
                        q_halts[step].append(q_halt[:length].cpu().numpy())
            _keep_outputs(kept, batch, output, answer)
            progress.update(length)

    model.train(was_training)
    after = {
        step: Evaluation(
            metrics=_averages(sums[step], ranks),
            predictions=Predictions(np.concatenate(preds[step]), np.concatenate(q_halts[step]))
            if ranks.is_main
            else None,
        )
        for step in sums
    }
    return replace(
        after[last],
        at_steps={step: after[step] for step in sorted(at_steps)},
        saved={name: torch.cat(parts) for name, parts in kept.items()},
    )


def _evaluate_until_sure(
    model: RecursiveModel,
    data: PuzzleData,
    loss_type: str,
    global_batch_size: int,
    ranks: Ranks,
    task_ids: TaskIds,
    before_batch: Callable[[], None] | None,
    threshold: float,
) -> Evaluation:
    """Each rank answers its run of the examples at its own pace; the answers are put in order."""
    total = sum(len(arrays.inputs) for arrays in data.sets)
    first, last = (total * r // ranks.world_size for r in (ranks.rank, ranks.rank + 1))

    def rows_of(examples: np.ndarray) -> Rows:
        return _with_task_ids(take_examples(data, first + examples), task_ids, data.metadata)

    # The batch shrinks at the end: compiled, each size would be a graph of its own, and torch gives
    # up after eight, for training too.
    eagerly = torch.compiler.set_stance("force_eager")
    with eagerly, Progress(last - first, "evaluating", "examples", shown=ranks.is_main) as progress:
        own = answer_until_sure(
            model, rows_of, last - first, global_batch_size // ranks.world_size, loss_type, ranks,
            progress, threshold, before_batch,
        )  # fmt: skip
    everyones = ranks.gather_objects(own)
    sums: Counter[str] = Counter()
    for answers in everyones:
        sums.update(answers.sums)
    predictions = None
    if ranks.is_main:
        predictions = Predictions(
            np.concatenate([answers.preds for answers in everyones]),
            np.concatenate([answers.q_halt for answers in everyones]),
        )
    return Evaluation(_shares(sums), predictions)


def _with_task_ids(rows: Rows, task_ids: TaskIds, metadata: DatasetMetadata) -> Rows:
    """The same rows under other puzzle identifiers."""
    if task_ids == "own":
        return rows
    own = rows.puzzle_identifiers
    blank = metadata.blank_identifier_id
    if task_ids == "blank":
        return replace(rows, puzzle_identifiers=np.full_like(own, blank))
    # Another puzzle's: half of all identifiers further on, past the blank one at 0.
    others = metadata.num_puzzle_identifiers - 1
    shifted = (own - 1 + others // 2) % max(others, 1) + 1
    return replace(rows, puzzle_identifiers=np.where(own == blank, own, shifted).astype(own.dtype))


def _batch_lengths(data: PuzzleData, size: int) -> list[int]:
    """Real rows per batch, without the padding of each set's last one."""
    return [
        min(size, len(a.inputs) - start)
        for a in data.sets
        for start in range(0, len(a.inputs), size)
    ]


def _keep_outputs(
    kept: dict[str, list[Tensor]], batch: Batch, output: StepOutput, answer: Tensor
) -> None:
    values = {
        "inputs": batch.inputs,
        "labels": batch.labels,
        "puzzle_identifiers": batch.puzzle_identifiers,
        "preds": answer,
        "logits": output.logits,
        "q_halt_logits": output.q_halt,
        "q_continue_logits": output.q_continue,
    }
    for name, parts in kept.items():
        parts.append(values[name].cpu())


def _averages(sums: dict[str, float], ranks: Ranks) -> dict[str, float]:
    """Sums over rows, ranks included, divided by the number of scored rows."""
    dtype = torch.float32 if ranks.device.type == "mps" else torch.float64
    values = torch.tensor(list(sums.values()), dtype=dtype, device=ranks.device)
    ranks.sum_([values])
    return _shares(dict(zip(sums, values.tolist(), strict=True)))


def _shares(sums: Mapping[str, float]) -> dict[str, float]:
    count = sums["count"]
    shares = {name: v / max(count, 1.0) for name, v in sums.items() if name != "count"}
    return {"count": count, **shares}


# --- the command ---------------------------------------------------------------------------------


class EvaluateConfig(Strict):
    """Keys of `python -m trm.evaluate`; `arch.*` overrides the saved architecture besides."""

    checkpoint: Path
    data_paths: list[str] | None = None  # default: what the checkpoint was trained on
    out: Path = Path("metrics.json")
    config: Path | None = None  # default: all_config.yaml beside the checkpoint
    predictions: Path | None = None  # where to write predictions.npz
    submission: Path | None = None  # default, for ARC: submission.json beside `out`
    challenges: list[Path] = []  # arc-agi_*_challenges.json: answer each of their tasks, and check
    global_batch_size: int | None = pydantic.Field(None, ge=1)
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    eval_halting: Halting | None = None  # act: a sure example leaves early; default: as trained
    # Logit above which it is sure; default: as trained.
    eval_halting_threshold: float | None = pydantic.Field(None, allow_inf_nan=False)
    at_steps: list[int] = []  # supervision steps to take the metrics after
    steps_out: Path | None = None  # CSV of those
    cost_out: Path | None = None  # JSON of what the evaluation took
    kind: Kind | None = None  # maze: any shortest path is scored too
    task_ids_out: Path | None = None  # CSV of metrics under own, blank and another puzzle's ids
    # reinitialise: every puzzle's is the mean of the saved ones, for puzzles of another dataset.
    puzzle_embeddings: Embeddings = "saved"

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> EvaluateConfig:
        if bool(self.at_steps) != (self.steps_out is not None):
            raise ValueError("at_steps and steps_out go together")
        if self.at_steps and self.eval_halting == "act":
            raise ValueError("at_steps looks at every example: not with eval_halting=act")
        return self

    def check_outputs(self) -> None:
        """WriteError, before anything is evaluated, where a file could not be written."""
        files = (self.out, self.predictions, self.submission, self.steps_out, self.task_ids_out)
        for path in (*files, self.cost_out):
            if path is not None:
                check_writable(path)


def parse_arguments(arguments: list[str]) -> tuple[EvaluateConfig, TrainConfig]:
    """Read `key=value` words; TrmError for anything unknown or wrong."""
    for word in arguments:
        if "=" not in word:
            raise TrmError(f"expected key=value, not {word!r}; see python -m trm.evaluate --help")
    ours = [word for word in arguments if not word.startswith("arch")]
    arch = [word for word in arguments if word.startswith("arch")]
    try:
        config = EvaluateConfig(**_read_words(ours))
    except pydantic.ValidationError as error:
        raise explain(error, "trm.evaluate", list(EvaluateConfig.model_fields)) from None
    config.check_outputs()
    check_exists(config.checkpoint)
    beside = config.checkpoint.parent / "all_config.yaml"
    path = config.config or (beside if beside.is_file() else None)
    # A bare published checkpoint: its architecture is what the command line says.
    trained = compose(arch) if path is None else _with_overrides(path, arch)
    beyond = [step for step in config.at_steps if not 1 <= step <= trained.arch.halt_max_steps]
    if beyond:
        raise TrmError(
            f"at_steps has {beyond}, outside 1..{trained.arch.halt_max_steps}; "
            "arch.halt_max_steps=… runs longer"
        )
    return config, trained


def _read_words(words: list[str]) -> dict[str, Any]:
    """Texts and lists of texts as they are typed, other values as YAML."""
    kinds, values = text_kinds(EvaluateConfig), dict[str, Any]()
    others = []
    for word in words:
        key, _, value = word.partition("=")
        texts = read_texts(value) if kinds.get(key) == "texts" else None
        if "${" in value or (texts is None and kinds.get(key) != "text"):
            others.append(word)
        elif texts is not None:
            values[key] = texts
        else:
            values[key] = None if value in ("", "null") else unquoted(value)
    return _from_yaml(others) | values


def _from_yaml(words: list[str]) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(words), resolve=True)
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise TrmError(f"trm.evaluate: {' '.join(words)}: {error}") from None


def _with_overrides(config: Path, words: list[str]) -> TrainConfig:
    """The settings of the training with other ones of `arch`."""
    saved = load_train_config(config)
    for word in words:
        name = unquoted(word.removeprefix("arch="))
        if word.startswith("arch=") and name != saved.arch.architecture:
            raise TrmError(
                f"arch={name}, but by {config} it was trained with arch={saved.arch.architecture}: "
                "leave arch=… out"
            )
    overrides = _from_yaml([word for word in words if not word.startswith("arch=")])
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(saved.model_dump(), overrides))
    except OmegaConfBaseException as error:
        raise TrmError(f"trm.evaluate: {' '.join(words)}: {error}") from None
    return parse_train_config(merged, str(config))


def evaluate_checkpoint(config: EvaluateConfig, trained: TrainConfig, ranks: Ranks) -> None:
    """Evaluate one checkpoint on each data path; rank 0 writes the files."""
    meter = CostMeter(ranks)
    examples = 0
    paths = config.data_paths or trained.test_paths
    lacking = [p for p in paths if not (Path(p) / TEST_PUZZLES).is_file()]
    if lacking and (config.submission is not None or config.kind == "arc"):
        raise TrmError(f"{lacking[0]} is no ARC dataset (it has no {TEST_PUZZLES})")
    if config.steps_out is not None or config.task_ids_out is not None:
        for path in paths:
            refuse_without_solutions(Path(path))
    batch_size = config.global_batch_size or trained.global_batch_size
    if batch_size % ranks.world_size:
        # An evaluation's result does not depend on its batch size, so round up, don't refuse.
        batch_size += ranks.world_size - batch_size % ranks.world_size
    results: dict[str, dict[str, float]] = {}
    if ranks.is_main and (note := note_other_architecture(config.checkpoint, trained.arch)):
        say(f"note: {note}")
    state = read_state_dict(config.checkpoint)
    model: RecursiveModel | None = None
    for path in paths:
        data = PuzzleData.load([path], "test")
        own_state = _with_embeddings_for(config, state, Path(path), data, ranks)
        if model is None or model.config != model_for(trained, data):
            model = build_model(model_for(trained, data))
            fit_weights(config.checkpoint, own_state, model)
            model.to(ranks.device)
        examples += sum(len(arrays.inputs) for arrays in data.sets)
        loss_type = trained.arch.loss.loss_type
        halting = config.eval_halting or ("fixed" if config.at_steps else trained.eval_halting)
        if halting == "fixed" and config.eval_halting_threshold is not None:
            raise TrmError("eval_halting_threshold needs eval_halting=act")
        threshold = config.eval_halting_threshold
        if threshold is None:
            threshold = trained.eval_halting_threshold
        run = partial(evaluate, model, data, loss_type, batch_size, ranks, halting=halting,
                      halting_threshold=threshold)  # fmt: skip
        result = run(at_steps=tuple(config.at_steps))
        by_ids = {"own": result}
        if config.task_ids_out is not None:
            by_ids |= {ids: run(task_ids=ids) for ids in ("blank", "other")}
        if not math.isfinite(result.metrics["lm_loss"]):
            raise TrmError(
                f"the loss on {path} is {result.metrics['lm_loss']}: the weights of "
                f"{config.checkpoint} have diverged"
            )
        if ranks.is_main:
            several = len(paths) > 1
            metrics = result.metrics | _further_metrics(config, data, result)
            if config.puzzle_embeddings == "reinitialise":
                metrics["reinitialised_embeddings"] = embedding_rows(own_state)
            if lacks_solutions(Path(path)):
                say(f"{path} has no solutions: its accuracy, loss and pass@K are left out")
                metrics = without_accuracy(metrics)
            results[path] = metrics | _write_outputs(config, path, by_ids, several)
    cost = meter.read("evaluate", examples)
    if ranks.is_main:
        _write_metrics(config, results, cost["evaluate_wall_s"], ranks)
        if config.cost_out is not None:
            write_json(config.cost_out, cost)


def _with_embeddings_for(
    config: EvaluateConfig,
    state: dict[str, Tensor],
    dataset: Path,
    data: PuzzleData,
    ranks: Ranks,
) -> dict[str, Tensor]:
    """The state dict with embeddings of the dataset's puzzles; TrmError where it has those of
    others and `puzzle_embeddings` does not say what to do then."""
    rows, puzzles = embedding_rows(state), data.metadata.num_puzzle_identifiers
    if config.puzzle_embeddings == "reinitialise":
        return with_mean_embeddings(state, puzzles)
    if not rows:
        return state
    refusal = ranks.same_everywhere(
        why_other_puzzles(config.checkpoint, rows, dataset, puzzles) if ranks.is_main else None
    )
    if refusal is not None:
        raise TrmError(
            f"{refusal}. Evaluate on the dataset of its training, or give "
            "puzzle_embeddings=reinitialise: every embedding is then the mean of the saved ones"
        )
    return state


def _further_metrics(
    config: EvaluateConfig, data: PuzzleData, result: Evaluation
) -> dict[str, float]:
    """What only all predictions together tell: halting, and shortest paths of mazes."""
    assert result.predictions is not None
    preds = result.predictions.preds
    labels = np.concatenate([arrays.labels for arrays in data.sets])
    scored = labels != data.metadata.ignore_label_id
    exact = ((preds == labels) | ~scored).all(axis=1)
    metrics = halting_statistics(result.predictions.q_halt_logits, exact)
    if config.kind == "maze":
        from trm.scoring.maze import maze_metrics  # numba, which other puzzles can do without

        inputs = np.concatenate([arrays.inputs for arrays in data.sets])
        metrics |= maze_metrics(inputs, preds)
    return metrics


def _write_outputs(
    config: EvaluateConfig, data_path: str, by_ids: dict[str, Evaluation], several: bool
) -> dict[str, float]:
    """Predictions, curves and, for ARC, the submission; returns ARC's metrics."""
    result = by_ids["own"]
    assert result.predictions is not None

    def named(path: Path) -> Path:  # one file per data path where there are several
        return path.with_stem(f"{path.stem}-{Path(data_path).name}") if several else path

    if config.predictions is not None:
        save_predictions(named(config.predictions), result.predictions)
    if config.steps_out is not None:
        _write_by(named(config.steps_out), "supervision_steps", Path(data_path), result.at_steps)
    if config.task_ids_out is not None:
        _write_by(named(config.task_ids_out), "task_ids", Path(data_path), by_ids)
    if not (Path(data_path) / TEST_PUZZLES).is_file():
        return {}
    score = score_arc(Path(data_path), result.predictions.preds, result.predictions.q_halt_logits)
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


def _write_metrics(
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


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        print("keys:")
        for name, info in EvaluateConfig.model_fields.items():
            default = "" if info.is_required() else f" (default: {info.default})"
            print(f"  {name}{default}")
        return
    config, trained = parse_arguments(arguments)
    ranks = start(config.device)
    try:
        evaluate_checkpoint(config, trained, ranks)
    finally:
        ranks.close()
