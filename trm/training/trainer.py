"""A training: iterations of eval_interval epochs, each followed by an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from trm.config.types import TrainConfig
from trm.data.batches import rank_rows, train_batches
from trm.errors import TrmError, WriteError
from trm.evaluate.loop import evaluate
from trm.evaluate.settings import Settings
from trm.model.act import Batch, host_batch
from trm.model.kernels import use_kernels
from trm.runtime.cost import Cost, CostMeter
from trm.runtime.ranks import Ranks, lost_peer
from trm.runtime.signals import EXIT_SAVED, Interrupted, Signals, signals_noted
from trm.study.run_folder import snapshots_of
from trm.training.ahead import drawn_ahead
from trm.training.compiling import compile_nets
from trm.training.flop import TrainingFlop
from trm.training.folder import ended_run, hold_folder, leave_ended, why_unseen
from trm.training.keeper import Keeper, diverged
from trm.training.records import RAW, TRAINED, Records, Silent, Weights, save_outputs
from trm.training.setup import Run, estimate_step, identify_datasets, initial_state, set_up
from trm.training.state import Part, resume
from trm.training.step import Averages, Meter, TrainState, train_step


def train(config: TrainConfig, ranks: Ranks, recorder: type[Records] = Records) -> Path:
    """Train one run as `config` says, or resume it; returns its folder of checkpoints.

    `recorder` records it on rank 0. After TERM, USR1 or Ctrl-C the state is saved and
    SystemExit(EXIT_SAVED) raised. TrmError where another rank is lost or a file cannot be written.
    """
    with signals_noted() as signals:
        try:
            run = set_up(config, ranks)
            state = initial_state(run)
            with _remedy_named(run):
                _train(run, state, signals, recorder)
            return run.folder
        except Interrupted:
            raise SystemExit(EXIT_SAVED) from None
        except RuntimeError as error:
            if lost_peer(error, ranks):
                raise TrmError(
                    "another process of this run has ended or does not answer; its message is "
                    "above. The same command resumes from what was saved last"
                ) from None
            raise


@contextmanager
def _remedy_named(run: Run) -> Iterator[None]:
    """A file that cannot be written costs only what came after the last snapshot."""
    try:
        yield
    except WriteError as error:
        if not snapshots_of(run.folder):
            raise
        resumes = "the same command resumes from what was saved last"
        raise WriteError(f"{error}; {resumes}") from None


def _train(run: Run, state: TrainState, signals: Signals, recorder: type[Records]) -> None:
    config, ranks = run.config, run.ranks
    meter, cost = Meter(ranks, config.global_batch_size), CostMeter(ranks)
    with hold_folder(run, signals):
        refusal = ranks.from_main(lambda: why_unseen(run, signals))
        if refusal is not None:
            raise TrmError(refusal)
        datasets = identify_datasets(run)
        ended = ranks.from_main(lambda: ended_run(run, datasets))
        if ended is not None:
            ranks.from_main(lambda: leave_ended(run, ended))
            return
        resumed = resume(run, datasets, state, meter)
        if resumed.facts:
            cost.before = Cost(**resumed.facts["cost"])
        flop = TrainingFlop.counted(config, state.model.config, state.total_steps)
        part = Part(run, datasets, state, resumed, cost, flop)
        estimate = estimate_step(run, state.model)
        records = recorder(part) if ranks.is_main else Silent()
        records.announce(estimate)
        use_kernels(state.model, config.kernels, ranks)
        compiled = compile_nets(part)
        keeper = Keeper(part, meter, records, signals, compiled)
        try:
            with records.counting(run.steps):
                Trainer(part, meter, keeper, records).train()
        except Interrupted:
            records.interrupt()
            raise
        records.close(cost.read("train", state.step * config.global_batch_size))
    ranks.barrier()


class Trainer:
    """The loop over iterations, steps and evaluations, on every rank alike."""

    def __init__(self, part: Part, meter: Meter, keeper: Keeper, records: Silent) -> None:
        self.run, self.state, self.meter = part.run, part.state, meter
        self.config, self.ranks = part.run.config, part.run.ranks
        self.keeper, self.records = keeper, records

    def train(self) -> None:
        """Train from the state to the end; Interrupted after a signal, when the state is saved."""
        config, state = self.config, self.state
        last = config.epochs // config.epochs_per_iteration
        while state.iteration <= last:
            if not state.evaluating:
                self._train_iteration()
            if state.iteration > config.min_eval_interval or state.iteration == last:
                self._evaluate(checkpoint=state.iteration == last or config.checkpoint_every_eval)
            state.iteration, state.batches, state.evaluating = state.iteration + 1, 0, False

    def _train_iteration(self) -> None:
        config, state, meter = self.config, self.state, self.meter
        state.model.train()
        with drawn_ahead(self._batches()) as batches:
            for batch in batches:
                if state.step >= state.total_steps:
                    break
                meter.add(train_step(config, state, batch.to(self.ranks.device), self.ranks))
                state.batches += 1
                due = state.step % config.log_interval == 0
                self.records.stepped(self._averages() if due else None)
                self.keeper.save_if_due()
        if state.batches == 0 and state.step < state.total_steps:
            raise TrmError(
                f"{config.epochs_per_iteration} epochs between evaluations do not fill one batch "
                f"of global_batch_size={config.global_batch_size}; choose a smaller batch or a "
                "larger eval_interval"
            )
        if meter.steps:
            self.records.averaged(self._averages())

    def _batches(self) -> Iterator[Batch]:
        """This rank's rows of the batches that remain of the iteration, in the CPU's memory."""
        config, ranks = self.config, self.ranks
        drawn = train_batches(
            self.run.data,
            config.seed,
            self.state.iteration,
            config.epochs_per_iteration,
            config.global_batch_size,
            rank_rows(ranks.rank, ranks.world_size, config.global_batch_size),
            skip=self.state.batches,
        )
        return (host_batch(rows, ranks.device) for rows in drawn)

    def _averages(self) -> Averages:
        """Averages over the steps since the last record; TrmError where the loss is not finite."""
        # Over gloo, before the GPUs are waited for: a process that is gone is noticed here, and not
        # in one of NCCL's collectives, in which no signal is obeyed.
        self.ranks.barrier()
        averages = self.meter.read()
        loss = averages.metrics["loss"]
        if not math.isfinite(loss):
            raise diverged(f"the loss is {loss}", self.state, self.run)
        return averages

    def _evaluate(self, checkpoint: bool) -> None:
        """Evaluate on every test split, and write the weights first where `checkpoint` says so."""
        config, state = self.config, self.state
        if not state.evaluating:
            # Saved before it is evaluated: an evaluation that fails costs no training.
            state.evaluating = True
            self.keeper.save()
        settings = Settings(
            config.arch.loss.loss_type,
            config.global_batch_size,
            halting=config.eval_halting,
            halting_threshold=config.eval_halting_threshold,
        )
        if config.eval_raw and state.ema:
            self._evaluate_weights(RAW, settings)
        with state.ema.applied(state.model) if state.ema else nullcontext():
            if checkpoint:
                self.records.save_checkpoint()
            keep = tuple(config.eval_save_outputs)
            self._evaluate_weights(TRAINED, replace(settings, keep=keep))
        state.model.train()

    def _evaluate_weights(self, weights: Weights, settings: Settings) -> None:
        for path, data in self.run.test_data.items():
            result = evaluate(
                self.state.model, data, settings, self.ranks, self.keeper.stop_if_told
            )
            save_outputs(self.run, self.state.step, path, result)
            self.records.evaluated(path, result, weights)
