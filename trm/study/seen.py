"""What a table or the report was made from, of the results that it only finds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from trm.study.files import ResultFile


def what_was_seen(files: Iterable[str]) -> str:
    """A hash that changes when one of the files does, comes or goes.

    metrics.json is read. Of every other file, most of them pictures, the size is enough: another
    evaluation has other metrics, and a study's pictures are hundreds of megabytes, which Snakemake
    would read at each start.
    """
    seen = hashlib.sha256()
    for path in map(Path, files):
        try:
            read = path.name == ResultFile.METRICS
            content = path.read_bytes() if read else str(path.stat().st_size).encode()
        except (FileNotFoundError, NotADirectoryError):
            continue
        seen.update(str(path).encode() + b"\0" + content + b"\0")
    return seen.hexdigest()
