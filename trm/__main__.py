"""Train, evaluate and use models, and see the state of a study.

    trm train              train a model: the keys of config/pretrain.yaml as key=value
    trm evaluate           measure a checkpoint
    trm solve              solve one puzzle with a trained model
    trm export             write a trained model as a folder that needs nothing else
    trm status             print how far every result is, what it cost, where its log is
    trm list               print what Snakemake can make, as targets to copy
    trm plot               draw the curves of several runs in one figure
    trm check-submission   check a submission.json before Kaggle does
    trm schema             print the JSON schema of config.yaml, for editors
    trm completion         print what makes bash or zsh complete these words

`trm NAME --help` shows the options and an example. `python -m trm` is the same program.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from trm import __version__
from trm.commands import COMMANDS
from trm.errors import TrmError, run_cli, suggest


def main() -> None:
    command, *words = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
    elif command == "--version":
        print(f"trm {__version__}")
    elif command not in COMMANDS:
        raise TrmError(
            f"no command {command!r}{suggest(command, list(COMMANDS))}; the commands are "
            f"{', '.join(COMMANDS)}; see trm --help"
        )
    else:
        if command != "train":  # which would lose its last steps
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `trm status | head`
        import_module(COMMANDS[command]).main(words)


def entry() -> None:
    run_cli(main)


if __name__ == "__main__":
    entry()
