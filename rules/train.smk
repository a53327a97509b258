# Training. The checkpoints step_N are no declared outputs: Snakemake deletes those of a failed job.


rule train:
    input:
        dataset_of,
    output:
        weights=f"{RUN}/final",
        provenance=f"{RUN}/provenance.json",
        history=f"{RESULT}/history.csv",
        config=f"{RESULT}/config.yaml",
    log:
        f"{LOGS}/train/{RUN_LOG}.log",
    benchmark:
        f"{LOGS}/train/{RUN_LOG}.benchmark.tsv"
    conda:
        ENV
    threads: resource("threads")
    resources:
        gpu=resource("gpus"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        overrides=overrides_of,
        run=subpath(output.weights, parent=True),
        ranks=lambda wildcards: row(wildcards).resources.ranks,
    shell:
        "python workflow/scripts/train.py --dataset {input} --run-folder {params.run} "
        "--project {wildcards.benchmark} --run-name {wildcards.variant}-seed-{wildcards.seed} "
        "--seed {wildcards.seed} --ranks {params.ranks} --threads {threads} "
        "--out-weights {output.weights} --out-history {output.history} "
        "--out-config {output.config} -- {params.overrides} 2> >(tee {log} >&2)"
