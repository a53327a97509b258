"""A search at test time through Snakemake, and by two processes as by one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.project import FINISHED, Project, jobs
from tests.trainings import Run


@pytest.fixture(scope="module")
def searched(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Searches of a sudoku, and of ARC by two processes, and their figures."""
    project = finished.copied_to(tmp_path_factory.mktemp("searched"))
    files = ("search-1000.csv", "figures/search.svg")
    targets = [f"results/tiny/{name}/{file}" for name in FINISHED for file in files]
    done = project.snakemake(*targets, f"results/tiny/{FINISHED[0]}/search-7.csv")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return project


@pytest.mark.parametrize("name", FINISHED)
def test_snakemake_makes_the_table_and_the_figure(searched: Project, name: str) -> None:
    folder = searched.root / "results/tiny" / name
    table = pd.read_csv(folder / "search-1000.csv")
    assert list(table.rollouts) == [1, 2, 4]
    assert ("by_rules" in table) == name.startswith("sudoku")
    chosen = table[("most_frequent" + ("" if name.startswith("sudoku") else "_pass@2"))]
    assert (table["pass"] >= chosen).all()
    assert "rollouts" in (folder / "figures/search.svg").read_text()


def test_the_sample_is_as_large_as_the_name_says(searched: Project) -> None:
    folder = searched.root / "results/tiny" / FINISHED[0]
    counts = [pd.read_csv(folder / f"search-{n}.csv")["count"][0] for n in (7, 1000)]
    assert counts == [7, 24]  # there are 24


def test_the_report_shows_what_exists_and_makes_no_search(
    searched: Project, finished: Project
) -> None:
    assert "search" not in jobs(finished.dry_run("-f", "results/tiny/report.html").stdout)
    done = searched.snakemake("results/tiny/report.html")
    assert done.returncode == 0, done.stderr[-4000:]
    page = (searched.root / "results/tiny/report.html").read_text()
    assert page.count("<h4>Accuracy against rollouts</h4>") == 2


def test_other_settings_make_the_search_again_and_nothing_else(
    searched: Project, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text("benchmarks: {sudoku-6x6: {search: {rollouts: 2, views: 2}}}\n")
    target = f"results/tiny/{FINISHED[0]}/search-1000.csv"
    assert {*jobs(searched.dry_run(target, configfile=changed).stdout)} == {"search"}


def search(arguments: list[str]) -> None:
    """Search with noise in several views; arguments: those of the command."""
    import sys

    from trm.evaluate.search import main

    sys.argv = ["search", *arguments]
    main()


def tables_of(words: list[str], folder: Path) -> list[pd.DataFrame]:
    """What one process finds, and what two find."""
    tables = []
    for processes in (1, 2):
        out = folder / f"{processes}.csv"
        done = Run([*words, f"--out={out}"], processes, search)
        assert done.wait(200) == [0] * processes, done.said
        tables.append(pd.read_csv(out).drop(columns="seconds"))
    return tables


def test_two_processes_find_what_one_finds(sudoku_data: Path, tmp_path: Path) -> None:
    from tests.runs import random_run

    run = random_run(tmp_path / "run", sudoku_data, 9, 11)
    words = [
        *(f"--dataset={sudoku_data}", "--kind=sudoku", "--sample=31"),
        *(f"--weights={run}/final", f"--train-config={run}/all_config.yaml"),
        '--search={"rollouts": 3, "views": 2, "noise": 0.5, "start": "random"}',
    ]
    tables = tables_of(words, tmp_path)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert 1 < tables[0].steps_to_halt[0] < 4  # which differs between examples


def test_two_processes_count_the_votes_of_one(tmp_path: Path) -> None:
    from tests.runs import ALONE, arc_data, make_answers_true, random_run
    from trm.data.batches import PuzzleData
    from trm.data.read import load_identifiers
    from trm.evaluate.loading import load_result
    from trm.evaluate.loop import evaluate
    from trm.evaluate.settings import Settings

    dataset = tmp_path / "data"
    arc_data(dataset, num_aug=7)
    run = random_run(tmp_path / "run", dataset, 5, 12, len(load_identifiers(dataset)))
    data = PuzzleData.load([str(dataset)], "test")
    model, trained = load_result(run / "final", run / "all_config.yaml", dataset, data)
    settings = Settings(trained.arch.loss.loss_type, 8)
    make_answers_true(dataset, evaluate(model.eval(), data, settings, ALONE).predictions)
    words = [
        *(f"--dataset={dataset}", "--kind=arc", "--sample=2"),
        *(f"--weights={run}/final", f"--train-config={run}/all_config.yaml"),
        '--search={"rollouts": 3, "noise": 0.01}',
    ]
    tables = tables_of(words, tmp_path)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert (tables[0]["count"] == 2).all()
    assert tables[0]["pass"].between(0, 1, inclusive="neither").any()
