"""Snakemake's own report of a finished run: without a network, with captions and categories."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from tests.project import Project

TITLES = ("Tiny Sudoku 6x6", "Tiny ARC-AGI-1, grids up to 5x5", "Report of all results")


@pytest.fixture(scope="module")
def page(finished: Project) -> str:
    done = finished.snakemake("--report=x.html")
    assert done.returncode == 0, done.stderr[-4000:]
    # Each would be a resource fetched from the internet, or markup that a caption got wrong.
    for word in ("downloading", "WARNING/", "ERROR/"):
        assert word not in done.stderr
    return (finished.root / "x.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("title", TITLES)
def test_categories_are_the_benchmarks(page: str, title: str) -> None:
    assert title in page


def test_captions_name_variant_seed_and_benchmark(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.replace("\\n", " ")))
    assert "while mlp learned Tiny Sudoku 6x6 with seed 0" in text
    assert "Metrics of att on the test set of Tiny ARC-AGI-1, grids up to 5x5, seed 0" in text
    assert "as mlp, seed 0, answers them" in text
    assert "The whole report as one page" in text
    assert "{{" not in "".join(re.findall(r'"caption": "[^"]*"', page))
    # The workflow's own description, with a line for each benchmark that the run is about.
    assert "Results of the Tiny Recursive Model" in text
    assert "The public tasks all of whose grids fit 5x5" in text


def test_labels_tell_the_figures_apart(page: str) -> None:
    for label in ("learning curve", "examples", "metrics"):
        assert f'"{label}"' in page


def test_the_zip_holds_the_files(finished: Project, tmp_path: Path) -> None:
    """With a summary and a table, which the default target does not make."""
    own = finished.copied_to(tmp_path / "own")
    targets = ["results/tiny/sudoku-6x6/summary.csv", "results/tiny/tables/table1.csv"]
    existing = tmp_path / "existing.yaml"
    existing.write_text("tables_take: existing\n")
    for flags in ([], ["--report=x.zip"]):
        done = own.snakemake(*flags, *targets, configfile=existing)
        assert done.returncode == 0, done.stderr[-4000:]
    with zipfile.ZipFile(own.root / "x.zip") as file:
        names = file.namelist()
        page = file.read("x/report.html").decode()
    for ending in ("summary.csv", "table1.csv", "table1.svg", "metrics.json"):
        assert any(name.endswith(ending) for name in names), ending
    assert "Tables of the paper" in page
    assert "Table 1: ablations on Sudoku-Extreme" in page
