"""What a study of hundreds of results costs at each start, in files that are opened and read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.opened import files_opened
from trm.config import compose
from trm.study import under_way
from trm.study.files import SHOWN_FILES, ResultFile
from trm.study.seen import what_was_seen
from trm.study.states import statuses
from trm.study.table import Study

CONFIG = ROOT / "config" / "config.yaml"
NOBODY_READS_THIS = 1 << 40  # bytes of a file with a hole in it


def write(path: Path, text: str, before: int = 0) -> None:
    """`text` behind its own first line and a hole of `before` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if before:
            file.write(text.splitlines(keepends=True)[0])
            file.truncate(before)
            file.seek(before)
        file.write(text)


def results(count: int) -> list[str]:
    study = Study.load(CONFIG)
    names = [name for name in study.result_names() if name not in study.weights_names()]
    return [f"{names[i % len(names)]}/seed-{i // len(names)}" for i in range(count)]


# --- the table of experiments ---------------------------------------------------------------------


def test_the_defaults_are_read_once_for_all_rows() -> None:
    compose._defaults.cache_clear()
    compose._pretrain.cache_clear()
    with files_opened() as opened:
        study = Study.load(CONFIG)
    settings = [path for path in opened if path.endswith(".yaml")]
    assert len(study.result_names()) > 30
    assert any(path.endswith("pretrain.yaml") for path in settings)
    assert sorted(settings) == sorted({*settings})


def test_a_row_is_not_checked_again() -> None:
    """A dry run asks for rows a dozen times per job; the table was checked when it was read."""
    study = Study.load(CONFIG)
    study.benchmarks["sudoku-extreme"].resources.nodes = 7  # of one GPU: no check lets that pass
    assert study.row("sudoku-extreme", "mlp").resources.nodes == 7


# --- results that a table or the report finds ----------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "results/a/b/seed-0"
    for file in SHOWN_FILES:
        write(folder / file, "{}")
    return folder


def seen(folder: Path) -> str:
    return what_was_seen(str(folder / file) for file in SHOWN_FILES)


def test_only_the_metrics_of_a_found_result_are_read(folder: Path) -> None:
    with files_opened() as opened:
        seen(folder)
    assert opened == [str(folder / ResultFile.METRICS)]


def test_what_was_seen_changes_with_each_file(folder: Path) -> None:
    before = seen(folder)
    assert seen(folder) == before
    os.utime(folder / ResultFile.METRICS, (0, 0))  # copied elsewhere, it is the same result
    assert seen(folder) == before
    (folder / ResultFile.METRICS).write_text("[]")
    assert seen(folder) != before
    (folder / ResultFile.METRICS).write_text("{}")
    for file in SHOWN_FILES:
        (folder / file).rename(folder / "aside")
        assert seen(folder) != before, file
        (folder / "aside").rename(folder / file)
    assert seen(folder) == before
    (folder / ResultFile.STEPS).write_text("{}\n")
    assert seen(folder) != before


# --- trm status -----------------------------------------------------------------------------------


def test_status_reads_the_ends_of_long_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the results is done, a third interrupted, a third was killed before a snapshot."""
    monkeypatch.chdir(tmp_path)
    names, history = results(60), "step,split,elapsed_s\n120,train,60.5\n"
    for i, name in enumerate(names):
        run, result = Path("checkpoints", name), Path("results", name)
        write(run / "all_config.yaml", yaml.safe_dump({"epochs": 10, "global_batch_size": 5}))
        write(run / "history.csv", history, before=NOBODY_READS_THIS)
        write(Path("logs/train", f"{name}.log"), "\nerror: bad\n", before=NOBODY_READS_THIS)
        if i % 3 == 0:
            metrics = dict.fromkeys(("exact_accuracy", "ARC/pass@2"), 0.5)
            write(run / "final", "")
            write(run / "provenance.json", "{}")
            write(result / "metrics.json", json.dumps(metrics))
        elif i % 3 == 1:
            facts = {"format": 1, "step": 100, "total_steps": 200}
            write(run / "snapshots/step_00000100/manifest.json", json.dumps(facts))
            write(run / "snapshots/interrupted", "100\n")
    study = Study.load(CONFIG)
    with files_opened() as opened:
        found = {status.result: status for status in statuses(study)}
    states = ["done", "interrupted", "failed"]
    assert [found[name].state for name in names] == [states[i % 3] for i in range(60)]
    assert found[names[2]].step == 0 and found[names[2]].hours.spent is not None
    assert len(opened) <= 8 * len(found)


def test_settings_are_read_by_the_parser_in_c_where_there_is_one() -> None:
    assert under_way.YAML_LOADER.__name__ == (
        "CSafeLoader" if yaml.__with_libyaml__ else "SafeLoader"
    )
