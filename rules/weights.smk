# Given weights (`weights:` of a variant) in place of a training. A download keeps what has arrived when
# it is interrupted, beside its output, and resumes it.


rule download_weights:
    output:
        update(paths.weights("{benchmark}/{variant}")),
    log:
        paths.log("download_weights", "{benchmark}/{variant}"),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.weights_names()),
    conda:
        ENV
    params:
        source=weights_source,
    shell:
        '"$PYTHON" "$SCRIPTS/download_weights.py" --source {params.source:q} --out {output} '
        "2> >(tee {log} >&2)"


# What a training would have made. `final` is a link to the download.
rule weights:
    input:
        data=dataset_of,
        weights=paths.weights("{benchmark}/{variant}"),
    output:
        final=f"{RUN}/{RunFile.FINAL}",
        provenance=f"{RUN}/{RunFile.PROVENANCE}",
        config=f"{RESULT}/{ResultFile.CONFIG}",
    log:
        paths.log("weights", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.weights_names()),
    conda:
        ENV
    resources:
        mem_mb=resource("mem_mb"),
        runtime=60,
    params:
        settings=settings_of,
        source=weights_source,
        run=subpath(output.final, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/weights.py" --dataset {input.data} --weights {input.weights} '
        "--source {params.source:q} --run-folder {params.run} --project {wildcards.benchmark} "
        "--run-name {wildcards.variant}-seed-{wildcards.seed} --out-config {output.config} "
        "--settings {params.settings:q} 2> >(tee {log} >&2)"


# Gigabytes that only a target of this name, or of one of the results, asks for.
rule published_weights:
    input:
        published_weights_files(study),
