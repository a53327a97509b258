# From metrics to pictures, tables and the page. Nothing here trains again.


rule figures:
    input:
        data=dataset_of,
        metrics=f"{RESULT}/metrics.json",
        predictions=f"{RESULT}/predictions.npz",
        history=f"{RESULT}/history.csv",
    output:
        curve=in_report(
            f"{RESULT}/figures/learning_curve.svg", "learning_curve", "learning curve"
        ),
        examples=in_report(f"{RESULT}/figures/examples.svg", "examples", "examples"),
        halting=in_report(f"{RESULT}/figures/halting.svg", "halting", "halting"),
        gallery=f"{RESULT}/gallery.json",
    log:
        f"{LOGS}/figures/{RUN_LOG}.log",
    conda:
        ENV
    params:
        kind=lambda wildcards: row(wildcards).kind,
        result=subpath(input.metrics, parent=True),
    shell:
        '"$PYTHON" "$SCRIPTS/figures.py" --result {params.result} --dataset {input.data} '
        "--kind {params.kind} --out-curve {output.curve} --out-examples {output.examples} "
        "--out-halting {output.halting} --out-gallery {output.gallery} 2> >(tee {log} >&2)"


rule votes:
    input:
        data=dataset_of,
        predictions=f"{RESULT}/predictions.npz",
    output:
        csv=f"{RESULT}/votes.csv",
        figure=in_report(f"{RESULT}/figures/votes.svg", "votes", "votes"),
    log:
        f"{LOGS}/votes/{RUN_LOG}.log",
    wildcard_constraints:
        benchmark=study.benchmark_pattern("arc"),
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/votes.py" --dataset {input.data} '
        "--predictions {input.predictions} --out-csv {output.csv} --out-figure {output.figure} "
        "2> >(tee {log} >&2)"


rule steps_figure:
    input:
        f"{RESULT}/steps.csv",
    output:
        in_report(f"{RESULT}/figures/steps.svg", "steps", "supervision steps"),
    log:
        f"{LOGS}/steps_figure/{RUN_LOG}.log",
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/steps_figure.py" --steps {input} --out {output} '
        "2> >(tee {log} >&2)"


rule thinking_figure:
    input:
        f"{RESULT}/thinking.json",
    output:
        in_report(f"{RESULT}/figures/thinking.gif", "thinking", "thinking"),
    log:
        f"{LOGS}/thinking_figure/{RUN_LOG}.log",
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/thinking_figure.py" --thinking {input} --out {output} '
        "2> >(tee {log} >&2)"


# The table of experiments as it was used, with --configfile and --config merged in.
rule study:
    output:
        f"{RESULTS}/study.json",
    log:
        f"{LOGS}/study.log",
    conda:
        ENV
    params:
        table=json.dumps(config, indent=1),
    shell:
        "echo {params.table:q} > {output} 2> {log}"


rule summary:
    input:
        study=f"{RESULTS}/study.json",
        metrics=lambda wildcards: expand(
            "{result}/metrics.json", result=study.results_of(wildcards.benchmark)
        ),
    output:
        report(
            f"{RESULTS}/{{benchmark}}/summary.csv",
            caption="../workflow/report/summary.rst",
            category=category_of,
            labels={"variant": "all", "seed": "all", "figure": "summary"},
        ),
    log:
        f"{LOGS}/summary/{{benchmark}}.log",
    conda:
        ENV
    params:
        results=lambda wildcards: study.results_of(wildcards.benchmark),
    shell:
        '"$PYTHON" "$SCRIPTS/summary.py" --config {input.study} '
        "--benchmark {wildcards.benchmark} --results {params.results} --out {output} "
        "2> >(tee {log} >&2)"


# A table of the paper, from the results that are there. They are no input, unless `tables_take: all`
# asks for them: a machine that has only the results, without data and checkpoints, must not train
# them again for a table. What was seen of them is a parameter, so that a new result makes the table
# anew.
rule table:
    input:
        table_inputs,
        study=f"{RESULTS}/study.json",
    output:
        csv=in_tables(f"{RESULTS}/tables/{{table_name}}.csv", "values"),
        markdown=f"{RESULTS}/tables/{{table_name}}.md",
        figure=in_tables(f"{RESULTS}/tables/{{table_name}}.svg", "drawn"),
    log:
        f"{LOGS}/table/{{table_name}}.log",
    conda:
        ENV
    params:
        results=lambda wildcards: table_results(wildcards.table_name),
        seen=lambda wildcards: what_was_seen(
            f"{folder}/metrics.json" for folder in table_results(wildcards.table_name)
        ),
    shell:
        '"$PYTHON" "$SCRIPTS/table.py" --config {input.study} --table {wildcards.table_name} '
        "--results {params.results} --out-csv {output.csv} --out-md {output.markdown} "
        "--out-figure {output.figure} 2> >(tee {log} >&2)"


rule tables:
    input:
        expand(
            f"{RESULTS}/tables/{{table_name}}.{{ending}}",
            table_name=study.tables,
            ending=["csv", "md", "svg"],
        ),


# The default results are made for the report; whatever else is there when Snakemake starts stands in
# it as it is, and is no input, for the reason that it is none of a table.
rule report:
    input:
        study=f"{RESULTS}/study.json",
        results=report_inputs,
    output:
        report(
            f"{RESULTS}/report.html",
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
