# A mistyped target matches only this rule, which says what there is instead of making anything;
# Snakemake alone would say that no rule makes it, and stop there.


rule unknown_target:
    input:
        refuse_target,
    output:
        "{folder}/{unknown}",
    log:
        f"{LOGS}/unknown_target/{{folder}}/{{unknown}}.log",
    wildcard_constraints:
        folder=f"{RESULTS}|{DATA}",
        unknown=unknown_target_pattern(study),
    conda:
        ENV
    shell:
        "exit 2"
