# From metrics to pictures, tables and the page. Nothing here trains again.


rule figures:
    input:
        data=dataset_of,
        metrics=f"{RESULT}/{ResultFile.METRICS}",
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
        history=f"{RESULT}/{ResultFile.HISTORY}",
    output:
        curve=in_report(
            f"{RESULT}/{ResultFile.LEARNING_CURVE}", "learning_curve", "learning curve"
        ),
        examples=in_report(f"{RESULT}/{ResultFile.EXAMPLES}", "examples", "examples"),
        halting=in_report(f"{RESULT}/{ResultFile.HALTING}", "halting", "halting"),
        gallery=f"{RESULT}/{ResultFile.GALLERY}",
    log:
        paths.log("figures", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.trained_names()),
    conda:
        ENV
    params:
        kind=lambda wildcards: row(wildcards).kind,
        result=subpath(input.metrics, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/figures.py" --result {params.result} --dataset {input.data} '
        "--kind {params.kind} --out-curve {output.curve} --out-examples {output.examples} "
        "--out-halting {output.halting} --out-gallery {output.gallery} 2> >(tee {log} >&2)"


# Given weights have no history, and so no learning curve.
rule figures_of_weights:
    input:
        data=dataset_of,
        metrics=f"{RESULT}/{ResultFile.METRICS}",
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
    output:
        examples=in_report(f"{RESULT}/{ResultFile.EXAMPLES}", "examples", "examples"),
        halting=in_report(f"{RESULT}/{ResultFile.HALTING}", "halting", "halting"),
        gallery=f"{RESULT}/{ResultFile.GALLERY}",
    log:
        paths.log("figures", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.weights_names()),
    conda:
        ENV
    params:
        kind=lambda wildcards: row(wildcards).kind,
        result=subpath(input.metrics, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/figures.py" --result {params.result} --dataset {input.data} '
        "--kind {params.kind} --out-examples {output.examples} --out-halting {output.halting} "
        "--out-gallery {output.gallery} 2> >(tee {log} >&2)"


rule votes:
    input:
        data=dataset_of,
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
    output:
        csv=f"{RESULT}/{ResultFile.VOTES}",
        figure=in_report(f"{RESULT}/{ResultFile.VOTES_FIGURE}", "votes", "votes"),
    log:
        paths.log("votes", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.names_of_kind("arc")),
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/votes.py" --dataset {input.data} '
        "--predictions {input.predictions} --out-csv {output.csv} --out-figure {output.figure} "
        "2> >(tee {log} >&2)"


rule steps_figure:
    input:
        f"{RESULT}/{ResultFile.STEPS}",
    output:
        in_report(f"{RESULT}/{ResultFile.STEPS_FIGURE}", "steps", "supervision steps"),
    log:
        paths.log("steps_figure", NAME),
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/steps_figure.py" --steps {input} --out {output} '
        "2> >(tee {log} >&2)"


rule thinking_figure:
    input:
        f"{RESULT}/{ResultFile.THINKING}",
    output:
        in_report(f"{RESULT}/{ResultFile.THINKING_FIGURE}", "thinking", "thinking"),
    log:
        paths.log("thinking_figure", NAME),
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/thinking_figure.py" --thinking {input} --out {output} '
        "2> >(tee {log} >&2)"


# The table of experiments as it was used, with --configfile and --config merged in.
rule study:
    output:
        paths.study,
    log:
        f"{LOGS}/study.log",
    conda:
        ENV
    params:
        table=json.dumps(config, indent=1),
    shell:
        "echo {params.table:q} > {output} 2> {log}"


# Every seed that is trained here and, of given weights, the results that exist.
rule summary:
    input:
        study=paths.study,
        metrics=lambda wildcards: expand(
            f"{{result}}/{ResultFile.METRICS}",
            result=study.trained_results_of(wildcards.benchmark),
        ),
    output:
        report(
            paths.summary("{benchmark}"),
            caption="../workflow/report/summary.rst",
            category=category_of,
            labels={"variant": "all", "seed": "all", "figure": "summary"},
        ),
    log:
        f"{LOGS}/summary/{{benchmark}}.log",
    conda:
        ENV
    params:
        results=lambda wildcards: study.trained_results_of(wildcards.benchmark)
        + given_results(wildcards.benchmark),
        seen=lambda wildcards: what_was_seen(
            f"{folder}/{ResultFile.METRICS}"
            for folder in given_results(wildcards.benchmark)
        ),
    shell:
        '"$PYTHON" "$SCRIPTS/summary.py" --config {input.study} '
        "--benchmark {wildcards.benchmark} --results {params.results} --out {output} "
        "2> >(tee {log} >&2)"


# A table of the paper, from the existing results. They are not input, unless `tables_take: all`
# asks for them: a machine that has only the results, without data and checkpoints, must not train
# them again for a table. What was seen of them is a parameter, so that a new result makes the table
# again.
rule table:
    input:
        table_inputs,
        study=paths.study,
    output:
        csv=in_tables(paths.table("{table_name}", "csv"), "values"),
        markdown=paths.table("{table_name}", "md"),
        figure=in_tables(paths.table("{table_name}", "svg"), "drawn"),
    log:
        f"{LOGS}/table/{{table_name}}.log",
    conda:
        ENV
    params:
        results=lambda wildcards: table_results(wildcards.table_name),
        seen=lambda wildcards: what_was_seen(
            f"{folder}/{ResultFile.METRICS}"
            for folder in table_results(wildcards.table_name)
        ),
    shell:
        '"$PYTHON" "$SCRIPTS/table.py" --config {input.study} --table {wildcards.table_name} '
        "--results {params.results} --out-csv {output.csv} --out-md {output.markdown} "
        "--out-figure {output.figure} 2> >(tee {log} >&2)"


rule tables:
    input:
        expand(
            paths.table("{table_name}", "{ending}"),
            table_name=study.tables,
            ending=TABLE_ENDINGS,
        ),


# The default results are made for the report; it also shows every other result that
# exists when Snakemake starts, which is not input, for the same reason as of a table.
rule report:
    input:
        study=paths.study,
        results=report_inputs,
    output:
        report(
            paths.report,
            caption="../workflow/report/report.rst",
            category="Report of all results",
            labels={"variant": "all", "seed": "all", "figure": "report"},
        ),
    log:
        f"{LOGS}/report.log",
    conda:
        ENV
    params:
        results=lambda wildcards: report_results(),
        seen=lambda wildcards: what_was_seen(found_for_report(wildcards)),
    shell:
        '"$PYTHON" "$SCRIPTS/report.py" --config {input.study} --results {params.results} '
        "--out {output} 2> >(tee {log} >&2)"
