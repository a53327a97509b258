# Datasets, from raw files.


rule dataset:
    input:
        raw_files,
    output:
        directory(paths.dataset("{dataset}")),
    log:
        paths.log("dataset", "{dataset}"),
    benchmark:
        f"{LOGS}/dataset/{{dataset}}.benchmark.tsv"
    conda:
        ENV
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec=lambda wildcards: study.datasets[wildcards.dataset].model_dump_json(
            exclude_none=True
        ),
        sha256=lambda wildcards: json.dumps(study.sha256_of(wildcards.dataset)),
    shell:
        '"$PYTHON" "$SCRIPTS/dataset.py" --spec {params.spec:q} --sha256 {params.sha256:q} '
        "--raw-dir raw "
        "--out {output} 2> >(tee {log} >&2)"
