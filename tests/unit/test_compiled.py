"""Compiled nets train as the plain ones, where it pays, and are kept by kind of processor."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from tests.runs import ALONE, DEVICES, config_of, random_run
from trm.errors import TrmError
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments
from trm.model import compiling
from trm.model.layers import Block
from trm.runtime import processor
from trm.runtime.ranks import Ranks
from trm.training.trainer import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile on the CPU needs g++"
)


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    """What torch gives up to compile would be compared with itself."""
    torch.compiler.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch.compiler.set_stance("default")


ROUNDING = {"cpu": 1e-5, "cuda": 1e-3}


def assert_compiled_training_is_the_plain_one(
    data: Path, folder: Path, how: str, mlp_t: bool, device: str = "cpu"
) -> None:
    """A whole run, short enough for differences of rounding to stay small."""
    losses, ranks = [], Ranks(0, 1, torch.device(device))
    settings = {"arch__mlp_t": mlp_t, "log_interval": 1, "device": device}
    for compile in ("off", how):
        run = folder / compile
        train(config_of(data, run, compile=compile, **settings), ranks)
        losses.append(pd.read_csv(run / "history.csv").query("split == 'train'").loss)
    np.testing.assert_allclose(*losses, rtol=ROUNDING[device])


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_training_is_the_plain_one(sudoku_data: Path, tmp_path: Path, device: str) -> None:
    """The other nets and settings: tests/slow/unit/test_compiled.py."""
    assert_compiled_training_is_the_plain_one(sudoku_data, tmp_path, "on", True, device)


def test_auto_compiles_long_trainings_where_there_is_a_compiler(monkeypatch) -> None:
    much, little = 2 * compiling.FLOP_THAT_PAY, compiling.FLOP_THAT_PAY / 2
    assert compiling.worth_compiling(CPU, much)
    assert not compiling.worth_compiling(CPU, little)
    assert compiling.worth_compiling(torch.device("cuda"), little)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not compiling.worth_compiling(CPU, much)


def test_a_compilation_that_is_demanded_and_fails_is_one_sentence(
    sudoku_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `auto`: tests/slow/unit/test_compiled.py."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("BackendCompilerFailed: No such file\nand a page more")

    monkeypatch.setattr("trm.training.compiling.act_step", fail)
    because = (
        "compile=on, but the nets cannot be compiled here: BackendCompilerFailed: No such file;"
    )
    with pytest.raises(TrmError, match=because):
        train(config_of(sudoku_data, tmp_path, compile="on"), ALONE)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrmError, match="cannot be compiled here: there is no C\\+\\+ compiler"):
        train(config_of(sudoku_data, tmp_path, compile="on"), ALONE)


def test_what_a_gpu_lacks_to_compile_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the order in which it would help: another GPU, torch's build for CUDA, a compiler."""
    gpu, capability, found = torch.device("cuda"), [(6, 1)], [None]
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability[0])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "compute capability 6.1, and torch.compile needs 7.0" in compiling.lacking(gpu)
    capability[0] = (7, 0)
    assert "Triton" in compiling.lacking(gpu)
    found[0] = object()
    assert "no C compiler" in compiling.lacking(gpu)
    (tmp_path / "clang").write_text("")
    (tmp_path / "clang").chmod(0o755)
    assert compiling.lacking(gpu) is None
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no C compiler" in compiling.lacking(gpu)


def test_more_shapes_than_torch_compiles_are_one_note(capsys: pytest.CaptureFixture) -> None:
    logger, notes = logging.getLogger(compiling.DYNAMO), compiling.GivesUp()
    logger.addFilter(notes)
    double = torch.compile(lambda x: 2 * x, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=False, recompile_limit=1):
        for size in (1, 2, 3):
            assert torch.equal(double(torch.ones(size)), torch.full((size,), 2.0))
    logger.removeFilter(notes)
    said = capsys.readouterr().err
    assert said.count("note: the nets were called in more ways than torch compiles") == 1
    assert "hit config" not in said


