# From metrics to pictures, tables and the page. Nothing here trains again.


DRAWN = dict.fromkeys(
    [ResultFile.PREDICTIONS, ResultFile.ANSWERS]
    + [file for figure in FIGURES_OF_ALL for file in FIGURES[figure].drawn_from]
)


# The figures that every result has, and its gallery.
rule figures:
    input:
        files_of_result(*DRAWN),
        data=dataset_of,
        metrics=f"{RESULT}/{ResultFile.METRICS}",
    output:
        figures=[in_report(file) for file in FIGURES_OF_ALL],
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
        "--kind {params.kind} --out-figures {output.figures} --out-gallery {output.gallery} "
        "2> >(tee {log} >&2)"


# Given weights have no history, and so no learning curve.
use rule figures as figures_of_weights with:
    input:
        files_of_result(*(file for file in DRAWN if not file.of_training)),
        data=dataset_of,
        metrics=f"{RESULT}/{ResultFile.METRICS}",
    output:
        figures=[in_report(file) for file in FIGURES_OF_ALL if not file.of_training],
        gallery=f"{RESULT}/{ResultFile.GALLERY}",
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.weights_names()),


# Each other figure by a rule of its own, as what it is drawn from does not exist for every result:
# steps_figure, votes_figure.
for figure in FIGURES:
    if figure not in FIGURES_OF_ALL:

        rule:
            name:
                f"{Path(figure).stem}_figure"
            input:
                files_of_result(*FIGURES[figure].drawn_from),
                data=dataset_of if FIGURES[figure].of_dataset else [],
            output:
                in_report(figure),
            log:
                paths.log(f"{Path(figure).stem}_figure", NAME),
            wildcard_constraints:
                benchmark=benchmark_pattern(study, study.names_of_kind(figure.kind)),
            localrule: True
            conda:
                ENV
            params:
                result=subpath(output[0], ancestor=2),
                dataset=lambda wildcards, input: (
                    f"--dataset {input.data} --kind {row(wildcards).kind}"
                    if input.data
                    else ""
                ),
            shell:
                '"$PYTHON" "$SCRIPTS/figure.py" --result {params.result} {params.dataset} '
                "--out {output} 2> >(tee {log} >&2)"


rule votes:
    input:
        data=dataset_of,
        predictions=f"{RESULT}/{ResultFile.PREDICTIONS}",
        answers=f"{RESULT}/{ResultFile.ANSWERS}",
    output:
        f"{RESULT}/{ResultFile.VOTES}",
    log:
        paths.log("votes", NAME),
    wildcard_constraints:
        benchmark=benchmark_pattern(study, study.names_of_kind("arc")),
    conda:
        ENV
    shell:
        '"$PYTHON" "$SCRIPTS/votes.py" --dataset {input.data} '
        "--predictions {input.predictions} --answers {input.answers} --out {output} "
        "2> >(tee {log} >&2)"


rule thinking_figure:
    input:
        f"{RESULT}/{ResultFile.THINKING}",
    output:
        in_report(ResultFile.THINKING_FIGURE),
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


# When each training reached which quality, from the existing results, as a table.
rule board:
    input:
        board_inputs,
        study=paths.study,
    output:
        csv=on_board(paths.board("csv"), "values"),
        figure=on_board(paths.board("svg"), "drawn"),
    log:
        f"{LOGS}/board.log",
    conda:
        ENV
    params:
        results=lambda wildcards: board_results(),
        seen=lambda wildcards: what_was_seen(
            f"{folder}/{file}" for folder in board_results() for file in BOARD_FILES
        ),
    shell:
        '"$PYTHON" "$SCRIPTS/board.py" --config {input.study} --results {params.results} '
        "--out-csv {output.csv} --out-figure {output.figure} 2> >(tee {log} >&2)"


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
