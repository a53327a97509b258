"""A figure of one's own takes three files, and every rule finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import FINISHED, Project

DRAWING = '''"""The learning rate against the step, from history.csv."""

from trm.report.drawing import Drawn, Source
from trm.report.figures import new_figure
from trm.report.learning_curve import read_history
from trm.study.files import ResultFile


def draw(source: Source) -> Drawn:
    history = read_history(source.result / ResultFile.HISTORY)
    figure = new_figure(4, 3)
    figure.add_subplot().plot(history["step"], history["lr"])
    return Drawn(figure, f"Learning rates of {len(history)} rows.")
'''
FILE = '    HALTING = "figures/halting.svg"'
ENTRY = '    ResultFile.HALTING: Figure("Halting"'


def add_figure(root: Path, after: str) -> None:
    """The three files that CONTRIBUTING.md names; `after` the path is what the entry says."""
    files = root / "trm/study/files.py"
    text = files.read_text()
    assert FILE in text and ENTRY in text
    text = text.replace(FILE, f'    RATES = "figures/rates.svg"{after}\n{FILE}')
    text = text.replace(
        ENTRY, f'    ResultFile.RATES: Figure("Learning rates", (ResultFile.HISTORY,)),\n{ENTRY}'
    )
    files.write_text(text)
    (root / "trm/report/rates.py").write_text(DRAWING)
    (root / "workflow/report/rates.rst").write_text("How fast it learned.\n")


@pytest.mark.parametrize(
    ("after", "rule"),
    [(", Shown.ALWAYS", "figures"), (', Shown.ALWAYS, False, "arc"', "rates_figure")],
    ids=("of every result", "of one kind"),
)
def test_a_figure_of_one_s_own(finished: Project, tmp_path: Path, after: str, rule: str) -> None:
    project = finished.copied_to(tmp_path)
    add_figure(tmp_path, after)
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert f"rule {rule}:" in done.stderr + done.stdout
    drawn = tmp_path.glob("results/tiny/*/*/seed-0/figures/rates.svg")
    assert len([*drawn]) == (len(FINISHED) if rule == "figures" else 1)
    page = (tmp_path / "results/tiny/report.html").read_text()
    assert page.count("<h4>Learning rates</h4>") == (len(FINISHED) if rule == "figures" else 1)
    assert 'alt="Learning rates of ' in page
    reported = project.snakemake("--report=all.zip")
    assert reported.returncode == 0, reported.stderr
    assert "rates.svg" in reported.stderr
