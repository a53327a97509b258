# Wildcards, and the functions that read the table of experiments for the rules.
import functools
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake_interface_executor_plugins.settings import DeploymentMethod
from snakemake.common import async_run

from trm.data.dataset import dataset_files
from trm.data.specs import HIDDEN_SUBSETS
from trm.errors import TrmError
from trm.files import RunFile, first_other_file
from trm.study.files import (
    FIGURES,
    FIGURES_OF_ALL,
    SAMPLE,
    SEARCH_OF,
    SHOWN_FILES,
    ResultFile,
)
from trm.study.paths import SEED, TABLE_ENDINGS, result_name
from trm.study.run_folder import forget_end
from trm.study.seen import what_was_seen
from trm.study.table import Study, seed_of
from trm.study.targets import (
    all_files,
    benchmark_pattern,
    explain_target,
    explain_word,
    published_weights_files,
    unknown_target_pattern,
)


def config_files():
    """Paths, the lowest first: Snakemake lists those of --configfile before the Snakefile's."""
    own, given = workflow.configfiles[-1], workflow.configfiles[:-1]
    return dict.fromkeys(os.path.relpath(file) for file in (own, *given))


# What every rule's command begins with: the interpreter, and where the scripts and `trm` are, whatever
# folder Snakemake works in and whatever is activated there. `$PYTHON` is that of the rule's conda
# environment where rules have one, `$SNAKEMAKE_PYTHON` the one that runs Snakemake. No path is in a
# rule's own text: a moved checkout makes no result again.
def command_prefix():
    own = shlex.quote(sys.executable)
    in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    # PYTHONPATH is set in the command, as Snakemake unsets it where it activates an environment.
    return (
        f"set -euo pipefail; SNAKEMAKE_PYTHON={own}; PYTHON={'python' if in_conda else own}; "
        f"SCRIPTS={shlex.quote(str(ROOT / 'workflow' / 'scripts'))}; "
        f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}; "
    )


shell.prefix(command_prefix().replace("{", "{{").replace("}", "}}"))


# A mistake in the table is reported before any job starts.
try:
    study = Study.of(config, " with ".join(config_files()))
except TrmError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    benchmark=benchmark_pattern(study, study.result_names()),
    variant="|".join(study.variants()),
    dataset="|".join(study.datasets),
    table="|".join(study.raw.tables),
    subset="[a-z]+2?",
    table_name="|".join(study.tables),
    seed=SEED,


# What the board reads of a result.
BOARD_FILES = (ResultFile.METRICS, ResultFile.HISTORY, ResultFile.PROVENANCE)
ENV = f"../envs/{study.env}.yaml"  # of every rule, with --sdm conda
# A scale of its own (config/tiny.yaml) keeps its files apart from those of the full study.
paths = study.paths
RESULTS, DATA, LOGS = paths.results, paths.data, paths.logs
NAME = result_name("{benchmark}", "{variant}", "{seed}")
RESULT, RUN = paths.result(NAME), paths.run(NAME)


row_of = functools.cache(study.row)  # each job asks for its row a dozen times


def row(wildcards):
    return row_of(wildcards.benchmark, wildcards.variant)


def dataset_of(wildcards):
    return paths.dataset(row(wildcards).dataset)


def row_resources(wildcards):
    return row(wildcards).resources


def evaluation_resources(wildcards):
    return row(wildcards).resources.of_evaluation


def resource(name, asked=row_resources):
    """A resource of those that `asked` returns, as a function for `resources:` and `threads:`."""
    return lambda wildcards: getattr(asked(wildcards), name)


def on(several, value, asked):
    """`value` of the resources where the job is on several nodes, or on one; else nothing."""

    def of_row(wildcards):
        resources = asked(wildcards)
        return value(resources) if (resources.nodes > 1) == several else None

    return of_row


