"""torchrun, without those options that the installed one does not know, and without its traceback.

    python -m trm.runtime.torchrun --standalone --nproc-per-node=2 --shutdown-timeout=300 \
        pretrain.py …

`--signals-to-handle` came with torch 2.9.1, `--shutdown-timeout` later.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

USUAL = {
    signal.SIGKILL: ", as the system does where memory runs out",
    signal.SIGABRT: ", as NCCL does where another process does not answer",
}
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


def why(failures: Mapping[int, ProcessFailure]) -> str | None:
    """A sentence on the process, by rank, that was the first to end by a signal, since it could say
    nothing itself; None where each has printed what went wrong."""
    killed = {rank: failure for rank, failure in failures.items() if failure.exitcode < 0}
    # torchrun ends the others by TERM.
    first = min(
        (rank for rank in killed if killed[rank].exitcode != -signal.SIGTERM),
        key=lambda rank: killed[rank].timestamp,
        default=None,
    )
    if first is None:
        return None
    number = -killed[first].exitcode
    return (
        f"process {first} of this run was ended by {signal.Signals(number).name}"
        f"{USUAL.get(number, '')}. The same command starts the run again, and a training resumes "
        "from what was saved last"
    )


def main() -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser = run.get_args_parser()
    if "--signals-to-handle" not in parser._option_string_actions:
        # It passes on TERM, and would be ended by USR1 itself.
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run.main(known_words(sys.argv[1:], parser))
    except SignalException as told:  # the ranks have said where they stopped
        raise SystemExit(128 + told.sigval) from None
    except ChildFailedError as error:
        sentence = why(error.failures)
        raise SystemExit(1 if sentence is None else f"error: {sentence}") from None


if __name__ == "__main__":
    main()
