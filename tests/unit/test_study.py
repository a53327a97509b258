from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from trm.config.compose import parse_train_config, resolve
from trm.errors import TrmError
from trm.study import schema
from trm.study.files import ResultFile, files_of_one_kind
from trm.study.listing import listing
from trm.study.paths import Paths, result_name, result_of_run, run_of_result
from trm.study.table import Study
from trm.study.targets import (
    all_files,
    benchmark_pattern,
    explain_target,
    explain_word,
    published_weights_files,
    unknown_target_pattern,
)

CONFIG = ROOT / "config" / "config.yaml"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.load(CONFIG)


def test_published_rows_resolve_to_the_published_settings(study: Study) -> None:
    """docs/specification.md#published-settings, and the commands of the published guide."""
    from trm.config.compose import compose

    expected = {
        ("arc-agi-1", "att"): (100000, 10000, 1e-2, 0.1, 4, 44.6),
        ("arc-agi-2", "mlp"): (100000, 10000, 1e-2, 0.1, 4, 2.4),
        ("sudoku-extreme", "mlp"): (50000, 5000, 1e-4, 1.0, 6, 87.4),
        ("maze-hard", "att"): (50000, 5000, 1e-4, 1.0, 4, 85.3),
    }
    for (benchmark, variant), wanted in expected.items():
        row = study.row(benchmark, variant)
        words = [f"++{key}={json.dumps(value)}" for key, value in row.overrides.items()]
        config = compose(words)
        got = (config.epochs, config.eval_interval, config.puzzle_emb_lr, config.weight_decay)
        published = study.benchmarks[benchmark].variants[variant].published
        assert (*got, config.arch.L_cycles, published) == wanted, (benchmark, variant)
        assert config.global_batch_size == 768
        assert config.lr == 1e-4
        assert config.ema
        assert config.arch.mlp_t == (variant == "mlp")
        assert bool(config.evaluators) == (row.kind == "arc")
        parse_train_config(config.model_dump())


def test_a_seed_that_torch_does_not_take_is_refused() -> None:
    table = yaml.safe_load(CONFIG.read_text())
    table["benchmarks"]["sudoku-6x6"]["seeds"] = [0, 2**64]
    with pytest.raises(TrmError, match=r"sudoku-6x6.seeds.1: .*less than 18446744073709551616"):
        Study.of(table)


def test_a_stand_in_is_compared_with_no_published_figure() -> None:
    tiny = Study.load(CONFIG, ROOT / "config" / "tiny.yaml")
    figures = [v.published for b in tiny.benchmarks.values() for v in b.variants.values()]
    sources = [v.published_source for b in tiny.benchmarks.values() for v in b.variants.values()]
    assert {*figures, *sources} == {None}


def test_the_tiny_study_may_be_compared_all_the_same(tmp_path: Path) -> None:
    """Then it has the rows of published weights too, in sizes of its own."""
    tiny = ROOT / "config" / "tiny.yaml"
    names = Study.load(CONFIG, tiny).benchmarks
    overlay = tmp_path / "compared.yaml"
    overlay.write_text(json.dumps({"benchmarks": {name: {"stand_in": False} for name in names}}))
    assert "sudoku-extreme/weights-eqr" in Study.load(CONFIG, tiny, overlay).weights_names()


def test_the_tiny_study_describes_its_own_puzzles(study: Study) -> None:
    """A description inherited from the full study would tell of other sizes."""
    tiny = Study.load(CONFIG, ROOT / "config" / "tiny.yaml")
    for name, benchmark in tiny.benchmarks.items():
        assert benchmark.description != study.benchmarks[name].description
    for name, split in (("sudoku-6x6", "tiny-sudoku-6x6"), ("sudoku-9x9", "tiny-sudoku-9x9")):
        made = tiny.raw.tables[split].generate
        numbers = re.findall(r"\d+(?!x)\b", tiny.benchmarks[name].description)
        assert {str(made.test), str(made.train), str(made.clues)} <= {*numbers}


def test_schema_file_is_what_the_command_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "config/schemas/config.schema.json"
    written = tmp_path / "new" / "schema.json"
    schema.main(["--out", str(written)])
    assert (ROOT / name).read_bytes() == written.read_bytes(), (
        f"what config.yaml may hold has changed: run trm schema --out {name}"
    )
    schema.main([])
    assert capsys.readouterr().out == written.read_text()


