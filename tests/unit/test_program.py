"""The program `trm`: its commands, their help, wrong words, and completion in a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module

import pytest

from tests.conftest import ROOT
from trm import completion
from trm.__main__ import main
from trm.commands import COMMANDS
from trm.errors import TrmError


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["trm", *words])
    main()


def test_help_lists_every_command(monkeypatch, capsys) -> None:
    run(monkeypatch)
    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if line.startswith("    trm ")] == [
        *COMMANDS
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_an_example(monkeypatch, capsys, name: str) -> None:
    try:
        run(monkeypatch, name, "--help")
    except SystemExit as ended:
        assert ended.code == 0
    examples = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert any(line.strip().startswith((f"trm {name}", "python -m trm.")) for line in examples)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stauts"], "no command 'stauts'; did you mean 'status'"),
        (["status", "--jsn"], "trm status has no option --jsn; did you mean '--json'"),
        (["solve", "--chekpoint=x"], "did you mean '--checkpoint'"),
        (["export"], "trm export: the following arguments are required: --checkpoint"),
        (["completion", "fish"], "invalid choice: 'fish'"),
        (["train", "lrr=1"], "did you mean 'lr'"),
        (["train", "--settings", "a.yaml", "lr=1"], "--settings takes one file"),
        (["train", "--settings", "nowhere.yaml"], "cannot read the training config nowhere.yaml"),
        (["evaluate", "chekpoint=x", "out=y"], "did you mean 'checkpoint'"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest(monkeypatch, words, message) -> None:
    with pytest.raises(TrmError) as error:
        run(monkeypatch, *words)
    assert message in str(error.value)


def test_the_installed_script_is_this_program() -> None:
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1]
    module, _, function = scripts.splitlines()[0].split('"')[1].partition(":")
    assert hasattr(import_module(module), function)


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return {shell: completion.script(shell) for shell in completion.SHELLS}


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(words)
    code = (
        f"COMP_WORDS=({line}); [ -n '{words[-1]}' ] || COMP_WORDS+=('')\n"
        f"COMP_CWORD={len(words) - 1}; _shtab_trm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{code}"], capture_output=True, text=True, check=True
    )
    return [word.strip() for word in done.stdout.split("\n") if word.strip()]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("trm", "st"), ["status"]),
        (("trm", "solve", "--ch"), ["--checkpoint"]),
        (("trm", "train", "puzzle_emb_l"), ["puzzle_emb_lr="]),
        (("trm", "completion", "b"), ["bash"]),
    ],
)
def test_bash_completes(scripts: dict[str, str], words: tuple[str, ...], offered: list) -> None:
    assert completed(scripts["bash"], *words) == offered


def test_zsh_knows_every_command(scripts: dict[str, str]) -> None:
    assert scripts["zsh"].startswith("#compdef trm")
    for name in COMMANDS:
        assert f" {name}:'" in scripts["zsh"]
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n"], input=scripts["zsh"], text=True, check=True)
