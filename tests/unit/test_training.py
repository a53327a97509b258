"""The two loops on a small real dataset, in process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.conftest import overrides
from trm.config.compose import compose
from trm.config.types import TrainConfig
from trm.data.batches import PuzzleData, Rows, take_examples
from trm.errors import TrmError
from trm.evaluate import early_exit
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.loop import Evaluation, evaluate, with_task_ids
from trm.evaluate.settings import Settings, parse_arguments
from trm.evaluate.step_by_step import think
from trm.model.act import Batch, Carry, StepOutput, act_step
from trm.model.base import RecursiveModel
from trm.model.checkpoint import read_state_dict
from trm.model.layers import Block
from trm.model.registry import build_model, model_for
from trm.runtime.cost import CostMeter
from trm.runtime.ranks import Ranks, choose_device
from trm.runtime.signals import Signals
from trm.study.run_folder import newest_facts
from trm.study.table import Resources
from trm.study.under_way import read_training
from trm.training.folder import wait_for_lock
from trm.training.records import Records
from trm.training.step import Averages, Meter
from trm.training.trainer import train

ALONE = Ranks(0, 1, torch.device("cpu"))


def config_for(data: Path, folder: Path, **changes: object) -> TrainConfig:
    paths = {"data_paths": f"[{data}]", "checkpoint_path": folder}
    return compose([w if w.startswith("arch") else f"++{w}" for w in overrides(**paths, **changes)])


@pytest.fixture(scope="module")
def run(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(config_for(sudoku_data, folder, ema=True, ema_rate=0.5), ALONE)
    return folder


def test_a_run_leaves_what_it_promises(run: Path, sudoku_data: Path) -> None:
    steps = PuzzleData.load([str(sudoku_data)], "train").total_steps(4, 8)
    assert steps == 12
    names = {p.name for p in run.iterdir()}
    assert {"step_6", "step_12", "all_config.yaml", "history.csv", "provenance.json"} <= names
    assert not [n for n in names if n.endswith(".tmp")]
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["steps"] == 12
    assert len(provenance["dataset_sha256"][str(sudoku_data)]) == 64
    assert provenance["test_in_train"] == {"shared": 0, "total": 100}
    assert yaml.safe_load((run / "all_config.yaml").read_text())["seed"] == 0


class StoppedAtFour(Records):
    """Sends the process a signal within its fourth step."""

    def stepped(self, averages: Averages | None) -> None:
        super().stepped(averages)
        if self.state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_is_counted_up_to_the_steps_that_it_makes(
    sudoku_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The schedule has 13; each of two iterations drops the rows that fill no batch of 7."""
    config = config_for(sudoku_data, tmp_path / "run", global_batch_size=7)
    with pytest.raises(SystemExit):
        train(config, ALONE, StoppedAtFour)
    said = capsys.readouterr().err
    assert "12 steps of 7" in said and "training 4/12 " in said
    assert "stopped at step 4 of 12; " in said
    resources = Resources()
    assert read_training(tmp_path / "run", sudoku_data, resources, False).total_steps == 12
    shutil.rmtree(tmp_path / "run/snapshots")  # as before the first is saved
    assert read_training(tmp_path / "run", sudoku_data, resources, True).total_steps == 12


