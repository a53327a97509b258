"""Batches that are drawn while the step before them runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def drawn_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items in the same order, each drawn by a thread while the one before it is in use.

    What drawing raises is raised where the item is taken. The thread ends with the block.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        yield _taken(items, thread)


def _taken(items: Iterator[Item], thread: ThreadPoolExecutor) -> Iterator[Item]:
    end = object()
    coming = thread.submit(next, items, end)
    while (item := coming.result()) is not end:
        coming = thread.submit(next, items, end)
        yield item
