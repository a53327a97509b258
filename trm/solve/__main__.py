"""`python -m trm.solve`: an answer to one puzzle by a trained model."""

from trm.errors import run_cli
from trm.solve.command import main

run_cli(main)