def test_the_energy_counter_is_read_once_at_the_start(
    sudoku_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that resumes, whose cost is that of all its parts."""
    config = config_for(sudoku_data, tmp_path / "run")
    with pytest.raises(SystemExit):
        train(config, ALONE, StoppedAtFour)
    before = newest_facts(tmp_path / "run")["cost"]["wall_s"]
    made: list[CostMeter] = []

    class Counted(CostMeter):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("trm.training.trainer.CostMeter", Counted)
    train(config, ALONE)
    (meter,) = made
    assert meter.before.wall_s == before
    provenance = json.loads((tmp_path / "run/provenance.json").read_text())
    assert provenance["train_wall_s"] >= round(before, 1)


def test_history_has_both_series(run: Path) -> None:
    history = pd.read_csv(run / "history.csv")
    training = history[history.split == "train"]
    assert list(training.step) == [2, 4, 6, 8, 10, 12]
    assert training.loss.notna().all()
    assert training.lr.tolist() == pytest.approx([1e-3] * 6)
    test = history[history.split == "test"]
    assert list(test.step) == [6, 12]
    assert (test["count"] == 100).all()
    assert test.accuracy.between(0, 1).all()


def test_no_halted_row_is_no_accuracy_of_zero() -> None:
    meter = Meter(ALONE, global_batch_size=4)
    metrics = {"count": 0.0, "accuracy": 0.0, "lm_loss": 8.0}
    meter.add({name: torch.tensor(value) for name, value in metrics.items()})
    averages, _ = meter.read()
    assert averages == {"lm_loss": 2.0, "count": 0.0}
    meter.add({name: torch.tensor(value) for name, value in metrics.items()})
    meter.add(
        {name: torch.tensor(v) for name, v in (metrics | {"count": 2.0, "accuracy": 1.0}).items()}
    )
    averages, _ = meter.read()
    assert averages == {"lm_loss": 2.0, "count": 2.0, "accuracy": 0.5}


def test_same_seed_same_weights_other_seed_others(
    run: Path, sudoku_data: Path, tmp_path: Path
) -> None:
    first = read_state_dict(run / "step_12")
    train(config_for(sudoku_data, tmp_path / "again", ema=True, ema_rate=0.5), ALONE)
    again = read_state_dict(tmp_path / "again" / "step_12")
    assert all(torch.equal(first[k], again[k]) for k in first)
    train(config_for(sudoku_data, tmp_path / "other", ema=True, ema_rate=0.5, seed=1), ALONE)
    other = read_state_dict(tmp_path / "other" / "step_12")
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_checkpoint_holds_the_averaged_weights(
    run: Path, sudoku_data: Path, tmp_path: Path
) -> None:
    train(config_for(sudoku_data, tmp_path, ema=False), ALONE)
    raw = read_state_dict(tmp_path / "step_12")
    averaged = read_state_dict(run / "step_12")
    assert not torch.equal(raw["lm_head.weight"], averaged["lm_head.weight"])
    # The puzzle embedding is not averaged, and learns the same way either way.
    assert torch.equal(raw["puzzle_emb.weights"], averaged["puzzle_emb.weights"])


def test_evaluating_the_checkpoint_gives_the_metrics_of_its_run(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    config, trained = parse_arguments(
        [
            f"checkpoint={run / 'step_12'}",
            f"out={out}",
            f"predictions={tmp_path / 'p.npz'}",
            "global_batch_size=32",
            "device=cpu",
        ]
    )
    evaluate_checkpoint(config, trained, ALONE)
    metrics = json.loads(out.read_text())
    history = pd.read_csv(run / "history.csv")
    last = history[history.split == "test"].iloc[-1]
    for name in ("accuracy", "exact_accuracy", "steps", "count", "lm_loss"):
        assert metrics[name] == pytest.approx(last[name], rel=1e-5), name
    assert metrics["steps"] == 3
    with np.load(tmp_path / "p.npz") as predictions:
        assert predictions["preds"].shape == (100, 81)
        assert predictions["q_halt_logits"].shape == (100,)


def evaluated(run: Path, tmp_path: Path, *words: str) -> dict:
    config, trained = parse_arguments(
        [f"checkpoint={run / 'step_12'}", f"out={tmp_path / 'm.json'}", "device=cpu", *words]
    )
    evaluate_checkpoint(config, trained, ALONE)
    return json.loads((tmp_path / "m.json").read_text())


def test_metrics_after_fewer_and_more_supervision_steps(run: Path, tmp_path: Path) -> None:
    """The row at N is what an evaluation with halt_max_steps = N gives."""
    words = ["arch.halt_max_steps=6", "at_steps=[1,3,6]", f"steps_out={tmp_path / 'steps.csv'}"]
    evaluated(run, tmp_path, *words)
    curve = pd.read_csv(tmp_path / "steps.csv").set_index("supervision_steps")
    assert list(curve.index) == [1, 3, 6]
    for steps in (1, 3):
        alone = evaluated(run, tmp_path, f"arch.halt_max_steps={steps}")
        assert curve.accuracy[steps] == pytest.approx(alone["accuracy"], rel=1e-6)
    assert curve["count"].tolist() == [100] * 3
    with pytest.raises(TrmError, match=r"outside 1\.\.3"):
        parse_arguments([f"checkpoint={run / 'step_12'}", "at_steps=[4]", "steps_out=x.csv"])


def test_task_ids_reach_the_embedding(run: Path, tmp_path: Path) -> None:
    """Sudoku has the blank identifier only: its own, blank and another's are the same row."""
    evaluated(run, tmp_path, f"task_ids_out={tmp_path / 'ids.csv'}")
    table = pd.read_csv(tmp_path / "ids.csv").set_index("task_ids")
    assert list(table.index) == ["own", "blank", "other"]
    assert table.accuracy.nunique() == 1
    rows = Rows(np.zeros((3, 1)), np.zeros((3, 1)), np.array([0, 1, 4], dtype=np.int32))
    metadata = PuzzleData.load([str(yaml_data_path(run))], "test").metadata.model_copy(
        update={"num_puzzle_identifiers": 5}
    )
    other = with_task_ids(rows, "other", metadata).puzzle_identifiers
    assert list(other) == [0, 3, 2]
    assert list(with_task_ids(rows, "blank", metadata).puzzle_identifiers) == [0, 0, 0]


def yaml_data_path(run: Path) -> str:
    return yaml.safe_load((run / "all_config.yaml").read_text())["data_paths"][0]


def test_micro_batches_train_as_the_whole_batch(sudoku_data: Path, tmp_path: Path) -> None:
    """The same rows in the same order, each slice with its own carry: the same gradients."""
    train(config_for(sudoku_data, tmp_path / "whole"), ALONE)
    train(config_for(sudoku_data, tmp_path / "slices", micro_batch_size=2), ALONE)
    whole, slices = (pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "slices"))
    for column in ("loss", "accuracy", "count", "steps"):
        np.testing.assert_allclose(whole[column], slices[column], rtol=1e-5, err_msg=column)
    a, b = (read_state_dict(tmp_path / name / "step_12") for name in ("whole", "slices"))
    assert torch.equal(a["puzzle_emb.weights"], b["puzzle_emb.weights"])
    torch.testing.assert_close(a["lm_head.weight"], b["lm_head.weight"], rtol=1e-4, atol=1e-6)


