# From metrics to pictures, tables and the page. Nothing here trains again.


rule figures:
    input:
        data=dataset_of,
        metrics=f"{RESULT}/metrics.json",
        predictions=f"{RESULT}/predictions.npz",
        history=f"{RESULT}/history.csv",
    output:
        curve=f"{RESULT}/figures/learning_curve.svg",
        examples=f"{RESULT}/figures/examples.svg",
    log:
        "logs/figures/{benchmark}/{variant}/seed-{seed}.log",
    conda:
        "../envs/report.yaml"
    params:
        kind=lambda wildcards: row(wildcards).kind,
        result=subpath(input.metrics, parent=True),
    shell:
        "python workflow/scripts/figures.py --result {params.result} --dataset {input.data} "
        "--kind {params.kind} --out-curve {output.curve} --out-examples {output.examples} "
        "2> >(tee {log} >&2)"


# The table of experiments as it was used, with --configfile and --config merged in.
rule study:
    output:
        "results/study.json",
    log:
        "logs/study.log",
    conda:
        "../envs/report.yaml"
    params:
        table=json.dumps(config, indent=1),
    shell:
        "echo {params.table:q} > {output} 2> {log}"


rule summary:
    input:
        study="results/study.json",
        metrics=lambda wildcards: expand(
            "{result}/metrics.json", result=study.results_of(wildcards.benchmark)
        ),
    output:
        "results/{benchmark}/summary.csv",
    log:
        "logs/summary/{benchmark}.log",
    conda:
        "../envs/report.yaml"
    params:
        results=lambda wildcards: study.results_of(wildcards.benchmark),
    shell:
        "python workflow/scripts/summary.py --config {input.study} "
        "--benchmark {wildcards.benchmark} --results {params.results} --out {output} "
        "2> >(tee {log} >&2)"


rule report:
    input:
        study="results/study.json",
        results=expand(
            "results/{result}/{file}",
            result=study.default,
            file=[
                "metrics.json",
                "history.csv",
                "config.yaml",
                "provenance.json",
                "figures/learning_curve.svg",
                "figures/examples.svg",
            ],
        ),
    output:
        "results/report.html",
    log:
        "logs/report.log",
    conda:
        "../envs/report.yaml"
    params:
        results=expand("results/{result}", result=study.default),
    shell:
        "python workflow/scripts/report.py --config {input.study} --results {params.results} "
        "--out {output} 2> >(tee {log} >&2)"
