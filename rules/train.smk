# Training. The run folder with its checkpoints is no declared output: Snakemake deletes those of a
# failed job, and a run must find its checkpoints again.


rule train:
    input:
        dataset_of,
    output:
        weights=f"{RUN}/final",
        history=f"{RESULT}/history.csv",
        config=f"{RESULT}/config.yaml",
    params:
        overrides=overrides_of,
        run=RUN,
        ranks=lambda wildcards: row(wildcards).resources.ranks,
    threads: resource("threads")
    resources:
        gpu=resource("gpus"),
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    log:
        "logs/train/{benchmark}/{variant}/seed-{seed}.log",
    benchmark:
        "logs/train/{benchmark}/{variant}/seed-{seed}.benchmark.tsv"
    conda:
        ENV
    shell:
        "python workflow/scripts/train.py --dataset {input} --run-folder {params.run} "
        "--project {wildcards.benchmark} --run-name {wildcards.variant}-seed-{wildcards.seed} "
        "--seed {wildcards.seed} --ranks {params.ranks} --threads {threads} "
        "--out-weights {output.weights} --out-history {output.history} "
        "--out-config {output.config} -- {params.overrides} 2> >(tee {log} >&2)"
