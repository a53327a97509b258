"""Every architecture against the figures of the published code, in double precision, on this
device: outputs, twelve training steps, weights (tests/golden/test_models.py)."""

from __future__ import annotations

import time

import numpy as np
from job import Job, run_part

from tests.golden.test_models import FILES, Figures, Golden, assert_equal, compute, tolerance_of
from trm.config.architectures import architecture_names


def main(job: Job) -> None:
    every = len(FILES) >= len(architecture_names())
    job.checked("there are figures of every architecture", every, files=len(FILES))
    for path in FILES:
        with job.case(path.stem):
            golden, began = Golden(path), time.perf_counter()
            computed = compute(golden, job.device)
            figures = {
                "worst": worst(computed, golden.figures),
                "seconds": time.perf_counter() - began,
            }
            try:
                assert_equal(computed, golden.figures, tolerance_of(golden))
            except AssertionError as error:
                job.checked(path.stem, False, **figures, difference=str(error)[:200])
            else:
                job.checked(path.stem, True, **figures)


def worst(computed: Figures, wanted: Figures) -> float:
    """The largest difference of floats but metrics, relative to the largest value of its array."""
    return max(
        float(np.max(np.abs(computed[name] - array)) / (np.abs(array).max() or 1))
        for name, array in wanted.items()
        if array.dtype.kind == "f" and array.size and "/metric/" not in name
    )


if __name__ == "__main__":
    run_part(main)
