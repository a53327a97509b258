"""No command deletes, or replaces, a file that this project did not write."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.conftest import SOURCES
from tests.runs import ALONE, arc_data, config_of, random_run
from trm.data.specs import ArcSpec, BoardsSpec
from trm.data.write import new_dataset
from trm.errors import TrmError, WriteError
from trm.export import export
from trm.files import new_folder
from trm.solve.trained import load
from trm.study.run_folder import FOLDER, discard_snapshots
from trm.training.trainer import train


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the user's {name}")


def build(
    builder: str, home: Path, output_dir: str, monkeypatch: pytest.MonkeyPatch, *options: str
) -> None:
    """`python -m dataset.build_{builder}_dataset --output-dir …`, typed in `home`."""
    words = ["--source-repo", str(SOURCES / builder)]
    if builder == "arc":
        arc_data(home.parent / "raw-builder" / "data")
        words = ["--input-file-prefix", str(home.parent / "raw-builder/arc-raw/arc")]
        words += ["--subsets", "training", "--test-set-name", "training", "--num-aug", "1"]
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", ["build", *words, "--output-dir", output_dir, *options])
    importlib.import_module(f"dataset.build_{builder}_dataset").main()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's project: a repository, a thesis, checkpoints, and one dataset that we built."""
    home = tmp_path / "home"
    put(home, ".git/HEAD", "thesis.tex", "checkpoints/P/R/step_5", "data/notes/.hidden")
    arc_data(home / "data" / "d", num_aug=1)
    return home


@pytest.mark.parametrize("builder", ["arc", "sudoku", "maze"])
@pytest.mark.parametrize(
    ("output_dir", "named"),
    [
        (".", "thesis.tex"),
        ("data", "arc-raw"),
        (".git", "HEAD"),
        ("data/notes", ".hidden"),
        ("checkpoints", "P"),
        ("thesis.tex", "is a file"),
        ("data/d/test", "is inside the dataset"),
        ("data/d/of_mine", "is inside the dataset"),
    ],
)
def test_a_builder_deletes_nothing(home, monkeypatch, builder, output_dir, named):
    before = contents(home)
    with pytest.raises(TrmError, match=named):
        build(builder, home, output_dir, monkeypatch)
    assert contents(home) == before


@pytest.mark.parametrize(
    "name", ["notes.txt", ".notes", "train/notes.txt", "train/all__inputs.npy.bak", "more/x"]
)
def test_a_file_within_a_dataset_keeps_it_from_being_replaced(home, monkeypatch, name):
    put(home / "data/d", name)
    before = contents(home)
    with pytest.raises(TrmError, match=rf"holds {name.split('/x')[0]}, .* nothing was deleted"):
        build("arc", home, "data/d", monkeypatch)
    assert contents(home) == before


def test_an_own_dataset_is_replaced_and_another_builders_is_not(home, monkeypatch):
    before = contents(home / "data/d")
    with pytest.raises(TrmError, match=r"holds test_puzzles\.json"):
        build("sudoku", home, "data/d", monkeypatch)
    assert contents(home / "data/d") == before
    build("arc", home, "data/d", monkeypatch, "--canvas", "5")
    assert contents(home / "data/d") == before


def test_a_dataset_of_other_settings_stays(home, monkeypatch, capsys):
    before = contents(home / "data/d")
    capsys.readouterr()
    options = ("--canvas", "5", "--num-aug", "2", "--seed", "7")
    with pytest.raises(TrmError, match=r"built with num_aug=1, seed=42, not num_aug=2, seed=7; n"):
        build("arc", home, "data/d", monkeypatch, *options)
    assert contents(home / "data/d") == before
    (home / "data/d/.settings.json").unlink()  # as of an older build, or a published one
    build("arc", home, "data/d", monkeypatch, *options)
    assert "data/d is replaced; it does not say with which settings" in capsys.readouterr().err
    assert contents(home / "data/d") != before
    (home / "data/d/.settings.json").write_text("{")
    with pytest.raises(TrmError, match=r"settings\.json is not JSON .*: delete data/d, or"):
        build("arc", home, "data/d", monkeypatch, *options)


def test_a_file_that_came_during_the_build_stays(home):
    before = contents(home / "data/d")
    with (
        pytest.raises(TrmError, match=r"now holds notes\.txt"),
        new_dataset(home / "data/d", ArcSpec.extra_files) as folder,
    ):
        (folder / "identifiers.json").write_text("[]")
        put(home / "data/d", "notes.txt")
    assert contents(home / "data/d") == before | {"notes.txt": b"the user's notes.txt"}
    assert [path.name for path in home.iterdir() if path.name.startswith(".d")] == []


def test_a_link_is_a_file_of_the_user(tmp_path):
    put(tmp_path, "disk/photo.jpg")
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "train").symlink_to(tmp_path / "disk")
    with pytest.raises(TrmError, match="holds train"), new_dataset(folder):
        pass
    assert (tmp_path / "disk/photo.jpg").exists()


def test_a_mount_point_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path == tmp_path)
    with pytest.raises(TrmError, match="mount point"), new_dataset(tmp_path):
        pytest.fail("the build began")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    put(tmp_path, "file")
    folder = tmp_path / "file" / "d"
    with (
        pytest.raises(WriteError, match="cannot write .*file is a file, not a folder"),
        new_folder(folder, BoardsSpec.extra_files, "a dataset"),
    ):
        pass


@pytest.mark.parametrize("names", [("notes.txt",), (".git/HEAD",), ("model.safetensors",)])
def test_an_export_replaces_nothing_else(tmp_path, names):
    run = random_run(tmp_path / "run", tmp_path / "none", side=4, vocab_size=6)
    put(tmp_path / "out", *names)
    before = contents(tmp_path / "out")
    with pytest.raises(TrmError, match="(?i)choose another"):
        export(load(str(run), side=4, kind="sudoku"), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_discarded_snapshots_take_no_other_file_with_them(tmp_path):
    others = ("notes.txt", "step_00000001/notes.txt", "step_1/shared.safetensors", "holiday/a.jpg")
    own = (
        "interrupted",
        "step_00000001/manifest.json",
        "step_00000002/rank_0.safetensors",
        ".step_00000003.partial/shared.safetensors",
    )
    put(tmp_path / FOLDER, *others, *own)
    discard_snapshots(tmp_path)
    left = {name for name, content in contents(tmp_path / FOLDER).items() if content is not None}
    assert left == {*others}


def test_a_run_begins_in_no_folder_with_files_of_others(sudoku_data, tmp_path):
    for name in ("history.csv", "provenance.json"):
        put(tmp_path / name / "run", name)
        with pytest.raises(TrmError, match=f"holds {name} but no all_config"):
            train(config_of(sudoku_data, tmp_path / name / "run"), ALONE)
        assert (tmp_path / name / "run" / name).read_text() == f"the user's {name}"
