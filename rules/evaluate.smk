# Evaluation of the trained weights on the whole test split. `trained_with` is in no command: when
# a retraining fails, Snakemake removes its outputs and forgets why it ran, and would take the older
# evaluation, whose own parameters are the same, for up to date.


rule evaluate:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        provenance=f"{RUN}/{RunFile.PROVENANCE}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
        shards=shards,
    output:
        metrics=in_report(ResultFile.METRICS),
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
        provenance=f"{RESULT}/{ResultFile.PROVENANCE}",
    log:
        paths.log("evaluate", NAME),
    benchmark:
        f"{LOGS}/evaluate/{NAME}.benchmark.tsv"
    conda:
        ENV
    threads: resource("threads")
    resources:
        **job(evaluation_resources),
    params:
        trained_with=made_with,
        kind=lambda wildcards: row(wildcards).kind,
        # Of this name, so that no older result is evaluated again.
        submission=lambda wildcards, input: shards_argument(input),
    shell:
        '"$PYTHON" "$SCRIPTS/evaluate.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --train-provenance {input.provenance} "
        "--ranks {resources.ranks} --gpus {resources.devices} --nodes {resources.hosts} "
        "--threads {threads} --benchmark {wildcards.benchmark} --variant {wildcards.variant} "
        "--kind {params.kind} --out-metrics {output.metrics} --out-predictions {output.predictions} "
        "--out-provenance {output.provenance} {params.submission} 2> >(tee {log} >&2)"


# ARC's evaluation has two more files: the answers that the rows voted for, and the two attempts per test
# input. Without known solutions these are Kaggle's submission, and must answer every task of the challenges.
use rule evaluate as evaluate_arc with:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        provenance=f"{RUN}/{RunFile.PROVENANCE}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
        shards=shards,
        challenges=hidden_challenges,
    output:
        metrics=in_report(ResultFile.METRICS),
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
        provenance=f"{RESULT}/{ResultFile.PROVENANCE}",
        answers=f"{RESULT}/{ResultFile.ANSWERS}",
        submission=f"{RESULT}/{ResultFile.SUBMISSION}",
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.names_of_kind("arc")),
    params:
        trained_with=made_with,
        kind=lambda wildcards: row(wildcards).kind,
        submission=lambda wildcards, input, output: " ".join(
            [f"--out-answers {output.answers} --out-submission {output.submission}"]
            + [f"--challenges {file}" for file in input.challenges]
            + ([shards_argument(input)] if input.shards else [])
        ),


ruleorder: evaluate_arc > evaluate


# Part of an evaluation that several jobs share out (`evaluate_shards`). A job that is lost loses its
# own shard only. The whole evaluation is made of them, without a GPU, and removes them.
rule evaluate_shard:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    output:
        temp(paths.shard(NAME, "{shard}", "{shards}")),
    log:
        paths.log("evaluate_shard", f"{NAME}/{{shard}}-of-{{shards}}"),
    wildcard_constraints:
        shard="[1-9][0-9]*",
        shards="[1-9][0-9]*",
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=settings_of,
    shell:
        '"$PYTHON" "$SCRIPTS/evaluate_shard.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--shard {wildcards.shard}/{wildcards.shards} --out {output} 2> >(tee {log} >&2)"


# Two questions more, each an evaluation of its own.
rule steps:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    output:
        f"{RESULT}/{ResultFile.STEPS}",
    log:
        paths.log("steps", NAME),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=made_with,
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
        weights=f"{RUN}/{RunFile.FINAL}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
    output:
        f"{RESULT}/{ResultFile.THINKING}",
    log:
        paths.log("thinking", NAME),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **ONE_PROCESS,
    params:
        trained_with=made_with,
        kind=lambda wildcards: row(wildcards).kind,
    shell:
        '"$PYTHON" "$SCRIPTS/thinking.py" --dataset {input.data} --kind {params.kind} '
        "--weights {input.weights} --train-config {input.config} "
        "--predictions {input.predictions} --gpus {resources.devices} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"


rule task_ids:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    output:
        f"{RESULT}/{ResultFile.TASK_IDS}",
    log:
        paths.log("task_ids", NAME),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=made_with,
    shell:
        '"$PYTHON" "$SCRIPTS/task_ids.py" --dataset {input.data} --weights {input.weights} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"


# Several rollouts of a sample of the test puzzles (for ARC, tasks), whose size is in the name of the file.
rule search:
    input:
        data=dataset_of,
        weights=f"{RUN}/{RunFile.FINAL}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    output:
        f"{RESULT}/{SEARCH_OF}",
    log:
        paths.log("search", f"{NAME}-{{sample}}"),
    wildcard_constraints:
        sample=SAMPLE,
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=made_with,
        kind=lambda wildcards: row(wildcards).kind,
        search=search_of,
    shell:
        '"$PYTHON" "$SCRIPTS/search.py" --dataset {input.data} --kind {params.kind} '
        "--weights {input.weights} --train-config {input.config} --ranks {resources.ranks} "
        "--gpus {resources.devices} --nodes {resources.hosts} --threads {threads} "
        "--sample {wildcards.sample} --search {params.search:q} --out {output} 2> >(tee {log} >&2)"


rule pooled:
    input:
        data=dataset_of,
        provenance=f"{RUN}/{RunFile.PROVENANCE}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    output:
        f"{RESULT}/{ResultFile.POOLED}",
    log:
        paths.log("pooled", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(
            study, {*study.names_of_kind("arc")} & {*study.trained_names()}
        ),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **JOB,
    params:
        trained_with=made_with,
        run=subpath(input.provenance, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/pooled.py" --dataset {input.data} --run-folder {params.run} '
        "--train-config {input.config} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--out {output} 2> >(tee {log} >&2)"