def test_memory_is_told_at_the_start(sudoku_data: Path, tmp_path: Path, capsys) -> None:
    train(config_for(sudoku_data, tmp_path), ALONE)
    said = capsys.readouterr().err
    assert re.search(r"activations: \d+\.\d MB per row, .* rows fit in the .* GB free", said)


def test_micro_batch_must_divide(sudoku_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrmError, match="micro_batch_size=3 does not divide the 8 rows"):
        train(config_for(sudoku_data, tmp_path, micro_batch_size=3), ALONE)


def test_freeze_weights_learns_the_embedding_only(
    run: Path, sudoku_data: Path, tmp_path: Path
) -> None:
    frozen = config_for(sudoku_data, tmp_path, freeze_weights=True, load_checkpoint=run / "step_12")
    train(frozen, ALONE)
    before, after = read_state_dict(run / "step_12"), read_state_dict(tmp_path / "step_12")
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert changed == ["puzzle_emb.weights"]


def test_weights_are_frozen_for_a_share_of_the_steps(
    run: Path, sudoku_data: Path, tmp_path: Path
) -> None:
    start = run / "step_12"
    train(config_for(sudoku_data, tmp_path, freeze_weights_for=0.5, load_checkpoint=start), ALONE)
    before, middle, after = (
        read_state_dict(path) for path in (start, tmp_path / "step_6", tmp_path / "step_12")
    )
    changed = [k for k in before if not torch.equal(before[k], middle[k])]
    assert changed == ["puzzle_emb.weights"]
    assert not torch.equal(middle["lm_head.weight"], after["lm_head.weight"])