def test_unknown_targets_and_only_those_match_the_pattern(study: Study) -> None:
    pattern = re.compile(unknown_target_pattern(study))
    known = [
        "report.html",
        "study.json",
        "sudoku-extreme/summary.csv",
        "arc1concept-aug-1000",
        "sudoku-extreme/mlp/seed-12/metrics.json",
        "arc-agi-1/att/seed-0/figures/examples.svg",
    ]
    unknown = [
        "report.htm",
        "sudoku/summary.csv",
        "arc1concept-aug-100",
        "sudoku-6x6/att/seed-0/metrics.json",
        "sudoku-extreme/mlp/seed-/metrics.json",
        "sudoku-extreme/mlp/seed-0/metrics.json.bak",
    ]
    assert [k for k in known if pattern.fullmatch(k)] == []
    assert [u for u in unknown if not pattern.fullmatch(u)] == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "results/sudoku-extrem/mlp/seed-3/metrics.json",
            "did you mean 'results/sudoku-extreme/mlp/seed-3/metrics.json'",
        ),
        (
            "results/sudoku-6x6/quick/metric.json",
            "did you mean 'results/sudoku-6x6/quick/seed-0/metrics.json'",
        ),
        (
            "results/arc-agi-1/att/seed-0/vote.csv",
            "did you mean 'results/arc-agi-1/att/seed-0/votes.csv'",
        ),
        ("results/sudoku-6x6/sumary.csv", "did you mean 'results/sudoku-6x6/summary.csv'"),
        ("results/tables/tabel1.md", "did you mean 'results/tables/table1.md'"),
        ("results/reprot.html", "did you mean 'results/report.html'"),
        ("results/sudoku-6x6/att/seed-0/metrics.json", "sudoku-6x6/mlp"),
        ("results/sudoku-6x6/mlp/seed-0/metric.json", "FILE of metrics.json"),
        ("results/sudoku-6x6/mlp/seed-x/metrics.json", "seed-N"),
        ("data/arc1concept", "there are arc1concept-aug-1000"),
        (
            "results/sudoku-extreme/weights-cga/seed-0/metrics.json",
            "'results/sudoku-extreme/weights-cgar/",
        ),
    ],
)
def test_mistyped_target_lists_what_exists(study: Study, target: str, words: str) -> None:
    """As the rule for unknown targets asks; Snakemake itself: tests/workflow/test_dry_runs.py."""
    assert re.fullmatch(unknown_target_pattern(study), target.partition("/")[2])
    assert words in explain_target(study, target)


GIVEN = "sudoku-extreme/weights-hrm"


def test_given_weights_are_one_result_without_the_files_of_a_training(study: Study) -> None:
    table = study.model_dump(mode="json")
    table["benchmarks"]["sudoku-extreme"]["seeds"] = [0, 1, 2]
    study = Study.of(table)
    assert study.results_of(*GIVEN.split("/")) == [f"results/{GIVEN}/seed-0"]
    assert len(study.results_of("sudoku-extreme", "mlp")) == 3
    files = study.files_of(*GIVEN.split("/"))
    assert {*study.files_of("sudoku-extreme", "mlp")} - {*files} == {
        ResultFile.HISTORY,
        ResultFile.LEARNING_CURVE,
    }
    assert {*study.report_files(*GIVEN.split("/"))} <= {*files}
    arc = study.files_of("arc-agi-1", "weights-arcprize")
    assert ResultFile.POOLED not in arc and {ResultFile.VOTES, ResultFile.SUBMISSION} <= {*arc}


def test_given_weights_are_part_of_no_target_of_the_whole_study(study: Study) -> None:
    assert GIVEN in study.weights_names()
    assert {*study.weights_names()} | {*study.trained_names()} == {*study.result_names()}
    assert not any("/weights-" in file for file in all_files(study))
    assert not any("/weights-" in folder for folder in study.trained_results_of("sudoku-extreme"))
    assert published_weights_files(study) == [
        f"results/{name}/seed-0/metrics.json" for name in study.weights_names()
    ]
    assert "published_weights" in listing(study)


@pytest.mark.parametrize(
    ("file", "is_made"),
    [
        ("seed-0/metrics.json", True),
        ("seed-0/figures/thinking.gif", True),
        ("seed-0/history.csv", False),
        ("seed-0/figures/learning_curve.svg", False),
        ("seed-1/metrics.json", False),
    ],
)
def test_a_target_of_a_training_is_explained(study: Study, file: str, is_made: bool) -> None:
    pattern = re.compile(unknown_target_pattern(study))
    assert (pattern.fullmatch(f"{GIVEN}/{file}") is None) == is_made
    said = explain_target(study, f"results/{GIVEN}/{file}")
    for part in (
        f"the weights of {GIVEN} are given (sapientinc/HRM-checkpoint-sudoku-extreme/checkpoint",
        "They are not trained here",
        "no seed but 0",
        f"Targets are results/{GIVEN}/seed-0/FILE with FILE of metrics.json",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("path", "trained", "given"),
    [
        ("sudoku-extreme/mlp/seed-3/final", True, False),
        ("sudoku-extreme/weights-hrm/seed-0/final", False, True),
        ("sudoku-extreme/weights-hrm/weights", False, True),
        ("sudoku-extreme/weights-hrm/seed-1/final", False, False),
        ("maze-hard/mlp-2/seed-0/final", False, False),
        ("maze-hard/weights-cgar/seed-0/final", False, False),
    ],
)
def test_a_row_is_trained_or_given(study: Study, path: str, trained: bool, given: bool) -> None:
    for names, wanted in ((study.trained_names(), trained), (study.weights_names(), given)):
        assert bool(re.match(benchmark_pattern(study, names), path)) == wanted


