"""What we use of torch beyond its documented interface exists in the oldest one that we allow.

TRM_OLDEST_TORCH names a wheel of it, any platform's, whose Python files are read; `.ci/run` fetches
one. Without it the installed torch is read.
"""

from __future__ import annotations

import argparse
import ast
import os
import zipfile
from pathlib import Path

import pytest
import torch

from tests.unit.test_launch import command_for
from trm.model.compiling import DYNAMO
from trm.runtime.torchrun import OPTIONAL, known_words


def source(file: str) -> str:
    """A Python file of torch."""
    wheel = os.environ.get("TRM_OLDEST_TORCH")
    if wheel is None:
        return (Path(torch.__file__).parent / file).read_text()
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"torch/{file}").decode()


def options_of_torchrun() -> set[str]:
    """The first argument, and further ones, of each `parser.add_argument(…)`."""
    return {
        word.value
        for call in ast.walk(ast.parse(source("distributed/run.py")))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument"
        for word in call.args
        if isinstance(word, ast.Constant) and str(word.value).startswith("--")
    }


def test_torchrun_knows_what_it_is_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, module, *words = command_for(monkeypatch, "script.py")
    assert module == "trm.runtime.torchrun"
    options = options_of_torchrun()
    parser = argparse.ArgumentParser()
    for option in options:
        parser.add_argument(option)
    left = known_words(words, parser)
    assert {word.partition("=")[0] for word in left if word.startswith("--")} <= options
    assert len(left) >= len(words) - len(OPTIONAL)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("_dynamo/config.py", "fail_on_recompile_limit_hit"),
        (DYNAMO.removeprefix("torch.").replace(".", "/") + ".py", "torch._dynamo hit config.%s"),
        ("distributed/elastic/multiprocessing/api.py", "class SignalException"),
        ("distributed/elastic/multiprocessing/errors/__init__.py", "class ChildFailedError"),
        ("optim/_muon.py", "match_rms_adamw"),
        ("compiler/__init__.py", "def set_stance"),
    ],
)
def test_what_is_used_is_there(file: str, text: str) -> None:
    assert text in source(file)


def test_a_group_may_be_given_its_device() -> None:
    tree = ast.parse(source("distributed/distributed_c10d.py"))
    (function,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "new_group"
    )
    names = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    assert {"backend", "timeout", "device_id"} <= names