def job(asked):
    """What training and evaluation ask for. A job on one node has its GPUs as `gpu`; on several, each
    node brings `gres`, and one task a node starts the ranks there, with srun, inside the rule's own
    command (Snakemake's `mpi`). Unless `tasks_per_gpu` is 0 the plugin asks for tasks per GPU beside
    the GPUs, `tasks` of them or, up to version 2.6, one, and newer Slurm refuses that. `ranks`,
    `devices` and `hosts` are for the command only: as resources, unlike parameters, they may be
    changed without making a result again.
    """
    return dict(
        gpu=on(False, lambda r: r.gpus, asked),
        gres=on(True, lambda r: f"gpu:{r.gpus // r.nodes}" if r.gpus else None, asked),
        nodes=on(True, lambda r: r.nodes, asked),
        tasks=on(True, lambda r: r.nodes, asked),
        tasks_per_gpu=0,
        mpi=on(True, lambda r: "srun", asked),
        mem_mb=resource("mem_mb", asked),
        runtime=resource("minutes_to_evaluate", asked),
        ranks=resource("ranks", asked),
        devices=resource("gpus", asked),
        hosts=resource("nodes", asked),
    )


JOB = job(row_resources)


# What one process of a few seconds asks for: one of the row's GPUs at most.
ONE_PROCESS = dict(
    gpu=lambda wildcards: min(1, row(wildcards).resources.gpus),
    tasks_per_gpu=JOB["tasks_per_gpu"],
    mem_mb=resource("mem_mb"),
    # At most half an hour, so that Slurm finds it a gap between longer jobs.
    runtime=lambda wildcards: min(30, row_resources(wildcards).minutes_to_evaluate),
    devices=lambda wildcards: min(1, row(wildcards).resources.gpus),
)


def weights_to_start_from(wildcards):
    """The weights of another row that a training starts from; none for most."""
    name = f"{wildcards.benchmark}/{wildcards.variant}"
    return study.weights_to_start_from(name, wildcards.seed) or []


def settings_of(wildcards):
    """The row's training settings as a JSON object."""
    start = weights_to_start_from(wildcards)
    own = {"load_checkpoint": start} if start else {}
    return json.dumps(row(wildcards).overrides | own, ensure_ascii=False)


def weights_source(wildcards):
    """Where the weights of a row that is not trained are from, as a JSON object."""
    source = study.weights_of(f"{wildcards.benchmark}/{wildcards.variant}")
    return source.model_dump_json(exclude_none=True)


def made_with(wildcards):
    """The row's training settings and, where its weights are given, which."""
    name = f"{wildcards.benchmark}/{wildcards.variant}"
    given = "" if study.weights_of(name) is None else weights_source(wildcards)
    return settings_of(wildcards) + given


def search_of(wildcards):
    """The row's search at test time as a JSON object."""
    return study.search_of(wildcards.benchmark, wildcards.variant).model_dump_json()


def refuse_to_delete_other_files(jobs):
    """WorkflowError where a dataset that is about to be built again holds other files: before the
    rule's command runs, Snakemake deletes the whole folder, which is the rule's output.
    """
    for job in jobs:
        if job.rule.name == "dataset":
            names = dataset_files(study.datasets[job.wildcards.dataset].extra_files)
            folder = Path(job.output[0])
            other = first_other_file(folder, names)
            if other is not None:
                raise WorkflowError(
                    f"{folder} is to be built again, but holds {other}, which does not belong to the "
                    "dataset. Move that file away; nothing was deleted."
                )


def train_again(workflow):
    """Let trainings train that are asked for again (`--force`, a changed row) though all their outputs
    exist. Where one is missing, or Snakemake did not see it made, a job failed after its training
    had ended; where the dataset was only built again, the training is that of the same data. Then the
    outputs are made from the run folder.
    """
    for job in workflow.dag.needrun_jobs():
        reason = workflow.dag.reason(job)
        asked = reason.forced or reason.is_provenance_triggered()
        if job.rule.name != "train" or not asked:
            continue
        whole = all(Path(file).exists() for file in job.output)
        if whole and not async_run(workflow.persistence.incomplete(job)):
            try:
                forget_end(Path(job.output.weights).parent)
            except TrmError as error:
                raise WorkflowError(str(error))


def raw_files(wildcards):
    """What the builder of a dataset reads."""
    return expand("raw/{file}", file=study.datasets[wildcards.dataset].raw_files)


