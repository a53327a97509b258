"""How the commands of `trm` read their words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from trm.errors import TrmError, suggest


class Parser(argparse.ArgumentParser):
    """The parser of `trm NAME`. --help shows `text`: what the command does, with examples.

    A wrong word raises TrmError, which names the nearest option.
    """

    def __init__(self, name: str, text: str | None) -> None:
        super().__init__(
            prog=f"trm {name}",
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        for word in args or ():
            if word == "--":
                break
            self._check_option(word.partition("=")[0])
        return super().parse_known_args(args, namespace)

    def _check_option(self, word: str) -> None:
        known = self._option_string_actions
        if word.startswith("--") and word not in known:
            nearest = suggest(word, [option for option in known if option.startswith("--")])
            raise TrmError(f"{self.prog} has no option {word}{nearest}; see {self.prog} --help")

    def error(self, message: str) -> NoReturn:
        raise TrmError(f"{self.prog}: {message}; see {self.prog} --help")
