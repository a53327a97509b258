"""What a report is made from: the table of experiments and the result folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trm.errors import TrmError
from trm.study.files import ResultFile
from trm.study.table import Benchmark

_SEED_FOLDER = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class Result:
    """One evaluated run, `results/{benchmark}/{variant}/seed-{seed}/`."""

    folder: Path
    benchmark: str
    variant: str
    seed: int
    metrics: dict[str, float]
    provenance: dict[str, Any] = field(default_factory=dict)
    config: str = ""  # the resolved training config, YAML

    @property
    def name(self) -> str:
        return f"{self.benchmark}/{self.variant}/seed-{self.seed}"


def load_result(folder: Path) -> Result:
    """Read one result folder; its path says which benchmark, variant and seed it is.

    Only metrics.json must exist; provenance.json and config.yaml may be missing.

    Raises:
        TrmError: the path is not that of a result, or metrics.json is missing or damaged.
    """
    folder = Path(folder)
    parts = folder.resolve().parts
    seed = _SEED_FOLDER.fullmatch(parts[-1]) if len(parts) >= 3 else None
    if seed is None:
        raise TrmError(f"{folder} is not a result folder: expected .../BENCHMARK/VARIANT/seed-N")
    metrics = _read_object(folder / ResultFile.METRICS)
    if metrics is None:
        raise TrmError(
            f"{folder} has no {ResultFile.METRICS}: evaluate it first "
            f"(snakemake {folder / ResultFile.METRICS})"
        )
    for name, value in metrics.items():
        if not isinstance(value, int | float):
            raise TrmError(f"{folder / ResultFile.METRICS}: {name} is {value!r}, expected a number")
    config = folder / ResultFile.CONFIG
    return Result(
        folder,
        benchmark=parts[-3],
        variant=parts[-2],
        seed=int(seed[1]),
        metrics=metrics,
        provenance=_read_object(folder / ResultFile.PROVENANCE) or {},
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )


def load_results(folders: Iterable[Path], benchmarks: dict[str, Benchmark]) -> list[Result]:
    """Read result folders in the order of the table of experiments, then by seed.

    Raises:
        TrmError: as `load_result`, or a folder belongs to no row of the table.
    """
    results = [load_result(folder) for folder in folders]
    for result in results:
        row = benchmarks.get(result.benchmark)
        if row is None or result.variant not in row.variants:
            raise TrmError(
                f"{result.folder} is of no experiment in the config: add "
                f"{result.benchmark}/{result.variant} there, give its file to --config too, or "
                "leave the folder out"
            )
    order = {
        (name, variant): position
        for position, (name, variant) in enumerate(
            (name, variant) for name, row in benchmarks.items() for variant in row.variants
        )
    }
    return sorted(results, key=lambda r: (order[r.benchmark, r.variant], r.seed))


def existing_results(folders: Iterable[Path], benchmarks: dict[str, Benchmark]) -> list[Result]:
    """The results among `folders` that exist: those with a metrics.json.

    A machine with part of the results so fills its part of a table, and of the report.

    Raises:
        TrmError: as `load_results`.
    """
    return load_results((f for f in folders if (f / ResultFile.METRICS).is_file()), benchmarks)


def _read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise TrmError(f"{path} is not JSON ({error}): delete it and run again") from None
    if not isinstance(content, dict):
        raise TrmError(f"{path} is not a JSON object: delete it and run again")
    return content
