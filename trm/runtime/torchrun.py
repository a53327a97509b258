"""torchrun, without those options that the installed one does not know.

    python -m trm.runtime.torchrun --standalone --nproc-per-node=2 --shutdown-timeout=300 \
        pretrain.py …

`--signals-to-handle` came with torch 2.9.1, `--shutdown-timeout` later.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

OPTIONAL = ("--signals-to-handle", "--shutdown-timeout")


def known_words(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """`words` without the options of OPTIONAL (`--option=value`) that `parser` does not know.

    What follows the script, the first word that is not an option, is the script's.
    """
    known = parser._option_string_actions
    count = next((i for i, word in enumerate(words) if not word.startswith("--")), len(words))
    options = [word.partition("=")[0] for word in words[:count]]
    kept = [
        word
        for word, option in zip(words, options, strict=False)
        if option in known or option not in OPTIONAL
    ]
    return [*kept, *words[count:]]


def main() -> None:
    from torch.distributed import run

    parser = run.get_args_parser()
    if "--signals-to-handle" not in parser._option_string_actions:
        # It passes on TERM, and would be ended by USR1 itself.
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    run.main(known_words(sys.argv[1:], parser))


if __name__ == "__main__":
    main()
