"""Weights that were trained elsewhere, in the layouts in which they are published."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests.conftest import ROOT, TINY
from tests.pages import code_blocks
from tests.runs import ALONE, arc_data
from tests.server import LOGIN_PAGE, Server, answers, breaks_off, hub, server
from trm.config.compose import resolve
from trm.config.types import ModelConfig, TrainConfig
from trm.data.read import read_metadata
from trm.data.specs import WeightsSource
from trm.data.weights import check_weights, fetch_weights
from trm.errors import TrmError
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.given_weights import adopt
from trm.evaluate.settings import parse_arguments
from trm.export import export
from trm.files import file_sha256
from trm.model.checkpoint import read_state_dict
from trm.model.registry import build_model
from trm.solve.trained import load
from trm.study.states import statuses
from trm.study.status import as_text
from trm.study.table import Study

__all__ = ["hub", "server"]  # fixtures

MLP = {"arch.mlp_t": True, "arch.pos_encodings": "none"}
EQR = MLP | {"arch": "eqr", "arch.puzzle_emb_ndim": 32, "arch.puzzle_emb_len": 3}
HRM = {"arch": "hrm", "arch.H_layers": 1, "arch.puzzle_emb_len": 1}  # as HRM's own code has it


@pytest.fixture(scope="module")
def arc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arc") / "data"
    arc_data(folder)
    return folder


def config(dataset: Path, run: Path, changes: dict[str, object] | None = None) -> TrainConfig:
    """The settings of a row, as the rule resolves them."""
    paths = {"data_paths": [str(dataset)], "checkpoint_path": str(run)}
    return resolve(TINY | paths | (changes or {}), "b/v")


def state_of(settings: TrainConfig, puzzles: int | None = None) -> dict[str, Tensor]:
    """A model's random weights, of `puzzles` puzzles or of as many as the dataset has."""
    m = read_metadata(Path(settings.data_paths[0]) / "test")
    torch.manual_seed(1)
    model = build_model(
        ModelConfig.of(settings.arch, m.seq_len, m.vocab_size, puzzles or m.num_puzzle_identifiers)
    )
    model.puzzle_emb.weights.normal_()
    return model.state_dict()


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def given(file: Path, settings: TrainConfig) -> Path:
    """Fetch and adopt `file`; returns the run folder."""
    source = WeightsSource(path=str(file))
    weights = Path("raw/weights/b/v/weights")
    fetch_weights(source, weights)
    adopt(weights, source, settings)
    return Path(str(settings.checkpoint_path))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- layouts --------------------------------------------------------------------------------------

OPTIMISER = {"step": 3, "rng": np.random.RandomState(0).get_state()}
LAYOUTS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "compiled": lambda s, f: torch.save(prefixed(s, "_orig_mod.model.inner."), f),
    "plain": lambda s, f: torch.save(prefixed(s, "model.inner."), f),
    "bare": torch.save,
    "in a dictionary": lambda s, f: torch.save({"model": prefixed(s, "model.inner.")}, f),
    "with its optimiser": lambda s, f: torch.save(
        {"model": prefixed(s, "_orig_mod.model.inner."), "optimizer": OPTIMISER}, f
    ),
    "safetensors": lambda s, f: safetensors.torch.save_file(prefixed(s, "model.inner."), f),
}


@dataclass
class Carry:
    """A training's own class, within what it saves."""

    z_H: Tensor


def training_of(weights: dict[str, Tensor], **more: object) -> dict[str, object]:
    """What EqR's training saves beside its weights."""
    weights = prefixed(weights, "_orig_mod.model.inner.")
    return {
        "step": 3,
        "model": weights,
        "optimizers": [torch.optim.AdamW([Tensor([1.0])]).state_dict()],
        "optimizer_lrs": [1e-4],
        "carry": Carry(torch.zeros(2)),
        "rng": {"torch": torch.get_rng_state(), "cuda": None},
        "numpy": np.random.RandomState(0).get_state(),
        "python": random.Random(0).getstate(),
        "config": {"arch": OmegaConf.create({"loss": {"name": "x"}, "sizes": [1, 2]})},
        "counts": defaultdict(int, {"epochs": 1}),
        "wandb_run_id": None,
        **more,
    }


