"""Evaluate a checkpoint: accuracy, exact accuracy and steps; for ARC pass@K and a submission.

    python -m trm.evaluate checkpoint=checkpoints/P/R/step_N data_paths="[data/D]" out=metrics.json

Under torchrun the rows are shared out and the answers gathered in order, so that predictions,
metrics and submission do not depend on the number of processes. Several jobs may each evaluate a
share of the test split, whose files a last command puts together:

    python -m trm.evaluate checkpoint=… shard=1/2 shard_out=1.npz
    python -m trm.evaluate checkpoint=… shard=2/2 shard_out=2.npz
    python -m trm.evaluate checkpoint=… shards="[1.npz,2.npz]" out=metrics.json
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from trm.config.compose import note_other_architecture
from trm.config.types import ModelConfig, TrainConfig
from trm.data.batches import PuzzleData
from trm.errors import TrmError
from trm.evaluate.compiling import compile_for
from trm.evaluate.loop import Evaluation, evaluate
from trm.evaluate.outputs import further_metrics, write_metrics, write_outputs
from trm.evaluate.settings import EvaluateConfig, Settings, parse_arguments
from trm.evaluate.shards import cost_of, load_shards, put_together, write_shard
from trm.files import file_sha256, write_json
from trm.model.base import RecursiveModel
from trm.model.checkpoint import (
    embedding_rows,
    fit_weights,
    read_state_dict,
    with_mean_embeddings,
)
from trm.model.flop import flop_of_step
from trm.model.kernels import use_kernels
from trm.model.registry import build_model, model_for
from trm.progress import say
from trm.runtime.cost import CostMeter
from trm.runtime.late import appears, wait_for
from trm.runtime.ranks import Ranks, joined
from trm.scoring.arc import (
    TEST_PUZZLES,
    lacks_solutions,
    refuse_without_solutions,
    without_accuracy,
)
from trm.study.puzzle_names import why_other_puzzles


def evaluate_checkpoint(config: EvaluateConfig, trained: TrainConfig, ranks: Ranks) -> None:
    """Evaluate one checkpoint on each data path, or a shard of one, or put shards together; rank 0
    writes the files."""
    _await_weights(config.checkpoint, ranks)
    shards = load_shards(config.shards, config.checkpoint) if config.shards else []
    meter = CostMeter(ranks)
    meter.before = cost_of(shards)
    examples, compute = 0, Compute()
    paths = config.data_paths or trained.test_paths
    _check_datasets(config, [Path(path) for path in paths])
    settings = _settings_of(config, trained, ranks)
    results: dict[str, dict[str, float]] = {}
    if ranks.is_main and (note := note_other_architecture(config.checkpoint, trained.arch)):
        say(f"note: {note}")
    state = read_state_dict(config.checkpoint)
    model: RecursiveModel | None = None
    for path in paths:
        data = PuzzleData.load([path], "test")
        own_state = _with_embeddings_for(config, state, Path(path), data, ranks)
        if shards:
            by_ids = {"own": put_together(shards, data)}
        else:
            if model is None or model.config != model_for(trained, data):
                model = build_model(model_for(trained, data))
                fit_weights(config.checkpoint, own_state, model)
                model.to(ranks.device)
                use_kernels(model, trained.kernels, ranks)
                times = 1 if config.task_ids_out is None else 3
                compile_for(config.compile, model, data, settings, ranks, trained.kernels, times)
            by_ids = _evaluate_under_ids(config, model, data, settings, ranks)
        examples += data.n_examples
        own = by_ids["own"]
        if not math.isfinite(own.metrics["lm_loss"]):
            raise TrmError(
                f"the loss on {path} is {own.metrics['lm_loss']}: the weights of "
                f"{config.checkpoint} have diverged"
            )
        if config.shard_out is not None:
            write_shard(config.shard_out, config.checkpoint, own, settings, meter)
            return
        if config.cost_out is not None:
            sizes = model_for(trained, data)
            compute.add(flop_of_step(sizes), _mean_steps(own, settings, sizes), data.n_examples)
        if ranks.is_main:
            metrics = own.metrics | further_metrics(config, data, own)
            if config.puzzle_embeddings == "reinitialise":
                metrics["reinitialised_embeddings"] = embedding_rows(own_state)
            if lacks_solutions(Path(path)):
                say(f"{path} has no solutions: its accuracy, loss and pass@K are left out")
                metrics = without_accuracy(metrics)
            suffix = f"-{Path(path).name}" if len(paths) > 1 else ""
            results[path] = metrics | write_outputs(config, Path(path), by_ids, suffix)
    cost = meter.read("evaluate", examples)
    if ranks.is_main:
        write_metrics(config, results, cost["evaluate_wall_s"], ranks)
        if config.cost_out is not None:
            write_json(config.cost_out, cost | compute.facts())


@dataclass
class Compute:
    """FLOP of an evaluation, as means over the examples of all its data paths."""

    examples: int = 0
    of_steps: float = 0.0  # sum over examples of the FLOP of one supervision step
    of_puzzles: float = 0.0  # sum over examples of the FLOP of all their steps

    def add(self, flop_of_step: int, steps: float, examples: int) -> None:
        """Add examples that took `steps` supervision steps on average."""
        self.examples += examples
        self.of_steps += flop_of_step * examples
        self.of_puzzles += flop_of_step * steps * examples

    def facts(self) -> dict[str, float | None]:
        """The means under the names of provenance.json; None where the steps are not known."""
        return {
            "evaluate_flop_per_step": self.of_steps / self.examples,
            "evaluate_flop_per_puzzle": self.of_puzzles / self.examples or None,
        }


def _mean_steps(result: Evaluation, settings: Settings, sizes: ModelConfig) -> float:
    """Supervision steps of an example; the metric counts only examples with solutions."""
    return result.metrics["steps"] if settings.halting == "act" else sizes.halt_max_steps


def _await_weights(checkpoint: Path, ranks: Ranks) -> None:
    """TrmError where this rank does not see the weights that rank 0 does: another node may see an
    older file of that name for a while."""
    if ranks.world_size == 1:
        return
    expected = ranks.from_main(lambda: _sha256_of(checkpoint))
    if not appears(lambda: _sha256_of(checkpoint) == expected, f"the newest {checkpoint}"):
        raise TrmError(
            f"process {ranks.rank} of this evaluation reads another {checkpoint} than process 0: "
            "run the same command again when all nodes see the same file"
        )


def _sha256_of(path: Path) -> str | None:
    """None where the file cannot be read, which is reported where it is."""
    try:
        return file_sha256(path)
    except OSError:
        return None


def _evaluate_under_ids(
    config: EvaluateConfig,
    model: RecursiveModel,
    data: PuzzleData,
    settings: Settings,
    ranks: Ranks,
) -> dict[str, Evaluation]:
    """The evaluation under the puzzles' own ids and, where asked for, under others."""
    by_ids = {"own": evaluate(model, data, settings, ranks)}
    if config.task_ids_out is not None:
        for ids in ("blank", "other"):
            under_these = replace(settings, task_ids=ids, at_steps=())
            by_ids[ids] = evaluate(model, data, under_these, ranks)
    return by_ids


