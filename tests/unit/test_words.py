"""Words that readers stumble over, and what to write instead: texts are plain English."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What a user reads first. A page joins when its text is plain.
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "results/README.md",
    "tests/README.md",
    "config/*.md",
    "config/*.yaml",
    "config/arch/*.yaml",
    "profiles/*/*.yaml",
    "slurm/*.yaml",
]
# Code, for its messages, docstrings and comments, and page templates.
CODE = [
    "Snakefile",
    "benchmarks/*.py",
    "benchmarks/gpu/*",
    "dataset/*.py",
    "pretrain.py",
    "rules/*.smk",
    "trm/**/*.j2",
    "trm/**/*.js",
    "trm/**/*.py",
    "workflow/**/*.py",
    "workflow/report/*.rst",
]

WORDS = {
    r"(?:tells?|told)(?!.{1,40} apart)": "prints, reports; is rejected with a message",
    r"(?:that|which|what|whatever) (?:is|are) there": "exists",
    r"lies(?! within| outside)|lay (?:in|there|beside)": "is, is stored in",
    r"stands?(?!-in| for| alone| still)": "is stored in, is listed in, is written",
    r"stood": "was",
    r"go(?:es|ing)? on|went on": "resumes, continues",
    r"anew": "again, from scratch",
    r"(?<!there )(?:is|are) (?:no(?! longer| more)|(?-i:none))": "is not a; invalid",
    r"reckon(?:s|ed|ing)?": "estimated",
    r"pass(?:es|ed|ing)? over": "skipped",
    r"at hand": "available",
    r"over each other": "in one figure",
    r"ask(?:s|ed|ing)? (?:the|a|of the) model|the model is asked": "run, solve",
    r"com(?:es?|ing) to be|came to be": "happens, runs",
}
"""Pattern of whole words: what to write instead."""


def stumbles(text: str) -> list[str]:
    """Each use of a word of the list, with its surroundings and what to write instead."""
    text = " ".join(text.split())
    return [
        f"…{text[max(0, found.start() - 30) : found.end() + 30]}…: {instead}"
        for words, instead in WORDS.items()
        for found in re.finditer(rf"\b(?:{words})\b", text, re.IGNORECASE)
    ]


def files(globs: list[str]) -> list[Path]:
    found = {path for pattern in globs for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def prose(path: Path) -> str:
    """The text of a page without its code, or the comments of a YAML file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = re.sub(r"^```.*?^```$|^    [^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
        return re.sub(r"`[^`]*`", "`…`", text)
    if path.suffix == ".yaml":
        return "\n".join(re.findall(r"(?:^|\s)#(.*)", text))
    return re.sub(r"^\s*(?:#|//)", "", text, flags=re.MULTILINE)  # a comment of several lines


def python_texts(path: Path) -> Iterator[str]:
    """Docstrings, messages and comments: a text of one word is a key or a value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value
    with path.open("rb") as file:
        comments = [t for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
    yield "\n".join(comment.string.lstrip("# ") for comment in comments)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(PAGES), ids=named)
def test_a_page_is_in_plain_words(path: Path) -> None:
    assert stumbles(prose(path)) == []


@pytest.mark.parametrize("path", files(CODE), ids=named)
def test_messages_and_docstrings_are_in_plain_words(path: Path) -> None:
    is_python = path.suffix == ".py" or path.read_text(encoding="utf-8").startswith("#!")
    texts = python_texts(path) if is_python else [prose(path)]
    assert [found for text in texts for found in stumbles(text)] == []


@pytest.mark.parametrize("path", files(CODE), ids=named)
def test_a_docstring_is_a_sentence_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r'"""\s*(?:Of|By|As)\b.*', text) == []


def test_every_glob_finds_a_file() -> None:
    assert [pattern for pattern in PAGES + CODE if not files([pattern])] == []


@pytest.mark.parametrize(
    "text",
    [
        "it is told before any job starts",
        "the results that\nare there",
        "the figure stands in the log",
        "It goes on from the last snapshot.",
        "a row that is none",
        "it is no target",
        "files are passed over",
        "two runs over each other",
    ],
)
def test_it_finds(text: str) -> None:
    assert stumbles(text)


@pytest.mark.parametrize(
    "text",
    [
        "if there is no GPU",
        "-1 where there is none",
        "the whole where it is None",
        "it is no longer needed",
        "`…` stands for the rest",
        "a tiny stand-in for Maze-Hard",
        "how to tell two runs apart",
        "the interval lies within the range",
        "the whole interval lies outside",
        "the run folder is stored in checkpoints/",
    ],
)
def test_it_leaves(text: str) -> None:
    assert stumbles(text) == []


def test_code_in_a_page_is_not_its_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Give `stand_in: told`.\n\n    it is told\n\n```sh\ntell\n```\nIt lies here.\n")
    (found,) = stumbles(prose(page))
    assert "lies" in found
