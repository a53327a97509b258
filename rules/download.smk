# Raw files. Each is verified before it gets its name, so that no bad file becomes a target. They are
# marked `update`, so that Snakemake does not delete existing files before the rule runs: they may
# be yours. The scripts keep what is right, and overwrite nothing that they did not write.


rule download_arc:
    output:
        challenges=update("raw/arc/arc-agi_{subset}_challenges.json"),
        solutions=update("raw/arc/arc-agi_{subset}_solutions.json"),
    log:
        "logs/download_arc/{subset}.log",
    conda:
        ENV
    params:
        sources=json.dumps([s.model_dump(exclude_none=True) for s in study.raw.arc]),
    shell:
        '"$PYTHON" "$SCRIPTS/download_arc.py" --subset {wildcards.subset} '
        "--sources {params.sources:q} --out-dir $(dirname {output.challenges}) 2> >(tee {log} >&2)"


# A competition's hidden test set has no solutions.
use rule download_arc as download_arc_test with:
    output:
        challenges=update("raw/arc/arc-agi_{subset}_challenges.json"),
    wildcard_constraints:
        subset="|".join(HIDDEN_SUBSETS),


ruleorder: download_arc_test > download_arc


rule download_table:
    output:
        train=update("raw/{table}/train.csv"),
        test=update("raw/{table}/test.csv"),
    log:
        "logs/download_table/{table}.log",
    conda:
        ENV
    params:
        source=lambda wildcards: study.raw.tables[wildcards.table].model_dump_json(
            exclude_none=True
        ),
    shell:
        '"$PYTHON" "$SCRIPTS/download_table.py" --source {params.source:q} '
        "--out-dir $(dirname {output.train}) 2> >(tee {log} >&2)"