def _check_datasets(config: EvaluateConfig, paths: list[Path]) -> None:
    """TrmError where what is asked for needs other datasets."""
    for path in paths:
        wait_for(path / "test")
    lacking = [path for path in paths if not (path / TEST_PUZZLES).is_file()]
    only_arc = config.submission is not None or config.answers is not None or config.kind == "arc"
    if lacking and only_arc:
        raise TrmError(f"{lacking[0]} is not an ARC dataset (it has no {TEST_PUZZLES})")
    if len(paths) > 1 and (config.shard is not None or config.shards):
        raise TrmError(f"shards are of one data path, not of {len(paths)}: name one as data_paths")
    if config.steps_out is not None or config.task_ids_out is not None:
        for path in paths:
            refuse_without_solutions(path)


def _settings_of(config: EvaluateConfig, trained: TrainConfig, ranks: Ranks) -> Settings:
    """Those of the command line, else those of the training."""
    halting = config.eval_halting or ("fixed" if config.at_steps else trained.eval_halting)
    if halting == "fixed" and config.eval_halting_threshold is not None:
        raise TrmError("eval_halting_threshold needs eval_halting=act")
    threshold = config.eval_halting_threshold
    batch_size = config.global_batch_size or trained.global_batch_size
    if batch_size % ranks.world_size:
        # An evaluation's result does not depend on its batch size, so round up, don't refuse.
        batch_size += ranks.world_size - batch_size % ranks.world_size
    return Settings(
        trained.arch.loss.loss_type,
        batch_size,
        halting=halting,
        halting_threshold=trained.eval_halting_threshold if threshold is None else threshold,
        at_steps=tuple(config.at_steps),
        shard=config.own_shard,
    )


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
    refusal = ranks.from_main(lambda: why_other_puzzles(config.checkpoint, rows, dataset, puzzles))
    if refusal is not None:
        raise TrmError(
            f"{refusal}. Evaluate on the dataset of its training, or give "
            "puzzle_embeddings=reinitialise: every embedding is then the mean of the saved ones"
        )
    return state


def known_words() -> list[str]:
    """The keys that a shell completes."""
    return [*EvaluateConfig.model_fields]


def main(words: Sequence[str] | None = None) -> None:
    arguments = [*(sys.argv[1:] if words is None else words)]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        print("keys:")
        for name, info in EvaluateConfig.model_fields.items():
            default = "" if info.is_required() else f" (default: {info.default})"
            print(f"  {name}{default}")
        return
    config, trained = parse_arguments(arguments)
    with joined(config.device) as ranks:
        # Another node may read an older file of settings.
        evaluate_checkpoint(*ranks.same_everywhere((config, trained)), ranks)
