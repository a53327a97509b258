"""Started by torchrun: what the processes of a training send each other, called directly, since
`Ranks` sends nothing where it is alone."""

from __future__ import annotations

import torch
import torch.distributed as dist
from job import Job, run_part

from trm.runtime.ranks import start

GATHERED = (torch.uint8, torch.int32, torch.int64, torch.float32)
SUMMED = (torch.float32, torch.float64)


def main(job: Job) -> None:
    ranks = start(job.device)
    job.measured("backend", name=dist.get_backend(), processes=dist.get_world_size())
    for dtype in GATHERED:
        with job.case(f"all_gather {dtype}"):
            sent = torch.arange(97, device=ranks.device).to(dtype)
            (got,) = parts = [torch.empty_like(sent)]
            dist.all_gather(parts, sent)
            job.checked(f"all_gather {dtype}", torch.equal(got, sent))
    for dtype in SUMMED:
        with job.case(f"all_reduce {dtype}"):
            sent = torch.rand(97, device=ranks.device, dtype=dtype)
            got = sent.clone()
            dist.all_reduce(got)
            job.checked(f"all_reduce {dtype}", torch.equal(got, sent))
    with job.case("barrier and control"):
        dist.barrier()
        control = dist.new_group(backend="gloo")  # on the CPU, as trainings have one
        votes = torch.tensor([1, 0], dtype=torch.int32)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=control)
        box = [{"step": 3}]
        dist.broadcast_object_list(box, src=0, group=control)
        job.checked("barrier and control", votes.tolist() == [1, 0] and box == [{"step": 3}])
    ranks.close()


if __name__ == "__main__":
    run_part(main)
