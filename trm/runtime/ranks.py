"""Ranks and devices: one process or many, CUDA, MPS or CPU, one code path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from trm.errors import TrmError, first_line
from trm.runtime.gpus import given_gpus, hold_claimed_gpus

T = TypeVar("T")

# Longer than any rank works alone (rank 0 scores all of ARC, or writes a snapshot), and still an
# end for those who wait for a rank that hangs.
TIMEOUT = timedelta(minutes=30)
DEVICES = ("auto", "cuda", "mps", "cpu")
NUMBERS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_PORT")  # as torchrun sets them


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; every method is free on a single process.

    Flags and objects travel over gloo, the default group, which asks nothing of the GPUs.
    """

    rank: int
    world_size: int
    device: torch.device
    tensors: dist.ProcessGroup | None = None  # what they travel over; None: over the default group

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Rows of all ranks, in rank order; every rank must bring the same shape."""
        if self.world_size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(parts, tensor.contiguous(), group=self.tensors)
        return torch.cat(parts)

    def sum_(self, tensors: list[Tensor]) -> None:
        """Sum each tensor over the ranks in place, as one message."""
        if self.world_size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat, group=self.tensors)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def same_everywhere(self, value: Any) -> Any:
        """Rank 0's value on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def from_main(self, question: Callable[[], T]) -> T:
        """What rank 0 answers, on every rank; the others do not work it out."""
        return self.same_everywhere(question() if self.is_main else None)

    def any(self, flags: list[bool]) -> list[bool]:
        """For each flag, whether any rank has it set; the same answer on every rank."""
        if self.world_size == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def gather_objects(self, value: object) -> list:
        """Every rank's value, in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def unlike_main(self, tensors: Iterable[Tensor]) -> list[int]:
        """Ranks whose tensors, of 4 or 8 bytes a number, are not bit for bit those of rank 0, as
        far as the sum of their bits says; the same answer on every rank."""
        if self.world_size == 1:
            return []
        own = torch.stack([t.detach().view(torch.int32).sum() for t in tensors])  # int64
        everyones = self.all_gather(own[None])
        return (everyones != everyones[0]).any(1).nonzero().flatten().tolist()

    def barrier(self) -> None:
        """Return when every rank has come here; over gloo, and so without waiting for the GPUs."""
        self.any([False])

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


def lost_peer(error: BaseException, ranks: Ranks) -> bool:
    """Whether a collective failed because another rank is gone, rather than for its own fault."""
    if ranks.world_size == 1 or not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text


def choose_device(wanted: str, local_rank: int = 0) -> torch.device:
    """`auto` takes CUDA where there is one, else MPS, else the CPU; anything else must exist.

    The environment's TRM_DEVICE takes the place of `auto`. TrmError where the environment gives
    this process GPUs and torch sees none: days of training on the CPU are not what was meant.
    """
    if wanted == "auto":
        wanted = _device_of_environment()
    if wanted == "auto":
        if torch.cuda.is_available():
            wanted = "cuda"
        elif gpus := given_gpus():
            raise TrmError(
                f"this process was given the GPUs {gpus}, but torch {torch.__version__}, "
                f"{_cuda_of_torch()}, sees none: install a build of torch that fits the driver "
                "(nvidia-smi shows its version of CUDA), or set `gpus: 0` in the resources of "
                "config/config.yaml; device=cpu, or TRM_DEVICE=cpu in the environment, uses the "
                "CPU all the same"
            )
        elif torch.backends.mps.is_available():
            wanted = "mps"
        else:
            wanted = "cpu"
    if wanted == "cuda":
        if not torch.cuda.is_available():
            raise TrmError(
                "device=cuda was asked for, but torch sees no CUDA device here "
                f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}, torch "
                f"{torch.__version__}); use device=auto or device=cpu, or install a CUDA build "
                "of torch"
            )
        if local_rank >= torch.cuda.device_count():
            raise TrmError(
                f"process {local_rank} of this node has no GPU: torch sees "
                f"{torch.cuda.device_count()}; start torchrun with --nproc-per-node at most that"
            )
        torch.cuda.set_device(local_rank)
        # cuDNN's attention, which torch prefers on some GPUs, makes a plan for each batch shape
        # (about a second), adds up in no fixed order in its backward pass and, before cuDNN 9.15.1,
        # reads beyond its tensors where 128 does not divide their length, as it does none of ours.
        # That it pays has not been measured (benchmarks/train_step.py --cudnn-attention).
        torch.backends.cuda.enable_cudnn_sdp(False)
        return torch.device("cuda", local_rank)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise TrmError("device=mps was asked for, but torch sees no Apple GPU; use device=auto")
    return torch.device(wanted)


def _device_of_environment() -> str:
    device = os.environ.get("TRM_DEVICE", "auto")
    if device not in DEVICES:
        raise TrmError(f"TRM_DEVICE={device} in the environment is not one of {', '.join(DEVICES)}")
    return device


def _cuda_of_torch() -> str:
    version = torch.version.cuda
    return "built for the CPU" if version is None else f"built for CUDA {version}"


def start(wanted_device: str) -> Ranks:
    """Join the processes that torchrun started (LOCAL_RANK is set), or be alone.

    TrmError where the environment does not say how to join, or the others cannot be joined.
    """
    hold_claimed_gpus()
    if "LOCAL_RANK" not in os.environ:
        return Ranks(0, 1, choose_device(wanted_device))
    device = choose_device(wanted_device, _local_rank())
    if device.type == "mps":
        device = torch.device("cpu")  # gloo cannot reduce MPS tensors
    # Its functions have the default group as a default argument. Imported later (by torch._dynamo,
    # say), they would keep the group after `close`, and gloo's threads would end with the
    # interpreter, which aborts the process now and then.
    import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("gloo", timeout=TIMEOUT)
        tensors = None
        if device.type == "cuda":  # given its device, NCCL connects here rather than in a step
            tensors = dist.new_group(backend="nccl", timeout=TIMEOUT, device_id=device)
    except (ValueError, RuntimeError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrmError(
            f"the processes of this run cannot meet at {where}: {first_line(error)}"
        ) from None
    return Ranks(dist.get_rank(), dist.get_world_size(), device, tensors)


@contextmanager
def joined(wanted_device: str) -> Iterator[Ranks]:
    """`start`, and the farewell to the others where all have ended alike: well, or by a signal.

    After an error nobody is waited for: NCCL's farewell would wait until all that is under way has
    arrived, which it never does at a process that has ended.
    """
    ranks = start(wanted_device)
    try:
        yield ranks
    except SystemExit:
        ranks.close()
        raise
    ranks.close()


def _local_rank() -> int:
    """LOCAL_RANK; TrmError where what torchrun sets beside it is missing, or no number."""
    missing = [name for name in ("MASTER_ADDR", *NUMBERS) if name not in os.environ]
    if missing:
        raise TrmError(
            f"LOCAL_RANK is set, but not {', '.join(missing)}: start several processes by "
            "torchrun, or unset LOCAL_RANK to start one"
        )
    for name in NUMBERS:
        if not (os.environ[name].isascii() and os.environ[name].isdigit()):
            raise TrmError(f"{name}={os.environ[name]!r} is not a number: start by torchrun")
    rank, world_size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    if rank >= world_size:
        raise TrmError(f"RANK={rank} is not one of WORLD_SIZE={world_size}: start by torchrun")
    return int(os.environ["LOCAL_RANK"])
