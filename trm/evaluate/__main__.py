"""`python -m trm.evaluate`, the published way to evaluate a checkpoint."""

from trm.errors import run_cli
from trm.evaluate.command import main

run_cli(main)