def starting(table: dict, **starts: str) -> Study:
    """The study with variants of sudoku-6x6 that start from others."""
    variants = table["benchmarks"]["sudoku-6x6"]["variants"]
    for name, start in starts.items():
        variants[name] = {"starts_from": start}
    return Study.of(table)


def test_a_row_starts_from_the_weights_of_another(study: Study) -> None:
    table = study.model_dump(mode="json")
    study = starting(table, a="sudoku-6x6/mlp", b="sudoku-6x6/a", c=GIVEN)
    wanted = {
        "a": "checkpoints/sudoku-6x6/mlp/seed-3/final",
        "b": "checkpoints/sudoku-6x6/a/seed-3/final",
        "c": f"checkpoints/{GIVEN}/seed-0/final",  # they have no other seed
        "mlp": None,
    }
    for variant, path in wanted.items():
        assert study.weights_to_start_from(f"sudoku-6x6/{variant}", 3) == path
    assert "sudoku-6x6/b/seed-0/metrics.json  starts from sudoku-6x6/a" in listing(
        study, ["sudoku-6x6/b"]
    )
    with pytest.raises(TrmError, match="no experiment 'sudoku-6x6/mpl'; did you mean 'sudoku-6x6"):
        starting(study.model_dump(mode="json"), d="sudoku-6x6/mpl")
    with pytest.raises(TrmError, match="sudoku-6x6/a starts from sudoku-6x6/b .*: a circle"):
        starting(study.model_dump(mode="json"), a="sudoku-6x6/b", b="sudoku-6x6/a")
    table["benchmarks"]["sudoku-extreme"]["variants"]["weights-hrm"]["starts_from"] = GIVEN
    with pytest.raises(TrmError, match="a row with weights is not trained"):
        Study.of(table)


def test_a_stand_in_starts_from_no_published_weights(study: Study) -> None:
    overlays = [ROOT / "config" / name for name in ("fine-tuning.yaml", "tiny.yaml")]
    full = Study.load(CONFIG, overlays[0])
    assert full.start_of("arc-agi-2-tuned/from-trelis") == "arc-agi-2/weights-trelis"
    table = full.model_dump(mode="json")
    for name in ("arc-agi-2", "arc-agi-2-tuned"):
        table["benchmarks"][name]["stand_in"] = True
    assert list(Study.of(table).benchmarks["arc-agi-2-tuned"].variants) == [
        "from-att",
        "nvarc-from-att",
    ]


def test_nvarc_s_recipe_is_laid_over_that_of_the_benchmark() -> None:
    """Without its figure, as the weights that it starts from are others."""
    study = Study.load(CONFIG, ROOT / "config/fine-tuning.yaml")
    name = ("arc-agi-2-tuned", "nvarc-from-att")
    own = resolve(study.row(*name).overrides, "nvarc")
    assert (own.arch.H_cycles, own.arch.L_cycles, own.arch.halt_max_steps) == (4, 4, 10)
    assert (own.epochs, own.global_batch_size) == (2000, 128)
    assert (own.lr, own.lr_warmup_steps) == (1e-4, 200)
    assert study.start_of("/".join(name)) == "arc-agi-2/att"
    assert study.benchmarks[name[0]].variants[name[1]].published is None


def test_a_stand_in_has_no_published_weights(study: Study) -> None:
    tiny = Study.load(CONFIG, ROOT / "config" / "tiny.yaml")
    assert tiny.weights_names() == []
    assert {*tiny.result_names()} == {*study.trained_names()}
    table = tiny.model_dump(mode="json")
    table["benchmarks"]["maze-hard"]["variants"]["mine"] = {"weights": {"path": "mine"}}
    assert Study.of(table).weights_names() == ["maze-hard/mine"]