def shards(wildcards):
    """Files of the shards of an evaluation that several jobs share out."""
    count = row(wildcards).resources.evaluate_shards
    numbers = range(1, count + 1) if count > 1 else []
    return [paths.shard(NAME.format(**wildcards), n, count) for n in numbers]


def shards_argument(input):
    return f"--shards {input.shards}" if input.shards else ""


def hidden_challenges(wildcards):
    """The challenges that a submission must answer, where their solutions are not known."""
    spec = study.datasets[row(wildcards).dataset]
    return expand("raw/{file}", file=spec.hidden_challenges)


def finished(names):
    """Folders of the existing results of BENCHMARK/VARIANT `names`."""
    return sorted(
        str(folder)
        for name in names
        for folder in Path(RESULTS, name).glob("seed-*")
        if seed_of(f"{name}/{folder.name}", name) is not None
        and (folder / ResultFile.METRICS).exists()
    )


def given_results(benchmark):
    """Folders of the existing results of a benchmark whose weights are given."""
    rows = [name for name in study.weights_names() if name.split("/")[0] == benchmark]
    return finished(rows)


def results_taken(rows):
    """Result folders of BENCHMARK/VARIANT `rows`: those that exist, or every seed."""
    if study.tables_take == "all":
        return [folder for row in rows for folder in study.results_of(*row.split("/"))]
    return finished(rows)


def inputs_taken(folders, *files):
    """Nothing where existing results are taken: a table must not train again what it finds."""
    if study.tables_take == "existing":
        return []
    return [f"{folder}/{file}" for folder in folders for file in files]


def table_results(table_name):
    return results_taken(study.tables[table_name].rows)


def table_inputs(wildcards):
    return inputs_taken(table_results(wildcards.table_name), ResultFile.METRICS)


def board_results():
    """Result folders of the board, which needs a training's history."""
    return results_taken(study.trained_names())


def board_inputs(wildcards):
    return inputs_taken(board_results(), *BOARD_FILES)


def report_inputs(wildcards):
    """All that the report shows of the default results."""
    return [
        f"{paths.result(result)}/{file}"
        for result in study.default
        for file in study.report_files(*result.split("/")[:2])
    ]


def report_results():
    """Result folders of the report: the default ones, and all others that exist."""
    default = [paths.result(result) for result in study.default]
    return sorted({*default, *finished(study.result_names())})


def found_for_report(wildcards):
    """Files that the report shows beyond its inputs: it must not train again what it finds."""
    files = (f"{folder}/{file}" for folder in report_results() for file in SHOWN_FILES)
    return sorted({*files} - {*report_inputs(wildcards)})


def category_of(wildcards):
    return study.benchmarks[wildcards.benchmark].title


def in_report(file):
    """A result's file as an output that `--report` takes up, under its benchmark's title."""
    name = Path(file).stem
    return report(
        f"{RESULT}/{file}",
        caption=f"../workflow/report/{name}.rst",
        category=category_of,
        labels={
            "variant": "{variant}",
            "seed": "{seed}",
            "figure": name.replace("_", " "),
        },
    )


def files_of_result(*files):
    """Those of the files that results of this kind have, as an input function."""

    def of_result(wildcards):
        name = result_name(wildcards.benchmark, wildcards.variant, wildcards.seed)
        kinds = (None, row(wildcards).kind)
        return [f"{paths.result(name)}/{file}" for file in files if file.kind in kinds]

    return of_result


def in_tables(path, what):
    """The same, of one of the paper's tables."""
    return report(
        path,
        caption="../workflow/report/table.rst",
        category="Tables of the paper",
        labels={"table": "{table_name}", "figure": what},
    )


def on_board(path, what):
    """The same, of the board."""
    return report(
        path,
        caption="../workflow/report/board.rst",
        category="Time to quality",
        labels={"figure": what},
    )


def refuse_word(wildcards):
    """Raise, with the nearest rule, for a word that is neither a rule nor a file."""
    if Path(wildcards.word).exists():
        return []
    rules = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    raise WorkflowError(explain_word(wildcards.word, rules))


def refuse_target(wildcards):
    """Raise, with what there is, for a target that no other rule makes."""
    raise WorkflowError(
        explain_target(study, f"{wildcards.folder}/{wildcards.unknown}")
    )
