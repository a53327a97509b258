# How far the study is and what can be asked for. Both always run and make no file: they hand over to
# a command, whose words come straight to the terminal. While Snakemake works, ask it alone:
#   trm status


rule status:
    handover: True
    params:
        table=json.dumps(config),
    shell:
        '"$SNAKEMAKE_PYTHON" -m trm status --config - <<< {params.table:q}'


rule list:
    handover: True
    params:
        table=json.dumps(config),
    shell:
        '"$SNAKEMAKE_PYTHON" -m trm list --config - <<< {params.table:q}'
