# Evaluation of the trained weights on the whole test split. `trained_with` stands in no command: when
# a retraining fails, Snakemake removes its outputs and forgets why it ran, and would take the older
# evaluation, whose own parameters are the same, for up to date.


rule evaluate:
    input:
        data=dataset_of,
        weights=f"{RUN}/final",
        provenance=f"{RUN}/provenance.json",
        config=f"{RESULT}/config.yaml",
    output:
        metrics=in_report(f"{RESULT}/metrics.json", "metrics", "metrics"),
        predictions=f"{RESULT}/predictions.npz",
        provenance=f"{RESULT}/provenance.json",
    log:
        f"{LOGS}/evaluate/{RUN_LOG}.log",
    benchmark:
        f"{LOGS}/evaluate/{RUN_LOG}.benchmark.tsv"
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=settings_of,
        kind=lambda wildcards: row(wildcards).kind,
        submission="",
    shell:
        '"$PYTHON" "$SCRIPTS/evaluate.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --train-provenance {input.provenance} "
        "--ranks {resources.ranks} --gpus {resources.devices} --nodes {resources.hosts} "
        "--threads {threads} --benchmark {wildcards.benchmark} --variant {wildcards.variant} "
        "--kind {params.kind} --out-metrics {output.metrics} --out-predictions {output.predictions} "
        "--out-provenance {output.provenance} {params.submission} 2> >(tee {log} >&2)"


# ARC's evaluation has one more file, the two attempts per test input; without known solutions it
# is Kaggle's submission, and must answer every task of the challenges.
use rule evaluate as evaluate_arc with:
    input:
        data=dataset_of,
        weights=f"{RUN}/final",
        provenance=f"{RUN}/provenance.json",
        config=f"{RESULT}/config.yaml",
        challenges=hidden_challenges,
    output:
        metrics=in_report(f"{RESULT}/metrics.json", "metrics", "metrics"),
        predictions=f"{RESULT}/predictions.npz",
        provenance=f"{RESULT}/provenance.json",
        submission=f"{RESULT}/submission.json",
    wildcard_constraints:
        benchmark=study.benchmark_pattern("arc"),
    params:
        trained_with=settings_of,
        kind=lambda wildcards: row(wildcards).kind,
        submission=lambda wildcards, input, output: " ".join(
            [f"--out-submission {output.submission}"]
            + [f"--challenges {file}" for file in input.challenges]
        ),


ruleorder: evaluate_arc > evaluate


# Two questions more, each an evaluation of its own.
rule steps:
    input:
        data=dataset_of,
        weights=f"{RUN}/final",
        config=f"{RESULT}/config.yaml",
    output:
        f"{RESULT}/steps.csv",
    log:
        f"{LOGS}/steps/{RUN_LOG}.log",
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=settings_of,
        steps=lambda wildcards: study.steps_of(wildcards.benchmark),
    shell:
        '"$PYTHON" "$SCRIPTS/steps.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--steps {params.steps} --out-steps {output} 2> >(tee {log} >&2)"


# A few puzzles answered step by step, to be looked at.
rule thinking:
    input:
        data=dataset_of,
        weights=f"{RUN}/final",
        config=f"{RESULT}/config.yaml",
        predictions=f"{RESULT}/predictions.npz",
    output:
        f"{RESULT}/thinking.json",
    log:
        f"{LOGS}/thinking/{RUN_LOG}.log",
    conda:
        ENV
    threads: resource("threads")
    resources:
        **ONE_PROCESS,
    params:
        trained_with=settings_of,
        kind=lambda wildcards: row(wildcards).kind,
    shell:
        '"$PYTHON" "$SCRIPTS/thinking.py" --dataset {input.data} --kind {params.kind} '
        "--weights {input.weights} --train-config {input.config} "
        "--predictions {input.predictions} --gpus {resources.devices} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"


rule task_ids:
    input:
        data=dataset_of,
        weights=f"{RUN}/final",
        config=f"{RESULT}/config.yaml",
    output:
        f"{RESULT}/task-ids.csv",
    log:
        f"{LOGS}/task_ids/{RUN_LOG}.log",
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=settings_of,
    shell:
        '"$PYTHON" "$SCRIPTS/task_ids.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"


rule pooled:
    input:
        data=dataset_of,
        provenance=f"{RUN}/provenance.json",
        config=f"{RESULT}/config.yaml",
    output:
        f"{RESULT}/pooled.csv",
    log:
        f"{LOGS}/pooled/{RUN_LOG}.log",
    wildcard_constraints:
        benchmark=study.benchmark_pattern("arc"),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=settings_of,
        run=subpath(input.provenance, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/pooled.py" --dataset {input.data} --run-folder {params.run} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"
