"""Several processes: what torchrun is told, and what a process is told of the others."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.run import get_args_parser

from trm.errors import TrmError
from trm.runtime.launch import run_ranks
from trm.runtime.ranks import Ranks, choose_device, joined, start
from trm.runtime.torchrun import OPTIONAL, known_words, why

TORCHRUN = {
    "LOCAL_RANK": "0",
    "RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def command_for(monkeypatch: pytest.MonkeyPatch, *command: str) -> list[str]:
    """What `run_ranks` would start two ranks by."""
    started: list[list[str]] = []
    monkeypatch.setattr("trm.runtime.launch._run", lambda words, *_: started.append(words) or 0)
    run_ranks([*command], ranks=2, threads=2)
    return started[0]


def test_torchrun_gets_only_the_options_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ["-m", "trm.evaluate", "--shutdown-timeout=1", "out=x"]
    _, *words = command_for(monkeypatch, *script)
    assert words[:2] == ["-m", "trm.runtime.torchrun"]
    words = words[2:]
    old = argparse.ArgumentParser()
    for name in ("--nnodes", "--nproc-per-node", "--standalone", "--local-addr"):
        old.add_argument(name)
    left = known_words(words, old)
    assert [word for word in words if word not in left] == [
        word for word in words[: words.index("-m")] if word.startswith(OPTIONAL)
    ]
    assert left[-4:] == script
    old.add_argument("--signals-to-handle")
    assert any(word.startswith("--signals-to-handle=") for word in known_words(words, old))
    # What is left is understood by the torchrun that is installed.
    read = get_args_parser().parse_args(known_words(words, get_args_parser()))
    assert read.local_addr == "127.0.0.1" and read.training_script == "trm.evaluate"
    assert read.training_script_args == script[2:]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK is set, but not MASTER_ADDR, RANK, WORLD_SIZE, MASTER_P"),
        ({name: TORCHRUN[name] for name in TORCHRUN if name != "RANK"}, "but not RANK: start sev"),
        (TORCHRUN | {"LOCAL_RANK": "zero"}, "LOCAL_RANK='zero' is not a number"),
        (TORCHRUN | {"LOCAL_RANK": ""}, "LOCAL_RANK='' is not a number"),
        (TORCHRUN | {"WORLD_SIZE": "-1"}, "WORLD_SIZE='-1' is not a number"),
        (TORCHRUN | {"RANK": "3"}, "RANK=3 is not one of WORLD_SIZE=1"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "RANK=0 is not one of WORLD_SIZE=0"),
        (TORCHRUN | {"MASTER_PORT": "99999999"}, "cannot meet at 127.0.0.1:99999999"),
    ],
)
def test_a_wrong_environment_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrmError, match=said):
        start("cpu")


GIVEN = [
    ({"CUDA_VISIBLE_DEVICES": "2,3"}, "2,3"),
    ({"SLURM_JOB_GPUS": "0"}, "0"),
    ({"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_JOB_GPUS": "0"}, None),
    ({"CUDA_VISIBLE_DEVICES": ""}, None),
    ({}, None),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")
@pytest.mark.parametrize(("environment", "gpus"), GIVEN)
def test_gpus_that_torch_does_not_see_are_no_cpu(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], gpus: str | None
) -> None:
    """A laptop without a GPU trains on its CPU; a job that was given GPUs must not do so for days,
    unless it is what was asked for."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "TRM_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if gpus is None:
        assert choose_device("auto").type in ("cpu", "mps")
    else:
        with pytest.raises(TrmError, match=f"was given the GPUs {gpus}, but torch .* sees none"):
            choose_device("auto")
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setenv("TRM_DEVICE", "cpu")
    assert choose_device("auto").type == "cpu"


def test_the_device_of_the_environment_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRM_DEVICE", "gpu")
    with pytest.raises(TrmError, match="TRM_DEVICE=gpu in the environment is not one of auto, cu"):
        choose_device("auto")


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As far as a process asks before it computes; the real one is used where there is one."""
    enabled = torch.backends.cuda.cudnn_sdp_enabled()
    if not torch.cuda.is_available():
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("torch.cuda.set_device", lambda index: None)
    yield
    torch.backends.cuda.enable_cudnn_sdp(enabled)


def test_attention_on_a_gpu_is_not_cudnns(a_gpu: None) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert choose_device("auto") == torch.device("cuda", 0)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_nccl_is_for_tensors_and_given_its_gpu(
    monkeypatch: pytest.MonkeyPatch, a_gpu: None
) -> None:
    """Without a device it connects in the middle of the first step, and guesses the device of a
    barrier, with a warning. What it is not for goes over gloo, which does not touch the GPU."""
    groups = []
    monkeypatch.setattr(dist, "init_process_group", lambda kind, timeout: groups.append(kind))
    monkeypatch.setattr(
        dist, "new_group", lambda backend, timeout, device_id: groups.append((backend, device_id))
    )
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    start("cuda")
    assert groups == ["gloo", ("nccl", torch.device("cuda", 0))]


def failures(**exitcodes: int) -> dict[int, ProcessFailure]:
    """Of ranks r0, r1, …, in the order in which they ended."""
    found = {}
    for second, (name, exitcode) in enumerate(exitcodes.items()):
        rank = int(name[1:])
        found[rank] = ProcessFailure(rank, 100 + rank, exitcode, "<N/A>")
        found[rank].timestamp = second
    return found


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (failures(r1=-9, r0=-15), "process 1 of this run was ended by SIGKILL, as the system does"),
        (failures(r2=-6, r0=-9, r1=2), "process 2 of this run was ended by SIGABRT, as NCCL does"),
        (failures(r0=-11), "process 0 of this run was ended by SIGSEGV. The same command starts"),
        (failures(r0=2, r1=-15), None),
        (failures(r0=1), None),
    ],
)
def test_a_process_that_was_killed_is_named(
    ended: dict[int, ProcessFailure], said: str | None
) -> None:
    """It cannot print anything itself. torchrun's own report: tests/slow/workflow."""
    sentence = why(ended)
    assert sentence is None if said is None else sentence.startswith(said)


@pytest.mark.parametrize(
    ("error", "closed"), [(None, True), (SystemExit(75), True), (TrmError("a loss of nan"), False)]
)
def test_nobody_waits_for_others_after_an_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, closed: bool
) -> None:
    said = []
    monkeypatch.setattr(Ranks, "close", lambda ranks: said.append(ranks))
    with nullcontext() if error is None else pytest.raises(type(error)), joined("cpu"):
        if error is not None:
            raise error
    assert bool(said) == closed


def test_no_environment_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")  # a queue's own
    assert (start("cpu").rank, start("cpu").world_size) == (0, 1)