AVERAGES: dict[str, tuple[Callable[[dict[str, Tensor]], dict], str]] = {
    "EqR": (lambda s: {"ema": {"mu": 0.999, "shadow": s}}, "ema.shadow"),
    "with its rate": (lambda s: {"ema": {**s, "mu": 0.999}}, "ema"),
    "ema_state_dict": (lambda s: {"ema_state_dict": s}, "ema_state_dict"),
    "ema_shadow": (lambda s: {"ema_shadow": s}, "ema_shadow"),
    "shadow": (lambda s: {"shadow": {"model": s}}, "shadow.model"),
}


@pytest.mark.parametrize("layout", AVERAGES)
def test_of_weights_and_their_average_the_average_is_taken(
    sudoku_data: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is not averaged, such as the puzzle embedding, from the weights beside it."""
    save, keys = AVERAGES[layout]
    settings = config(sudoku_data, Path("checkpoints/b/v/seed-0"), EQR)
    assert settings.arch.prefix_len == 3
    state = state_of(settings)
    average = {n: t + 1 for n, t in state.items() if n != "puzzle_emb.weights"}
    theirs = save(prefixed(average, "_orig_mod.model.inner."))
    torch.save(training_of(state, **theirs), "eqr.pth")
    run = given(Path("eqr.pth"), settings)
    assert f"holds a moving average of the weights ({keys})" in capsys.readouterr().err
    found = read_state_dict(run / "final")
    assert {*found} == {*state}
    wanted = state | average
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert json.loads((run / "provenance.json").read_text())["weights_average"] == keys
    assert len(load(run).solve("1" + "." * 80).steps) == settings.arch.halt_max_steps


def test_an_average_alone_is_enough(sudoku_data: Path) -> None:
    settings = config(sudoku_data, Path("run"), MLP)
    state = state_of(settings)
    torch.save({"step": 3, "ema": prefixed(state, "model.inner.")}, "average")
    found = read_state_dict(given(Path("average"), settings) / "final")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_no_part_of_a_training_runs_code(sudoku_data: Path) -> None:
    state = state_of(config(sudoku_data, Path("run"), EQR))
    torch.save(training_of(state, ema={"mu": Bomb(), "shadow": state}), "bomb.pth")
    with pytest.raises(TrmError, match="could run code"):
        read_state_dict(Path("bomb.pth"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_each_layout_are_those_that_were_saved(sudoku_data: Path, layout: str) -> None:
    settings = config(sudoku_data, Path("checkpoints/b/v/seed-0"), MLP)
    state = state_of(settings)
    LAYOUTS[layout](state, Path("pytorch_model.bin"))
    run = given(Path("pytorch_model.bin"), settings)
    found = read_state_dict(run / "final")
    assert {*found} == {*state}
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert (run / "final").is_symlink()
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["weights"] == "pytorch_model.bin"
    assert facts["weights_sha256"] == file_sha256(Path("pytorch_model.bin"))
    assert facts["test_in_train"] == {"shared": 0, "total": 100}


def test_an_hrm_with_a_prefix_of_one_position_is_solved_with(sudoku_data: Path) -> None:
    settings = config(sudoku_data, Path("checkpoints/b/hrm/seed-0"), HRM)
    assert settings.arch.prefix_len == 1
    torch.save(prefixed(state_of(settings), "_orig_mod.model.inner."), "checkpoint")
    model = load(given(Path("checkpoint"), settings))
    assert model.model.config.prefix_len == 1
    assert len(model.solve("1" + "." * 80).steps) == settings.arch.halt_max_steps


@pytest.mark.parametrize(
    ("variant", "values", "parameters"),
    [
        ("weights-hrm", 27_276_802, None),
        ("weights-sanjin-mlp", None, 5_028_866),
        # Twice, with their average, in 40.3 MB.
        ("weights-eqr", 5_029_378, 5_028_866),
    ],
)
def test_the_sizes_are_those_of_the_published_weights(
    variant: str, values: int | None, parameters: int | None
) -> None:
    """As they were counted: HRM's in the file, TRM's without the embedding of the blank puzzle."""
    overrides = Study.load(ROOT / "config/config.yaml").row("sudoku-extreme", variant).overrides
    with torch.device("meta"):
        model = build_model(ModelConfig.of(resolve(overrides, variant).arch, 81, 11, 1))
    assert values in (None, sum(t.numel() for t in model.state_dict().values()))
    assert parameters in (None, sum(p.numel() for p in model.parameters()))


# --- ARC ------------------------------------------------------------------------------------------


def test_arcs_embeddings_are_those_of_the_dataset(
    arc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(arc, Path("checkpoints/arc/v/seed-0"))
    state = state_of(settings)
    torch.save(prefixed(state, "_orig_mod.model.inner."), "step_1")
    run = given(Path("step_1"), settings)
    rows = len(state["puzzle_emb.weights"])
    assert f"nothing says which puzzles the {rows} embeddings" in capsys.readouterr().err
    keys, trained = parse_arguments([f"checkpoint={run}/final", "out=metrics.json"])
    evaluate_checkpoint(keys, trained, ALONE)
    assert "ARC/pass@2" in json.loads(Path("metrics.json").read_text())
    assert "embeddings" not in capsys.readouterr().err
    assert load(run).names[1]


def test_arcs_embeddings_of_another_number_of_puzzles_are_refused(arc: Path) -> None:
    settings = config(arc, Path("run"))
    puzzles = read_metadata(arc / "test").num_puzzle_identifiers
    torch.save(state_of(settings, puzzles=1234), "step_1")
    with pytest.raises(TrmError) as error:
        given(Path("step_1"), settings)
    for part in ("weights step_1 have", "1,234 puzzles", f"{puzzles} puzzles", "subsets, num_aug"):
        assert part in str(error.value)
    assert not Path("run").exists()


def test_another_build_of_the_dataset_is_refused_later(arc: Path, tmp_path: Path) -> None:
    """Of as many puzzles: the run folder records what the embeddings were taken for."""
    data = shutil.copytree(arc, Path("data"))
    settings = config(data, Path("run"))
    torch.save(state_of(settings), "step_1")
    given(Path("step_1"), settings)
    names = json.loads((data / "identifiers.json").read_text())
    (data / "identifiers.json").write_text(json.dumps([names[0], *names[:0:-1]]))
    keys, trained = parse_arguments(["checkpoint=run/final", "out=metrics.json"])
    with pytest.raises(TrmError, match="gives its ids to other puzzles"):
        evaluate_checkpoint(keys, trained, ALONE)


# --- what is refused ------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.system, ("echo boom > exploded",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], "is damaged"),
        (lambda _: LOGIN_PAGE, "is a web page"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1a\n", "Git LFS"),
        (lambda _: pickle.dumps(Bomb(), protocol=2), "could run code"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(sudoku_data: Path, content, said: str) -> None:
    settings = config(sudoku_data, Path("run"))
    torch.save(state_of(settings), "whole")
    Path("step_1").write_bytes(content(Path("whole").read_bytes()))
    with pytest.raises(TrmError, match=said):
        given(Path("step_1"), settings)
    assert not Path("run").exists() and not Path("exploded").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (MLP, "it lacks L_level.layers.0.mlp_t"),
        (HRM, "it lacks H_level.layers.0"),
        ({"arch.hidden_size": 64}, r"H_init is \[32\] in the file, \[64\] in the model"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    sudoku_data: Path, changes: dict, said: str
) -> None:
    torch.save(state_of(config(sudoku_data, Path("run"))), "step_1")
    with pytest.raises(TrmError, match=f"does not fit the model: .*{said}"):
        given(Path("step_1"), config(sudoku_data, Path("run"), changes))
    assert not Path("run").exists()


def test_weights_that_were_altered_are_refused(sudoku_data: Path) -> None:
    settings = config(sudoku_data, Path("run"))
    torch.save(state_of(settings), "step_1")
    run = given(Path("step_1"), settings)
    weights = Path("raw/weights/b/v/weights")
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(TrmError, match=r"has SHA-256 .* as raw/weights/b/v/SHA256SUMS says"):
        adopt(weights, WeightsSource(path="step_1"), settings)
    with pytest.raises(TrmError, match="final is damaged"):
        read_state_dict(run / "final")
    with pytest.raises(TrmError, match="not 0{64} as config.yaml says"):
        check_weights(weights, "0" * 64)
    with pytest.raises(TrmError, match="weights is not the file from its source"):
        fetch_weights(WeightsSource(path="step_1"), weights)


# --- fetching -------------------------------------------------------------------------------------

HUB = WeightsSource(hub="owner/name", file="folder/step_7", revision="v1")


def test_weights_of_a_hub_are_recorded_and_verified(hub: Server) -> None:
    hub.add_to_hub("owner/name", "folder/step_7", b"weights" * 100, revision="v1")
    hub.faults = [breaks_off(300)]
    weights = Path("raw/weights/b/v/weights")
    fetch_weights(HUB, weights)
    assert weights.read_bytes() == b"weights" * 100
    record = (weights.parent / "SHA256SUMS").read_text().splitlines()
    assert record[:2] == ["# owner/name/folder/step_7, revision v1", "# weights: 700 bytes"]
    asked = len(hub.asked)
    fetch_weights(HUB, weights)
    assert len(hub.asked) == asked
    weights.unlink()
    hub.add_to_hub("owner/name", "folder/step_7", b"others" * 100, revision="v1")
    with pytest.raises(TrmError, match=r"expected \w+ .*SHA256SUMS of an earlier download"):
        fetch_weights(HUB, weights)
    assert not weights.exists()


def test_weights_of_an_address_are_checked(server: Server) -> None:
    url = server.add("step_7?download=true", b"weights")
    source = WeightsSource(url=url, sha256="0" * 64)
    with pytest.raises(TrmError, match=f"{'0' * 64} .*change the weights' `sha256`"):
        fetch_weights(source, Path("raw/w/weights"))
    assert [p.name for p in Path("raw/w").iterdir()] == []
    right = source.model_copy(update={"sha256": None})
    fetch_weights(right, Path("raw/w/weights"))
    assert Path("raw/w/weights").read_bytes() == b"weights"


def test_a_copy_is_taken_in_place_of_a_download(hub: Server) -> None:
    Path("mine").write_bytes(b"mine")
    source = HUB.model_copy(update={"path": "mine", "sha256": file_sha256(Path("mine"))})
    fetch_weights(source, Path("raw/w/weights"))
    assert Path("raw/w/weights").read_bytes() == b"mine"
    with pytest.raises(TrmError, match="mine has SHA-256 .*, expected 0000"):
        fetch_weights(source.model_copy(update={"sha256": "0" * 64}), Path("raw/other/weights"))
    with pytest.raises(TrmError, match="there is no file nowhere: give the file's name"):
        fetch_weights(source.model_copy(update={"path": "nowhere"}), Path("raw/other/weights"))


def test_a_refusal_names_the_weights_and_the_remedy(hub: Server) -> None:
    hub.add_to_hub("owner/name", "folder/step_7", b"weights", revision="v1")
    hub.heads = [401]
    with pytest.raises(TrmError) as error:
        fetch_weights(HUB, Path("raw/w/weights"))
    for part in ("owner/name/folder/step_7, revision v1: it needs a login", "HF_TOKEN", "`path`"):
        assert part in str(error.value)
    hub.faults = [answers(200, LOGIN_PAGE)]
    with pytest.raises(TrmError, match="a web page, not the file"):
        fetch_weights(HUB, Path("raw/w/weights"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "need a place to come from"),
        ({"sha256": "0" * 64}, "need a place to come from"),
        ({"hub": "o/n"}, "name their file there"),
        ({"path": "x", "file": "y"}, "name their file there"),
        ({"hub": "o/n", "file": "f", "url": "http://x/y"}, "not from both"),
        ({"url": "http://x/y", "revision": "r"}, "only weights of a hub have a revision"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"hub": "o", "file": "f"}, "hub"),
        ({"hub": "o/n", "file": "../f"}, "file"),
        ({"path": "x", "sha256": "abc"}, "sha256"),
    ],
)
def test_a_mistaken_source_is_refused_with_the_row(source: dict, said: str) -> None:
    table = Study.load(ROOT / "config/config.yaml").model_dump(mode="json")
    table["benchmarks"]["sudoku-6x6"]["variants"]["mine"] = {"weights": source}
    with pytest.raises(TrmError, match=f"config.yaml: .*{said}"):
        Study.of(table)


def test_the_row_that_the_page_shows_is_valid(tmp_path: Path) -> None:
    for page in ("docs/reproducing-the-paper.md", "docs/zh/reproducing-the-paper.md"):
        ((_, shown),) = code_blocks(ROOT / page)
        (tmp_path / "mine.yaml").write_text(shown)
        study = Study.load(ROOT / "config/config.yaml", tmp_path / "mine.yaml")
        assert str(study.weights_of("sudoku-extreme/theirs")).startswith("OWNER/NAME/step_65104")


def test_the_page_names_every_row_of_the_table() -> None:
    study = Study.load(ROOT / "config/config.yaml")
    for page in ("docs/reproducing-the-paper.md", "docs/zh/reproducing-the-paper.md"):
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        named = {
            f"{cells[1].strip(' `')}/{variant}"
            for cells in (line.split("|") for line in lines if "| `weights-" in line)
            for variant in re.findall(r"`([^`]+)`", cells[2])
        }
        assert named == {*study.weights_names()}


# --- the exported model ---------------------------------------------------------------------------


def test_an_export_names_the_source_and_claims_no_licence(sudoku_data: Path) -> None:
    settings = config(sudoku_data, Path("checkpoints/b/v/seed-0"))
    torch.save(state_of(settings), "step_1")
    run = given(Path("step_1"), settings)
    result = Path("results/b/v/seed-0")
    result.mkdir(parents=True)
    (result / "metrics.json").write_text('{"exact_accuracy": 0.25}')
    export(load(run), Path("exported"))
    card = Path("exported/README.md").read_text()
    for part in (
        "license: unknown",
        "| published as | step_1 |",
        "| exact_accuracy | 0.25 |",
        "The weights have the licence of their source",
    ):
        assert part in card
    assert load("exported").solve("1" + "." * 80).text


# --- trm status -----------------------------------------------------------------------------------


def write(path: str, content: str = "") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


def test_each_state_of_given_weights_has_its_words() -> None:
    study = Study.load(ROOT / "config/config.yaml")
    name = "sudoku-extreme/weights-cgar"
    run, result = f"checkpoints/{name}/seed-0", f"results/{name}/seed-0"

    def words() -> str:
        return as_text(statuses(study, [name]))

    assert "not run, data missing  " in words() and "at most 4.0 GPU-h" in words()
    Path("data/sudoku-extreme-1k-aug-1000").mkdir(parents=True)
    assert "not run, data ready" in words()
    write(f"logs/download_weights/{name}.log", "error: it does not exist (HTTP 404)\n")
    assert "failed" in words() and "HTTP 404" in words()
    assert f"log: logs/download_weights/{name}.log" in words()
    write(f"raw/weights/{name}/weights")
    write(f"logs/weights/{name}/seed-0.log", "error: they do not fit\n")
    assert "they do not fit" in words() and "HTTP 404" not in words()
    write(f"logs/weights/{name}/seed-0.log")
    write(f"{run}/all_config.yaml")
    write(f"{run}/final")
    write(f"{run}/provenance.json", "{}")
    assert "weights, not evaluated" in words()
    write(f"logs/evaluate/{name}/seed-0.log", "error: out of memory\n")
    assert "evaluation: out of memory" in words()
    write(f"{result}/metrics.json", '{"exact_accuracy": 0.86}')
    write(f"{result}/provenance.json", '{"evaluate_wall_s": 360, "evaluate_gpu_hours": 0.1}')
    assert "done" in words() and "0.1 GPU-h    86.0     86.0" in words()
