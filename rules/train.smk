# Training. Checkpoints, snapshots and run.json are not declared outputs: Snakemake deletes those of a
# failed job. An interrupted training resumes from its last snapshot; one that has ended, whose job
# failed afterwards, is not trained again (`train_again`).


rule train:
    input:
        data=dataset_of,
        start=weights_to_start_from,
    output:
        weights=f"{RUN}/{RunFile.FINAL}",
        provenance=f"{RUN}/{RunFile.PROVENANCE}",
        history=f"{RESULT}/{ResultFile.HISTORY}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    log:
        paths.log("train", NAME),
    benchmark:
        f"{LOGS}/train/{NAME}.benchmark.tsv"
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.trained_names()),
    conda:
        ENV
    threads: resource("threads")
    resources:
        **{**JOB, "runtime": resource("runtime")},
    params:
        settings=settings_of,
        run=subpath(output.weights, parent=True),
    # Signals are for the trainer, which saves: it takes the shell's place, and tee outlives it.
    shell:
        'exec "$PYTHON" "$SCRIPTS/train.py" --dataset {input.data} --run-folder {params.run} '
        "--project {wildcards.benchmark} --run-name {wildcards.variant}-seed-{wildcards.seed} "
        "--seed {wildcards.seed} --ranks {resources.ranks} --gpus {resources.devices} "
        "--nodes {resources.hosts} --threads {threads} "
        "--out-weights {output.weights} --out-history {output.history} "
        "--out-config {output.config} --settings {params.settings:q} "
        "2> >(trap '' INT TERM USR1; exec tee -a {log} >&2)"