def test_a_misspelt_word_gets_the_nearest() -> None:
    """As the rule for unknown words asks; Snakemake itself: tests/workflow/test_dry_runs.py."""
    message = explain_word("tabels", ["all", "tables"])
    assert message.startswith("'tabels' is not a target; did you mean 'tables'?; targets are all, ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"benchmarks": {"sudoku-6x6": {"dataset": "nope"}}}, "no dataset 'nope'"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"learning_rate": 1}}}}, "learning_rate"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"arch.L_cycle": 1}}}}, "arch.L_cycles"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"epochs": 70}}}}, "not a multiple of"),
        ({"benchmarks": {"sudoku-6x6": {"metric": "exact_acc"}}}, "'exact_accuracy'"),
        ({"benchmarks": {"sudoku-6x6": {"kind": "arc"}}}, "is built by sudoku"),
        ({"benchmarks": {"sudoku-6x6": {"resources": {"ranks": 3}}}}, "not divisible by the 3"),
        ({"benchmraks": {}}, "did you mean 'benchmarks'"),
        ({"default": ["sudoku-6x6/mpl/seed-0"]}, "did you mean 'sudoku-6x6/mlp'"),
        ({"datasets": {"arc1concept-aug-1000": {"num_aug": -1}}}, "num_aug"),
        ({"benchmarks": {"maze-hard": {"resources": {"gpu": 1}}}}, "resources.gpu"),
    ],
)
def test_mistake_in_the_table_names_the_files_and_the_row(
    tmp_path: Path, change: dict, words: str
) -> None:
    """Through Snakemake: tests/workflow/test_dry_runs.py."""
    path = tmp_path / "change.yaml"
    path.write_text(yaml.safe_dump(change))
    with pytest.raises(TrmError) as error:
        Study.load(CONFIG, path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{CONFIG} with {path}: ")


def test_a_change_of_one_row_stays_in_that_row(tmp_path: Path) -> None:
    """arc-agi-2 names arc-agi-1's overrides by a YAML anchor."""
    path = tmp_path / "changes.yaml"
    path.write_text("benchmarks: {arc-agi-1: {overrides: {lr: 0.5}, resources: {threads: 7}}}")
    before, after = Study.load(CONFIG), Study.load(CONFIG, path)
    assert after.benchmarks["arc-agi-1"].overrides["lr"] == 0.5
    assert after.benchmarks["arc-agi-1"].resources.threads == 7
    assert after.benchmarks["arc-agi-2"] == before.benchmarks["arc-agi-2"]


def test_numbers_survive_json(tmp_path) -> None:
    content = yaml.safe_load(CONFIG.read_text())
    content["benchmarks"]["sudoku-6x6"]["overrides"]["lr"] = 1e-5
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content))
    assert Study.load(path).row("sudoku-6x6", "mlp").overrides["lr"] == 1e-5


def test_row_of_no_variant(study: Study) -> None:
    with pytest.raises(TrmError, match="no variant 'cnn'; it has att, mlp"):
        study.row("arc-agi-1", "cnn")


@pytest.mark.parametrize(
    "name", ["a b", "it's", "a(1)", "-a", "#a", "a/b", "a|b", "", "a+b", "a\nb"]
)
def test_a_name_that_no_command_can_hold_is_refused(study: Study, name: str) -> None:
    table = study.model_dump(mode="json")
    row = table["benchmarks"]["sudoku-6x6"]["variants"]["mlp"]
    for rows, new in (
        (table["datasets"], table["datasets"]["sudoku-6x6-1k-aug-50"]),
        (table["benchmarks"]["sudoku-6x6"]["variants"], row),
    ):
        with pytest.raises(TrmError, match="becomes a part of paths: name it by letters"):
            rows[name] = new
            Study.of(table)
        del rows[name]
        rows["é=1.5#2"] = new
        Study.of(table)


def test_a_new_result_file_is_a_target_by_its_entry(study: Study) -> None:
    """And nothing else in a result's folder is one."""
    name = "arc-agi-1/att/seed-0"
    pattern = re.compile(unknown_target_pattern(study))
    for file in ResultFile:
        assert not pattern.fullmatch(f"{name}/{file}")
        assert f"{study.paths.result(name)}/{file}" in all_files(study)
        assert str(file) in explain_target(study, "results/arc-agi-1/att/seed-0/none")
    own = [f for f in all_files(study) if "/sudoku-6x6/mlp/" in f]
    assert not any(f.endswith(tuple(files_of_one_kind("arc"))) for f in own)


def test_the_folders_of_a_run_and_its_result_are_found_from_each_other(tmp_path: Path) -> None:
    paths, name = Paths("/tiny"), result_name("b", "v", 3)
    run, result = tmp_path / paths.run(name), tmp_path / paths.result(name)
    assert (run_of_result(result), result_of_run(run)) == (run, result)
    assert run_of_result(run) is None and result_of_run(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("rules", sorted((ROOT / "rules").glob("*.smk")))
def test_rules_take_the_names_of_results_from_the_registry(rules: Path) -> None:
    text = re.sub(r"^ *#.*$", "", rules.read_text(), flags=re.M)
    assert not re.findall(r"\{(?:RESULT|RUN|RESULTS)\}/[a-z][^\"]*", text)
