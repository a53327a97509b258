"""See how a study stands, without running anything.

    python -m trm status     how far every result is, what it cost, where its log is
    python -m trm list       what can be asked for, as targets to copy
    python -m trm plot       the curves of two or more runs over each other
    python -m trm schema     what config.yaml may hold, as a JSON schema for editors

Each says more with --help. `python pretrain.py` trains, `python -m trm.evaluate` evaluates.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from trm.errors import TrmError, run_cli, suggest

COMMANDS = {
    "status": "trm.study.status",
    "list": "trm.study.listing",
    "plot": "trm.report.compare",
    "schema": "trm.study.schema",
}


def main() -> None:
    command, *words = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
        return
    if command not in COMMANDS:
        raise TrmError(
            f"no command {command!r}{suggest(command, list(COMMANDS))}; there are "
            f"{', '.join(COMMANDS)}: python -m trm --help"
        )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `python -m trm status | head`
    import_module(COMMANDS[command]).main(words)


if __name__ == "__main__":
    run_cli(main)
