"""A checkpoint's embeddings are used for the puzzles that they were learned on, and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.runs import ALONE, arc_data, config_of
from trm.data.arc import build_arc
from trm.data.read import load_identifiers
from trm.data.specs import ArcSpec
from trm.errors import TrmError
from trm.evaluate import step_by_step as thinking
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments
from trm.export import export
from trm.model.checkpoint import read_state_dict
from trm.solve.trained import load
from trm.study.puzzle_names import names_sha256
from trm.training.trainer import train

SHORT = {"epochs": 2, "eval_interval": 2, "global_batch_size": 2, "evaluators": "[]"}


def build(raw: Path, folder: Path, **changes: object) -> Path:
    spec = {
        "builder": "arc",
        "subsets": ["training"],
        "test_set_name": "training",
        "num_aug": 3,
        "canvas": 5,
    }
    build_arc(ArcSpec(**spec | changes), str(raw / "arc"), folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of the same three tasks: `own`, and others beside it."""
    root = tmp_path_factory.mktemp("datasets")
    arc_data(root / "own")
    raw = root / "arc-raw"
    build(raw, root / "another seed", seed=7)
    build(raw, root / "more", num_aug=5)
    build(raw, root / "on the fly", augment="on_the_fly")
    build(raw, root / "again")
    assert load_identifiers(root / "own") != load_identifiers(root / "another seed")
    assert len(load_identifiers(root / "own")) == len(load_identifiers(root / "another seed"))
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(config_of(data / "own", folder, **SHORT), ALONE)
    return folder


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copied"))


def weights(run: Path) -> Path:
    return max(run.glob("step_*[0-9]"), key=lambda path: int(path.name.removeprefix("step_")))


