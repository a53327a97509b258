"""An evaluation in shards: the outputs of the whole to the byte, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs import ALONE, arc_data, random_run
from trm.data.batches import PuzzleData
from trm.errors import TrmError
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import Shard, parse_arguments
from trm.evaluate.shards import cost_of, load_shard, put_together
from trm.scoring.predictions import Predictions
from trm.study.states import statuses
from trm.study.table import Study

OUTPUTS = ("metrics.json", "predictions.npz", "submission.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    arc_data(folder / "data")
    return random_run(folder / "run", folder / "data", 5, 12, puzzles=13)


def evaluated(run: Path, *words: str) -> None:
    common = [f"checkpoint={run}/final", "puzzle_embeddings=reinitialise", "global_batch_size=4"]
    evaluate_checkpoint(*parse_arguments([*common, *words]), ALONE)


def in_shards(run: Path, folder: Path, count: int, *words: str) -> list[Path]:
    files = [folder / f"{number}-of-{count}.npz" for number in range(1, count + 1)]
    for number, file in enumerate(files, start=1):
        evaluated(run, f"shard={number}/{count}", f"shard_out={file}", *words)
    return files


def outputs(folder: Path) -> list[str]:
    return [
        f"out={folder}/metrics.json",
        f"predictions={folder}/predictions.npz",
        f"submission={folder}/submission.json",
        "kind=arc",
    ]


def named(files: list[Path]) -> str:
    return f"shards=[{','.join(map(str, files))}]"


@pytest.mark.parametrize("count", [2, 3])
def test_shards_give_the_outputs_of_the_whole_to_the_byte(
    run: Path, tmp_path: Path, count: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    evaluated(run, *outputs(whole))
    files = in_shards(run, tmp_path, count)
    evaluated(run, named(files[::-1]), *outputs(parts))
    for name in OUTPUTS:
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    assert json.loads((parts / "metrics.json").read_text())["count"] == 24


def test_shards_of_an_early_exit_give_the_answers_of_the_whole(run: Path, tmp_path: Path) -> None:
    act = ("eval_halting=act", "eval_halting_threshold=0.1")
    evaluated(run, *outputs(tmp_path / "whole"), *act)
    files = in_shards(run, tmp_path, 2, *act)
    evaluated(run, named(files), *outputs(tmp_path / "parts"), *act)
    metrics = [
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")
    ]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)


def test_ranks_are_added_up_in_their_order(run: Path, tmp_path: Path) -> None:
    """Floating-point sums depend on the order; one job sums each rank's batches first."""
    (file,) = in_shards(run, tmp_path, 1)
    shard = load_shard(file)
    values = [[0.1, 0.2], [0.3, 1e16]], [[0.7, -1e16], [0.5, 0.9]]
    shards = [
        replace(
            shard,
            by_batch=[[{"count": 1.0, "x": value} for value in of_rank] for of_rank in part],
            predictions=Predictions(
                *(a[start : start + 12] for a in vars(shard.predictions).values())
            ),
        )
        for part, start in zip(values, (0, 12), strict=True)
    ]
    data = PuzzleData.load([str(run.parent / "data")], "test")
    first, second = (0.1 + 0.2 + 0.7 - 1e16), (0.3 + 1e16 + 0.5 + 0.9)
    assert put_together(shards, data).metrics["x"] == (first + second) / 8


def test_what_the_shards_took_is_added_up(run: Path, tmp_path: Path) -> None:
    files = in_shards(run, tmp_path, 2)
    shards = [load_shard(file) for file in files]
    hours = [replace(shard, cost=replace(shard.cost, wall_s=900, gpu_s=3600)) for shard in shards]
    assert (cost_of(hours).wall_s, cost_of(hours).gpu_s) == (1800, 7200)
    evaluated(run, named(files), f"cost_out={tmp_path}/cost.json", *outputs(tmp_path))
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["evaluate_wall_s"] >= round(cost_of(shards).wall_s, 1) > 0


def test_every_batch_is_in_one_shard() -> None:
    for total in (3, 7, 480):
        for count in (1, 2, 3):
            parts = [Shard(number, count).batches(total) for number in range(1, count + 1)]
            assert [i for part in parts for i in part] == [*range(total)]
    with pytest.raises(TrmError, match="4 shards are more than the 3 batches"):
        Shard(1, 4).batches(3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shard=1/2"], "shard and shard_out go together"),
        (["shard=3/2", "shard_out=a.npz"], "shard=3/2 is not K/N with K from 1 to N"),
        (["shard=half", "shard_out=a.npz"], "shard=half is not K/N"),
        (["shard=1/2", "shard_out=a.npz", "predictions=p.npz"], "a shard has no outputs but"),
        (["shards=[a.npz]", "task_ids_out=ids.csv"], "need the whole evaluation"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(TrmError, match=re.escape(message)):
        evaluated(run, *words)


def test_shards_that_do_not_belong_together_are_refused(run: Path, tmp_path: Path) -> None:
    first, second = in_shards(run, tmp_path, 2)
    out = outputs(tmp_path)
    with pytest.raises(TrmError, match="shards 1/2 are not all parts of one evaluation"):
        evaluated(run, named([first]), *out)
    with pytest.raises(TrmError, match="shards 1/2, 1/2 are not all parts"):
        evaluated(run, named([first, first]), *out)
    with pytest.raises(TrmError, match="all_config.yaml is not a shard of an evaluation"):
        evaluated(run, named([run / "all_config.yaml", second]), *out)
    (tmp_path / "cut-off.npz").write_bytes(first.read_bytes()[:300])
    with pytest.raises(TrmError, match="cut-off.npz is not a shard of an evaluation"):
        evaluated(run, named([tmp_path / "cut-off.npz", second]), *out)
    words = ["shard=2/2", f"shard_out={tmp_path}/other.npz", "global_batch_size=8"]
    evaluated(run, *words)
    with pytest.raises(TrmError, match="were not evaluated with the same weights, batch size"):
        evaluated(run, named([first, tmp_path / "other.npz"]), *out)
    other = random_run(tmp_path / "run", run.parent / "data", 5, 12, puzzles=13, arch__L_layers=3)
    with pytest.raises(TrmError, match="the shards are those of other weights"):
        evaluated(other, named([first, second]), *out)
    arc_data(tmp_path / "data", num_aug=1)
    with pytest.raises(TrmError, match="the shards have 24 examples, and the test split has"):
        evaluated(run, named([first, second]), f"data_paths=[{tmp_path}/data]", *out)
    assert not (tmp_path / "metrics.json").exists()


def test_status_expects_the_time_of_every_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study.load(ROOT / "config" / "config.yaml")
    row = study.row("arc-agi-1", "att").resources
    (whole,) = statuses(study, ["arc-agi-1/att"])
    row.evaluate_shards = 3
    (shared,) = statuses(study, ["arc-agi-1/att"])
    more = 2 * row.gpus * row.minutes_to_evaluate / 60
    assert shared.hours.expected == whole.hours.expected + more > whole.hours.expected
