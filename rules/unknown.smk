# A mistyped target matches only one of these rules, which say what there is instead of making anything;
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


rule unknown_word:
    input:
        refuse_word,
    output:
        "{word}",
    log:
        f"{LOGS}/unknown_word/{{word}}.log",
    wildcard_constraints:
        word="[^/]+",
    conda:
        ENV
    shell:
        "exit 2"
