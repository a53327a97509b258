# From raw puzzles to report: every result is a file, and its path says how to make it.
#   snakemake --cores 2                                                   the two small benchmarks
#   snakemake --cores 8 results/sudoku-extreme/mlp/seed-0/metrics.json    one result
#   snakemake --profile slurm results/arc-agi-1/summary.csv               on a cluster
#   snakemake --cores 2 tables                                            the paper's tables, from existing results
from pathlib import Path

from snakemake.utils import min_version

min_version("9.8")


# The folder of this file, from which table and scripts are found, whatever folder Snakemake works in.
ROOT = Path(str(workflow.current_basedir))


configfile: f"{ROOT}/config/config.yaml"


# Snakemake's own report (--report FILE.html or .zip): captions are stored beside this description.
report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/scheduling.smk"
include: "rules/slurm.smk"
include: "rules/download.smk"
include: "rules/dataset.smk"
include: "rules/train.smk"
include: "rules/weights.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/status.smk"
include: "rules/unknown.smk"


onstart:
    refuse_to_delete_other_files(workflow.dag.needrun_jobs())
    train_again(workflow)
    look_for_jobs_only_when_one_ends(workflow)


# On a cluster these run where snakemake does: they want a network, or take seconds.
localrules:
    download_arc,
    download_arc_test,
    download_table,
    download_weights,
    figures,
    figures_of_weights,
    votes,
    thinking_figure,
    study,
    summary,
    table,
    tables,
    board,
    report,
    status,
    list,
    published_weights,
    complete,
    all,


# Everything that the table of experiments asks for: every variant and seed, every question. Results with
# given weights are left out (`published_weights`).
rule complete:
    input:
        all_files(study),
        expand(paths.summary("{benchmark}"), benchmark=study.benchmarks),
        rules.tables.input,
        paths.board(),
        paths.report,


rule all:
    default_target: True
    input:
        paths.report,
