"""Print what makes a shell complete the words of `trm`.

    trm completion bash > ~/.local/share/bash-completion/completions/trm
    trm completion zsh > ~/.zfunc/_trm

zsh also needs `fpath+=~/.zfunc` before `compinit` in ~/.zshrc. Open a new shell afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

import shtab

from trm.arguments import Parser
from trm.commands import COMMANDS

SHELLS = ("bash", "zsh")


def parser() -> Parser:
    found = Parser("completion", __doc__)
    found.add_argument("shell", choices=SHELLS)
    return found


def main(words: Sequence[str]) -> None:
    print(script(parser().parse_args(words).shell))


def script(shell: str) -> str:
    """What `shell` (bash, zsh) reads to complete the words of `trm`."""
    return shtab.complete(_whole_program(), shell)


def _whole_program() -> argparse.ArgumentParser:
    """One parser for all commands, as shtab reads it."""
    program = argparse.ArgumentParser(prog="trm")
    commands = program.add_subparsers()
    for name, module in COMMANDS.items():
        found = import_module(module)
        text = found.__doc__.splitlines()[0]
        if hasattr(found, "known_words"):
            of_command = commands.add_parser(name, help=text)
            words = [f"{word}=" for word in found.known_words()]
            of_command.add_argument("words", nargs="*", choices=words)
        else:
            commands.add_parser(name, parents=[found.parser()], add_help=False, help=text)
    return program
