"""Tiny Recursive Model: data, model, training, scoring and reports, as a library.

    import trm
    answer = trm.load("checkpoints/sudoku-6x6/quick/seed-0").solve("sudoku.txt")

The package never imports snakemake, and importing it does not import torch: only the
modules that compute with tensors do, and `trm.load` is one of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trm.runtime.processor import let_idle_threads_sleep

if TYPE_CHECKING:
    from trm.solve.trained import load as load
    from trm.study.search import Search as Search

__version__ = "0.1.0"

let_idle_threads_sleep()


def __getattr__(name: str) -> Any:
    if name == "load":
        from trm.solve.trained import load

        return load
    if name == "Search":
        from trm.study.search import Search

        return Search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
