"""The one exception whose message is written for the person who typed the command."""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydantic


class TrmError(Exception):
    """Bad input: the message names what is wrong and the remedy, and is all the user needs."""


class WriteError(TrmError):
    """A file or folder cannot be written: no room, no permission, a file in the way."""


def run_cli(main: Callable[[], None]) -> None:
    """Run an entry point; turn TrmError, and an OSError that names its file, into one sentence on
    stderr and exit status 2.

    A TERM signal ends it as Ctrl-C does, so that half-made files are cleaned up.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
        sys.stdout.flush()
    except TrmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.strerror is None or (error.filename is None and error.errno != errno.ENOSPC):
            raise
        where = error.filename or "cannot print"
        print(f"error: {where}: {error.strerror}", file=sys.stderr)
        if error.filename is None:  # Python would try it once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:  # Nothing is left to clean up, and what libraries do at exit would show a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def first_line(error: BaseException) -> str:
    """The message of another library's exception, as far as it fits a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def suggest(word: str, known: list[str]) -> str:
    """'; did you mean X?' when something close exists, else ''."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def explain(error: pydantic.ValidationError, what: str, known: list[str]) -> TrmError:
    """A pydantic error as one sentence per mistake, with the keys the user typed."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}{suggest(key, known)}")
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        else:
            given = "" if item["type"] == "missing" else f" (given: {item['input']!r})"
            lines.append(f"{key}: {item['msg']}{given}")
    return TrmError(f"{what}: " + "; ".join(lines))
