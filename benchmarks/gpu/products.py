"""The matrix products of a step at published width, one by one, in each possible layout.

What matters most: whether a product whose rows are 97 wide is as fast as a padded one,
and whether the sums over all positions of a batch (gradients of weights) use the whole GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from job import Job, run_part
from timing import milliseconds, peak_rate
from torch import Tensor

from trm.runtime.ranks import choose_device

B, S, D = 768, 97, 512  # of sudoku-mlp
POSITIONS, COLUMNS = B * S, B * D  # rows of products over channels, and over positions
ARC = 192 * 916
INNER, INNER_S = 1536, 512  # widths inside the two gated MLPs


@dataclass(frozen=True)
class Product:
    """[m, k] by [k, n]. The memory of a and b: row by row, or of the transposed; with `padded`
    each line is filled up to a multiple of 8 numbers."""

    name: str
    m: int
    k: int
    n: int
    a_transposed: bool = False
    b_transposed: bool = True  # as F.linear has its weights
    padded: bool = False


OVER_POSITIONS = (
    Product("positions, gate and up", COLUMNS, S, 2 * INNER_S),
    Product("positions, gate and up, padded", COLUMNS, S, 2 * INNER_S, padded=True),
    Product("positions first, gate and up", 2 * INNER_S, S, COLUMNS, b_transposed=False),
    Product(
        "positions first, gate and up, padded",
        2 * INNER_S,
        S,
        COLUMNS,
        b_transposed=False,
        padded=True,
    ),
    Product("positions, down", COLUMNS, INNER_S, S),
    Product("positions first, down", S, INNER_S, COLUMNS, b_transposed=False),
    Product("positions, gradient of down", S, COLUMNS, INNER_S, True, False),
    Product("positions, gradient of down, padded", S, COLUMNS, INNER_S, True, False, True),
    Product("positions first, gradient of down", S, COLUMNS, INNER_S),
    Product("positions, gradient of gate and up", 2 * INNER_S, COLUMNS, S, True, False),
    Product(
        "positions, gradient of gate and up, padded", 2 * INNER_S, COLUMNS, S, True, False, True
    ),
    Product("positions first, gradient of gate and up", 2 * INNER_S, COLUMNS, S),
)
OVER_CHANNELS = (
    Product("channels, gate and up", POSITIONS, D, 2 * INNER),
    Product("channels, down", POSITIONS, INNER, D),
    Product("channels, gradient of gate and up", 2 * INNER, POSITIONS, D, True, False),
    Product("channels, gradient of down", D, POSITIONS, INNER, True, False),
    Product("answer", POSITIONS, D, 11),
    Product("answer, padded", POSITIONS, D, 16),
    Product("answer, gradient", 11, POSITIONS, D, True, False),
    Product("answer, gradient, padded", 16, POSITIONS, D, True, False),
)
OF_ARC = (
    Product("arc, queries, keys, values", ARC, D, 3 * D),
    Product("arc, after attention", ARC, D, D),
    Product("arc, gate and up", ARC, D, 2 * INNER),
    Product("arc, down", ARC, INNER, D),
)
PRODUCTS = OVER_POSITIONS + OVER_CHANNELS + OF_ARC


def main(job: Job) -> None:
    device = choose_device(job.device)
    peak = peak_rate(job, device)
    for product in PRODUCTS:
        with job.case(product.name):
            m, k, n = product.m, product.k, product.n
            if job.tiny:
                m, k, n = (min(size, 97) for size in (m, k, n))
            a = matrix(m, k, product.a_transposed, product.padded, device)
            b = matrix(k, n, product.b_transposed, product.padded, device)
            ms = time_product(a, b, device)
            rate = 2000 * m * k * n / ms
            job.measured(product.name, ms=ms, tflop_per_s=rate / 1e12, of_rate=rate / peak)


def matrix(rows: int, columns: int, transposed: bool, padded: bool, device: torch.device) -> Tensor:
    """A random bfloat16 matrix [rows, columns] with its lines in memory as the flags say."""
    lines, width = (columns, rows) if transposed else (rows, columns)
    line = -(-width // 8) * 8 if padded else width
    whole = torch.randn(lines, line, device=device, dtype=torch.bfloat16)[:, :width]
    return whole.t() if transposed else whole


def time_product(a: Tensor, b: Tensor, device: torch.device) -> float:
    return milliseconds(lambda: a @ b, device, repeats=8)


if __name__ == "__main__":
    run_part(main)
