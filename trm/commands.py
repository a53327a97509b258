"""The commands of `trm`, and the modules whose `main(words)` runs them."""

COMMANDS = {
    "train": "trm.training.command",
    "evaluate": "trm.evaluate.command",
    "solve": "trm.solve.command",
    "export": "trm.export",
    "status": "trm.study.status",
    "list": "trm.study.listing",
    "plot": "trm.report.compare",
    "check-submission": "trm.scoring.check_submission",
    "schema": "trm.study.schema",
    "completion": "trm.completion",
}
