"""What is exported loads again, alone, with the same answers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.runs import arc_data, random_run
from trm.data.read import load_identifiers
from trm.errors import TrmError
from trm.export import export, main
from trm.model.checkpoint import read_state_dict
from trm.solve.trained import load

BOARD = "1" + "." * 35


def export_command(monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["trm.export", *map(str, words)])
    main()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = random_run(tmp_path / "checkpoints" / "b" / "v", Path("data/six"), 6, 8)
    facts = {
        "checkpoints": ["step_7"],
        "seed": 3,
        "steps": 7,
        "git_revision": "0123456789abcdef",
        "packages": {"torch": "2.9"},
        "dataset_sha256": {"data/six": "abc123"},
    }
    (folder / "provenance.json").write_text(json.dumps(facts))
    result = tmp_path / "results" / "b" / "v"
    result.mkdir(parents=True)
    (result / "metrics.json").write_text(json.dumps({"exact_accuracy": 0.875, "count": 8}))
    return folder


def answers(path: Path, **options: object) -> list[tuple]:
    return [
        (step.answer.tolist(), step.confidence)
        for step in load(path, device="cpu", **options).solve(BOARD).steps
    ]


def test_an_export_answers_as_the_checkpoint_does(run: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "exported"
    export_command(monkeypatch, "--checkpoint", run / "final", "--out", out)
    moved = out.rename(tmp_path / "elsewhere")
    assert answers(moved) == answers(run / "final")
    assert answers(moved / "model.safetensors") == answers(run)
    one, other = load(moved, device="cpu"), load(run, device="cpu")
    assert one.model.config == other.model.config
    assert one.training.lr == other.training.lr
    assert sorted(p.name for p in moved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    # Others may read the weights if they may read the rest.
    assert len({p.stat().st_mode for p in moved.iterdir()}) == 1
    # Nothing of this machine's folders.
    assert str(tmp_path) not in "".join(
        p.read_text() for p in (moved / "README.md", moved / "config.json")
    )


def test_there_and_back_by_the_published_layout(run: Path, tmp_path: Path, monkeypatch) -> None:
    out, published = tmp_path / "exported", tmp_path / "bare" / "step_7"
    export_command(monkeypatch, "--checkpoint", run, "--out", out)
    export_command(monkeypatch, "--checkpoint", out, "--published", published)
    raw = torch.load(published, weights_only=True)
    assert all(name.startswith("_orig_mod.model.inner.") for name in raw)
    assert "_orig_mod.model.inner.puzzle_emb.weights" in raw
    wanted = read_state_dict(run / "final")
    for name, tensor in read_state_dict(published).items():
        assert torch.equal(tensor, wanted[name]), name
    with pytest.raises(TrmError, match="--train-config"):
        load(published)
    config = run / "all_config.yaml"
    assert answers(published, train_config=config) == answers(run)
    again = tmp_path / "again"
    export_command(monkeypatch, "--checkpoint", published, "--train-config", config, "--out", again)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_the_card_tells_where_the_weights_come_from(run: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "six"
    export_command(monkeypatch, "--checkpoint", run, "--out", out)
    card = (out / "README.md").read_text()
    front, text = card.split("---\n", 2)[1:]
    assert yaml.safe_load(front)["license"] == "mit"
    for fact in (
        "abc123",
        "| exact_accuracy | 0.875 |",
        "0123456789ab",
        "seed 3",
        "sudokus of 6x6",
    ):
        assert fact in text
    parameters = sum(p.numel() for p in load(run, device="cpu").model.parameters())
    assert f"{parameters:,}" in text
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert settings["lr"] == 1e-3
    # The metrics are of the last weights, not of earlier ones.
    (run / "step_3").write_bytes((run / "final").read_bytes())
    export_command(monkeypatch, "--checkpoint", run / "step_3", "--out", tmp_path / "early")
    assert "None are recorded" in (tmp_path / "early" / "README.md").read_text()
    own = tmp_path / "own.json"
    own.write_text('{"accuracy": 0.25}')
    export_command(
        monkeypatch, "--checkpoint", run / "step_3", "--out", tmp_path / "early", "--metrics", own
    )
    assert "| accuracy | 0.25 |" in (tmp_path / "early" / "README.md").read_text()


def test_names_of_tasks_go_with_the_model(tmp_path: Path, monkeypatch) -> None:
    tasks = arc_data(tmp_path / "data" / "arc")
    puzzles = len(load_identifiers(tmp_path / "data" / "arc"))
    run = random_run(tmp_path / "run", Path("data/arc"), 5, 12, puzzles)
    wanted = load(run, device="cpu").solve(tasks["first"], task_id="first")
    export(load(run, device="cpu"), tmp_path / "out" / "exported")
    (tmp_path / "data").rename(tmp_path / "gone")
    got = load(tmp_path / "out" / "exported", device="cpu").solve(tasks["first"], task_id="first")
    assert got.known
    assert [[(c.grid.tolist(), c.votes, c.mean_q) for c in t.candidates] for t in got.tests] == [
        [(c.grid.tolist(), c.votes, c.mean_q) for c in t.candidates] for t in wanted.tests
    ]
    unseen = load(tmp_path / "out" / "exported", device="cpu").solve(
        tasks["first"], task_id="another", learning_steps=2
    )
    assert unseen.learning.steps == 2


def test_only_an_export_is_replaced(run: Path, tmp_path: Path) -> None:
    trained = load(run, device="cpu")
    out = tmp_path / "out"
    out.mkdir()
    export(trained, out)  # empty
    export(trained, out)  # an export
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    (out / "notes.txt").write_text("mine")
    with pytest.raises(TrmError, match=r"holds notes.txt, which does not belong to"):
        export(trained, out)
    (out / "notes.txt").unlink()
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before

    (out / "README.md").write_text("# My model\n")
    with pytest.raises(TrmError, match=r"out/README.md may have been edited"):
        export(trained, out)
    assert (out / "README.md").read_text() == "# My model\n"
    (out / "README.md").rename(tmp_path / "README.md")
    export(trained, out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before

    # A folder of another library, with files of the same names.
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    (other / "README.md").write_text("theirs")
    with pytest.raises(TrmError, match=r"holds no exported model"):
        export(trained, other)
    assert (other / "README.md").read_text() == "theirs"
    with pytest.raises(TrmError, match=r"is a file"):
        export(trained, run / "final")
    with pytest.raises(TrmError, match=r"no metrics"):
        export(trained, tmp_path / "new", tmp_path / "none.json")
    assert not (tmp_path / "new").exists()


def test_damaged_exports_are_refused_by_name(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(load(run, device="cpu"), out)
    whole = json.loads((out / "config.json").read_text())
    weights = (out / "model.safetensors").read_bytes()

    (out / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(TrmError, match=r"model.safetensors is damaged: its SHA-256"):
        load(out)
    flipped = bytearray(weights)
    flipped[-1] ^= 1
    (out / "model.safetensors").write_bytes(flipped)
    with pytest.raises(TrmError, match=r"model.safetensors is damaged: its SHA-256"):
        load(out)
    os.remove(out / "model.safetensors")  # noqa: PTH107
    with pytest.raises(TrmError, match=r"model.safetensors does not exist"):
        load(out)
    (out / "model.safetensors").write_bytes(weights)

    (out / "config.json").write_text(json.dumps(whole | {"sides": 6}))
    with pytest.raises(TrmError, match=r"unknown key 'sides'; did you mean 'side'"):
        load(out)
    bigger = whole | {"model": whole["model"] | {"hidden_size": 64}}
    (out / "config.json").write_text(json.dumps(bigger))
    with pytest.raises(TrmError, match=r"does not fit the model"):
        load(out)
    (out / "config.json").write_text("{")
    with pytest.raises(TrmError, match=r"config.json cannot be read"):
        load(out)


def test_something_must_be_asked_for(run: Path, monkeypatch) -> None:
    with pytest.raises(TrmError, match=r"--out FOLDER, --published FILE, or both"):
        export_command(monkeypatch, "--checkpoint", run)
    with pytest.raises(TrmError, match=r"it is a folder. Name a file"):
        export_command(monkeypatch, "--checkpoint", run, "--published", run)
