"""The rates that nothing on this machine exceeds: copying memory, multiplying large matrices."""

from __future__ import annotations

import torch
from job import Job, run_part
from timing import milliseconds
from train_step import finish, matmul_rate

from trm.runtime.ranks import choose_device


def main(job: Job) -> None:
    device = choose_device(job.device)
    with job.case("copy"):
        source = torch.randn(2**20 if job.tiny else 2**30, device=device)
        target = torch.empty_like(source)
        ms = milliseconds(lambda: target.copy_(source), device)
        job.measured("copy", tb_per_s=2 * source.nbytes / ms / 1e9, ms=ms)
    with job.case("products in a row"):
        # 8192 x 8192 on a GPU: what the shares of a rate refer to.
        job.measured("products in a row", tflop_per_s=matmul_rate(device, torch.bfloat16) / 1e12)
    with job.case("products one by one"):
        side = 256 if job.tiny else 2048
        a = torch.randn(side, side, device=device).bfloat16()

        def waited_for() -> None:
            a @ a
            finish(device)

        ms = milliseconds(waited_for, device)
        job.measured("products one by one", side=side, tflop_per_s=2 * side**3 / ms / 1e9)


if __name__ == "__main__":
    run_part(main)
