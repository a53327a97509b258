# A mistyped target matches only this rule, which says what there is instead of making anything;
# Snakemake alone would say that no rule makes it, and stop there.


rule unknown_target:
    output:
        "{folder}/{unknown}",
    wildcard_constraints:
        folder="results|data",
        unknown=study.unknown_target_pattern(),
    input:
        refuse_target,
    log:
        "logs/unknown_target/{folder}/{unknown}.log",
    conda:
        "../envs/report.yaml"
    shell:
        "exit 2"