def test_compiled_code_is_kept_where_it_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the user's cache folder, for each rank apart; in a temporary one where that is no use."""

    def kept() -> Path:
        monkeypatch.delenv(processor.CACHE, raising=False)
        processor.keep_code_by_processor()
        return Path(os.environ[processor.CACHE])

    monkeypatch.setenv(processor.CACHE, "")  # to be put back
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kind = kept().name
    assert kept() == tmp_path / "trm" / "torchinductor" / kind
    monkeypatch.setenv("RANK", "3")
    assert kept().name == kind  # of a queue
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert kept() == tmp_path / "trm" / "torchinductor" / kind / "rank-3"
    processor.keep_code_by_processor()
    assert Path(os.environ[processor.CACHE]).name == "rank-3"
    monkeypatch.delenv("LOCAL_RANK")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    temporary = f"torchinductor_{processor._user()}"
    with monkeypatch.context() as without_locks:
        without_locks.setattr(fcntl, "flock", no_locks)
        assert kept().parent.name == temporary
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept().parent.name == temporary


def test_memory_on_a_gpu_grows_in_place_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in processor.ALLOCATION:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    processor.let_segments_grow()
    assert "PYTORCH_ALLOC_CONF" not in os.environ
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    processor.let_segments_grow()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def test_compiled_code_is_kept_by_kind_of_processor(monkeypatch, tmp_path) -> None:
    folders = set()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for base in (tmp_path / "own", None):
        for capability in ("AVX2", "NO AVX"):
            monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
            monkeypatch.setenv(processor.CACHE, str(base or ""))
            processor.keep_code_by_processor()
            folder = Path(os.environ[processor.CACHE])
            processor.keep_code_by_processor()  # as a process that this one starts
            assert Path(os.environ[processor.CACHE]) == folder
            assert folder.parent == (base or tmp_path / "trm" / "torchinductor")
            assert folder.name.startswith("avx2-" if capability == "AVX2" else "no-avx-")
            folders.add(folder)
    assert len(folders) == 4


@pytest.fixture
def checkpoint(sudoku_data: Path, tmp_path: Path) -> Path:
    mlp = {"arch__mlp_t": True, "arch__pos_encodings": "none"}
    return random_run(tmp_path / "run", sudoku_data, 9, 11, **mlp) / "final"


def evaluated(checkpoint: Path, *words: str) -> tuple[dict[str, float], np.ndarray]:
    """Metrics, and halting logits [100]."""
    folder = checkpoint.parent.parent
    files = (f"out={folder / 'metrics.json'}", f"predictions={folder / 'predictions.npz'}")
    config, trained = parse_arguments([f"checkpoint={checkpoint}", *files, "device=cpu", *words])
    evaluate_checkpoint(config, trained, ALONE)
    with np.load(folder / "predictions.npz") as predictions:
        q_halt = predictions["q_halt_logits"]
    return json.loads((folder / "metrics.json").read_text()), q_halt


def test_a_compiled_evaluation_is_the_plain_one(checkpoint: Path) -> None:
    """The last batch, which is not full, is no graph of its own."""
    plain, plain_q = evaluated(checkpoint, "compile=off", "global_batch_size=48")
    assert counters["stats"]["unique_graphs"] == 0
    compiled, compiled_q = evaluated(checkpoint, "compile=on", "global_batch_size=48")
    assert counters["stats"]["unique_graphs"] == 1
    assert compiled["lm_loss"] == pytest.approx(plain["lm_loss"], rel=1e-5)
    np.testing.assert_allclose(compiled_q, plain_q, rtol=1e-3, atol=1e-3)


def test_an_evaluation_is_compiled_where_it_pays(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Nets that cannot be compiled then are one note; early exit runs eagerly."""
    evaluated(checkpoint)
    assert "compil" not in capsys.readouterr().err
    monkeypatch.setattr(compiling, "FLOP_THAT_PAY", 0)
    evaluated(checkpoint, "eval_halting=act")
    assert "compil" not in capsys.readouterr().err

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No such file")

    compile_block = Block.compile
    monkeypatch.setattr(Block, "compile", lambda block, **_: compile_block(block, backend=fail))
    evaluated(checkpoint)
    said = capsys.readouterr().err
    assert said.count("compiling the nets, for an evaluation of about") == 1
    assert said.count("note: the nets cannot be compiled here, and run eagerly: ") == 1
    with pytest.raises(TrmError, match="compile=on, but the nets cannot be compiled here: "):
        evaluated(checkpoint, "compile=on")
