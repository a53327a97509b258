"""The fused kernels compile for GPUs, which needs none, and fit their shared memory."""

from __future__ import annotations

import os

import pytest

triton = pytest.importorskip("triton", reason="needs Triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 keeps them from being compiled", allow_module_level=True)

from trm.model import fused  # noqa: E402

SHARED = {80: 163 * 1024, 89: 99 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that one program may have, by compute capability: A100, L40S, H100."""

TILES = {
    "_mix": fused._TILE | {"LENGTH": 128},
    "_mix_backward": fused._TILE_BACKWARD | {"LENGTH": 128},
    "_mix_weights": fused._TILE_WEIGHTS | {"LENGTH": 128, "SPLITS": fused.SPLITS},
    "_gate": fused._TILE_PRODUCT,
    "_gate_backward": fused._TILE_PRODUCT,
}
SUMS = ("inverse_at", "parts_at")  # pointers to sums, in fp32
NUMBERS = {"S": "i32", "N": "i32", "M": "i32", "K": "i32", "tiles": "i32", "eps": "fp32"}


@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("name", TILES)
def test_a_kernel_compiles(name: str, capability: int) -> None:
    kernel, tile = getattr(fused, name), dict(TILES[name])
    options = {key: tile.pop(key) for key in ("num_warps", "num_stages")}
    constants = tile | {"SUM": fused.tl.float32}
    signature, aligned = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            continue
        pointer = "*fp32" if argument in SUMS else "*bf16"
        default = pointer if argument.endswith("_at") else "i32"
        signature[argument] = NUMBERS.get(argument, default)
        if argument.endswith("_at") or argument in ("N", "K", "inner_size"):
            aligned[(place,)] = [["tt.divisibility", 16]]
    places = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    source = triton.compiler.ASTSource(kernel, signature, places, aligned)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options=options)
    assert "cubin" in compiled.asm
    assert compiled.metadata.shared <= SHARED[capability]