def evaluated(run: Path, dataset: Path, out: Path, *words: str) -> dict:
    config, trained = parse_arguments(
        [f"checkpoint={weights(run)}", f"data_paths=[{dataset}]", f"out={out}", *words]
    )
    evaluate_checkpoint(config, trained, ALONE)
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", ["own", "on the fly", "again"])
def test_another_build_of_the_same_puzzles_is_as_good(
    run: Path, data: Path, tmp_path: Path, name: str, capsys
) -> None:
    own = evaluated(run, data / "own", tmp_path / "own.json")
    assert evaluated(run, data / name, tmp_path / "m.json") == own
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("another seed", "gives its ids to other puzzles than those that .* has embeddings of"),
        ("more", r"has the embeddings of 12 puzzles and .*more has 17 puzzles|of 13 .* 19 puzzles"),
    ],
)
def test_other_puzzles_are_refused_unless_asked_for(
    run: Path, data: Path, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(TrmError, match=f"{said}.*puzzle_embeddings=reinitialise"):
        evaluated(run, data / name, tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()
    wanted = evaluated(run, data / name, tmp_path / "m.json", "puzzle_embeddings=reinitialise")
    assert wanted["reinitialised_embeddings"] == len(load_identifiers(data / name))


def test_reinitialised_embeddings_are_the_mean(run: Path, data: Path, tmp_path: Path) -> None:
    """Then no puzzle differs from another by its id."""
    out = tmp_path / "ids.csv"
    evaluated(
        run,
        data / "own",
        tmp_path / "m.json",
        "puzzle_embeddings=reinitialise",
        f"task_ids_out={out}",
    )
    _, own, blank, other = (line.split(",")[1:] for line in out.read_text().splitlines())
    assert own == blank == other


def test_a_run_of_before_is_known_by_its_dataset(copied: Path, data: Path, tmp_path: Path) -> None:
    """With no run.json: by the hash of the dataset, or the names in it, while it is there."""
    (copied / "run.json").unlink()
    evaluated(copied, data / "again", tmp_path / "m.json")
    evaluated(copied, data / "on the fly", tmp_path / "m.json")
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        evaluated(copied, data / "another seed", tmp_path / "m.json")
    provenance = json.loads((copied / "provenance.json").read_text())
    (copied / "provenance.json").unlink()  # the snapshots hold it too
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        evaluated(copied, data / "another seed", tmp_path / "m.json")
    # The folder that it was trained on has been built again, of other puzzles.
    gone = {str(data / "another seed"): "0" * 64}
    (copied / "provenance.json").write_text(json.dumps(provenance | {"dataset_sha256": gone}))
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        evaluated(copied, data / "another seed", tmp_path / "m.json")


def test_of_a_bare_checkpoint_nothing_is_known(
    run: Path, data: Path, tmp_path: Path, capsys
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(weights(run), bare)
    evaluated(bare, data / "another seed", tmp_path / "m.json", f"config={run / 'all_config.yaml'}")
    said = capsys.readouterr().err
    assert "says which puzzles its 1" in said and "they are taken for those of" in said


def test_an_exported_model_knows_its_puzzles(run: Path, data: Path, tmp_path: Path) -> None:
    export(load(run, device="cpu"), tmp_path / "out")
    words = [
        "device=cpu",
        f"checkpoint={tmp_path / 'out' / 'model.safetensors'}",
        f"config={run / 'all_config.yaml'}",
        f"out={tmp_path / 'm.json'}",
    ]
    for name, refused in (("own", False), ("another seed", True)):
        config, trained = parse_arguments([*words, f"data_paths=[{data / name}]"])
        if refused:
            with pytest.raises(TrmError, match="gives its ids to other puzzles"):
                evaluate_checkpoint(config, trained, ALONE)
        else:
            evaluate_checkpoint(config, trained, ALONE)


def test_a_training_starts_from_the_embeddings_of_its_own_puzzles(
    run: Path, data: Path, tmp_path: Path, capsys
) -> None:
    start = {"load_checkpoint": weights(run), "lr": 0, "puzzle_emb_lr": 0, **SHORT}
    saved = read_state_dict(weights(run))["puzzle_emb.weights"]

    def trained(name: str, folder: str, **changes: object) -> torch.Tensor:
        train(config_of(data / name, tmp_path / folder, **start | changes), ALONE)
        return read_state_dict(weights(tmp_path / folder))["puzzle_emb.weights"]

    with pytest.raises(TrmError, match="gives its ids to other puzzles.*puzzle_embeddings=reinit"):
        trained("another seed", "refused")
    assert torch.equal(trained("again", "same"), saved)
    mean = saved.mean(dim=0)
    new = trained("another seed", "new", puzzle_embeddings="reinitialise")
    torch.testing.assert_close(new, mean.expand_as(new))
    capsys.readouterr()
    more = trained("more", "more")  # as published
    torch.testing.assert_close(more, mean.expand_as(more))
    assert "every row starts from the mean of the saved ones" in capsys.readouterr().err


def test_datasets_that_share_ids_but_not_puzzles_are_refused(data: Path, tmp_path: Path) -> None:
    config = config_of(data / "own", tmp_path / "run", **SHORT)
    both = [str(data / "own"), str(data / "another seed")]
    for key in ("data_paths", "data_paths_test"):
        with pytest.raises(TrmError, match="give the same ids to other puzzles"):
            train(config.model_copy(update={key: both}), ALONE)
    same = [str(data / "own"), str(data / "again")]
    train(config.model_copy(update={"data_paths_test": same}), ALONE)


def test_solving_and_thinking_refuse_them_too(
    copied: Path, data: Path, tmp_path: Path, monkeypatch
) -> None:
    wrong, own = data / "another seed", data / "own"
    assert load(copied, device="cpu", dataset=own).names == load_identifiers(own)
    with pytest.raises(TrmError, match="gives its ids to other puzzles.*name that by --dataset"):
        load(copied, device="cpu", dataset=wrong).names  # noqa: B018
    # The folder of the config, built again with another seed.
    config = yaml.safe_load((copied / "all_config.yaml").read_text())
    (copied / "all_config.yaml").write_text(yaml.safe_dump(config | {"data_paths": [str(wrong)]}))
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        load(copied, device="cpu").names  # noqa: B018
    evaluated(copied, own, tmp_path / "m.json", f"predictions={tmp_path / 'p.npz'}")
    monkeypatch.setattr(
        "sys.argv",
        [
            "thinking",
            "--dataset",
            str(wrong),
            "--kind",
            "arc",
            "--weights",
            str(weights(copied)),
            "--train-config",
            str(copied / "all_config.yaml"),
            "--predictions",
            str(tmp_path / "p.npz"),
            "--out",
            str(tmp_path / "t.json"),
        ],
    )
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        thinking.main()


def test_sudokus_share_the_blank_puzzle_and_may_be_exchanged(sudoku_data: Path) -> None:
    assert names_sha256(sudoku_data) is None