def test_outputs_asked_for_are_saved(sudoku_data: Path, tmp_path: Path) -> None:
    train(config_for(sudoku_data, tmp_path, eval_save_outputs="[preds,q_halt_logits]"), ALONE)
    saved = torch.load(tmp_path / "step_12_all_preds.0", weights_only=True)
    assert set(saved) == {"preds", "q_halt_logits"}
    assert saved["preds"].shape[1] == 81


def test_kernels_change_no_loss(
    sudoku_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """On a CPU, where fused ones are plain ones, with a note: tests/unit/test_fused.py."""
    mlp = {"arch__mlp_t": True, "arch__pos_encodings": "none", "arch__forward_dtype": "float64"}
    losses, first_sizes = [], []
    for kernels in ("plain", "positions_first", "fused"):
        sizes: set[int] = set()
        watch = register_module_forward_pre_hook(
            lambda module, args, sizes=sizes: (
                sizes.add(len(args[0])) if isinstance(module, Block) else None
            )
        )
        with watch:
            config = config_for(
                sudoku_data, tmp_path / kernels, kernels=kernels, eval_interval=4, **mlp
            )
            train(config, ALONE)
        first_sizes.append(sizes)
        losses.append(pd.read_csv(tmp_path / kernels / "history.csv").loss)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert losses[1].equals(losses[2])
    to_estimate_memory = {1, 3}
    assert first_sizes == [{8} | to_estimate_memory, *2 * [{82} | to_estimate_memory]]
    assert capsys.readouterr().err.count("note: kernels=fused is not possible here: ") == 1


def test_adamw_and_softmax_run(sudoku_data: Path, tmp_path: Path) -> None:
    train(
        config_for(
            sudoku_data, tmp_path, optimizer="adamw", arch__loss__loss_type="softmax_cross_entropy"
        ),
        ALONE,
    )
    assert (tmp_path / "step_12").is_file()


def test_raw_weights_beside_their_average(
    run: Path, sudoku_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """`test-raw` is what a run without the average has as `test`; nothing else changes."""
    average = {"ema": True, "ema_rate": 0.5}
    train(config_for(sudoku_data, tmp_path / "both", eval_raw=True, **average), ALONE)
    assert "(raw weights) accuracy" in capfd.readouterr().err
    train(config_for(sudoku_data, tmp_path / "raw", eval_raw=True), ALONE)
    both, raw, averaged = (
        pd.read_csv(folder / "history.csv").drop(columns=["elapsed_s", "examples_per_s"])
        for folder in (tmp_path / "both", tmp_path / "raw", run)
    )
    splits = {name: rows.drop(columns="split") for name, rows in both.groupby("split")}
    for name, other in (("test-raw", raw), ("test", averaged), ("train", averaged)):
        expected = other[other.split == name.removesuffix("-raw")].drop(columns="split")
        pd.testing.assert_frame_equal(
            splits[name].reset_index(drop=True), expected.reset_index(drop=True)
        )
    assert not splits["test"].lm_loss.equals(splits["test-raw"].lm_loss)
    assert set(raw.split) == {"train", "test"}  # without an average there is nothing more to see
    a, b = (read_state_dict(folder / "step_12") for folder in (tmp_path / "both", run))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_diverging_run_says_so(sudoku_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrmError, match="the loss is (nan|inf) at step"):
        train(config_for(sudoku_data, tmp_path, lr=1e30, weight_decay=1e30), ALONE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_batch_size": 1000}, "do not fill one batch of global_batch_size=1000"),
        ({"global_batch_size": 40, "eval_interval": 1}, "1 epochs between evaluations do not fill"),
    ],
)
def test_training_of_nothing_is_refused(
    sudoku_data: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(TrmError, match=message):
        train(config_for(sudoku_data, tmp_path, **changes), ALONE)
    assert not list(tmp_path.glob("step_*"))


def test_training_on_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrmError, match="build the dataset first"):
        train(config_for(tmp_path / "none", tmp_path / "run"), ALONE)
    assert not (tmp_path / "run").exists()


def test_diverged_weights_are_told(run: Path, tmp_path: Path) -> None:
    state = torch.load(run / "step_12", weights_only=True)
    state["model.inner.lm_head.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "step_12")
    words = [f"checkpoint={tmp_path / 'step_12'}", f"config={run / 'all_config.yaml'}"]
    config, trained = parse_arguments([*words, f"out={tmp_path / 'm.json'}", "device=cpu"])
    with pytest.raises(TrmError, match="have diverged"):
        evaluate_checkpoint(config, trained, ALONE)
    assert not (tmp_path / "m.json").exists()


def test_submission_of_no_arc_dataset_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrmError, match="is not an ARC dataset"):
        evaluated(run, tmp_path, f"submission={tmp_path / 's.json'}")


def test_one_run_folder_one_process(
    sudoku_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trm.training.folder.SECONDS_TO_WAIT_FOR_LOCK", 0.5)
    with (
        wait_for_lock(tmp_path, Signals()),
        pytest.raises(TrmError, match=r"another process \(process \d+ on .*\) is training into"),
    ):
        train(config_for(sudoku_data, tmp_path), ALONE)


def test_test_data_that_does_not_fit_is_refused(sudoku_data: Path, tmp_path: Path) -> None:
    from trm.data.maze import build_maze
    from trm.data.specs import MazeSpec

    build_maze(
        MazeSpec(builder="maze", table="golden"),
        Path(__file__).parents[1] / "golden" / "source" / "maze",
        tmp_path / "maze",
    )
    config = config_for(sudoku_data, tmp_path / "run", data_paths_test=f"[{tmp_path / 'maze'}]")
    with pytest.raises(TrmError, match="cannot be used together: seq_len is 81"):
        train(config, ALONE)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused() -> None:
    with pytest.raises(TrmError, match="torch sees no CUDA device here"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkpoint=x", "ouput=y"], "unknown key 'ouput'; did you mean 'out'"),
        (["chekpoint=x"], "did you mean 'checkpoint'"),
        (["checkpoint=nowhere/step_1"], "nowhere/step_1 does not exist"),
        (["out=y"], "checkpoint: Field required"),
        (["checkpoint"], "expected key=value"),
        (["checkpoint=x", "device=tpu"], "device"),
        (["checkpoint=x", "data_paths=[x"], "trm.evaluate"),
        (["checkpoint=x", "out=."], "is a folder"),
        ([f"checkpoint={__file__}", "arch.L_cylces=3"], "L_cylces"),
    ],
)
def test_wrong_evaluate_words(words: list[str], message: str) -> None:
    with pytest.raises(TrmError, match=message):
        parse_arguments(words)


# --- evaluation that lets sure examples go --------------------------------------------------------


def let_go(model, data: PuzzleData, size: int, threshold: float):
    settings = Settings("stablemax_cross_entropy", size, halting="act", halting_threshold=threshold)
    return evaluate(model, data, settings, ALONE)


def after_every_step(model, data: PuzzleData, steps: tuple[int, ...]) -> Evaluation:
    return evaluate(model, data, Settings("stablemax_cross_entropy", 50, at_steps=steps), ALONE)


def halting_model(data: PuzzleData):
    """A model whose halting head says yes to some examples early, to some late, to some never."""
    config = compose([w for w in overrides(arch__halt_max_steps=5) if w.startswith("arch")])
    torch.manual_seed(3)
    model = build_model(model_for(config, data)).eval()
    with torch.no_grad():
        model.q_head.weight[0].normal_(std=1.0)
        model.q_head.bias[0] = 0.0
        model.q_head.bias[0] = -float(np.quantile(logits_by_step(model, data), 0.85))
    return model


def logits_by_step(model, data: PuzzleData) -> np.ndarray:  # [5, N]
    every = tuple(range(1, 6))
    whole = after_every_step(model, data, every)
    return np.stack([whole.at_steps[s].predictions.q_halt_logits for s in every])


@pytest.mark.parametrize(("size", "threshold"), [(1, 0.0), (7, 0.02), (100, -0.02), (1000, 0.0)])
def test_a_sure_example_leaves_with_the_answer_of_that_step(
    sudoku_data: Path, size: int, threshold: float
) -> None:
    data = PuzzleData.load([str(sudoku_data)], "test")
    model = halting_model(data)
    every = tuple(range(1, 6))
    whole = after_every_step(model, data, every)
    logits = logits_by_step(model, data)
    sure = logits > threshold
    leaves = np.where(sure.any(0), sure.argmax(0), 4)
    assert len(set(leaves.tolist())) > 2, "all leave together: nothing is tested"
    by_act = let_go(model, data, size, threshold)
    preds = np.stack([whole.at_steps[s].predictions.preds for s in every])
    rows = np.arange(len(leaves))
    np.testing.assert_array_equal(by_act.predictions.preds, preds[leaves, rows])
    np.testing.assert_allclose(by_act.predictions.q_halt_logits, logits[leaves, rows], atol=1e-5)
    labels = data.sets[0].labels
    right = preds[leaves, rows] == labels
    assert by_act.metrics["count"] == 100
    assert by_act.metrics["accuracy"] == pytest.approx(right.mean())
    assert by_act.metrics["exact_accuracy"] == pytest.approx(right.all(1).mean())
    assert by_act.metrics["steps"] == pytest.approx(leaves.mean() + 1)
    assert whole.metrics["steps"] == 5


def test_the_batch_shrinks_by_halves_alone(
    sudoku_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU makes a plan for each size of a batch, of which there would be a hundred."""
    data = PuzzleData.load([str(sudoku_data)], "test")
    model = halting_model(data)
    sizes: list[int] = []

    def counting(model: RecursiveModel, carry: Carry, batch: Batch) -> tuple[Carry, StepOutput]:
        sizes.append(len(batch.inputs))
        return act_step(model, carry, batch)

    monkeypatch.setattr(early_exit, "act_step", counting)
    let_go(model, data, 60, 0.0)
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) <= {60, 30, 15, 7, 3, 1} and len(set(sizes)) > 2


def test_a_published_evaluation_is_the_default(run: Path, sudoku_data: Path, tmp_path) -> None:
    words = [f"checkpoint={run}/step_12", f"data_paths=[{sudoku_data}]", f"out={tmp_path}/m.json"]
    config, trained = parse_arguments(words)
    assert (config.eval_halting, trained.eval_halting) == (None, "fixed")
    evaluate_checkpoint(*parse_arguments([*words, "eval_halting=act"]), ALONE)
    assert json.loads((tmp_path / "m.json").read_text())["steps"] <= 3
    more = ["eval_halting=act", "at_steps=[1]", f"steps_out={tmp_path}/s.csv"]
    with pytest.raises(TrmError, match="not with eval_halting=act"):
        parse_arguments([*words, *more])
    with pytest.raises(TrmError, match="eval_halting_threshold needs eval_halting=act"):
        evaluate_checkpoint(*parse_arguments([*words, "eval_halting_threshold=2"]), ALONE)
    with pytest.raises(TrmError, match="eval_halting_threshold needs eval_halting=act"):
        config_for(sudoku_data, tmp_path, eval_halting_threshold=2)
    with pytest.raises(TrmError, match="eval_save_outputs needs"):
        config_for(sudoku_data, tmp_path, eval_halting="act", eval_save_outputs="[preds]")


def test_thinking_is_the_evaluation_step_by_step(sudoku_data: Path) -> None:
    """For a few rows the same answers as the evaluation of all, whatever stands beside them."""
    data = PuzzleData.load([str(sudoku_data)], "test")
    model = halting_model(data)
    every = tuple(range(1, 6))
    whole = after_every_step(model, data, every)
    rows = np.array([0, 7, 60, 99])
    thoughts = think(model, take_examples(data, rows), ALONE.device)
    assert len(thoughts.preds) == len(every)
    for step, preds, q in zip(every, thoughts.preds, thoughts.q_halt_logits, strict=True):
        after = whole.at_steps[step].predictions
        np.testing.assert_array_equal(preds, after.preds[rows])
        np.testing.assert_allclose(q, after.q_halt_logits[rows], atol=1e-5)
