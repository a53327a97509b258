# Wildcards, and the functions that read the table of experiments for the rules.
import json
import shlex

from trm.errors import TrmError
from trm.study import Study

# A mistake in the table is told before any job starts.
try:
    study = Study.of(config)
except TrmError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    benchmark=study.benchmark_pattern(),
    variant="|".join(study.variants()),
    dataset="|".join(study.datasets),
    table="|".join(study.raw.tables),
    subset="[a-z]+2?",
    seed="[0-9]+",


ENV = f"../envs/{study.env}.yaml"
RESULT = "results/{benchmark}/{variant}/seed-{seed}"
RUN = "checkpoints/{benchmark}/{variant}/seed-{seed}"


def row(wildcards):
    return study.row(wildcards.benchmark, wildcards.variant)


def dataset_of(wildcards):
    return f"data/{row(wildcards).dataset}"


def resource(name):
    """A resource of the benchmark's row, as a function for `resources:` and `threads:`."""
    return lambda wildcards: getattr(row(wildcards).resources, name)


def overrides_of(wildcards):
    """Training options as the words that pretrain.py takes."""
    words = (
        f"{key}={json.dumps(value)}" for key, value in row(wildcards).overrides.items()
    )
    return " ".join(map(shlex.quote, words))


def raw_files(wildcards):
    """What the builder of a dataset reads."""
    spec = study.datasets[wildcards.dataset]
    if spec.builder == "arc":
        return expand(
            "raw/arc/arc-agi_{subset}_{part}.json",
            subset=spec.subsets,
            part=["challenges", "solutions"],
        )
    return expand("raw/{table}/{part}.csv", table=spec.table, part=["train", "test"])


def refuse_target(wildcards):
    """Raise, with what there is, for a target that no other rule makes."""
    raise WorkflowError(study.explain_target(f"{wildcards.folder}/{wildcards.unknown}"))
